"""The verdict of simulated studies: what was planted is said, and what the data cannot carry is not."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gradkern import Recording, simulate_brain
from gradkern.analysis.rates import simulated_rates
from gradkern.analysis.verdict import NOT_FOUND, NOT_TESTED, SUPPORTED, Judging, Study, verdict
from gradkern.recordings.simulation import Brain

LAYERS, IMAGES, WIDTH = 4, 200, 8
HOW = Judging(permutations=59, bootstraps=60, targets=150, places=150)
DEPTH = np.linspace(0, 1, LAYERS)


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
def forward() -> pd.DataFrame:
    control = {
        "gradient/random-cotangent": [np.random.default_rng(i).standard_normal((IMAGES, 12)) for i in range(LAYERS)]
    }
    return verdict(study("forward", FEATURES | control), HOW, simulated_rates().iloc[:0]).set_index("claim")


class TestForward:
    def test_raw_scores_of_gradients_are_there_and_nothing_beyond_activations(self, forward: pd.DataFrame) -> None:
        assert forward.loc["gradients predict fMRI", "conclusion"] == SUPPORTED
        assert forward.loc["gradients predict fMRI beyond activations", "conclusion"] == NOT_FOUND
        assert forward.loc["gradients predict fMRI beyond gradient/random-cotangent", "conclusion"] == SUPPORTED

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
        assert (tested["p"] >= tested["smallest p"] - 1e-12).all()
        assert tested["ceiling"].between(0, 1).all()
        assert tested["against"].str.len().gt(0).all()
        assert forward["power"].eq("not known").all()


def test_a_planted_backward_sweep_is_found_beyond_activations() -> None:
    found = verdict(study("forward-then-backward", ceiling=0.95, repeats=4), HOW).set_index("claim")
    assert found.loc["gradients predict fMRI beyond activations", "conclusion"] == SUPPORTED
    assert found.loc["gradients predict MEG beyond activations", "conclusion"] == SUPPORTED
    assert found.loc["gradients have the temporal order of backpropagation", "estimate"] < 0


def test_what_the_data_cannot_carry_has_a_reason_and_no_number() -> None:
    both = study("none")
    alone = verdict(replace(both, meg=()), HOW).set_index("claim")
    for claim in ("gradients predict MEG", "gradients have the temporal order of backpropagation"):
        row = alone.loc[claim]
        assert row["conclusion"] == NOT_TESTED
        assert row["why"] == "the study has no such recordings"
        assert np.isnan([row["estimate"], row["p"], row["low"]]).all()
    nowhere = [replace(one, targets=one.targets[["label", "depth"]]) for one in both.fmri]
    row = verdict(replace(both, fmri=nowhere, meg=()), HOW).set_index("claim").loc["activations map the hierarchy"]
    assert "must have 'x', got ['label', 'depth']" in row["why"]


def test_power_is_that_of_the_simulated_study_most_like_this_one(forward: pd.DataFrame) -> None:
    rows = [
        {"organisation": "forward-then-backward", "images": images, "subjects": 2, "ceiling": ceiling, "rate": rate,
         "test": "gradient: r, Fisher over subjects", "claim": "power", "found": int(20 * rate), "runs": 20}
        for images, ceiling, rate in ((150, 0.8, 0.9), (2000, 0.8, 1.0), (150, 0.2, 0.3))
    ]  # fmt: skip
    both = replace(study("none"), meg=())
    found = verdict(both, HOW, pd.DataFrame(rows)).set_index("claim")
    said = found.loc["gradients predict fMRI", "power"]
    assert said == ("0.90 (18 of 20 simulated: forward-then-backward, 150 images, 2 subjects, ceiling 0.8)")
    assert found.loc["gradients predict higher areas more", "power"] == "not known"


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
        (lambda one: {"features": FEATURES | {"c": FEATURES["gradient"][:3]}}, "the same layers and images"),
        (lambda one: {"fmri": (), "meg": ()}, "fmri or meg must have a recording, got none"),
        (lambda one: {"fmri": (one.fmri[0], one.fmri[0])}, "fmri must have a recording a subject"),
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
