"""The report as a reader meets it: in a browser, by keyboard, in the dark, on paper, and with hostile names."""

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from gradkern.plotting import Cortex, CortexView
from gradkern.plotting._turned import Scene, cortex_scene, sensor_scene
from gradkern.study.power import simulated_rates
from gradkern.study.report import Picture, answer, contents_of, write_verdict
from tests.browser import CHROMIUM, NO_WEBGL, WEBGL, Page, opened
from tests.small_cortex import at_vertices, recording_of, spheres

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


def scenes() -> dict[str, Scene]:
    """Of two hemispheres, and of a helmet at three times; all that has a name is hostile."""
    like = at_vertices({"left": range(200), "right": range(200)}, roi=HOSTILE)
    view = CortexView(cortex=Cortex(spheres()), opacity_label=HOSTILE)
    values = np.where(np.arange(400) == 7, np.nan, np.linspace(0.2, 1, 400))
    sensors = {f"{HOSTILE} {n}": [0.1 * np.cos(n), 0.1 * np.sin(n), 0.01 * n] for n in range(8)}
    targets = pd.DataFrame({"sensor": np.repeat(list(sensors), 3), "time": np.tile([0.0, 0.1, 0.2], 8)})
    helmet = sensor_scene(np.arange(24.0), recording_of(targets, HOSTILE), sensors, HOSTILE)
    return {
        "cortex": cortex_scene(values, like, HOSTILE, opacity=np.linspace(0.5, 1, 400), view=view), "helmet": helmet,
    }  # fmt: skip


@pytest.fixture(scope="module")
def html() -> str:
    numbers = pd.DataFrame({"layer": [HOSTILE], "r": [0.5]})
    pictures = [
        Picture.of(f"picture{number}", f"Caption {HOSTILE}", Figure((2, 1)), alt=HOSTILE, data=numbers, topic=topic)
        for number, topic in enumerate(("Claims", HOSTILE))
    ]
    pictures += [
        Picture.of(name, HOSTILE, Figure((2, 1)), data=numbers, topic=HOSTILE, scene=scene)
        for name, scene in scenes().items()
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
        assert name.startswith("picture") or name in scenes()
        assert base64.b64decode(data).decode().splitlines()[0] == "layer,r"
    assert html.count("download=") == 4


def test_nothing_but_its_own_script_and_style_can_run(html: str) -> None:
    """A name that were not escaped could still run nothing: the page's policy knows its script and style by hash."""
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    for kind in ("script", "style"):
        (text,) = re.findall(rf"<{kind}>(.*?)</{kind}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


class TestContents:
    """What is in a page that may hold so many characters."""

    def pictures(self) -> list[Picture]:
        numbers = np.random.default_rng(0).random(60_000)
        tables = {
            "short": "a\n1\n",
            "long": "\n".join(map(str, numbers[:9000])),
            "longest": "\n".join(map(str, numbers)),
        }
        scene = scenes()["cortex"]
        return [Picture(name, "", b"png", data=table, scene=scene) for name, table in tables.items()]

    def test_all_is_in_it_where_it_fits_and_meshes_once(self) -> None:
        contents = contents_of(self.pictures())
        assert contents.tables == contents.scenes == {"short", "long", "longest"}
        assert contents.meshes == scenes()["cortex"].meshes

    @pytest.mark.parametrize("most", [100, 20_000, 60_000, 300_000])
    def test_what_does_not_fit_is_left_out_the_largest_first(self, most: int) -> None:
        pictures = self.pictures()
        contents = contents_of(pictures, most)
        used = sum(len(one.source()) for one in pictures) + sum(map(len, contents.meshes.values()))
        used += sum(len(one.scene.packed()) for one in pictures if one.name in contents.scenes and one.scene)
        used += sum(len(one.table()) for one in pictures if one.name in contents.tables)
        assert used <= most or used == sum(len(one.source()) for one in pictures)
        assert "longest" not in contents.tables
        assert ("long" in contents.tables) <= ("short" in contents.tables)

    def test_long_tables_are_compressed_and_the_same(self) -> None:
        short, long, longest = self.pictures()
        assert (short.table_name, long.table_name, longest.table_name) == ("short.csv", "long.csv.gz", "longest.csv.gz")
        data = gzip.decompress(base64.b64decode(longest.table().partition("base64,")[2]))
        assert data.decode() == longest.data
        assert longest.table() == longest.table()  # without the time of day


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


@contextmanager
def shown(html: str, folder: Path, *flags: str) -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: the page is not tried in a browser")
    path = folder / "report.html"
    path.write_text(html, encoding="utf-8")
    with opened(path, folder / "profile", *flags) as page:
        yield page


@pytest.fixture(scope="module")
def page(html: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with shown(html, tmp_path_factory.mktemp("page"), *NO_WEBGL) as page:
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
        assert page.run("document.querySelectorAll('details.turn canvas').length") == 0
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

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("width", [1100, 400])
    def test_axe_finds_nothing_wrong(self, page: Page, scheme: str, width: int) -> None:
        """Contrast, names, roles and landmarks, with every section open."""
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        page.call("Emulation.setDeviceMetricsOverride", **size)
        page.run(f"document.documentElement.dataset.theme = '{scheme}'")
        page.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        found = page.audit()
        page.call("Emulation.clearDeviceMetricsOverride")
        assert found == []

    def test_axe_looks_at_the_page(self, page: Page) -> None:
        page.run(
            "{ const bad = document.createElement('p'); bad.id = 'bad'; bad.textContent = 'pale'; "
            "bad.style.color = '#999'; bad.style.background = '#fff'; bad.append(document.createElement('img')); "
            "document.querySelector('main').prepend(bad); }"
        )
        found = page.audit()
        page.run("document.getElementById('bad').remove()")
        assert {rule.split()[0] for rule in found} == {"color-contrast", "image-alt"}

    def test_an_injected_script_does_not_run(self, page: Page) -> None:
        page.run(
            "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.owned = 1\">');"
            "{ const bad = document.createElement('script'); bad.textContent = 'window.owned = 2'; "
            "document.body.append(bad); } new Promise(done => setTimeout(done, 200))"
        )
        assert page.run("window.owned === undefined")
        assert len(page.said()) >= 2  # the browser has said so
        page.run("document.querySelector('body > img').remove()")
        page.events.clear()

    def test_without_webgl_it_says_where_the_same_is(self, page: Page) -> None:
        page.run("document.querySelector('details.turn').open = true; new Promise(done => setTimeout(done, 100))")
        assert "no WebGL 2, which turning needs" in page.run("document.querySelector('details.turn').innerText")
        assert page.run("document.querySelectorAll('canvas').length") == 0
        assert page.said() == []


@pytest.fixture(scope="module")
def turning(html: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page in a browser that has WebGL."""
    with shown(html, tmp_path_factory.mktemp("turning"), *WEBGL) as page:
        yield page


def colored(pixels: np.ndarray) -> int:
    """Pixels that are not grey."""
    return int((np.ptp(pixels[..., :3], axis=-1) > 0.1).sum())


FOLDS = "document.querySelectorAll('details.turn')"
OPEN = "document.querySelector('details.turn[open]')"
CANVAS = "details.turn[open] canvas"


def unfold(page: Page, place: int) -> None:
    """Open a figure that turns, as it is at first; any other closes."""
    page.run(f"{FOLDS}.forEach(fold => {{ fold.open = false; }}); new Promise(done => setTimeout(done, 100))")
    page.run(f"{FOLDS}[{place}].open = true; new Promise(done => setTimeout(done, 300))")


def focused(page: Page) -> None:
    page.run(f"document.querySelector('{CANVAS}').focus()")


def said_of_value(page: Page) -> str:
    words: str = page.run(f"{OPEN}.querySelector('output').textContent")
    return words


class TestTurning:
    def test_values_are_seen_and_keys_turn_them(self, turning: Page) -> None:
        unfold(turning, 0)
        first = turning.picture(CANVAS)
        assert colored(first) > 5000
        focused(turning)
        for key in ("ArrowLeft", "ArrowUp", "+"):
            turning.press(key)
        second = turning.picture(CANVAS)
        assert (np.abs(first - second).max(axis=-1) > 0.05).sum() > 1000
        assert colored(second) > colored(first)  # it is larger
        assert turning.said() == []

    def test_what_is_read_is_the_value_in_the_middle(self, turning: Page) -> None:
        """From the left, of the left hemisphere alone."""
        unfold(turning, 0)
        turning.run(f"[...{OPEN}.querySelectorAll('button')].find(one => one.textContent === 'left').click()")
        turning.run(f"{OPEN}.querySelectorAll('input')[1].click()")
        focused(turning)
        turning.press("Enter")
        side, vertex, value = re.match(r"(\w+), vertex (\d+).*: ([\d.]+)$", said_of_value(turning), re.DOTALL).groups()
        points = spheres()["left"][0]
        assert side == "left"
        assert -points[int(vertex)][0] > 40 + 0.8 * 30  # towards the reader
        assert float(value) == pytest.approx(np.linspace(0.2, 1, 400)[int(vertex)], abs=2e-3)

    def test_hidden_hemispheres_are_not_drawn(self, turning: Page) -> None:
        unfold(turning, 0)
        both = colored(turning.picture(CANVAS))
        turning.run(f"{OPEN}.querySelectorAll('input').forEach(box => box.click())")
        assert colored(turning.picture(CANVAS)) == 0 < both

    def test_times_of_sensors_are_a_slider(self, turning: Page) -> None:
        unfold(turning, 1)
        first = turning.picture(CANVAS)
        slider = f"{OPEN}.querySelector('input[type=range]')"
        turning.run(f"{slider}.value = 2; {slider}.dispatchEvent(new Event('input'))")
        assert turning.run(f"{slider}.getAttribute('aria-valuetext')") == "200 ms"
        assert (np.abs(first - turning.picture(CANVAS)).max(axis=-1) > 0.05).sum() > 300
        assert turning.said() == []

    def test_one_is_open_at_a_time_and_closing_ends_it(self, turning: Page) -> None:
        for place in (0, 1, 0, 1):
            turning.run(f"{FOLDS}[{place}].open = true; new Promise(done => setTimeout(done, 150))")
            assert turning.run("document.querySelectorAll('canvas').length") == 1
        turning.run(f"{FOLDS}[1].open = false; new Promise(done => setTimeout(done, 150))")
        assert turning.run("document.querySelectorAll('canvas').length") == 0
        assert turning.said() == []

    def test_nothing_moves_by_itself(self, turning: Page) -> None:
        unfold(turning, 0)
        drawn = f"document.querySelector('{CANVAS}').dataset.drawn"
        before = turning.run(drawn)
        turning.run("new Promise(done => setTimeout(done, 400))")
        assert turning.run(drawn) == before

    def test_axe_finds_nothing_wrong_with_it(self, turning: Page) -> None:
        for place in (0, 1):
            unfold(turning, place)
            assert turning.audit() == []

    def test_nothing_is_asked_of_a_network_and_paper_has_the_still_figure(self, turning: Page) -> None:
        unfold(turning, 0)
        turning.call("Emulation.setEmulatedMedia", media="print")
        assert turning.run("getComputedStyle(document.querySelector('details.turn')).display") == "none"
        turning.call("Emulation.setEmulatedMedia", media="")
        assert [url.rpartition("/")[2] for url in turning.requested()] == ["report.html"]
