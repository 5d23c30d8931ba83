"""Statistics of scores as values of targets, by model, objective and kind."""

from typing import Any

import numpy as np
import pytest
import xarray as xr

from gradkern.encoding import STATISTICS, score_maps
from gradkern.errors import Refused
from gradkern.hierarchy import Preference

V, FOLDS = 7, 3
DEPTH = [0.0, 0.4, 1.0]


def scores(**changes: Any) -> xr.Dataset:
    """Activations and gradients of three layers; target 6 has no score."""
    random = np.random.default_rng(0)
    r = random.standard_normal((6, FOLDS, V)) / 5
    r[:, 1, 6] = np.nan
    kinds = ["activation"] * 3 + ["gradient"] * 3
    p = np.where(np.array(kinds)[:, None] == "gradient", random.random((6, V)), np.nan)
    made = xr.Dataset(
        {
            "r": (("feature", "fold", "target"), r),
            "beyond_p": (("feature", "target"), p),
            "noise_ceiling": ("target", random.random(V)),
        },
        {
            "feature": [f"f{n}" for n in range(6)],
            "model": ("feature", ["dino"] * 6),
            "objective": ("feature", ["none"] * 3 + ["cross-entropy"] * 3),
            "kind": ("feature", kinds),
            "layer": ("feature", ["a", "b", "c"] * 2),
            "depth": ("feature", DEPTH * 2),
            "target": [f"t{n}" for n in range(V)],
        },
    )
    return made.assign_coords(changes)


def test_r_is_the_mean_over_folds_of_every_layer() -> None:
    made = scores()
    activation, gradient = score_maps(made, "r")
    assert (activation.desc, gradient.desc) == ("activation dino", "gradient cross-entropy dino")
    assert list(gradient.values) == ["a", "b", "c"] == list(gradient.layers)
    np.testing.assert_allclose(gradient.values["b"], made.r.to_numpy()[4].mean(0))
    assert np.isnan(gradient.values["b"][6])  # a fold without a score is not left out in silence
    assert gradient.about["objective"] == "cross-entropy"
    assert [maps.features["kind"] for maps in score_maps(made, "r", kinds=["gradient"], layers=["c"])] == ["gradient"]


def test_best_layers_and_depths() -> None:
    made = scores()
    r = made.r.to_numpy()[3:].mean(1)[:, :6]
    for stat, expected in (
        ("best-layer", r.argmax(0)),
        ("best-r", r.max(0)),
        ("preferred-depth", Preference().depth_of(r, DEPTH)),
    ):
        values = score_maps(made, stat, kinds=["gradient"])[0].values[stat]
        np.testing.assert_allclose(values[:6], expected)
        assert np.isnan(values[6])


def test_what_some_features_do_not_have_is_left_out() -> None:
    made = scores()
    assert [maps.features["kind"] for maps in score_maps(made, "beyond_p")] == ["gradient"]
    (ceiling,) = score_maps(made, "ceiling")
    np.testing.assert_array_equal(ceiling.values["ceiling"], made.noise_ceiling)
    assert (ceiling.desc, ceiling.layers) == ("", ())


@pytest.mark.parametrize(
    ("stat", "options", "changes", "error", "message"),
    [
        ("mood", {}, {}, ValueError, f"stat must be one of {', '.join(STATISTICS)}.*got 'mood'"),
        ("unique_r2", {}, {}, Refused, "scores must have 'unique_r2' for 'unique_r2', got r, beyond_p"),
        ("r", {"kinds": ["x"]}, {}, ValueError, "kinds must be some of activation, gradient, got 'x'"),
        ("r", {"layers": ["x"]}, {}, ValueError, "layers must be some of a, b, c, got 'x'"),
        ("best-layer", {"layers": ["b"]}, {}, Refused, "best-layer must be of at least 2 layers, got 1"),
        ("beyond_p", {"kinds": ["activation"]}, {}, Refused, "beyond_p must be known at some target, got NaN at all 7"),
        ("preferred-depth", {}, {"depth": ("feature", [np.nan] * 6)}, Refused, "depth must be known for"),
    ],
)
def test_what_scores_do_not_have_is_refused(
    stat: str, options: Any, changes: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"score_maps: {message}"):
        score_maps(scores(**changes), stat, **options)
