"""Tests of blocks of targets, put together, are the test of all targets."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from gradkern.encoding import (
    FeatureSpace,
    PermutationSettings,
    UniqueVarianceSettings,
    join_targets,
    permutation_scores,
    score,
    unique_scores,
)
from gradkern.errors import Refused
from gradkern.recordings import Recording
from gradkern.ridge import CrossValidation
from gradkern.stats import permutation_test

RNG = np.random.default_rng(0)
IMAGES, TARGETS = 60, 7
CV = CrossValidation(folds=3, alphas=(1.0, 100.0))
FEW = PermutationSettings(CV, permutations=39, seed=4)
SPACES = {
    FeatureSpace("net", objective, kind, layer): RNG.standard_normal((IMAGES, 5)).astype(np.float32)
    for objective, kind in (("none", "activation"), ("loss", "gradient"))
    for layer in ("a", "b")
}
GRADIENTS = {space: X for space, X in SPACES.items() if space.kind == "gradient"}
BLOCKS = (slice(0, 3), slice(3, 7))


def brain(repeats: int = 1) -> Recording:
    readable = next(iter(GRADIENTS.values())) @ RNG.standard_normal((5, TARGETS))
    Y = (readable + 2 * RNG.standard_normal((IMAGES, TARGETS))).astype(np.float32)
    Y[:, 2] = 1  # constant
    return Recording(
        np.repeat(Y, repeats, axis=0),
        pd.DataFrame({"image": np.repeat(np.arange(IMAGES), repeats)}),
        pd.DataFrame({"label": [f"v{i}" for i in range(TARGETS)]}),
        subject="s",
        units="z",
    )


def same(whole: xr.Dataset, joined: xr.Dataset) -> None:
    assert set(joined.data_vars) == set(whole.data_vars)
    assert list(joined.target.values) == list(whole.target.values)
    for name in whole.data_vars:
        np.testing.assert_allclose(
            joined[name].values, whole[name].transpose(*joined[name].dims).values, atol=2e-5, err_msg=str(name)
        )


@pytest.mark.filterwarnings("ignore:.*constant")
def test_blocks_of_targets_put_together_are_the_test_of_all() -> None:
    recording = brain()
    blocks = [recording.select_targets(np.arange(TARGETS)[block], "a block") for block in BLOCKS]
    how = UniqueVarianceSettings(cv=CV, band_weights=3, permutations=39)
    for test in (
        lambda given: permutation_scores(SPACES, given, FEW),
        lambda given: unique_scores(GRADIENTS, SPACES, given, how, keep_null=True),
        lambda given: score(SPACES, given, CV),
    ):
        whole = test(recording)
        joined = join_targets([test(block) for block in blocks])
        same(whole, joined)
    assert (whole.targets_at_lowest_alpha.values > 0).any()


@pytest.mark.filterwarnings("ignore:.*constant")
def test_it_is_the_test_of_image_means() -> None:
    recording = brain(repeats=2)
    found = permutation_scores(SPACES, recording, FEW)
    X = next(iter(GRADIENTS.values()))
    chosen = [i for i in range(TARGETS) if i != 2]
    size = np.sqrt(np.mean(((X - X.mean(0)) ** 2).sum(1)))
    test = permutation_test(
        (X / size).astype(np.float32), np.asarray(recording.responses)[::2, chosen], cv=CV, permutations=39, seed=4
    )
    row = found.isel(feature=2)
    assert np.isnan(row.permutation_r.values[2])
    np.testing.assert_allclose(row.permutation_r.values[chosen], test.r, atol=1e-5)
    np.testing.assert_array_equal(row.permutation_p_max.values[chosen], test.p_max)
    assert row.permutation_p_pooled < 0.05 < found.isel(feature=0).permutation_p_pooled


def test_what_cannot_be_put_together_is_refused() -> None:
    how = UniqueVarianceSettings(cv=CV, band_weights=3, permutations=19)
    recording = brain().select_targets([0, 1], "that vary")
    block = unique_scores(GRADIENTS, SPACES, recording, how)
    with pytest.raises(ValueError, match=r"join_targets: .*null_max"):
        join_targets([block, block])
    with pytest.raises(ValueError, match=r"join_targets: blocks must be of the same features"):
        join_targets([block, block.isel(feature=[0])])
    with pytest.raises(ValueError, match=r"join_targets: blocks must be at least one"):
        join_targets([])
    with pytest.raises(Refused, match=r"targets that are finite and vary"):
        permutation_scores(SPACES, brain().select_targets([2], "constant"), FEW)
    with pytest.raises(ValueError, match=r"permutations must be at least 1"):
        PermutationSettings(permutations=0)
