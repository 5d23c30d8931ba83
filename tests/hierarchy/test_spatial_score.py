"""The spatial score: every variant is what it says, finds what is planted, and counts what it leaves out."""

import tracemalloc
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from gradkern.hierarchy import (
    PREFERENCES,
    HierarchyScores,
    Preference,
    SpatialVariant,
    euclidean_hierarchy,
    every_spatial_score,
    geodesic_hierarchy,
    rank_hierarchy,
    spatial_score,
)
from gradkern.recordings import HCP_ORDER, load_cortex
from gradkern.stats import Scores, ScoreStream, correlation, resample_images, resampled_scores

LAYERS = 6
POINTS, SUBJECTS, CORRELATIONS = SpatialVariant.POINTS, SpatialVariant.SUBJECTS, SpatialVariant.CORRELATIONS
DEPTH = np.linspace(0, 1, LAYERS)


def subject(seed: int, v: int = 60, noise: float = 0.02, order: float = 1.0, bootstraps: int = 100) -> HierarchyScores:
    """Targets in 6 regions along an axis of 60 mm that prefer deeper layers further on, with noisy scores."""
    random = np.random.default_rng(seed)
    axis = np.linspace(0, 60, v)
    wanted = 0.5 + order * (axis / 60 - 0.5)
    truth = 0.3 * np.exp(-((DEPTH[:, None] - wanted) ** 2) / 0.08)
    r = truth + noise * random.standard_normal(truth.shape)
    resampled = r + noise * random.standard_normal((bootstraps, *r.shape))
    regions = np.array([f"area {int(place)}" for place in np.arange(v) * 6 // v])
    return HierarchyScores(Scores(r, resampled, 100), axis, regions)


def of(mapped: HierarchyScores | list[HierarchyScores], *choice: Any, **named: Any) -> Any:
    return spatial_score(mapped if isinstance(mapped, list) else [mapped], DEPTH, SpatialVariant(*choice, **named))


@pytest.mark.parametrize("variant", list(product(POINTS, SUBJECTS, PREFERENCES, CORRELATIONS)))
def test_every_variant_finds_the_planted_order_and_names_itself(variant: tuple[str, ...]) -> None:
    points, subjects, by, correlation = variant
    chosen = SpatialVariant(points, subjects, Preference(by), correlation)
    found = spatial_score([subject(seed) for seed in range(3)], DEPTH, chosen)
    assert found.value > 0.8
    assert not found.over_images.contains_zero
    assert found.over_both.low <= found.value <= found.over_both.high <= 1
    for word in (points, subjects, by, correlation):
        assert word in found.variant
    one = 60 if points == "targets" else 6
    assert found.points == {"mean-of-subjects": (one,) * 3, "pooled": (3 * one,)}.get(subjects, (one,))
    assert found.images == 100
    backward = spatial_score([subject(seed, order=-1) for seed in range(3)], DEPTH, chosen)
    assert backward.value < -0.8


def test_targets_by_hand() -> None:
    one = subject(0)
    best = DEPTH[one.scores.r.argmax(0)]
    assert of(one).value == pytest.approx(stats.pearsonr(best, one.hierarchy)[0])
    spearman = of(one, correlation="spearman")
    assert spearman.value == pytest.approx(stats.spearmanr(best, one.hierarchy)[0])
    again = [stats.spearmanr(DEPTH[r.argmax(0)], one.hierarchy)[0] for r in one.scores.resampled]
    half = np.quantile(np.abs(np.array(again) - spearman.value), 0.95)
    assert spearman.over_images.low == pytest.approx(spearman.value - half)
    assert spearman.over_images.bias == pytest.approx(np.mean(again) - spearman.value)
    assert spearman.over_both is None


def test_regions_by_hand_in_both_orders() -> None:
    one = subject(1, noise=0.1)
    names = np.unique(one.regions)
    axis = [one.hierarchy[one.regions == name].mean() for name in names]
    scores = np.stack([one.scores.r[:, one.regions == name].mean(1) for name in names], axis=1)
    depths = [DEPTH[one.scores.r.argmax(0)][one.regions == name].mean() for name in names]
    first, averaged = of(one, POINTS[1]), of(one, POINTS[2])
    assert first.value == pytest.approx(np.corrcoef(DEPTH[scores.argmax(0)], axis)[0, 1])
    assert averaged.value == pytest.approx(np.corrcoef(depths, axis)[0, 1])
    assert first.value != averaged.value


def test_subjects_by_hand_in_all_three_ways() -> None:
    subjects = [subject(seed, noise=0.1) for seed in range(4)]
    depths = [DEPTH[one.scores.r.argmax(0)] for one in subjects]
    axis = subjects[0].hierarchy
    each = [np.corrcoef(d, axis)[0, 1] for d in depths]
    mean = of(subjects)
    assert mean.value == pytest.approx(np.mean(each))
    np.testing.assert_allclose(mean.by_subject, each)
    pooled = np.corrcoef(np.concatenate(depths), np.tile(axis, 4))[0, 1]
    assert of(subjects, subjects="pooled").value == pytest.approx(pooled)
    scores = np.mean([one.scores.r for one in subjects], axis=0)
    first = of(subjects, subjects="subjects-first")
    assert first.value == pytest.approx(np.corrcoef(DEPTH[scores.argmax(0)], axis)[0, 1])
    assert first.value > mean.value  # averaging takes noise away, and so moves the number


def test_the_same_data_give_very_different_numbers() -> None:
    """Which is why a score names its variant."""
    scores = every_spatial_score(
        [subject(s, v=120, noise=0.25) for s in range(4)], DEPTH, [Preference(by) for by in PREFERENCES]
    )
    assert len({score.variant for score in scores}) == len(scores) == 3 * 3 * 3 * 2
    values = [score.value for score in scores]
    assert max(values) - min(values) > 0.35


def test_all_variants_are_those_that_the_subjects_allow() -> None:
    preference = [Preference("best layer")]
    one = subject(0)
    assert len(every_spatial_score([one], DEPTH, preference)) == 3 * 2
    assert len(every_spatial_score([replace(one, regions=None)], DEPTH, preference)) == 2
    other = replace(subject(1), hierarchy=np.linspace(0, 50, 60))
    names = [score.variant for score in every_spatial_score([one, other], DEPTH, preference)]
    assert len(names) == (3 * 3 - 1) * 2
    assert not any("targets; subjects-first" in name for name in names)


def test_scaling_the_scores_of_a_target_changes_no_depth() -> None:
    one = subject(2, noise=0.1)
    ceiling = np.random.default_rng(0).uniform(0.2, 1, 60)
    for by in PREFERENCES[:2]:
        raw = of(one, preference=Preference(by))
        over = of(replace(one, scores=one.scores.over_ceiling(ceiling)), preference=Preference(by))
        assert over.value == pytest.approx(raw.value, abs=1e-12)
        assert over.over_images.low == pytest.approx(raw.over_images.low, abs=1e-12)


def test_what_is_left_out_is_counted() -> None:
    one = subject(3)
    r = one.scores.r.copy()
    r[:, 5] = np.nan
    r[:, 7] = -0.1
    axis = one.hierarchy.copy()
    axis[:3] = np.nan
    keep = np.ones(60, dtype=bool)
    keep[50:] = False
    left = HierarchyScores(replace(one.scores, r=r), axis, one.regions, keep, "below the ceiling asked for")
    found = of(left, preference=Preference("centre of mass"))
    assert {each.reason: each.count for each in found.excluded} == {
        "below the ceiling asked for": 10,
        "no place in the hierarchy": 3,
        "no score, or none above 0 at any layer": 2,
    }
    assert found.points == (45,)
    kept = np.setdiff1d(np.arange(3, 50), [5, 7])
    weights = np.maximum(r[:, kept], 0)
    assert found.value == pytest.approx(np.corrcoef(DEPTH @ weights / weights.sum(0), axis[kept])[0, 1])
    r[:, one.regions == "area 0"] = -0.1
    regions = of(replace(left, scores=replace(one.scores, r=r)), POINTS[1], preference=Preference("centre of mass"))
    assert {(each.what, each.count, each.reason) for each in regions.excluded if each.what != "targets"} == {
        ("points", 1, "no score above 0 at any layer after averaging: 'area 0'"),
        ("regions", 1, "no target kept (below the ceiling asked for): 'area 5'"),
    }
    assert regions.points == (4,)


def without(one: HierarchyScores, value: float, *regions: str) -> HierarchyScores:
    """Scores of all targets in these regions are `value` at every layer."""
    here = np.isin(one.regions, regions)
    r, resampled = np.where(here, value, one.scores.r), np.where(here, value, one.scores.resampled)
    return replace(one, scores=replace(one.scores, r=r, resampled=resampled))


class TestRegions:
    """None disappears without a word: who wants a correlation without it has to say so."""

    @pytest.mark.parametrize("subjects", SUBJECTS)
    @pytest.mark.parametrize("points", POINTS[1:])
    def test_one_without_a_score_is_an_error_that_names_it(self, points: str, subjects: str) -> None:
        one = without(subject(3), np.nan, "area 2", "area 4")
        names = r"'area 2' \(10 without a score\), 'area 4' \(10 without a score\)"
        message = f"spatial_score: regions must keep at least one target, got none left of {names}"
        with pytest.raises(ValueError, match=message):
            of(one, points, subjects)
        with pytest.raises(ValueError, match="regions of subject 1 must keep at least one target, got none left of"):
            of([subject(3), one], points, subjects)
        assert of(one).points == (40,)

    def test_one_partly_without_a_place_or_kept_is_an_error_that_says_why(self) -> None:
        one = without(subject(3), np.nan, "area 2")
        axis, at = np.where(np.arange(60) == 20, np.nan, one.hierarchy), np.arange(60)
        message = r"of 'area 2' \(6 without a score, 1 without a place, 3 not kept\)"
        with pytest.raises(ValueError, match=message):
            of(replace(one, hierarchy=axis, keep=(at < 27) | (at > 29)), POINTS[1])

    def test_one_of_which_no_layer_is_above_0_has_no_depth_to_average(self) -> None:
        one, mass = without(subject(3), -0.1, "area 2"), Preference("centre of mass")
        with pytest.raises(ValueError, match=r"of 'area 2' \(10 without a score above 0 at any layer\)"):
            of(one, POINTS[2], preference=mass)

    @pytest.mark.parametrize("points", POINTS[1:])
    def test_one_that_the_user_took_out_is_named(self, points: str) -> None:
        one = without(subject(3), np.nan, "area 2")
        kept = replace(one, keep=one.regions != "area 2", why="odd")
        found = of(kept, points)
        assert found.points == (5,)
        assert [(each.what, each.count, each.reason) for each in found.excluded] == [
            ("targets", 10, "odd"),
            ("regions", 1, "no target kept (odd): 'area 2'"),
        ]
        ranks = rank_hierarchy(["area 0", "area 1", "area 3", "area 4"], one.regions)
        found = of(replace(one, hierarchy=ranks), points)  # a region without a place needs no score
        assert found.points == (4,)
        assert [(each.what, each.count, each.reason) for each in found.excluded] == [
            ("targets", 20, "no place in the hierarchy"),
            ("regions", 2, "no target has a place in the hierarchy: 'area 2', 'area 5'"),
        ]

    def test_of_identified_layers_those_of_one_without_a_score_are_still_missing(self) -> None:
        flat = without(subject(3), 0.1, "area 1").identified()
        found = of(flat, POINTS[1])
        assert "no target kept (best layer not identified): 'area 1'" in {each.reason for each in found.excluded}
        unscored = without(subject(3), np.nan, "area 2").identified()
        with pytest.raises(ValueError, match=r"none left of 'area 2' \(10 without a score\)"):
            of(unscored, POINTS[1])
        assert {each.reason for each in of(unscored).excluded} >= {"no score, or none above 0 at any layer"}

    @pytest.mark.parametrize("outside", ["", None, np.nan])
    def test_targets_outside_all_are_in_no_mean(self, outside: Any) -> None:
        one = subject(3)
        regions = [outside if name == "area 5" else name for name in one.regions]
        found = of(replace(one, regions=regions), POINTS[1])
        assert found.points == (5,)
        assert [(each.what, each.count, each.reason) for each in found.excluded] == [("targets", 10, "in no region")]
        assert found.value == of(replace(one, keep=one.regions != "area 5"), POINTS[1]).value

    @pytest.mark.parametrize("points", POINTS[1:])
    def test_streamed_ones_are_checked_over_all_blocks(self, points: str) -> None:
        _, stream = streamed(0, max_memory=8 * 4 * LAYERS * 91 * 7)
        regions = np.array(["alone" if i == 11 else "others" if i < 40 else f"area {i // 5}" for i in range(60)])
        with pytest.raises(ValueError, match=r"none left of 'alone' \(1 without a score\)"):
            of(replace(stream, regions=regions), points)
        regions[11:15] = "alone"
        assert of(replace(stream, regions=regions), points).points == (6,)


def test_targets_without_an_identified_layer_can_be_left_out() -> None:
    one = subject(4, noise=0.05)
    found = of(one.identified())
    (left,) = found.excluded
    assert left.reason == "best layer not identified"
    assert 0 < left.count == 60 - found.points[0]
    both = replace(one, keep=np.arange(60) > 9, why="V1").identified()
    assert "V1, or best layer not identified" in {each.reason for each in of(both).excluded}


def test_an_interval_over_images_holds_what_other_images_give() -> None:
    """200 experiments without order: 0 lies in the interval of a correlation of 6 regions in 90 % (of 600; see
    `half_width`), and binomial limits about it."""
    inside = 0
    for seed in range(200):
        one = subject(seed, order=0, noise=0.05)
        inside += of(one, POINTS[1], preference=Preference("centre of mass")).over_images.contains_zero
    assert 0.86 * 200 <= inside <= 0.95 * 200


def test_an_interval_over_subjects_is_the_wider() -> None:
    """Subjects who differ: what holds of these images need not hold of other people."""
    subjects = [subject(seed, order=order) for seed, order in enumerate((1, 0.6, -0.8))]
    found = of(subjects, preference=Preference("centre of mass"))
    assert not found.over_images.contains_zero
    assert found.over_both.contains_zero
    assert found.over_both.freedom == 2
    assert "3 subjects" in found.over_both.over


def test_correlations_are_those_of_scipy_and_do_not_invent_any() -> None:
    random = np.random.default_rng(0)
    x, y = random.integers(0, 5, 40).astype(float), random.standard_normal(40)
    assert correlation(x, y) == pytest.approx(stats.pearsonr(x, y)[0])
    assert correlation(x, y, "spearman") == pytest.approx(stats.spearmanr(x, y)[0])
    assert np.isnan(correlation(x[:2], y[:2]))
    assert np.isnan(correlation(np.full(40, 0.1), y))
    x[3] = np.nan
    assert correlation(x, y) == pytest.approx(stats.pearsonr(np.delete(x, 3), np.delete(y, 3))[0])


def test_axes() -> None:
    np.testing.assert_array_equal(rank_hierarchy(["V1", "V2", "V4"], ["V4", "V1", "MT"]), [2, 0, np.nan])
    np.testing.assert_array_equal(rank_hierarchy(["nan", "V2", "None"], ["V2", np.nan, None]), [1, np.nan, np.nan])
    np.testing.assert_array_equal(rank_hierarchy(["V1"], [None]), [np.nan])
    assert rank_hierarchy(["V1"], []).shape == (0,)
    points: NDArray[Any] = np.array([[0, 0, 0], [2, 0, 0], [1, 4, 0], [9, 0, 0], [9, 0, 5]], dtype=float)
    origin = np.array([True, True, False, True, False])
    sides = ["left", "left", "left", "right", "right"]
    np.testing.assert_allclose(euclidean_hierarchy(points, origin, sides), [1, 1, 4, 0, 5])


def grid(rows: int, columns: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """A flat sheet of squares of 1, each cut from its first corner to the opposite one."""
    points = np.array([[x, y, 0] for y in range(rows) for x in range(columns)], dtype=float)
    at = np.arange(rows * columns).reshape(rows, columns)
    first, right, below, opposite = (each.ravel() for each in (at[:-1, :-1], at[:-1, 1:], at[1:, :-1], at[1:, 1:]))
    triangles = np.concatenate([np.stack([first, right, opposite], 1), np.stack([first, below, opposite], 1)])
    return points, triangles


class TestGeodesic:
    def test_ways_on_a_sheet_are_those_by_hand(self) -> None:
        """Steps along the cut go right and down at once; against it there is no short cut."""
        points, triangles = grid(5, 7)
        for corner, (x, y) in ((0, (0, 0)), (6, (6, 0)), (16, (2, 2))):
            dx, dy = points[:, 0] - x, points[:, 1] - y
            both = np.where(dx * dy > 0, np.minimum(abs(dx), abs(dy)), 0)
            expected = abs(dx) + abs(dy) - both * (2 - np.sqrt(2))
            np.testing.assert_allclose(geodesic_hierarchy(points, triangles, np.arange(35) == corner), expected)

    def test_the_nearest_vertex_counts_and_ways_follow_the_fold(self) -> None:
        points, triangles = grid(4, 9)
        sides = np.isin(points[:, 0], [0, 8])
        mirror_hemispheres = points.copy()
        mirror_hemispheres[:, 0], mirror_hemispheres[:, 2] = (
            np.minimum(points[:, 0], 4),
            np.maximum(points[:, 0] - 4, 0),
        )
        expected = np.minimum(points[:, 0], 8 - points[:, 0])
        for each in (points, mirror_hemispheres):
            np.testing.assert_allclose(geodesic_hierarchy(each, triangles, sides), expected)

    def test_a_vertex_that_no_way_leads_to_has_no_place(self) -> None:
        points, triangles = grid(3, 3)
        other = triangles + 9
        both, alone = np.concatenate([points, points + 20, points[:1]]), np.arange(19) == 4
        found = geodesic_hierarchy(both, np.concatenate([triangles, other]), alone)
        np.testing.assert_array_equal(np.isnan(found), np.arange(19) > 8)
        assert found[4] == 0
        np.testing.assert_array_equal(
            np.isnan(geodesic_hierarchy(points, triangles[:0], np.arange(9) < 2)), np.arange(9) > 1
        )

    def test_vertices_at_one_point_are_no_distance_apart(self) -> None:
        points, triangles = grid(3, 3)
        points[1] = points[0]
        assert geodesic_hierarchy(points, triangles, np.arange(9) == 0)[1] == 0


def test_the_order_of_hcp_mmp1_is_that_of_the_surface() -> None:
    cortex = load_cortex()
    median = cortex[cortex["roi"].isin(HCP_ORDER)].groupby("roi")["distance"].median().sort_values()
    assert tuple(median.index) == HCP_ORDER
    assert HCP_ORDER[0] == "V1"
    assert len(HCP_ORDER) == 35
    np.testing.assert_array_equal(rank_hierarchy(HCP_ORDER, ["V2", "V1", "A1"]), [1, 0, np.nan])


def streamed(
    seed: int, v: int = 60, n: int = 50, bootstraps: int = 40, max_memory: int = 2**28
) -> tuple[HierarchyScores, HierarchyScores]:
    """The same scores kept and streamed; of one target without a score, in folds, with places and regions."""
    random = np.random.default_rng(seed)
    signal = random.standard_normal((LAYERS, n, v))
    wanted = np.linspace(0, 1, v)
    mixed = np.exp(-((DEPTH[:, None] - wanted) ** 2) / 0.05)
    responses = np.einsum("lnv,lv->nv", signal, mixed) + random.standard_normal((n, v))
    responses[:, 11] = 3
    resampling = resample_images(np.arange(n), bootstraps, 0)
    axis = np.where(np.arange(v) == 3, np.nan, 60 * wanted)
    regions = [f"area {i}" for i in np.arange(v) * 6 // v]
    stream = ScoreStream(signal.astype(np.float32), responses, resampling, np.arange(n) % 2, max_memory)
    kept = resampled_scores(stream.predictions, responses, resampling, stream.folds)
    return tuple(HierarchyScores(scores, axis, regions, np.arange(v) != 5, "odd") for scores in (kept, stream))


@pytest.mark.parametrize("variant", list(product(POINTS, SUBJECTS, PREFERENCES)))
def test_streamed_scores_give_what_kept_ones_give(variant: tuple[str, ...]) -> None:
    points, subjects, by = variant
    chosen = SpatialVariant(points, subjects, Preference(by))
    kept, streams = zip(*(streamed(seed, max_memory=8 * 4 * LAYERS * 91 * 7) for seed in range(2)), strict=True)
    whole = spatial_score(kept, DEPTH, chosen)
    assert [columns.stop - columns.start for columns, _ in streams[0].scores.blocks()] == [7] * 8 + [4]
    for given in (streams, kept):
        found = spatial_score(given, DEPTH, chosen)
        assert found.value == pytest.approx(whole.value, abs=1e-12)
        assert found.over_both.low == pytest.approx(whole.over_both.low, abs=1e-12)
        assert found.over_images.bias == pytest.approx(whole.over_images.bias, abs=1e-12)
        assert (found.points, found.excluded) == (whole.points, whole.excluded)
    np.testing.assert_allclose(streams[0].scores.r, kept[0].scores.r, atol=1e-12)
    np.testing.assert_array_equal(streams[0].identified().keep, kept[0].identified().keep)


@pytest.mark.parametrize("points", POINTS)
def test_streamed_scores_are_never_held_as_a_whole(points: str) -> None:
    _, stream = streamed(0, v=2000, bootstraps=200, max_memory=2**21)
    b, layers, v = stream.scores.shape
    tracemalloc.start()
    of(stream, points)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # 4 times the depths at most: their parts, these side by side, of points, and a block
    assert peak < 4 * 8 * b * v + 2**23 < 8 * b * layers * v + 2**23


def test_all_variants_of_streamed_scores() -> None:
    kept, stream = streamed(0)
    preference = [Preference("best layer")]
    names = [[each.variant for each in every_spatial_score([one, one], DEPTH, preference)] for one in (kept, stream)]
    assert names[0] == names[1]
    assert len(names[0]) == 18


ONE = subject(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: HierarchyScores(ONE.scores, np.zeros(59)), r"hierarchy must be \[60\], one per target, got \[59\]"),
        (lambda: replace(ONE, keep=np.ones(60)), r"keep must be bool \[60\], got float64"),
        (lambda: replace(ONE, scores=replace(ONE.scores, kind="jackknife")), "by a bootstrap, got a jackknife"),
        (lambda: SpatialVariant("voxels"), "points must be one of .* got 'voxels'"),
        (lambda: SpatialVariant(correlation="Kendall"), "correlation must be one of .* got 'Kendall'"),
        (lambda: of([]), "subjects must be at least one, got none"),
        (lambda: of(replace(ONE, regions=None), POINTS[1]), "regions must be given for 'region-scores'"),
        (lambda: of([ONE, subject(1, bootstraps=50)]), "the same resamplings, layers and images"),
        (lambda: of(replace(ONE, hierarchy=np.ones(60))), "at least 3 points whose place and preferred depth vary"),
        (lambda: of(replace(ONE, keep=np.arange(60) < 2)), r"vary, got \(2,\) points"),
        (lambda: spatial_score([ONE], DEPTH[:4]), "depth must be 6 finite numbers"),
        (lambda: of([ONE, subject(1, v=50)], subjects=SUBJECTS[2]), "the same points to be averaged first"),
        (
            lambda: of([ONE, replace(subject(1), hierarchy=np.linspace(0, 9, 60))], subjects=SUBJECTS[2]),
            "the same points to be averaged first",
        ),
        (lambda: rank_hierarchy(["V1", "V1"], ["V1"]), "order must name a region once"),
        (lambda: euclidean_hierarchy(np.zeros((3, 3)), np.zeros(3), ["left"] * 3), r"origin bool \[v\]"),
        (
            lambda: euclidean_hierarchy(np.zeros((2, 3)), np.array([True, False]), ["a", "b"]),
            "hemispheres must be 'left' or 'right', got 'a'",
        ),
        (lambda: geodesic_hierarchy(*grid(2, 2), np.zeros(4)), r"origin bool \[v\], got \[4, 3\] and float64 \[4\]"),
        (lambda: geodesic_hierarchy(*grid(2, 2), np.zeros(5, bool)), r"got \[4, 3\] and bool \[5\]"),
        (lambda: geodesic_hierarchy(*grid(2, 2), np.zeros(4, bool)), "origin must hold a vertex, got none"),
        (
            lambda: geodesic_hierarchy(np.full((4, 3), np.nan), grid(2, 2)[1], np.ones(4, bool)),
            "finite, got 12 that are",
        ),
        (
            lambda: geodesic_hierarchy(grid(2, 2)[0], np.zeros((2, 3)), np.ones(4, bool)),
            r"triangles .* got float64 \[2, 3\]",
        ),
        (lambda: geodesic_hierarchy(grid(2, 2)[0], [[0, 1, 4]], np.ones(4, bool)), r"\[f, 3\] in 0..3, got 0..4"),
    ],
)
def test_what_cannot_be_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
