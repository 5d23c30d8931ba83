"""The verdict of simulated studies: what was planted is said, and what the data cannot carry is not."""

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gradkern import Recording
from gradkern.hierarchy import Latency, Preference
from gradkern.recordings import Responses
from gradkern.ridge import CrossValidation
from gradkern.study import Study, VerdictSettings, verdict
from gradkern.study.claims import (
    CANNOT_DECIDE,
    NOT_FOUND,
    NOT_TESTED,
    SUPPORTED,
    score_study,
    spatial_layer_permutation,
    spatial_order,
    temporal_layer_permutation,
    temporal_order,
)
from gradkern.study.power import SIMULATED_CLAIMS, code_hash, simulated_rates
from tests.simulated_studies import ACTIVATIONS, DEPTH, FEATURES, GRADIENTS, IMAGES, LAYERS, SETTINGS, WITH_OWN, study

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def forward(one_thread: None) -> pd.DataFrame:
    control = {
        "gradient/random-cotangent": [np.random.default_rng(i).standard_normal((IMAGES, 12)) for i in range(LAYERS)]
    }
    return verdict(study("forward", FEATURES | control), SETTINGS, simulated_rates().iloc[:0]).set_index("id")


class TestForward:
    def test_raw_scores_of_gradients_are_there_and_nothing_beyond_activations(self, forward: pd.DataFrame) -> None:
        assert forward.loc["gradient-predicts-fmri", "conclusion"] == SUPPORTED
        for excluded in ("linear-activations", "activations", "controls", "everything"):
            row = forward.loc[f"gradient-predicts-fmri-beyond:{excluded}"]
            assert row["conclusion"] != SUPPORTED
            assert row["why"].startswith("such data cannot decide") or not row["why"]

    def test_what_is_excluded_is_said_and_every_layer_shown(self, forward: pd.DataFrame) -> None:
        row = forward.loc["gradient-predicts-fmri-beyond:everything"]
        assert row["against"] == ("random readouts, linear and nonlinear, of activations, scaled activations, controls")
        assert re.fullmatch(r"layer \d, the clearest of 4", row["layer"])
        assert list(json.loads(row["by layer"])) == [f"layer {number + 1}" for number in range(LAYERS)]
        assert len(json.loads(row["by subject"])) == 2
        assert row["units"] == "share"

    def test_gradients_beat_those_of_other_images(self, forward: pd.DataFrame) -> None:
        row = forward.loc["gradient-predicts-fmri-more-than:image-permuted"]
        assert row["conclusion"] == SUPPORTED
        assert row["against"] == "gradient/image-permuted, seed 0"

    def test_a_control_of_another_width_is_held_against_with_its_rank(self, forward: pd.DataFrame) -> None:
        said = forward.loc["gradient-predicts-fmri-more-than:random-cotangent", "against"]
        assert "12 columns of effective rank 11.2; gradients 8 columns of effective rank 5.1" in said

    def test_gradients_have_no_order_of_their_own(self, forward: pd.DataFrame) -> None:
        """What activations predict of responses and gradients has an order, and is taken out of both."""
        for claim in ("gradient-has-spatial-order", "gradient-has-spatial-order-more-than:layer-permutation"):
            assert forward.loc[claim, "conclusion"] == NOT_TESTED
            assert "targets that a layer predicts beyond the confounds must be at least 20" in forward.loc[claim, "why"]
        late = forward.loc["gradient-has-temporal-order-more-than:layer-permutation"]
        assert late["conclusion"] == NOT_TESTED
        assert "predict MEG beyond the confounds" in late["why"] or "must have a latency" in late["why"]

    def test_activations_map_the_hierarchy(self, forward: pd.DataFrame) -> None:
        row = forward.loc["activation-maps-hierarchy"]
        assert row["estimate"] > 0.3
        assert row["low"] < row["estimate"] < row["high"]
        assert row["conclusion"] == SUPPORTED

    def test_gradients_have_no_order_in_time(self, forward: pd.DataFrame) -> None:
        assert forward.loc["gradient-has-temporal-order", "conclusion"] != SUPPORTED

    def test_every_row_says_of_what_it_is(self, forward: pd.DataFrame) -> None:
        tested = forward[forward["conclusion"] != NOT_TESTED]
        assert tested[["subjects", "images", "targets"]].gt(0).all(axis=None)
        assert (tested["p"] >= tested["smallest p"].fillna(0) - 1e-12).all()
        assert tested["ceiling"].between(0, 1).all()
        assert tested["against"].str.len().gt(0).all()
        assert forward["power"].isna().all()


def test_a_planted_backward_sweep_is_found_beyond_activations() -> None:
    made = study("forward-then-backward", WITH_OWN, WITH_OWN, ceiling=0.95, repeats=4)
    found = verdict(made, SETTINGS, simulated_rates().iloc[:0]).set_index("id")
    assert found.loc["gradient-predicts-fmri-beyond:activations", "conclusion"] == SUPPORTED
    assert found.loc["gradient-predicts-meg-beyond:activations", "conclusion"] == SUPPORTED
    assert found.loc["gradient-has-temporal-order", "estimate"] < 0


def test_what_the_data_cannot_carry_has_a_reason_and_no_number() -> None:
    both = study("none")
    alone = verdict(replace(both, meg=()), SETTINGS).set_index("id")
    for claim in ("gradient-predicts-meg", "gradient-has-temporal-order"):
        row = alone.loc[claim]
        assert row["conclusion"] == NOT_TESTED
        assert row["why"] == "the study has no such recordings"
        assert np.isnan([row["estimate"], row["p"], row["low"]]).all()
    assert not {"gradient-predicts-fmri-beyond:difficulty", "gradient-predicts-fmri-beyond:controls"} & set(alone.index)


def without(column: str) -> Any:
    return lambda targets: targets.drop(columns=column)


NOWHERE = (
    (without("x"), "targets of simulated 2 must have 'x', got"),
    (without("depth"), "targets of simulated 2 must have 'depth', got .*hierarchy =. in a study file"),
    (lambda t: t.assign(depth=0.5), "'depth' must be known and differ .* of simulated 2, got 0.5 for all 60"),
    (lambda t: t.assign(depth=np.nan), "'depth' must be known and differ .* of simulated 2, got none of 60"),
    (lambda t: t.assign(depth="V1"), "'depth' of the targets of simulated 2 must be numbers, got"),
)


@pytest.mark.parametrize(("change", "message"), NOWHERE)
def test_without_places_of_a_subject_there_is_no_order_in_space_and_the_rest_is_there(
    change: Any, message: str
) -> None:
    first, second = study("none").fmri
    there = Study(FEATURES, DEPTH, [first, replace(second, targets=change(second.targets))], hierarchy="depth")
    found = verdict(there, replace(SETTINGS, permutations=19, bootstraps=20, max_targets=60)).set_index("id")
    for claim in (
        "activation-maps-hierarchy",
        "gradient-predicts-higher-areas-more",
        "gradient-has-spatial-order",
        "gradient-has-spatial-order-more-than:layer-permutation",
    ):
        assert found.loc[claim, "conclusion"] == NOT_TESTED
        assert re.search(message, found.loc[claim, "why"])
        assert np.isnan(found.loc[claim, ["estimate", "p", "smallest p"]].astype(float)).all()
    assert found.loc["gradient-predicts-fmri", "conclusion"] != NOT_TESTED


def test_a_region_without_a_target_is_refused() -> None:
    with pytest.raises(ValueError, match="Recording: no targets are left"):
        study("none").fmri[0].select_targets(np.zeros(140, dtype=bool), "in V9")


def test_what_could_not_be_found_is_not_tested() -> None:
    # where layers predict targets
    both = study("forward-then-backward", WITH_OWN, WITH_OWN, subjects=1, ceiling=0.95, repeats=4)
    three = {kind: each[:3] for kind, each in WITH_OWN.items()}
    found = verdict(Study(three, DEPTH[:3], both.fmri, hierarchy="depth"), SETTINGS).set_index("id")
    orders = [row for claim, row in found.iterrows() if "spatial-order" in claim]
    assert [row["conclusion"] for row in orders] == [NOT_TESTED] * 2
    assert all("smallest attainable p is 0.167" in row["why"] for row in orders)


def test_what_is_held_beside_other_orders_is_the_statistic_of_the_order() -> None:
    made = study("forward-then-backward", WITH_OWN, WITH_OWN, ceiling=0.95, repeats=4)
    scored = score_study(made, SETTINGS)
    times = temporal_layer_permutation(scored)
    for row, test in (
        (temporal_order(scored), times),
        (spatial_order(scored, "gradient"), spatial_layer_permutation(scored)),
    ):
        assert test.value == pytest.approx(row.estimate)
        assert len(test.null) == 24
    assert times.p == (times.null <= times.value + 1e-12).mean() < 0.5


def test_subjects_who_saw_other_images_are_resampled_by_image() -> None:
    both = study("forward")
    seen = np.arange(0, 150), np.arange(50, 200)
    fmri = [one.select_presentations(rows, "seen") for one, rows in zip(both.fmri, seen, strict=True)]
    apart = replace(both, fmri=fmri, meg=())
    scored = score_study(apart, SETTINGS)
    first, second = (scored.resampled(subject).counts for subject in scored.subjects["fMRI"])
    np.testing.assert_array_equal(first[:, 50:], second[:, :100])
    assert (first[:, :50] != second[:, 100:]).any()
    found = verdict(apart, SETTINGS).set_index("id")
    assert found.loc["activation-maps-hierarchy", "conclusion"] == SUPPORTED
    assert found.loc["gradient-predicts-fmri-more-than:image-permuted", "images"] == 150


def test_subjects_who_saw_the_same_images_are_one_test() -> None:
    """Two copies of a subject are as much evidence as one: Fisher's p would be smaller."""
    made = study("none")
    one = made.fmri[0]
    claim = "gradient-predicts-fmri"
    alone, twice = (
        verdict(replace(made, fmri=some, meg=()), SETTINGS).set_index("id").loc[claim]
        for some in ([one], [one, replace(one, subject="a copy")])
    )
    assert twice["p"] == alone["p"]
    assert twice["estimate"] == pytest.approx(alone["estimate"])
    assert (twice["subjects"], twice["low"], twice["high"]) == (
        2,
        pytest.approx(twice["estimate"]),
        pytest.approx(twice["estimate"]),
    )


def test_activations_of_another_layer_in_the_gradients_are_not_taken_for_gradients() -> None:
    """Gradients with something of the first layer in them, which the brain responds to."""
    mixed = [G + A for G, A in zip(GRADIENTS, [*ACTIVATIONS[1:], ACTIVATIONS[0]], strict=True)]
    found = verdict(replace(study("forward", FEATURES | {"gradient": mixed}, ceiling=0.95), meg=()), SETTINGS)
    rows = found.set_index("id")
    assert rows.loc["gradient-predicts-fmri", "conclusion"] == SUPPORTED
    assert rows.loc["gradient-predicts-fmri-beyond:activations", "p"] > 0.05


def test_nuisances_are_taken_out_whatever_their_units() -> None:
    """Responses to a nuisance that gradients tell; if they hold a layer's gradients, that is not tested."""
    both = replace(study("forward-then-backward", ceiling=0.95), meg=())
    hard = np.column_stack(GRADIENTS)
    units = np.logspace(-9, 9, hard.shape[1])
    unrated = simulated_rates().iloc[:0]
    for values in (hard, hard * units):
        rows = verdict(replace(both, nuisances=values), SETTINGS, unrated).set_index("id")
        assert rows.loc["gradient-predicts-fmri-beyond:activations", "conclusion"] == SUPPORTED
        why = rows.loc["gradient-predicts-fmri-beyond:difficulty", "why"]
        assert "X must not be a linear function of the confounds" in why
    one = replace(both, nuisances=GRADIENTS[0])
    row = verdict(one, SETTINGS).set_index("id").loc["gradient-predicts-fmri-beyond:everything"]
    assert "not tested at layer 1 (" in row["against"]
    assert "the clearest of 3" in row["layer"]


@pytest.mark.parametrize(("organisation", "conclusion"), [("forward", NOT_FOUND), ("gradient-misplaced", SUPPORTED)])
def test_beyond_everything_only_gradients_that_the_brain_has_are_found(organisation: str, conclusion: str) -> None:
    """The control is another view of the gradients and predicts as they do; in a forward brain too, alone."""
    both = replace(study(organisation), meg=())
    random = np.random.default_rng(7)
    view = [G + random.standard_normal(G.shape) for G in GRADIENTS]
    hard = random.standard_normal((IMAGES, 2))
    made = replace(both, features=FEATURES | {"gradient/view": view}, nuisances=hard)
    table = verdict(made, SETTINGS, simulated_rates().iloc[:0]).set_index("id")
    row = table.loc["gradient-predicts-fmri-beyond:everything"]
    assert (row["conclusion"] == SUPPORTED) == (conclusion == SUPPORTED)
    assert "controls" in row["against"]


def test_power_is_that_of_the_rows_that_are_left_and_of_the_same_estimators() -> None:
    """Of 200 images 32 activations leave 167 rows; a latency or preference of another kind has no known power."""
    claims = ("gradient-predicts-fmri", "gradient-predicts-fmri-beyond:linear-activations", "activation-maps-hierarchy",
              "gradient-later-than-activation")  # fmt: skip
    small = {"organisation": "forward-then-backward", "images": 200, "subjects": 2, "ceiling": 0.1}
    found = {"rate": 1.0, "expected": "true", "found": 20, "runs": 20}

    def power(settings: VerdictSettings, rows: int) -> list[bool]:
        rates = pd.DataFrame([{**small, **found, "rows": rows, "id": claim} for claim in claims])
        told = verdict(study("forward-then-backward", ceiling=0.95, repeats=4), settings, rates).set_index("id")
        assert told.loc[claims[1], "rows"] == 167
        return told.loc[list(claims), "power"].notna().tolist()

    assert power(SETTINGS, 167) == [True, True, True, True]
    other = replace(SETTINGS, preference=Preference("softmax"), latency=Latency("peak"))
    assert power(other, 168) == [True, False, False, False]


def test_power_is_that_of_the_nearest_simulated_study_that_is_no_larger() -> None:
    code = code_hash(SIMULATED_CLAIMS["gradient-predicts-fmri"])
    rows = [
        {"organisation": "forward-then-backward", "images": images, "subjects": subjects, "ceiling": ceiling,
         "rate": rate, "id": "gradient-predicts-fmri", "expected": expected, "code": code, "rows": images,
         "found": int(20 * rate), "runs": 20}
        for images, subjects, ceiling, rate, expected in (
            (150, 2, 0.7, 0.9, "true"), (210, 2, 0.7, 1.0, "true"), (200, 2, 0.85, 1.0, "true"),
            (200, 3, 0.7, 1.0, "true"), (150, 2, 0.2, 0.3, "true"), (190, 2, 0.78, 0.05, "false"))
    ]  # fmt: skip
    both = replace(study("none"), meg=())
    found = verdict(both, SETTINGS, pd.DataFrame(rows)).set_index("id")
    row = found.loc["gradient-predicts-fmri"]
    assert row["power"] == 0.9
    assert row["simulated"] == "18 of 20 forward-then-backward brains, 150 images, 2 subjects, ceiling 0.7"
    assert np.isnan(found.loc["gradient-predicts-higher-areas-more", "power"])
    larger = verdict(both, SETTINGS, pd.DataFrame(rows[1:4])).set_index("id").loc["gradient-predicts-fmri"]
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
        (lambda one: {"fmri": (one.fmri[0], one.fmri[0])}, "fmri must have one recording per subject"),
        (
            lambda one: {"features": FEATURES | {"gradient/image-permuted": GRADIENTS}},
            "must not have the kind 'gradient/image-permuted', which the verdict makes itself",
        ),
        (lambda one: {"features": FEATURES | {"everything": GRADIENTS}}, "must not have the kind 'everything', which"),
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
    with pytest.raises(ValueError, match="fmri must have one row per image, got repeats"):
        replace(one, fmri=(twice,))


def test_a_way_to_judge_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"CrossValidation: selection must be one of .* got 'aic'"):
        VerdictSettings(cv=CrossValidation(selection="aic"))
    for name, value in (("permutations", 18), ("max_targets", 0)):
        with pytest.raises(ValueError, match=rf"VerdictSettings: {name} must be at least \d+, got {value}"):
            VerdictSettings(**{name: value})


class NeverWhole(Responses):
    """Responses of which some columns are read at a time."""

    def __init__(self, values: Responses) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype

    def columns(self, which: slice) -> np.ndarray:
        return self.values.columns(which)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise AssertionError("all responses were read")


def test_meg_is_never_read_whole_and_time_courses_are_of_all_targets() -> None:
    made = study("forward-then-backward", WITH_OWN, WITH_OWN)
    streamed = replace(made, meg=[replace(one, responses=NeverWhole(one.responses)) for one in made.meg])
    rows = ["gradient-later-than-activation", "gradient-predicts-meg"]
    few, many = (
        verdict(streamed, replace(SETTINGS, max_targets=most), only=rows).set_index("id") for most in (40, 100)
    )
    whole = verdict(made, replace(SETTINGS, max_targets=10**6), only=rows).set_index("id")
    later, predicted = rows
    for column in ("estimate", "low", "high"):
        # the model of the responses is fitted to the targets that are drawn
        assert few.loc[later, column] == pytest.approx(whole.loc[later, column], abs=0.01)
        assert many.loc[later, column] == pytest.approx(whole.loc[later, column], abs=0.01)
    assert few.loc[predicted, "targets"] == 2 * 40
    assert len(made.meg[0].targets) > 100
    assert whole.loc[predicted, "targets"] == sum(len(one.targets) for one in made.meg)


def test_subjects_whose_images_come_in_another_order_are_one_test() -> None:
    both = replace(study("none"), meg=())
    order = np.random.default_rng(0).permutation(IMAGES)
    turned = (both.fmri[0], both.fmri[1].select_presentations(order, "turned"))
    claims = ["gradient-predicts-fmri", "gradient-predicts-fmri-beyond:activations", "activation-maps-hierarchy"]
    first, again = (
        verdict(replace(both, fmri=fmri), SETTINGS).set_index("id").loc[claims] for fmri in (both.fmri, turned)
    )
    np.testing.assert_allclose(
        first[["estimate", "p"]].astype(float), again[["estimate", "p"]].astype(float), atol=1e-6
    )


def test_subjects_with_places_of_their_own_have_no_power_of_studies_tested_as_one() -> None:
    both = replace(study("forward-then-backward"), meg=())
    moved = both.fmri[1].targets.assign(x=both.fmri[1].targets["x"] + 1)
    small = {"organisation": "forward", "images": 100, "rows": 100, "subjects": 2, "ceiling": 0.1}
    found = {"rate": 1.0, "expected": "true", "found": 20, "runs": 20}
    claims = ("activation-maps-hierarchy", "gradient-predicts-fmri")
    rates = pd.DataFrame([{**small, **found, "id": claim} for claim in claims])
    same, apart = (
        verdict(replace(both, fmri=fmri), SETTINGS, rates).set_index("id")
        for fmri in (both.fmri, (both.fmri[0], replace(both.fmri[1], targets=moved)))
    )
    claim = "activation-maps-hierarchy"
    assert (same.loc[claim, "power"], np.isnan(apart.loc[claim, "power"])) == (1.0, True)
    assert apart.loc["gradient-predicts-fmri", "power"] == 1.0
    assert apart.loc[claim, "smallest p"] == pytest.approx(same.loc[claim, "smallest p"])


def other_times(meg: Any) -> Any:
    first, second = meg
    known = np.unique(second.targets["time"])
    return first, second.select_targets(second.targets["time"].isin(known[::2]).to_numpy(), "every other time")


def two_times(meg: Any) -> Any:
    known = np.unique(meg[0].targets["time"])[:2]
    return [one.select_targets(one.targets["time"].isin(known).to_numpy(), "two times") for one in meg]


@pytest.mark.parametrize(("change", "why"), [(other_times, "the same times"), (two_times, "times must be at least 3")])
def test_meg_without_a_latency_in_common_leaves_the_other_claims(change: Any, why: str) -> None:
    whole = study("forward")
    table = verdict(replace(whole, fmri=(), meg=change(whole.meg)), replace(SETTINGS, permutations=19, bootstraps=20))
    rows = table.set_index("id")
    for claim in ("gradient-later-than-activation", "gradient-has-temporal-order"):
        assert rows.loc[claim, "conclusion"] == NOT_TESTED
        assert why in rows.loc[claim, "why"]
    assert rows.loc["gradient-predicts-meg", "conclusion"] != NOT_TESTED


def test_a_mapping_that_holds_in_images_of_its_own_set_alone_is_said_to() -> None:
    """Responses are of gradients in half of the images, and noise in the others."""
    both = replace(study("gradient-misplaced"), meg=())
    held_out = np.arange(IMAGES) % 2 == 0
    claim = "gradient-predicts-fmri-in-other-images"
    assert claim not in set(verdict(both, SETTINGS, only=["gradient-predicts-fmri"])["id"])
    held = verdict(replace(both, test_images=held_out), SETTINGS, only=[claim]).iloc[0]
    assert held["conclusion"] == SUPPORTED
    assert held["rows"] == IMAGES // 2
    noise = np.random.default_rng(0)
    broken = []
    for one in both.fmri:
        values = np.array(one.responses)
        outside = held_out[one.image_ids]
        values[outside] = noise.standard_normal(values[outside].shape)
        broken.append(replace(one, responses=values))
    lost = verdict(replace(both, fmri=broken, test_images=held_out), SETTINGS, only=[claim]).iloc[0]
    assert lost["p"] > 0.05
    few = np.arange(IMAGES) < 19
    row = verdict(replace(both, test_images=few), SETTINGS, only=[claim]).iloc[0]
    assert row["conclusion"] == NOT_TESTED
    assert "at least 20 test images and as many others, got 19 of 200" in row["why"]
    with pytest.raises(ValueError, match=r"only must name claims of the study, got \['nothing'\]"):
        verdict(both, SETTINGS, only=["nothing"])


def test_what_finds_too_much_where_it_excludes_all_decides_nothing_where_it_excludes_less() -> None:
    """The rates are of one row; rows of the same test that exclude less, or are of MEG, are not better."""
    made = study("gradient-misplaced", WITH_OWN, WITH_OWN, ceiling=0.95, repeats=4)
    rates = pd.DataFrame([{"organisation": "forward, energy", "images": 200, "subjects": 2, "ceiling": 0.9,
                           "id": "gradient-predicts-fmri-beyond:everything", "rows": 200, "runs": 20, "found": 12,
                           "rate": 0.6, "level": 0.05, "expected": "false", "code": "0" * 12}])  # fmt: skip
    claims = [
        f"gradient-predicts-{name}-beyond:{what}" for name in ("fmri", "meg") for what in ("activations", "everything")
    ]
    known, unknown = (verdict(made, SETTINGS, some, only=claims) for some in (rates, rates.iloc[:0]))
    assert unknown["conclusion"].eq(SUPPORTED).all()
    assert known["conclusion"].eq(CANNOT_DECIDE).all()
    assert known["why"].str.contains("12 of 20 forward, energy brains").all()
