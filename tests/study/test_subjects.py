"""Subjects of a verdict: dead targets, one who carries a claim, and one whose images are in another order."""

import json
from collections.abc import Callable
from dataclasses import replace
from inspect import unwrap
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from gradkern import Recording, simulate_brain
from gradkern.errors import Refused
from gradkern.recordings import Brain
from gradkern.ridge import CrossValidation
from gradkern.study import Study, VerdictSettings, subject_checks, verdict
from gradkern.study.claims import NOT_TESTED, SUPPORTED, Row, ScoredStudy, claims_of, score_study

pytestmark = pytest.mark.usefixtures("one_thread")
IMAGES, LAYERS = 120, 3
RANDOM = np.random.default_rng(0)
ACTIVATIONS = [RANDOM.standard_normal((IMAGES, 6)) for _ in range(LAYERS)]
FEATURES = {"activation": ACTIVATIONS, "gradient": [np.tanh(2 * (A + 0.5 * A[:, ::-1])) for A in ACTIVATIONS]}
SETTINGS = VerdictSettings(CrossValidation(alphas=(1.0, 100.0)), permutations=19, bootstraps=30, max_locations=40)


@pytest.fixture(scope="module")
def study() -> Study:
    brain = Brain("forward", subjects=3, repeats=2, vertices=40, silent=0, ceiling=0.9, times=(0.0, 0.1, 0.2, 0.3))
    fmri, meg = simulate_brain(FEATURES, brain)
    few = [one.select_targets(one.targets["sensor"].str.startswith("MLO").to_numpy(), "left") for one in meg]
    fmri, few = ([one.average_repeats() for one in subjects] for subjects in (fmri, few))
    return Study(FEATURES, [0, 0.5, 1], fmri, few, "depth")


@pytest.fixture(scope="module")
def whole(study: Study) -> pd.DataFrame:
    return verdict(replace(study, meg=()), SETTINGS)


def with_responses(recording: Recording, change: Callable[[NDArray[Any]], None]) -> Recording:
    values = np.array(recording.responses)
    change(values)
    return replace(recording, responses=values)


def spoilt(where: Any, value: float) -> Callable[[NDArray[Any]], None]:
    def change(values: NDArray[Any]) -> None:
        values[where] = value

    return change


def rounded(values: NDArray[Any]) -> None:
    """A dead voxel whose means over unequal repeats differ by rounding."""
    values[:, 2] = 0.1
    values[::3, 2] = np.nextafter(values.dtype.type(0.1), values.dtype.type(1))


class TestDeadTargets:
    @pytest.mark.parametrize(
        ("change", "note", "left"),
        [
            (spoilt(np.s_[:, [1, 5, 8]], 1.5), "constant targets left out: 3 of 40", 37),
            (spoilt(np.s_[:, 1:4], np.nan), "targets with NaN left out: 3 of 40", 37),
            (spoilt(np.s_[7, 4], np.nan), "targets with NaN left out: 1 of 40", 39),
            (rounded, "constant targets left out: 1 of 40", 39),
        ],
        ids=["constant", "missing", "one response", "rounded"],
    )
    def test_dead_voxels_of_one_subject_cost_no_row(
        self, study: Study, whole: pd.DataFrame, change: Any, note: str, left: int
    ) -> None:
        first = with_responses(study.fmri[0], change)
        with pytest.warns(UserWarning, match=f"verdict: simulated 1: {note}"):
            table = verdict(replace(study, fmri=[first, *study.fmri[1:]], meg=()), SETTINGS)
        lost = "targets without a score in another subject left out"
        others = [f"simulated {number}: {lost}: {40 - left} of 40" for number in (2, 3)]
        assert table.attrs["notes"] == [f"simulated 1: {note}", *others]
        assert table["conclusion"].eq(NOT_TESTED).tolist() == whole["conclusion"].eq(NOT_TESTED).tolist()
        assert (table["targets"] == 3 * left).sum() == (whole["targets"] == 120).sum() > 10

    @pytest.mark.filterwarnings("ignore:verdict:UserWarning")
    def test_subjects_with_voxels_of_their_own_lose_their_own(self, study: Study) -> None:
        first, second = (
            replace(one, targets=one.targets.assign(x=one.targets["x"] + number))
            for number, one in enumerate(study.fmri[:2])
        )
        made = replace(study, fmri=[with_responses(first, spoilt(np.s_[:, 4], 0.0)), second])
        counts = [subject.Y.shape[1] for subject in score_study(made, SETTINGS).subjects["fMRI"]]
        assert counts == [39, 40]

    @pytest.mark.filterwarnings("ignore:verdict:UserWarning")
    def test_a_dead_sensor_is_left_out_at_every_time_and_a_dead_time_at_every_sensor(self, study: Study) -> None:
        targets = study.meg[0].targets
        names, times = targets["sensor"].unique(), targets["time"].unique()
        dead = (targets["sensor"] == names[1]).to_numpy()
        once = dead & (targets["time"] == times[2]).to_numpy()
        flat = (targets["time"] == times[0]).to_numpy()  # a baseline that was set to zero

        for where, value, note, sensors, moments in (
            (dead, 0.0, f"constant targets left out: 4 of {len(targets)}, as 1 of {len(names)} sensors", 1, 0),
            (once, np.nan, f"targets with NaN left out: 1 of {len(targets)}, as 1 of {len(names)} sensors", 1, 0),
            (flat, 0.0, f"constant targets left out: {len(names)} of {len(targets)}, as 1 of 4 times", 0, 1),
        ):
            first = with_responses(study.meg[0], spoilt(np.s_[:, where], value))
            subject = score_study(replace(study, meg=[first]), SETTINGS).subjects["MEG"][0]
            assert subject.notes == (f"simulated 1: {note}",)
            assert len(subject.targets) == (len(names) - sensors) * (len(times) - moments)
            assert np.isfinite(subject.Y).all()

    def test_the_temporal_rows_are_tested_beside_a_dead_sensor(self, study: Study) -> None:
        dead = (study.meg[0].targets["sensor"] == study.meg[0].targets["sensor"].iloc[0]).to_numpy()
        first = with_responses(study.meg[0], spoilt(np.s_[:, dead], 0.0))
        with pytest.warns(UserWarning, match="constant targets"):
            table = verdict(replace(study, fmri=(), meg=[first, *study.meg[1:]]), SETTINGS).set_index("id")
        whole = verdict(replace(study, fmri=()), SETTINGS).set_index("id")
        assert table["conclusion"].eq(NOT_TESTED).tolist() == whole["conclusion"].eq(NOT_TESTED).tolist()

    @pytest.mark.filterwarnings("ignore:verdict:UserWarning")
    def test_where_every_target_is_dead_the_rows_say_so(self, study: Study) -> None:
        first = with_responses(study.fmri[0], spoilt(np.s_[:], 1.0))
        table = verdict(replace(study, fmri=[first, *study.fmri[1:]], meg=()), SETTINGS).set_index("id")
        assert table.loc["gradient-predicts-fmri", "conclusion"] == NOT_TESTED


def of_subjects(scored: ScoredStudy, values: dict[str, float], least: float, without: dict[str, float]) -> Row:
    """A test that supports its claim if the mean of its subjects is above `least`."""
    present = {subject.name: values[subject.name] for subject in scored.subjects["fMRI"]}
    mean = float(np.mean(list(present.values())))
    if least < 0 and len(present) < 3:
        raise Refused("subjects must be 3")
    layers = {"layer 1": 0.25, "layer 2": np.nan}
    return Row(mean, 0.01 if mean > least else 0.3, by_subject=present, p_without=without, by_layer=layers)


def verdict_of(
    study: Study,
    monkeypatch: pytest.MonkeyPatch,
    values: list[float],
    least: float,
    without: Any = None,
    wrong_if: str = "",
) -> Any:
    """The row of a claim with this test."""
    by_name = {one.subject: value for one, value in zip(study.fmri, values, strict=True)}
    arguments = (by_name, least, without or {})
    made = replace(claims_of(study)[1], test=of_subjects, arguments=arguments, wrong_if=wrong_if)
    monkeypatch.setitem(unwrap(verdict).__globals__, "claims_of", lambda *arguments: (made,))
    return verdict(replace(study, meg=()), SETTINGS, pd.DataFrame()).iloc[0]


class TestLeaveOneOut:
    def test_the_range_is_of_the_means_without_each_subject(
        self, study: Study, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        row = verdict_of(study, monkeypatch, [0.1, 0.2, 0.6], 0.0)
        assert json.loads(row["by subject"]) == {"simulated 1": 0.1, "simulated 2": 0.2, "simulated 3": 0.6}
        assert (row["low without one"], row["high without one"]) == pytest.approx((0.15, 0.4))
        assert (row["conclusion"], row["flag"]) == (SUPPORTED, "")
        assert json.loads(row["by layer"]) == {"layer 1": 0.25, "layer 2": None}

    @pytest.mark.parametrize(
        ("values", "least", "flag"),
        [
            ([0.1, 0.2, 0.6], 0.2, "carried by one subject: simulated 3 (without it not found, p = 0.3)"),
            ([-0.1, 0.05, 0.6], 0.0, "carried by one subject: simulated 3 (without it the mean is -0.025 r)"),
            ([0.1, 0.2, 0.6], -1, "carried by one subject: simulated 3 (without it not tested: subjects must be 3)"),
            ([-0.1, 0.05, 0.6], 0.5, ""),  # which is not supported
        ],
    )
    def test_one_subject_who_carries_a_claim_is_named(
        self, study: Study, monkeypatch: pytest.MonkeyPatch, values: list[float], least: float, flag: str
    ) -> None:
        assert verdict_of(study, monkeypatch, values, least)["flag"] == flag

    @pytest.mark.parametrize(
        ("p", "flag"), [(0.05, ""), (0.2, "carried by one subject: simulated 3 (without it not found, p = 0.2)")]
    )
    def test_a_test_that_knows_its_p_without_each_subject_is_not_repeated(
        self, study: Study, monkeypatch: pytest.MonkeyPatch, p: float, flag: str
    ) -> None:
        without = {"simulated 1": 0.01, "simulated 2": 0.01, "simulated 3": p}
        assert verdict_of(study, monkeypatch, [0.1, 0.2, 0.6], -1, without=without)["flag"] == flag

    def test_one_real_subject_among_noise_carries_the_prediction(self, study: Study) -> None:
        noise = np.random.default_rng(5)
        fmri = [replace(one, responses=noise.standard_normal(one.responses.shape)) for one in study.fmri[:2]]
        table = verdict(replace(study, fmri=[study.fmri[2], *fmri], meg=()), replace(SETTINGS, permutations=99))
        row = table.set_index("id").loc["gradient-predicts-fmri"]
        assert row["conclusion"] == SUPPORTED
        assert row["flag"].startswith("carried by one subject: simulated 3 (without it not found, p = 0.")
        assert row["low without one"] < 0.05 < row["estimate"]

    def test_the_layer_is_said(self, study: Study) -> None:
        table = verdict(replace(study, meg=()), replace(SETTINGS, layer=0)).set_index("id")
        assert table.loc["gradient-predicts-fmri", "layer"] == "layer 1 of 3"
        assert table.loc["gradient-has-spatial-order", "layer"] == "all 3 layers"
        usual = verdict(replace(study, meg=()), SETTINGS).set_index("id")
        assert usual.loc["gradient-predicts-higher-areas-more", "layer"] == "layer 2 of 3 (middle)"


def test_what_a_claim_says_of_itself_is_in_its_row(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    row = verdict_of(study, monkeypatch, [0.1, 0.2, 0.6], 0.0, wrong_if="pigs fly")
    assert row["wrong if"] == "pigs fly"


def test_an_estimate_that_is_no_number_is_no_result() -> None:
    with pytest.raises(Refused, match="no estimate in S2"):
        Row(np.nan, 0.01, by_subject={"S1": 0.3, "S2": np.nan}).checked()


def notes_of(study: Study, fmri: list[Recording]) -> list[str]:
    return subject_checks(score_study(replace(study, fmri=fmri, meg=()), SETTINGS))


def with_images(recording: Recording, ids: Any) -> Recording:
    return replace(recording, presentations=recording.presentations.assign(image=ids))


class TestOrderOfImages:
    def test_subjects_in_order_have_no_note(self, study: Study) -> None:
        assert subject_checks(score_study(study, SETTINGS)) == []

    @pytest.mark.parametrize("modality", ["fMRI", "MEG"])
    def test_a_subject_with_shuffled_images_is_named(self, study: Study, modality: str) -> None:
        which = modality.lower()
        first, second, third = getattr(study, which)
        shuffled = with_images(second, np.random.default_rng(3).permutation(second.image_ids))
        made = replace(study, **{which: [first, shuffled, third]})  # type: ignore[arg-type]
        (note,) = subject_checks(score_study(made, SETTINGS))
        assert note.startswith(f"{modality}: responses of simulated 2 are hardly predicted by any layer's activations")
        assert note.endswith("are its images in the right order?")
        assert verdict(made, replace(SETTINGS, subject_checks=False)).attrs["notes"] == []

    @pytest.mark.parametrize(("step", "words"), [(1, "following image"), (-1, "previous image")])
    def test_ids_that_count_from_one_are_told(self, study: Study, step: int, words: str) -> None:
        first, second, third = study.fmri
        (note,) = notes_of(study, [first, with_images(second, np.roll(second.image_ids, -step)), third])
        assert note.endswith(f"if each image is given the response of the {words}.")
        (alone,) = notes_of(study, [with_images(second, np.roll(second.image_ids, -step))])
        assert alone.endswith(f"if each image is given the response of the {words}.")

    def test_rows_that_are_one_late_are_told(self, study: Study) -> None:
        order = np.random.default_rng(4).permutation(IMAGES)
        first, second, third = study.fmri
        mixed = second.select_presentations(order, "in the order shown")
        (note,) = notes_of(study, [first, with_images(mixed, np.roll(mixed.image_ids, 1)), third])
        assert note.endswith("if each image is given the response of the previous row.")

    def test_where_nobody_is_predicted_nobody_is_named(self, study: Study) -> None:
        noise = np.random.default_rng(6)
        fmri = [replace(one, responses=noise.standard_normal(one.responses.shape)) for one in study.fmri]
        assert notes_of(study, fmri) == []
