"""The verdict of simulated studies: what was planted is said, and what the data cannot carry is not."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gradkern import Recording, simulate_brain
from gradkern.encoding import unit_length
from gradkern.hierarchy import Latency, Preference
from gradkern.recordings import Brain
from gradkern.ridge import CrossValidation
from gradkern.study import EVERYTHING, Study, VerdictSettings, verdict
from gradkern.study.claims import NOT_FOUND, NOT_TESTED, SUPPORTED, InSpace, InTime, ScoredStudy
from gradkern.study.power import simulated_rates

LAYERS, IMAGES, WIDTH = 4, 200, 8
SETTINGS = VerdictSettings(permutations=59, bootstraps=60, targets=150, places=150)
DEPTH = np.linspace(0, 1, LAYERS)
pytestmark = pytest.mark.usefixtures("one_thread")


def layers(seed: int) -> list[np.ndarray]:
    """Of independent layers: where they go can be told."""
    random = np.random.default_rng(seed)
    return [random.standard_normal((IMAGES, WIDTH)) for _ in range(LAYERS)]


ACTIVATIONS = layers(0)
# functions of the activations, half linear
GRADIENTS = [np.tanh(2 * (A + 0.5 * A[:, ::-1])) for A in ACTIVATIONS]
FEATURES = {"activation": ACTIVATIONS, "gradient": GRADIENTS}


def study(organisation: str, features: Mapping[str, Any] = FEATURES, **brain: Any) -> Study:
    sizes: dict[str, Any] = {"subjects": 2, "repeats": 2, "vertices": 120, "silent": 20, "ceiling": 0.8}
    made = Brain(organisation, **(sizes | brain))
    fmri, meg = simulate_brain(FEATURES, made)
    occipital = [some.select_targets(some.targets["sensor"].str[2].eq("O").to_numpy(), "occipital") for some in meg]
    averaged = [[one.average_repeats() for one in some] for some in (fmri, occipital)]
    return Study(features, DEPTH, *averaged, axis="depth")


@pytest.fixture(scope="module")
def forward(one_thread: None) -> pd.DataFrame:
    control = {
        "gradient/random-cotangent": [np.random.default_rng(i).standard_normal((IMAGES, 12)) for i in range(LAYERS)]
    }
    return verdict(study("forward", FEATURES | control), SETTINGS, simulated_rates().iloc[:0]).set_index("claim")


class TestForward:
    def test_raw_scores_of_gradients_are_there_and_nothing_beyond_activations(self, forward: pd.DataFrame) -> None:
        assert forward.loc["gradients predict fMRI", "conclusion"] == SUPPORTED
        assert forward.loc["gradients predict fMRI beyond activations", "conclusion"] == NOT_FOUND
        assert forward.loc["gradients predict fMRI beyond gradient/random-cotangent", "conclusion"] == SUPPORTED

    def test_gradients_beat_those_of_other_images(self, forward: pd.DataFrame) -> None:
        for claim in ("beyond", "more than"):
            row = forward.loc[f"gradients predict fMRI {claim} gradient/image-permuted"]
            assert row["conclusion"] == SUPPORTED
            assert row["against"] == "gradient/image-permuted, seed 0"

    def test_what_is_beyond_activations_is_asked_of_the_layer_alone_and_of_directions_alone(
        self, forward: pd.DataFrame
    ) -> None:
        for claim in (
            "gradients predict fMRI beyond activations of the same layer",
            "gradients of unit norm predict fMRI beyond activations",
        ):
            assert forward.loc[claim, "conclusion"] == NOT_FOUND

    def test_a_control_of_another_width_is_held_against_with_its_rank(self, forward: pd.DataFrame) -> None:
        for claim in ("beyond", "more than"):
            said = forward.loc[f"gradients predict fMRI {claim} gradient/random-cotangent", "against"]
            assert "12 columns of effective rank 11.2; gradients 8 columns of effective rank 5.1" in said

    def test_an_order_stands_beside_other_orders_of_the_layers(self, forward: pd.DataFrame) -> None:
        order = forward.loc["gradients have the spatial order of backpropagation"]
        other = forward.loc[
            "gradients have the spatial order of backpropagation more than with layers in another order"
        ]
        assert (other["estimate"], other["low"]) == (order["estimate"], order["low"])
        assert other["p"] == other["smallest p"] == 1 / 24
        assert other["conclusion"] == SUPPORTED
        assert other["against"].startswith("layers in another order (all 24 orders; 95 % of them from -0.")
        late = forward.loc[
            "gradients have the temporal order of backpropagation more than with layers in another order"
        ]
        assert late["conclusion"] == NOT_FOUND

    def test_activations_map_the_hierarchy(self, forward: pd.DataFrame) -> None:
        row = forward.loc["activations map the hierarchy"]
        assert row["estimate"] > 0.3
        assert row["low"] < row["estimate"] < row["high"]
        assert row["conclusion"] == SUPPORTED

    def test_gradients_have_no_order_in_time(self, forward: pd.DataFrame) -> None:
        assert forward.loc["gradients have the temporal order of backpropagation", "conclusion"] != SUPPORTED

    def test_every_row_says_of_what_it_is(self, forward: pd.DataFrame) -> None:
        tested = forward[forward["conclusion"] != NOT_TESTED]
        assert tested[["subjects", "images", "targets"]].gt(0).all(axis=None)
        assert (tested["p"] >= tested["smallest p"].fillna(0) - 1e-12).all()
        assert tested["ceiling"].between(0, 1).all()
        assert tested["against"].str.len().gt(0).all()
        assert forward["power"].isna().all()


def test_a_planted_backward_sweep_is_found_beyond_activations() -> None:
    found = verdict(study("forward-then-backward", ceiling=0.95, repeats=4), SETTINGS).set_index("claim")
    assert found.loc["gradients predict fMRI beyond activations", "conclusion"] == SUPPORTED
    assert found.loc["gradients predict MEG beyond activations", "conclusion"] == SUPPORTED
    assert found.loc["gradients have the temporal order of backpropagation", "estimate"] < 0


def test_what_the_data_cannot_carry_has_a_reason_and_no_number() -> None:
    both = study("none")
    alone = verdict(replace(both, meg=()), SETTINGS).set_index("claim")
    for claim in ("gradients predict MEG", "gradients have the temporal order of backpropagation"):
        row = alone.loc[claim]
        assert row["conclusion"] == NOT_TESTED
        assert row["why"] == "the study has no such recordings"
        assert np.isnan([row["estimate"], row["p"], row["low"]]).all()
    row = alone.loc["gradients predict fMRI beyond nuisances"]
    assert row["conclusion"] == NOT_TESTED
    assert row["why"] == "the study has no nuisances"
    row = alone.loc[f"gradients predict fMRI beyond {EVERYTHING}"]
    assert row["why"] == "the study has neither nuisances nor captured controls"


def without(column: str) -> Any:
    return lambda targets: targets.drop(columns=column)


NOWHERE = (
    (without("x"), "targets of simulated 2 must have 'x', got"),
    (without("depth"), "targets of simulated 2 must have 'depth', got"),
    (lambda t: t.assign(depth=0.5), "'depth' must be known and differ .* of simulated 2, got 0.5 for all 60"),
    (lambda t: t.assign(depth=np.nan), "'depth' must be known and differ .* of simulated 2, got none of 60"),
    (lambda t: t.assign(depth="V1"), "'depth' of the targets of simulated 2 must be numbers, got"),
)


@pytest.mark.parametrize(("change", "message"), NOWHERE)
def test_without_places_of_a_subject_there_is_no_order_in_space_and_the_rest_is_there(
    change: Any, message: str
) -> None:
    first, second = study("none").fmri
    there = Study(FEATURES, DEPTH, [first, replace(second, targets=change(second.targets))], axis="depth")
    found = verdict(there, replace(SETTINGS, permutations=19, bootstraps=20, targets=60)).set_index("claim")
    for claim in (
        "activations map the hierarchy",
        "gradients predict higher areas more",
        "gradients have the spatial order of backpropagation",
        "gradients have the spatial order of backpropagation more than with layers in another order",
    ):
        assert found.loc[claim, "conclusion"] == NOT_TESTED
        assert re.search(message, found.loc[claim, "why"])
        assert np.isnan(found.loc[claim, ["estimate", "p", "smallest p"]].astype(float)).all()
    assert found.loc["gradients predict fMRI", "conclusion"] != NOT_TESTED


def test_a_region_without_a_target_is_refused() -> None:
    with pytest.raises(ValueError, match="Recording: no targets are left"):
        study("none").fmri[0].select_targets(np.zeros(140, dtype=bool), "in V9")


def test_what_could_not_be_found_is_not_tested() -> None:
    both = study("none", subjects=1)
    three = {kind: each[:3] for kind, each in FEATURES.items()}
    found = verdict(Study(three, DEPTH[:3], both.fmri, axis="depth"), SETTINGS).set_index("claim")
    orders = [row for claim, row in found.iterrows() if "spatial order" in claim]
    assert [row["conclusion"] for row in orders][1] == NOT_TESTED
    assert "p could not go under 0.167" in orders[1]["why"]
    assert orders[0]["p"] > 0


def test_what_is_held_beside_other_orders_is_the_statistic_of_the_order() -> None:
    evidence = ScoredStudy(study("forward-then-backward", ceiling=0.95, repeats=4), SETTINGS)
    space, time = InSpace(evidence), InTime(evidence)
    for row, test in ((time.order(), time.in_another_order()), (space.order("gradient"), space.in_another_order())):
        assert test.value == pytest.approx(row.estimate)
        assert len(test.null) == 24
    times = time.in_another_order()
    assert times.p == (times.null <= times.value + 1e-12).mean() < 0.5


def test_the_size_of_an_images_gradient_does_not_count_where_directions_are_asked_of() -> None:
    sizes = np.random.default_rng(3).lognormal(size=(IMAGES, 1))
    scaled = {"activation": ACTIVATIONS, "gradient": [sizes * G for G in GRADIENTS]}
    both = replace(study("forward-then-backward"), meg=())
    found = [verdict(replace(both, features=features), SETTINGS).set_index("claim") for features in (FEATURES, scaled)]
    for claim, same in (("gradients", False), ("gradients of unit norm", True)):
        one, other = (each.loc[f"{claim} predict fMRI beyond activations", "estimate"] for each in found)
        assert (abs(one - other) < 1e-3) == same


def test_subjects_who_saw_other_images_are_resampled_by_image() -> None:
    both = study("forward")
    seen = np.arange(0, 150), np.arange(50, 200)
    fmri = [one.select_presentations(rows, "seen") for one, rows in zip(both.fmri, seen, strict=True)]
    apart = replace(both, fmri=fmri, meg=())
    evidence = ScoredStudy(apart, SETTINGS)
    first, second = (evidence.resampled(one).counts for one in evidence.fmri)
    np.testing.assert_array_equal(first[:, 50:], second[:, :100])
    assert (first[:, :50] != second[:, 100:]).any()
    found = verdict(apart, SETTINGS).set_index("claim")
    assert found.loc["activations map the hierarchy", "conclusion"] == SUPPORTED
    assert found.loc["gradients predict fMRI more than gradient/image-permuted", "images"] == 150


def test_subjects_who_saw_the_same_images_are_one_test() -> None:
    """Two copies of a subject are as much evidence as one: Fisher's p would be smaller."""
    made = study("none")
    one = made.fmri[0]
    claim = "gradients predict fMRI"
    alone, twice = (
        verdict(replace(made, fmri=some, meg=()), SETTINGS).set_index("claim").loc[claim]
        for some in ([one], [one, replace(one, subject="a copy")])
    )
    assert twice["p"] == alone["p"]
    assert twice["estimate"] == pytest.approx(alone["estimate"])
    assert (twice["subjects"], twice["low"], twice["high"]) == (
        2,
        pytest.approx(twice["estimate"]),
        pytest.approx(twice["estimate"]),
    )


def test_activations_of_another_layer_are_told_from_those_of_the_same() -> None:
    """Gradients with something of the first layer in them, which the brain responds to."""
    mixed = [G + A for G, A in zip(GRADIENTS, [*ACTIVATIONS[1:], ACTIVATIONS[0]], strict=True)]
    found = verdict(replace(study("forward", FEATURES | {"gradient": mixed}, ceiling=0.95), meg=()), SETTINGS)
    conclusions = found.set_index("claim")["conclusion"]
    assert conclusions["gradients predict fMRI beyond activations of the same layer"] == SUPPORTED
    assert conclusions["gradients predict fMRI beyond activations"] == NOT_FOUND


def test_nuisances_are_taken_out_whatever_their_units() -> None:
    """Those that hold all activations say what activations do; those that hold the gradients leave nothing to test."""
    both = replace(study("forward"), meg=())
    units = np.logspace(-9, 9, LAYERS * WIDTH)
    found = verdict(replace(both, nuisances=np.column_stack(ACTIVATIONS) * units), SETTINGS).set_index("claim")
    row, same = (found.loc[f"gradients predict fMRI beyond {what}"] for what in ("nuisances", "activations"))
    assert row["estimate"] == pytest.approx(same["estimate"], abs=0.02)
    assert (row["conclusion"], row["against"]) == (NOT_FOUND, "32 nuisances")
    # these are the activations again
    assert found.loc[f"gradients predict fMRI beyond {EVERYTHING}", "p"] == pytest.approx(same["p"], abs=0.02)
    found = verdict(replace(both, nuisances=GRADIENTS[LAYERS // 2]), SETTINGS).set_index("claim")
    assert "X must hold something" in found.loc["gradients predict fMRI beyond nuisances", "why"]


@pytest.mark.parametrize(("organisation", "conclusion"), [("forward", NOT_FOUND), ("gradient-misplaced", SUPPORTED)])
def test_beyond_everything_only_gradients_that_the_brain_has_are_found(organisation: str, conclusion: str) -> None:
    """The control is another view of the gradients and predicts as they do; in a forward brain too, alone."""
    both = replace(study(organisation), meg=())
    random = np.random.default_rng(7)
    view = [G + random.standard_normal(G.shape) for G in GRADIENTS]
    hard = random.standard_normal((IMAGES, 2))
    made = replace(both, features=FEATURES | {"gradient/view": view}, nuisances=hard)
    row = verdict(made, SETTINGS).set_index("claim").loc[f"gradients predict fMRI beyond {EVERYTHING}"]
    assert (row["conclusion"], row["against"]) == (conclusion, EVERYTHING)


def test_gradients_of_one_norm_have_no_row_of_unit_norm() -> None:
    both = replace(study("none"), meg=())
    unit = [unit_length(G) for G in GRADIENTS]
    row = "gradients of unit norm predict fMRI beyond activations"
    assert [
        row in set(verdict(replace(both, features=FEATURES | {"gradient": G}), SETTINGS)["claim"])
        for G in (unit, GRADIENTS)
    ] == [False, True]


def test_power_is_that_of_the_rows_that_are_left_and_of_the_same_estimators() -> None:
    """Of 200 images 32 activations leave 167 rows; a latency or preference of another kind has no known power."""
    claims = ("gradients predict fMRI", "gradients predict fMRI beyond activations", "activations map the hierarchy",
              "gradients predict later than activations")  # fmt: skip
    small = {"organisation": "forward-then-backward", "images": 200, "subjects": 2, "ceiling": 0.1}
    found = {"rate": 1.0, "claim": "power", "found": 20, "runs": 20}

    def power(how: VerdictSettings, rows: int) -> list[bool]:
        rates = pd.DataFrame([{**small, **found, "rows": rows, "test": claim} for claim in claims])
        told = verdict(study("forward-then-backward", ceiling=0.95, repeats=4), how, rates).set_index("claim")
        assert told.loc[claims[1], "rows"] == 167
        return told.loc[list(claims), "power"].notna().tolist()

    assert power(SETTINGS, 167) == [True, True, True, True]
    other = replace(SETTINGS, preference=Preference("softmax"), latency=Latency("peak"))
    assert power(other, 168) == [True, False, False, False]


def test_as_many_axes_are_taken_out_as_a_control_has() -> None:
    found = verdict(replace(study("forward"), meg=()), replace(SETTINGS, axes=10)).set_index("claim")
    row = found.loc["gradients predict fMRI beyond activations"]
    assert (row["against"], row["why"]) == ("activations of all layers, 10 axes", "")
    row = found.loc["gradients predict fMRI beyond activations of the same layer"]
    assert (row["against"], row["why"]) == ("activations of the same layer", "")


def test_power_is_that_of_the_nearest_simulated_study_that_is_no_larger() -> None:
    rows = [
        {"organisation": "forward-then-backward", "images": images, "subjects": subjects, "ceiling": ceiling,
         "rate": rate, "test": "gradients predict fMRI", "claim": claim, "rows": images,
         "found": int(20 * rate), "runs": 20}
        for images, subjects, ceiling, rate, claim in (
            (150, 2, 0.7, 0.9, "power"), (210, 2, 0.7, 1.0, "power"), (200, 2, 0.85, 1.0, "power"),
            (200, 3, 0.7, 1.0, "power"), (150, 2, 0.2, 0.3, "power"), (190, 2, 0.78, 0.05, "level"))
    ]  # fmt: skip
    both = replace(study("none"), meg=())
    found = verdict(both, SETTINGS, pd.DataFrame(rows)).set_index("claim")
    row = found.loc["gradients predict fMRI"]
    assert row["power"] == 0.9
    assert row["simulated"] == "18 of 20 forward-then-backward brains, 150 images, 2 subjects, ceiling 0.7"
    assert np.isnan(found.loc["gradients predict higher areas more", "power"])
    larger = verdict(both, SETTINGS, pd.DataFrame(rows[1:4])).set_index("claim").loc["gradients predict fMRI"]
    assert np.isnan(larger["power"])
    assert larger["simulated"] == ""


def changed(**changes: Any) -> Study:
    return replace(study("none", vertices=40, silent=5), **changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda one: {"features": {"activation": FEATURES["activation"]}},
            "must have the kinds .* got none of 'gradient'",
        ),
        (lambda one: {"features": {k: v[:2] for k, v in FEATURES.items()}, "depth": DEPTH[:2]}, "at least 3 .* got 2"),
        (lambda one: {"depth": np.full(LAYERS, 0.5)}, "depth"),
        (lambda one: {"depth": DEPTH[::-1]}, "depth must rise from shallow to deep"),
        (
            lambda one: {"features": FEATURES | {"gradient": [np.zeros((IMAGES, 3))] * LAYERS}},
            "'gradient' of layer 0 must vary, got the same row for every image",
        ),
        (lambda one: {"features": FEATURES | {"c": FEATURES["gradient"][:3]}}, "the same layers and images"),
        (lambda one: {"fmri": (), "meg": ()}, "fmri or meg must have a recording, got none"),
        (lambda one: {"fmri": (one.fmri[0], one.fmri[0])}, "fmri must have a recording a subject"),
        (
            lambda one: {"features": FEATURES | {"gradient/image-permuted": GRADIENTS}},
            "must not have the kind 'gradient/image-permuted', which the verdict makes itself",
        ),
        (lambda one: {"features": FEATURES | {"nuisances": GRADIENTS}}, "must not have the kind 'nuisances', which"),
        (lambda one: {"nuisances": np.ones((IMAGES - 1, 2))}, r"nuisances must be floating-point \[200, d\], got"),
        (lambda one: {"nuisances": np.ones((IMAGES, 0))}, r"nuisances must be floating-point \[200, d\], got"),
        (lambda one: {"nuisances": np.full((IMAGES, 2), np.nan)}, "nuisances must be finite, got 400 NaN or inf"),
        (
            lambda one: {"features": FEATURES | {"c": [np.full((IMAGES, 2), np.inf)] * LAYERS}},
            "'c' of layer 0 must be finite",
        ),
        (
            lambda one: {"features": FEATURES | {"c": [np.ones((IMAGES, 2), dtype=int)] * LAYERS}},
            r"'c' of layer 0 must be floating-point \[images, d\], got int64",
        ),
        (
            lambda one: {"features": {k: [x[:50] for x in v] for k, v in FEATURES.items()}},
            r"image_ids must lie in 0\.\.49",
        ),
    ],
)
def test_studies_that_cannot_be_judged_are_refused(change: Any, message: str) -> None:
    one = changed()
    with pytest.raises(ValueError, match=message):
        replace(one, **change(one))


def test_repeats_must_be_averaged_first() -> None:
    one = changed()
    twice: Recording = one.fmri[0].select_presentations(np.repeat(np.arange(IMAGES), 2), "twice")
    with pytest.raises(ValueError, match="fmri must have a row an image, got repeats"):
        replace(one, fmri=(twice,))


def test_a_way_to_judge_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"CrossValidation: selection must be one of .* got 'aic'"):
        VerdictSettings(cv=CrossValidation(selection="aic"))
    for name, value in (("permutations", 18), ("axes", 0), ("targets", 0)):
        with pytest.raises(ValueError, match=rf"VerdictSettings: {name} must be at least \d+, got {value}"):
            VerdictSettings(**{name: value})


def test_meg_that_does_not_fit_is_refused_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradkern.study.claims._evidence.free_bytes", lambda place: 10 * 2**20)
    monkeypatch.setattr("gradkern.study.claims._evidence.check_first", lambda *given: pytest.fail("work had begun"))
    with pytest.raises(ValueError, match=r"meg of 2 subjects must fit into memory, got up to 200 x 1,\d+ numbers each"):
        verdict(study("none"), SETTINGS)


def test_dead_voxels_are_left_out_and_told() -> None:
    both = replace(study("forward"), meg=())
    first, second = both.fmri
    values = np.array(first.responses)
    values[:, np.flatnonzero(first.targets["depth"].notna())[[3, 7]]] = 1.5
    with pytest.warns(UserWarning, match="2 targets of simulated 1 do not vary, left out"):
        found = verdict(replace(both, fmri=(replace(first, responses=values), second)), SETTINGS).set_index("claim")
    assert (found["conclusion"] != NOT_TESTED).sum() > 5
    row = found.loc["gradients predict fMRI"]
    assert row["targets"] == sum(one.targets["depth"].notna().sum() for one in both.fmri) - 2


def test_subjects_whose_images_come_in_another_order_are_one_test() -> None:
    both = replace(study("none"), meg=())
    order = np.random.default_rng(0).permutation(IMAGES)
    turned = (both.fmri[0], both.fmri[1].select_presentations(order, "turned"))
    claims = ["gradients predict fMRI", "gradients predict fMRI beyond activations", "activations map the hierarchy"]
    first, again = (
        verdict(replace(both, fmri=fmri), SETTINGS).set_index("claim").loc[claims] for fmri in (both.fmri, turned)
    )
    np.testing.assert_allclose(
        first[["estimate", "p"]].astype(float), again[["estimate", "p"]].astype(float), atol=1e-6
    )


def test_subjects_with_places_of_their_own_have_no_power_of_studies_tested_as_one() -> None:
    both = replace(study("forward-then-backward"), meg=())
    moved = both.fmri[1].targets.assign(x=both.fmri[1].targets["x"] + 1)
    small = {"organisation": "forward", "images": 100, "rows": 100, "subjects": 2, "ceiling": 0.1}
    found = {"rate": 1.0, "claim": "power", "found": 20, "runs": 20}
    claims = ("activations map the hierarchy", "gradients predict fMRI")
    rates = pd.DataFrame([{**small, **found, "test": claim} for claim in claims])
    same, apart = (
        verdict(replace(both, fmri=fmri), SETTINGS, rates).set_index("claim")
        for fmri in (both.fmri, (both.fmri[0], replace(both.fmri[1], targets=moved)))
    )
    claim = "activations map the hierarchy"
    assert (same.loc[claim, "power"], np.isnan(apart.loc[claim, "power"])) == (1.0, True)
    assert apart.loc["gradients predict fMRI", "power"] == 1.0
    assert apart.loc[claim, "smallest p"] == pytest.approx(2 * same.loc[claim, "smallest p"])
