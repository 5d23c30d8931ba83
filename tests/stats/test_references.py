"""The same numbers as other libraries: statsmodels, and recorded ones of neuromaps and brainsmash."""

import json

import numpy as np
import pytest

from gradkern.stats import fdr, spin_maps, variogram_maps
from tests.stats.reference_nulls import PARCELS, PATH, ROTATIONS, SURROGATES, described, parcels, smooth_map

pytestmark = pytest.mark.usefixtures("one_thread")
RECORDED = json.loads(PATH.read_text())


@pytest.mark.parametrize(("method", "theirs"), [("bh", "fdr_bh"), ("by", "fdr_by")])
@pytest.mark.parametrize("kind", ["mixed", "noise", "ties", "one"])
def test_false_discovery_rates_are_those_of_statsmodels(method, theirs, kind):
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    random = np.random.default_rng(0)
    p = {
        "mixed": np.r_[random.random(200), random.random(40) / 1000],
        "noise": random.random(300),
        "ties": random.integers(1, 21, 150) / 20,
        "one": np.array([0.03]),
    }[kind]
    for q in (0.01, 0.05, 0.2):
        rejected, adjusted, *_ = multitest.multipletests(p, q, theirs)
        found = fdr(p, q, method=method)
        np.testing.assert_allclose(found.adjusted, adjusted, rtol=1e-12)
        np.testing.assert_array_equal(found.rejected, rejected)


@pytest.mark.parametrize(("assignment", "theirs"), [("one-to-one", "hungarian"), ("nearest", "original")])
def test_spins_are_those_of_neuromaps(assignment, theirs):
    points, sides = parcels()
    names = np.where(sides, "right", "left")
    numbers = np.arange(2.0 * PARCELS)
    spun = spin_maps(numbers, points, names, assignment=assignment, permutations=ROTATIONS, seed=0)
    np.testing.assert_array_equal(spun.values, RECORDED[theirs])


def test_surrogates_have_the_variogram_and_the_correlations_of_brainsmash():
    """Of a map whose noise is large enough: brainsmash adds noise where it would have to be taken away."""
    _, distances, values = smooth_map()
    ours = described(variogram_maps(values, distances, permutations=SURROGATES, seed=0).values)
    theirs = RECORDED["brainsmash"]
    np.testing.assert_allclose(ours["variogram"], theirs["variogram"], rtol=0.05)
    np.testing.assert_allclose(ours["spread"], theirs["spread"], rtol=0.2)
