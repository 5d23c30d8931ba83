"""The report of a verdict: counts first, conclusions that are never cut off, and whether such data can decide."""

import json
import re
from inspect import unwrap
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gradkern import Recording
from gradkern.plotting import estimates_by_layer, verdict_estimates
from gradkern.study import Study, VerdictSettings, verdict
from gradkern.study.claims import CANNOT_DECIDE, NOT_FOUND, NOT_TESTED, SUPPORTED, Row, ScoredStudy, claims_of
from gradkern.study.power import SIMULATED_CLAIMS, code_hash, simulated_rates
from gradkern.study.report import counts_in_words, in_words, write_verdict, wrong_if

pytestmark = pytest.mark.usefixtures("one_thread")
IMAGES = 40
RANDOM = np.random.default_rng(0)
ID = "gradient-predicts-fmri"


def study() -> Study:
    features = {kind: [RANDOM.standard_normal((IMAGES, 3)) for _ in range(3)] for kind in ("activation", "gradient")}
    targets = pd.DataFrame({"label": ["a", "b"]})
    presentations = pd.DataFrame({"image": range(IMAGES)})
    recordings = [
        Recording(RANDOM.standard_normal((IMAGES, 2)), presentations, targets, name, "z", ncsnr=np.ones(2))
        for name in ("S1", "S2")
    ]
    return Study(features, [0, 0.5, 1], recordings)


def given(scored: ScoredStudy, p: float, as_simulated: bool = True) -> Row:
    return Row(0.1, p, by_subject={"S1": 0.05, "S2": 0.15}, as_simulated=as_simulated)


def concluded(monkeypatch: pytest.MonkeyPatch, p: float, *rates: dict[str, Any], as_simulated: bool = True) -> Any:
    """The row of a claim with this p, given rates of its simulated studies."""
    (claim,) = (each for each in claims_of(study()) if each.id == ID)
    made = type(claim)(**{**vars(claim), "test": given, "arguments": (p, as_simulated)})
    monkeypatch.setitem(unwrap(verdict).__globals__, "claims_of", lambda *arguments: (made,))
    usual = {"organisation": "a", "images": 40, "rows": 40, "subjects": 2, "ceiling": 0.7, "runs": 20, "id": ID}
    code = code_hash(SIMULATED_CLAIMS[ID])
    table = pd.DataFrame([usual | {"rate": rate["found"] / 20, "code": code} | rate for rate in rates])
    return verdict(study(), VerdictSettings(permutations=19, bootstraps=20, subject_checks=False), table).iloc[0]


class TestConclusion:
    @pytest.mark.parametrize(
        ("p", "found", "conclusion"), [(0.3, 9, CANNOT_DECIDE), (0.3, 10, NOT_FOUND), (0.01, 9, SUPPORTED)]
    )
    def test_what_is_not_found_by_a_test_without_power_cannot_be_decided(
        self, monkeypatch: pytest.MonkeyPatch, p: float, found: int, conclusion: str
    ) -> None:
        row = concluded(monkeypatch, p, {"found": found, "expected": "true"})
        assert row["conclusion"] == conclusion
        assert row["power counts"] == f"{found} of 20"
        why = f"such data cannot decide: where it is true, it was found in {found} of 20 a brains"
        assert row["why"].startswith(why) == (conclusion == CANNOT_DECIDE)
        assert in_words(row).startswith("Such data cannot decide") == (conclusion == CANNOT_DECIDE)

    @pytest.mark.parametrize(
        ("found", "conclusion"),
        [(1, SUPPORTED), (3, SUPPORTED), (5, CANNOT_DECIDE), (16, CANNOT_DECIDE)],  # 3 of 20 may be 5 %
    )
    def test_what_is_found_as_well_where_it_is_false_cannot_be_decided(
        self, monkeypatch: pytest.MonkeyPatch, found: int, conclusion: str
    ) -> None:
        rates = [{"found": 20, "expected": "true"}, {"found": found, "expected": "false", "organisation": "b"},
                 {"found": 0, "expected": "false", "organisation": "c"},
                 {"found": 20, "expected": "false", "ceiling": 0.9}]  # fmt: skip
        row = concluded(monkeypatch, 0.01, *rates)
        assert row["conclusion"] == conclusion
        if conclusion == CANNOT_DECIDE:
            assert f"found as well where it is false, in {found} of 20 b brains" in row["why"]
        assert concluded(monkeypatch, 0.2, *rates)["conclusion"] == NOT_FOUND

    def test_without_simulated_studies_of_the_same_test_nothing_is_said_of_its_power(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rates = [{"found": 0, "expected": "true"}, {"found": 20, "expected": "false"}]
        assert concluded(monkeypatch, 0.3, *rates, as_simulated=False)["conclusion"] == NOT_FOUND
        assert concluded(monkeypatch, 0.01, *rates, as_simulated=False)["conclusion"] == SUPPORTED
        larger = [rate | {"rows": 50, "images": 50} for rate in rates]
        assert concluded(monkeypatch, 0.3, larger[0])["conclusion"] == NOT_FOUND


def row_of(id: str, claim: str, conclusion: str, **others: Any) -> dict[str, Any]:
    usual = {"data": "fMRI", "units": "r", "estimate": 0.1234, "low": 0.01, "high": 0.2, "p": 0.01, "smallest p": 0.001,
             "subjects": 2, "by subject": json.dumps({"S1": 0.111, "S2": None}), "low without one": 0.09,
             "high without one": 0.16, "flag": "", "layer": "layer 2 of 3 (middle)", "by layer": "", "images": 750,
             "rows": 109, "targets": 7, "ceiling": 0.7, "against": "x", "power": 1.0, "power counts": "7 of 7",
             "simulated": "7 of 7 such", "wrong if": "", "why": ""}  # fmt: skip
    none = dict.fromkeys(("estimate", "low", "high", "p"), np.nan) if conclusion == NOT_TESTED else {}
    return {"id": id, "claim": claim, "conclusion": conclusion} | usual | none | others


TABLE = pd.DataFrame(
    [
        row_of(ID, "one", SUPPORTED, flag="carried by one subject: S1 (without it not found, p = 0.4)"),
        row_of(f"{ID}-beyond:activations", "two", NOT_FOUND, **{"by layer": json.dumps({"a": 0.3, "b": 0.4})}),
        row_of("gradient-has-temporal-order", "three", CANNOT_DECIDE, data="MEG", units="s", why="such data cannot"),
        row_of("gradient-predicts-meg", "four", NOT_TESTED, data="MEG", why="no MEG"),
        row_of("my-own", "five", SUPPORTED, **{"wrong if": "pigs fly"}),
    ]
)


@pytest.fixture(scope="module")
def page() -> str:
    return write_verdict(TABLE, simulated_rates(), [], {"study": "s.toml"}, ["S3: 3 constant targets"])


class TestPage:
    def test_it_begins_with_how_many_rows_say_what(self, page: str) -> None:
        assert counts_in_words(TABLE) == "2 supported, 1 not found, 1 cannot decide, 1 not tested"
        summary = page[page.index("<h2>Summary") : page.index("<h2>The verdict")]
        assert counts_in_words(TABLE) in summary
        groups = re.findall(r'<p><b class="[\w-]+">([\w ]+)</b></p>\s*<ul>(.*?)</ul>', summary, re.DOTALL)
        members = {name: re.findall(r"<li>(\w+)", items) for name, items in groups}
        assert members == {
            SUPPORTED: ["one", "five"],
            NOT_FOUND: ["two"],
            CANNOT_DECIDE: ["three"],
            NOT_TESTED: ["four"],
        }

    def test_what_was_noticed_about_subjects_comes_before_the_rows(self, page: str) -> None:
        table = TABLE.copy()
        table.attrs["notes"] = ["responses of S2 are hardly predicted"]
        noticed = write_verdict(table, simulated_rates(), [], {"study": "s.toml"}, [])
        assert noticed.index("responses of S2 are hardly predicted") < noticed.index("<h2>The verdict")
        assert "Before reading on" not in page

    def test_each_row_has_what_it_is_of(self, page: str) -> None:
        first = page[page.index('<tr class="numbers"><td>one') :]
        first = re.sub(r"\s+", " ", first[: first.index("<td>two")])
        for words in (
            '<td class="conclusion supported">supported</td>', "0.123 r",
            '<td class="n">750</td><td class="n">109</td>',
            "7 of 7", "layer 2 of 3 (middle), 2 subjects: S1 0.111, S2 –.", "Mean without one subject: 0.09 to 0.16.",
            "<b>Carried by one subject: S1 (without it not found, p = 0.4).</b>", "<i>Wrong if</i> responses follow",
        ):  # fmt: skip
            assert words in first, words
        assert "<i>Wrong if</i> pigs fly." in page
        assert re.search(r"two</td><td>\s*a 0.3, b 0.4 r", page)
        assert "S3: 3 constant targets" in page

    def test_conclusions_are_the_second_column_and_never_wrapped(self, page: str) -> None:
        assert re.findall(r"<th[^>]*>([\w ]+)", page)[:2] == ["claim", "conclusion"]
        assert re.search(r"td\.conclusion \{ white-space: nowrap", page)


def test_every_claim_has_a_case_in_which_it_is_wrong() -> None:
    said = {id: wrong_if({"id": id, "wrong if": claim.wrong_if}) for id, claim in SIMULATED_CLAIMS.items()}
    assert [id for id, words in said.items() if not words] == []
    assert "linear readouts of the activations" in said["gradient-predicts-fmri-beyond:activations"]
    assert said["gradient-has-temporal-order"] != said["gradient-has-spatial-order"]


class TestFigures:
    def test_each_modality_and_unit_has_a_scale_of_its_own(self) -> None:
        scales = TABLE.assign(estimate=[0.5, 0.4, 0.01, np.nan, 0.3], low=[0.4, 0.3, 0.0, np.nan, 0.2],
                              high=[0.6, 0.5, 0.02, np.nan, 0.4], **{"by subject": ""})  # fmt: skip
        axes = verdict_estimates(scales).axes
        assert [axis.get_xlabel() for axis in axes] == [
            f"{name}, with 95 % interval" for name in ("fMRI, r", "MEG, s", "MEG, r")
        ]
        claims = [[label.get_text() for label in axis.get_yticklabels()] for axis in axes]
        assert claims == [["one", "two", "five"], ["three"], ["four"]]
        assert axes[0].get_xlim()[1] > 10 * axes[1].get_xlim()[1]
        assert [text.get_text() for text in axes[2].texts] == ["not tested"]

    def test_every_layer_is_drawn_where_there_is_one(self) -> None:
        (axis,) = estimates_by_layer(TABLE).axes
        np.testing.assert_array_equal(axis.lines[1].get_ydata(), [0.3, 0.4])
        with pytest.raises(ValueError, match="estimates_by_layer: table must have estimates by layer, got none"):
            estimates_by_layer(TABLE.iloc[:1])
