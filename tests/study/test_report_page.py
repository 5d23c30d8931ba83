"""The report as a reader meets it: in a browser, by keyboard, in the dark, on paper, and with hostile names."""

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from gradkern.study.power import simulated_rates
from gradkern.study.report import Picture, answer, write_verdict
from tests.browser import CHROMIUM, Page, opened

HOSTILE = '<script>document.title="owned"</script>"\'><img src=x onerror=alert(1)>{{ 7 * 7 }}'
IDS = {
    "activation-maps-hierarchy": "supported",
    "gradient-predicts-fmri-beyond:everything": "cannot decide",
    "gradient-has-spatial-order": "not found",
    "gradient-has-temporal-order": "not tested",
}


def row_of(id: str, conclusion: str, estimate: float, **others: Any) -> dict[str, Any]:
    numbers = dict.fromkeys(("estimate", "low", "high", "p"), np.nan)
    if conclusion != "not tested":
        numbers = {"estimate": estimate, "low": estimate - 0.1, "high": estimate + 0.1, "p": 0.01}
    usual = {"id": id, "claim": f"claim {id}", "data": "MEG" if "temporal" in id else "fMRI", "conclusion": conclusion,
             "units": "r", "smallest p": 0.001, "subjects": 2, "by subject": json.dumps({HOSTILE: 0.1}),
             "low without one": 0.09, "high without one": 0.16, "flag": HOSTILE, "layer": HOSTILE,
             "by layer": json.dumps({HOSTILE: 0.3}), "images": 750, "rows": 109, "targets": 7, "ceiling": 0.7,
             "against": HOSTILE, "power": 0.4, "power counts": "7 of 20", "simulated": "7 of 20 such",
             "wrong if": HOSTILE, "why": HOSTILE}  # fmt: skip
    return usual | numbers | others


TABLE = pd.DataFrame([row_of(id, said, 0.1 * place) for place, (id, said) in enumerate(IDS.items())])
TABLE.attrs["notes"] = [HOSTILE]


@pytest.fixture(scope="module")
def html() -> str:
    numbers = pd.DataFrame({"layer": [HOSTILE], "r": [0.5]})
    pictures = [
        Picture.of(f"picture{number}", f"Caption {HOSTILE}", Figure((2, 1)), alt=HOSTILE, data=numbers, topic=topic)
        for number, topic in enumerate(("Claims", HOSTILE))
    ]
    facts = {"study": HOSTILE, HOSTILE: HOSTILE, "gradkern": HOSTILE}
    survived = pd.DataFrame([{"claim": HOSTILE, "conclusion": HOSTILE, "value": 0.1, "lowest": 0.0, "highest": 0.2,
                              "same conclusion": 1, "runs": 2, "refused": 0}])  # fmt: skip
    return write_verdict(TABLE, simulated_rates(), pictures, facts, [HOSTILE], survived, {HOSTILE: HOSTILE})


def test_names_stay_names(html: str) -> None:
    assert html.count("<script") == 1
    assert "onerror" in html
    assert "<img src=x" not in html
    assert "{{ 7 * 7 }}" in html
    assert ">49<" not in html
    assert not re.search(r'(src|href)="(?!data:|#)', html)


def test_the_numbers_of_a_figure_come_with_it(html: str) -> None:
    for name, data in re.findall(r'download="(\w+)\.csv" href="data:text/csv;charset=utf-8;base64,([^"]+)"', html):
        assert name.startswith("picture")
        assert base64.b64decode(data).decode().splitlines()[0] == "layer,r"
    assert html.count("download=") == 2


class TestAnswer:
    def test_it_has_five_sentences_and_the_numbers_first(self) -> None:
        sentences = answer(TABLE)
        assert len(sentences) == 5
        assert sentences[0].startswith("2 subjects with fMRI of 750 images at 7 targets, mean noise ceiling r = 0.7")
        assert "supported (r = 0, 95 % interval -0.1 to 0.1, p = 0.01)" in sentences[2]
        assert "cannot decide (r = 0.1" in sentences[3]

    @pytest.mark.parametrize(
        ("conclusions", "sense"),
        [
            (["supported"] * 4, "4 of 4|no proof of it"),
            (["not found"] * 4, "0 of 4|as far as the power of the tests goes"),
            (["supported", "not found", "cannot decide", "not tested"], "1 of 4|the answer is mixed"),
            (["cannot decide"] * 4, "0 of 4|cannot answer the question"),
            (["not tested"] * 4, "0 of 4|cannot answer the question"),
        ],
    )
    def test_it_follows_the_tests_that_can_tell(self, conclusions: list[str], sense: str) -> None:
        ids = ["gradient-predicts-fmri-beyond:everything", "gradient-predicts-meg-beyond:everything",
               "gradient-has-spatial-order", "gradient-has-temporal-order"]  # fmt: skip
        rows = [row_of(id, said, 0.1) for id, said in zip(ids, conclusions, strict=True)]
        # a claim that a brain without gradients may pass does not count
        rows.append(row_of("gradient-predicts-fmri", "supported", 0.1))
        last = answer(pd.DataFrame(rows))[-1]
        for words in sense.split("|"):
            assert words in last

    def test_what_was_not_asked_is_said(self) -> None:
        sentences = answer(pd.DataFrame([row_of("gradient-predicts-fmri", "supported", 0.1)]))
        assert "not asked" in sentences[2]
        assert "not asked" in sentences[3]
        assert "no answer" in sentences[4]


@pytest.fixture(scope="module")
def page(html: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: the page is not tried in a browser")
    folder = tmp_path_factory.mktemp("page")
    path = folder / "report.html"
    path.write_text(html, encoding="utf-8")
    with opened(path, folder / "profile") as page:
        yield page


BACKGROUND = "getComputedStyle(document.body).backgroundColor"
FIRSTS = "[...document.querySelectorAll('#verdict tbody.claim')].map(body => body.rows[0].cells[0].textContent)"


class TestInChromium:
    def test_it_loads_without_an_error_or_a_request(self, page: Page) -> None:
        assert page.said() == []
        assert [url.rpartition("/")[2] for url in page.requested()] == ["report.html"]
        assert page.run("document.title") == f"gradkern verdict: {HOSTILE}"
        assert page.run("[...document.images].every(image => image.complete && image.naturalWidth > 0)")

    def test_headings_sort_rows_with_the_words_below_them(self, page: Page) -> None:
        before = page.run(FIRSTS)
        head = "document.querySelectorAll('#verdict th')[2]"
        page.run(f"{head}.querySelector('button').click()")
        assert page.run(f"{head}.getAttribute('aria-sort')") == "ascending"
        assert page.run(FIRSTS) == before
        page.run(f"{head}.querySelector('button').click()")
        assert page.run(f"{head}.getAttribute('aria-sort')") == "descending"
        assert page.run(FIRSTS) == [before[2], before[1], before[0], before[3]]  # without a number: last
        assert page.run("[...document.querySelectorAll('#verdict tbody.claim')].every(b => b.rows.length === 2)")

    def test_sections_fold_and_a_link_opens_one(self, page: Page) -> None:
        opened_folds = "document.querySelectorAll('section > details[open]').length"
        assert page.run(opened_folds) > 5
        page.run("document.getElementById('fold').click()")
        assert page.run(opened_folds) == 0
        page.run("location.hash = '#power'; new Promise(done => setTimeout(done, 100))")
        assert page.run("document.querySelector('#power details').open")
        page.run("document.getElementById('fold').click(); document.getElementById('fold').click()")
        assert page.run(opened_folds) > 5

    def test_it_is_dark_where_the_reader_is_and_on_request(self, page: Page) -> None:
        light = page.run(BACKGROUND)
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        dark = page.run(BACKGROUND)
        assert dark != light
        page.run("document.getElementById('theme').click()")
        assert page.run(BACKGROUND) == light
        page.call("Emulation.setEmulatedMedia", media="print", features=[])
        page.run("document.documentElement.dataset.theme = 'dark'")
        assert page.run(BACKGROUND) == light  # paper is white
        page.call("Emulation.setEmulatedMedia", media="", features=[])

    @pytest.mark.parametrize("width", [1100, 400])
    def test_words_below_the_numbers_are_not_cut_off(self, page: Page, width: int) -> None:
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        page.call("Emulation.setDeviceMetricsOverride", **size)
        table, *ends = page.run(
            "[document.querySelector('#verdict .scroll').scrollWidth,"
            " ...[...document.querySelectorAll('tr.words div')].map(words => words.getBoundingClientRect().right)]"
        )
        page.call("Emulation.clearDeviceMetricsOverride")
        assert len(ends) == len(IDS)
        assert max(ends) <= width < table + 100  # the numbers take all of it, and may be scrolled

    def test_it_prints_whole(self, page: Page) -> None:
        page.run("document.querySelectorAll('details').forEach(one => { one.open = false; })")
        pdf = base64.b64decode(page.call("Page.printToPDF", printBackground=True)["data"])
        assert pdf.startswith(b"%PDF")
        assert len(re.findall(rb"/Type ?/Page\b", pdf)) >= 3  # folded it would be one
        assert page.said() == []

    def test_landmarks_names_and_order_are_there_for_screen_readers(self, page: Page) -> None:
        assert page.run("['header', 'main', 'nav', 'footer'].every(n => document.querySelectorAll(n).length === 1)")
        assert page.run("document.documentElement.lang") == "en"
        assert page.run("[...document.querySelectorAll('table')].every(t => t.caption && t.querySelector('th[scope]'))")
        assert page.run("[...document.images].every(image => image.alt)")
        assert page.run("document.querySelectorAll('h1').length") == 1
        assert page.run("[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.hash))")
