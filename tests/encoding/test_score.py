"""Scores of studies: what they are, and that nothing leaks."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from sklearn.model_selection import GroupKFold

from gradkern import Recording
from gradkern.encoding import ceiling_of, outer_folds, score, unit_scale
from gradkern.recordings import estimate_ncsnr
from gradkern.ridge import CrossValidation, cross_val_score

IMAGES, REPEATS, V = 60, 2, 4


def features(d: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((IMAGES, d)).astype(np.float32)


def recording(**changes: Any) -> Recording:
    """Target a is a linear function of the features, d is noise; 6 concepts, 4 sessions."""
    random = np.random.default_rng(1)
    ids = np.tile(np.arange(IMAGES), REPEATS)
    signal = features() @ random.standard_normal((8, V)) * np.array([1, 1, 1, 0])
    table = {
        "image": ids,
        "concept": np.array([f"c{i % 6}" for i in ids]),
        "session": np.arange(len(ids)) % 4,
        "split": np.where(ids % 5 == 0, "test", "train"),
    }
    given = {
        "responses": (signal[ids] + random.standard_normal((len(ids), V))).astype(np.float32),
        "presentations": pd.DataFrame(table),
        "targets": pd.DataFrame({"label": list("abcd"), "roi": ["V1", "V1", "", "V4"], "vertex": range(V)}),
        "subject": "s",
        "units": "z",
    }
    return Recording(**(given | changes))


def test_scores_are_those_of_nested_cross_validation_by_image() -> None:
    brain = recording()
    found = score({"x": features(), "other": features(5, 3)}, brain)
    groups = brain.image_ids
    splits = list(GroupKFold(5, shuffle=True, random_state=0).split(groups, groups=groups))
    X = features()
    X = (X / np.sqrt(((X - X.mean(0)) ** 2).sum(1).mean()))[brain.image_ids]
    for scoring in ("r", "r2"):
        expected = cross_val_score(
            X, np.asarray(brain.responses), CrossValidation().alphas, cv=splits, groups=groups, scoring=scoring
        )
        np.testing.assert_allclose(found[scoring].sel(feature="x"), expected, atol=2e-5)
    assert found.r.dims == ("feature", "fold", "target")
    assert found.r.sel(feature="x").mean("fold").values[:3].min() > 0.5
    assert float(found.r.sel(feature="x", target="d").mean()) < 0.3
    assert found.roi.values.tolist() == ["V1", "V1", "", "V4"]


def test_scores_do_not_depend_on_what_fits_into_memory() -> None:
    spaces = {("activation", f"blocks.{i}"): torch.from_numpy(features(6, i)) for i in range(3)}
    whole = score(spaces, recording())
    xr.testing.assert_allclose(score(spaces, recording(), memory=1), whole)
    assert whole.kind.values.tolist() == ["activation"] * 3
    assert whole.layer.values.tolist() == ["blocks.0", "blocks.1", "blocks.2"]


def test_alphas_at_an_edge_of_the_grid_are_counted() -> None:
    brain, cv = recording(), CrossValidation(folds=3, alphas=(1e-3, 1.0, 1e3))
    found = score({"x": features(), "other": features(5, 3)}, brain, cv)
    for name, X in (("x", features()), ("other", features(5, 3))):
        rows = unit_scale(X)[brain.image_ids]
        options = {"cv": cv, "groups": brain.image_ids, "return_alphas": True}
        _, alphas = cross_val_score(rows, np.asarray(brain.responses), **options)
        here = found.sel(feature=name)
        np.testing.assert_array_equal(here.targets_at_lowest_alpha, (alphas == 1e-3).sum(1))
        np.testing.assert_array_equal(here.targets_at_largest_alpha, (alphas == 1e3).sum(1))
    assert found.targets_at_largest_alpha.sum() > 0


def test_ceilings_are_of_the_rows_that_are_scored() -> None:
    brain = recording()
    single = score({"x": features()}, brain)
    squared = estimate_ncsnr(brain) ** 2
    np.testing.assert_allclose(single.noise_ceiling, np.sqrt(squared / (squared + 1)))
    highest = np.sqrt(squared / (squared + 1))  # of a target, the same in every fold
    for found, expected in ((single.r_normalised, single.r / highest), (single.r2_normalised, single.r2 / highest**2)):
        assert found.dims == ("feature", "fold", "target")
        np.testing.assert_allclose(found, expected)
    averaged = score({"x": features()}, brain.average_repeats())
    np.testing.assert_allclose(averaged.noise_ceiling, np.sqrt(squared / (squared + 1 / REPEATS)))
    averaged = score({"x": features()}, brain.average_repeats(estimate=False))
    assert averaged.noise_ceiling.isnull().all()
    assert "not known" in averaged.attrs["ceiling"]
    np.testing.assert_allclose(ceiling_of(recording(ncsnr=np.ones(V))).r, np.sqrt(0.5))
    silent = score({"x": features()}, recording(ncsnr=np.array([1, 1, 0, np.nan])))
    assert silent.noise_ceiling.values[2] == 0
    assert silent.r_normalised.isnull().values.tolist() == [[[False, False, True, True]] * 5]


@pytest.mark.parametrize("by", ["image", "concept", "session", "published", "zero-shot"])
def test_whatever_is_held_out_no_response_of_it_is_trained_on(by: str) -> None:
    brain = recording(
        presentations=recording().presentations.assign(
            concept=[f"c{i // 10}" for i in np.tile(np.arange(IMAGES), REPEATS)],
            split=np.where(np.tile(np.arange(IMAGES), REPEATS) < 10, "test", "train"),
            session=np.tile(np.arange(IMAGES), REPEATS) % 4,
        )
    )
    how = CrossValidation(by=by, folds=3, inner_folds=3)
    splits = outer_folds(how, brain)
    assert len(splits) == (1 if by in ("published", "zero-shot") else 3)
    before = score({"x": features()}, brain, how)
    for number, (train, test) in enumerate(splits):
        assert not set(brain.image_ids[train]) & set(brain.image_ids[test])
        changed = np.array(brain.responses)
        changed[test] = 3 * changed[test] - 7
        after = score({"x": features()}, recording(responses=changed, presentations=brain.presentations), how)
        # r of a fold is blind to scale and shift of what is held out if no fit has seen it
        np.testing.assert_allclose(after.r[:, number], before.r[:, number], atol=1e-5)
    assert json.loads(before.attrs["held_out"])["by"] == by


def test_what_is_odd_is_said_before_and_kept() -> None:
    values = np.array(recording().responses)
    values[:, 2] = 4
    with (
        pytest.warns(UserWarning, match="score: 1 of the first 4 targets are constant"),
        pytest.warns(UserWarning, match="1 of 4 targets of 'x' have no defined score"),
    ):
        found = score({"x": features()}, recording(responses=values))
    assert "constant" in found.attrs["odd"]
    assert found.r.sel(target="c").isnull().all()
    values[3, 1] = np.inf
    with pytest.raises(ValueError, match="responses must be finite, got inf at presentation 3, target 'b'"):
        score({"x": features()}, recording(responses=values))


@pytest.mark.parametrize(
    ("spaces", "how", "message"),
    [
        ({}, {}, "features must hold at least one feature space, got none"),
        ({"x": np.zeros((60, 2, 3))}, {}, r"features must be \[images, d\], got \[60, 2, 3\] of 'x'"),
        ({"x": np.zeros((50, 3))}, {}, r"image_ids must lie in 0\.\.49 for 50 images, got 0\.\.59"),
        ({"x": np.full((60, 3), np.nan)}, {}, "finite"),
        ({"x": np.ones((60, 3))}, {"by": "time"}, "CrossValidation: by must be one of .*, got 'time'"),
        ({"x": np.ones((60, 3))}, {"gap": 0.1}, "folds: 'onset' must be known for a gap"),
        ({"x": np.ones((60, 3))}, {"folds": 61}, r"folds: n_folds must lie in 2\.\.60"),
    ],
)
def test_bad_input_is_named(spaces: dict[str, Any], how: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score(spaces, recording(), CrossValidation(**how))
