"""Refusals are what data cannot carry; a programming error surfaces as what it is, and never as a refusal."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradkern import hierarchy, stats
from gradkern.errors import Refused
from tests.programming_errors import inner_calls, plant

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((40, 4)), RNG.standard_normal((40, 3))
VALUES = RNG.standard_normal((6, 3))
POINTS = RNG.standard_normal((30, 3))
POINTS /= np.linalg.norm(POINTS, axis=1, keepdims=True)
DISTANCES = np.linalg.norm(POINTS[:, None] - POINTS, axis=2)
LINE = np.eye(4, k=1) + np.eye(4, k=-1)
MAPS = RNG.standard_normal((5, 4, 6)) + 1
DEPTH, TIMES = np.linspace(0, 1, 4), np.linspace(0, 0.4, 25)
PREDICTIONS = RNG.standard_normal((3, 40, 3))
SCORES = stats.Scores(RNG.random((4, 30)), RNG.random((20, 4, 30)), 60)
ONE_LAYER = stats.Scores(RNG.random((1, 5)), RNG.random((20, 1, 5)), 60)


def curves(seed: int) -> stats.Scores:
    random = np.random.default_rng(seed)
    r = 0.3 * np.exp(-((TIMES - 0.15 - 0.1 * DEPTH[:, None]) ** 2) / 0.004) + 0.002 * random.standard_normal((4, 25))
    return stats.Scores(r, r + 0.002 * random.standard_normal((20, 4, 25)), 60)


COURSES = [
    hierarchy.TimeCourses(curves(seed), curves(9 + seed), TIMES, tuple("abcd"), DEPTH, f"s{seed}") for seed in range(2)
]
SPACE = [hierarchy.HierarchyScores(SCORES, np.arange(30.0))]
MAP = hierarchy.SubjectMap("s", POINTS, np.arange(30.0), SCORES.r, np.eye(4))
MEASURE = hierarchy.Measure(lambda r: r.argmax(0) + r.max(0), hierarchy.predictability)
NULL = stats.NullMaps(RNG.standard_normal((9, 30)), "noise")
CROSSED = stats.cross(lambda chosen, i: VALUES[chosen].mean() + i / 100, 6, 20)
V1 = np.arange(30) < 3

CALLS: dict[str, dict[str, Callable[[], Any]]] = {
    "stats": {
        "cluster_test": lambda: stats.cluster_test(MAPS[0], MAPS[1:], LINE, threshold=1.0),
        "combine": lambda: stats.combine([0.1, 0.2]),
        "concatenate_targets": lambda: stats.concatenate_targets([SCORES, SCORES]),
        "correlation": lambda: stats.correlation(X[:, 0], X[:, 1]),
        "cross": lambda: stats.cross(lambda chosen, i: VALUES[chosen].mean(), 6, 5),
        "crossed_interval": lambda: stats.crossed_interval(0.1, CROSSED, 6, "x"),
        "draw_permutations": lambda: stats.draw_permutations(40, 9, groups=np.arange(40) // 2, within=np.ones(40)),
        "fdr": lambda: stats.fdr([0.01, 0.2]),
        "group_cluster_test": lambda: stats.group_cluster_test(MAPS, LINE),
        "half_width": lambda: stats.half_width(0.1, [0.1, 0.2]),
        "interval": lambda: stats.interval(0.1, [0.1, 0.2], "x"),
        "interval_p": lambda: stats.interval_p(0.1, stats.interval(0.1, [0.1, 0.2], "x"), [0.1, 0.2]),
        "layer_scores": lambda: stats.layer_scores([X], Y, stats.resample_images(np.arange(40), 3), stats_cv()),
        "leave_out_images": lambda: stats.leave_out_images(np.arange(12)),
        "leave_one_out": lambda: stats.leave_one_out(VALUES[:, 0]),
        "map_correlation": lambda: stats.map_correlation(POINTS[:, 0], POINTS[:, 1], NULL),
        "over_subjects": lambda: stats.over_subjects([0.1, 0.2]),
        "paired_test": lambda: stats.paired_test([ONE_LAYER] * 2, [ONE_LAYER] * 2, 5),
        "parcel_centers": lambda: stats.parcel_centers(POINTS, V1),
        "permutation_test": lambda: stats.permutation_test(X, Y, permutations=3, target_groups={"all": [0, 1]}),
        "permutation_test_held_out": lambda: stats.permutation_test_held_out(Y, Y + 1, permutations=3),
        "prevalence": lambda: stats.prevalence(3, 8),
        "random_rotations": lambda: stats.random_rotations(3),
        "resample_images": lambda: stats.resample_images(np.arange(12), 3),
        "resampled_scores": lambda: stats.resampled_scores(
            PREDICTIONS, Y, stats.resample_images(np.arange(40), 3), np.arange(40) % 2
        ),
        "score_blocks": lambda: list(stats.score_blocks(PREDICTIONS, Y, stats.resample_images(np.arange(40), 3))),
        "sensor_adjacency": lambda: None,  # is mne's own
        "sign_flip": lambda: stats.sign_flip(VALUES),
        "smooth_map_test": lambda: stats.smooth_map_test(POINTS[:, 0], POINTS[:, 1], DISTANCES, permutations=3),
        "spin_maps": lambda: stats.spin_maps(POINTS[:, 0], POINTS, ["left"] * 30, permutations=3),
        "stack_layers": lambda: stats.stack_layers([ONE_LAYER, ONE_LAYER]),
        "variogram": lambda: stats.variogram(POINTS.T, stats.variogram_pairs(DISTANCES, np.random.default_rng(0))),
        "variogram_maps": lambda: stats.variogram_maps(POINTS[:, 0], DISTANCES, permutations=3),
        "variogram_pairs": lambda: stats.variogram_pairs(DISTANCES, np.random.default_rng(0)),
        "weighted_correlation": lambda: stats.weighted_correlation(X, X, np.ones((2, 40))),
        "wilcoxon": lambda: stats.wilcoxon(VALUES[:, 0]),
    },
    "hierarchy": {
        "area_latency": lambda: hierarchy.area_latency(curves(0).r, TIMES),
        "average_maps": lambda: hierarchy.average_maps([MAP, MAP]),
        "best_layers": lambda: hierarchy.best_layers(SCORES),
        "center_latency": lambda: hierarchy.center_latency(curves(0).r, TIMES),
        "corrected_f": lambda: hierarchy.corrected_f(3.0, 5),
        "euclidean_hierarchy": lambda: hierarchy.euclidean_hierarchy(POINTS, V1, ["left"] * 30),
        "every_spatial_score": lambda: hierarchy.every_spatial_score(SPACE, DEPTH, [hierarchy.Preference()]),
        "flat_curves": lambda: hierarchy.flat_curves(curves(0).r),
        "geodesic_hierarchy": lambda: hierarchy.geodesic_hierarchy(POINTS, [[0, 1, 2], [2, 3, 4]], V1),
        "jackknife": lambda: hierarchy.jackknife(RNG.random((4, 25)), lambda mean: hierarchy.peak_latency(mean, TIMES)),
        "jackknife_error": lambda: hierarchy.jackknife_error(VALUES),
        "lag_test": lambda: hierarchy.lag_test(COURSES),
        "layer_permutation_test": lambda: hierarchy.layer_permutation_test(
            lambda depth: hierarchy.slope([1, 2, 3, 5], depth), DEPTH
        ),
        "layer_time_courses": lambda: hierarchy.layer_time_courses(
            [X], RNG.random((40, 2)), (["a", "a"], [0, 1]), stats.resample_images(np.arange(40), 3), stats_cv()
        ),
        "mirror_hemispheres": lambda: hierarchy.mirror_hemispheres(POINTS, ["right"] * 30),
        "onset_latency": lambda: hierarchy.onset_latency(curves(0).r, TIMES),
        "peak_latency": lambda: hierarchy.peak_latency(curves(0).r, TIMES),
        "plateau_latency": lambda: hierarchy.plateau_latency(curves(0).r, TIMES),
        "predictability": lambda: hierarchy.predictability(MAP),
        "predicted_targets": lambda: hierarchy.predicted_targets(SCORES.r, 60),
        "preferred_depth": lambda: hierarchy.preferred_depth(SCORES, DEPTH),
        "quiet_curves": lambda: hierarchy.quiet_curves(curves(0).r, curves(0).resampled),
        "rank_hierarchy": lambda: hierarchy.rank_hierarchy(["V1", "V2"], ["V1", "V2", "V1"]),
        "slope": lambda: hierarchy.slope([1, 2, 3, 5], DEPTH),
        "spatial_score": lambda: hierarchy.spatial_score(SPACE * 2, DEPTH),
        "temporal_order_test": lambda: hierarchy.temporal_order_test(COURSES),
        "temporal_score": lambda: hierarchy.temporal_score(curves(0), TIMES, DEPTH),
        "time_courses": lambda: hierarchy.time_courses(ONE_LAYER, ["a"] * 5, range(5)),
        "variogram_null_test": lambda: hierarchy.variogram_null_test([MAP], MEASURE, max_locations=25, permutations=3),
    },
}


def stats_cv() -> Any:
    from gradkern.ridge import CrossValidation

    return CrossValidation(folds=2)


@pytest.mark.parametrize("package", CALLS)
def test_every_public_statistic_is_in_the_table(package: str) -> None:
    module = getattr(__import__("gradkern", fromlist=[package]), package)
    functions = {name for name in dir(module) if callable(getattr(module, name)) and not name.startswith("__")}
    assert set(CALLS[package]) == {name for name in functions if not isinstance(getattr(module, name), type)}


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("package", "name"), [(package, name) for package in CALLS for name in CALLS[package]])
def test_a_planted_error_keeps_its_type(package: str, name: str) -> None:
    """In the first inner function, in some between, and in the last."""
    call = CALLS[package][name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call()  # imports happen now
        count = inner_calls(call)
        kinds = (ValueError, TypeError, IndexError)
        for i, number in enumerate(sorted({*np.linspace(1, count, 9).astype(int).tolist()} if count else ())):
            error = kinds[i % 3]("operands could not be broadcast together")
            with pytest.raises(type(error)) as raised:
                plant(call, error, number)
            assert raised.value is error
            assert not isinstance(raised.value, Refused)
            assert str(error).endswith("operands could not be broadcast together")


REFUSED: dict[str, Callable[[], Any]] = {
    "one subject": lambda: stats.over_subjects([0.1]),
    "one crossed subject": lambda: stats.crossed_interval(0.1, CROSSED, 1, "x"),
    "one subject's p": lambda: stats.combine([0.1]),
    "one subject's sign": lambda: stats.sign_flip([[0.1, 0.2]]),
    "one subject's map": lambda: stats.group_cluster_test(MAPS[:1], LINE),
    "zeros": lambda: stats.wilcoxon([0.0, 0.0]),
    "level below the smallest p": lambda: stats.wilcoxon(VALUES[:4, 0]).significant(0.01),
    "no p": lambda: stats.fdr([np.nan]),
    "few images": lambda: stats.resample_images(np.arange(9), 5),
    "few images in a fold": lambda: stats.resampled_scores(
        PREDICTIONS, Y, stats.resample_images(np.arange(40), 3), np.arange(40) // 9
    ),
    "few permutations": lambda: stats.permutation_test(X, Y, within=np.r_[0, 0, 0, np.arange(37)]),
    "constant responses": lambda: stats.permutation_test(X, Y * 0, permutations=3),
    "constant map": lambda: stats.spin_maps(np.ones(30), POINTS, ["left"] * 30),
    "constant null map": lambda: stats.map_correlation(POINTS[:, 0], POINTS[:, 1], stats.NullMaps(NULL.values * 0, "")),
    "few places": lambda: stats.variogram_maps(POINTS[:19, 0], DISTANCES[:19, :19]),
    "few places of a smooth map": lambda: stats.smooth_map_test(POINTS[:19, 0], POINTS[:19, 1], DISTANCES[:19, :19]),
    "a map that covariates describe": lambda: stats.smooth_map_test(
        POINTS[:, 0], POINTS[:, 1], DISTANCES, covariates=2 * POINTS[:, :1].T + 1
    ),
    "the other map that covariates describe": lambda: stats.smooth_map_test(
        POINTS[:, 0], POINTS[:, 1], DISTANCES, covariates=POINTS.T[1:]
    ),
    "one subject left out": lambda: stats.leave_one_out([0.1]),
    "few places of a subject": lambda: hierarchy.variogram_null_test(
        [hierarchy.SubjectMap("s", POINTS, np.full(30, np.nan), SCORES.r, np.eye(4))], MEASURE, max_locations=25
    ),
    "one layer": lambda: hierarchy.best_layers(ONE_LAYER),
    "two layers": lambda: hierarchy.layer_permutation_test(lambda depth: 0.0, [0, 1]),
    "layers of one depth": lambda: hierarchy.preferred_depth(SCORES, np.ones(4)),
    "no latency": lambda: hierarchy.temporal_score(quiet(), TIMES, DEPTH),
    "no two latencies": lambda: hierarchy.lag_test([silent(COURSES[0])]),
    "no order in time": lambda: hierarchy.temporal_order_test([silent(COURSES[0])]),
    "window without samples": lambda: hierarchy.Latency(window=(1, 2)).of(curves(0).r, TIMES),
    "sensor without a time": lambda: hierarchy.time_courses(ONE_LAYER, list("aabbb"), [0, 1, 0, 1, 2]),
    "two units": lambda: hierarchy.jackknife(RNG.random((2, 25)), np.mean),
    "hemisphere without V1": lambda: hierarchy.euclidean_hierarchy(POINTS, V1, ["left"] * 15 + ["right"] * 15),
    "no V1": lambda: hierarchy.geodesic_hierarchy(POINTS, [[0, 1, 2]], V1 & False),
    "hierarchy that does not vary": lambda: hierarchy.spatial_score(
        [hierarchy.HierarchyScores(SCORES, np.ones(30))], DEPTH
    ),
    "region without a score": lambda: hierarchy.spatial_score(
        [hierarchy.HierarchyScores(without_score(), np.arange(30.0), ["V1"] * 10 + ["V2"] * 20)],
        DEPTH,
        hierarchy.SpatialVariant("region-scores"),
    ),
}


def quiet() -> stats.Scores:
    return stats.Scores(np.zeros((4, 25)), np.zeros((3, 4, 25)), 60)


def silent(course: hierarchy.TimeCourses) -> hierarchy.TimeCourses:
    return hierarchy.TimeCourses(quiet(), quiet(), TIMES, course.layers, DEPTH, "s")


def without_score() -> stats.Scores:
    r = SCORES.r.copy()
    r[:, :10] = np.nan
    return stats.Scores(r, SCORES.resampled, 60)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("case", REFUSED)
def test_what_data_cannot_carry_is_refused(case: str) -> None:
    with pytest.raises(Refused):
        REFUSED[case]()


def test_too_few_latencies_are_a_refusal() -> None:
    assert issubclass(hierarchy.TooFewLatencies, Refused)


WRONG: dict[str, Callable[[], Any]] = {
    "no permutations": lambda: stats.permutation_test(X, Y, permutations=0),
    "NaN": lambda: stats.permutation_test(X, np.where(Y > 2, np.nan, Y * 3), permutations=3),
    "unknown alternative": lambda: stats.sign_flip(VALUES, alternative="both"),
    "confidence in percent": lambda: stats.over_subjects([0.1, 0.2], confidence=95),
    "shapes": lambda: stats.Scores(np.zeros((3, 2)), np.zeros((3, 2)), 10),
    "other lengths": lambda: stats.map_correlation(POINTS[:, 0], POINTS[:9, 1], NULL),
    "a word that is no variant": lambda: hierarchy.SpatialVariant(subjects="subjects averaged first"),
    "no subject": lambda: hierarchy.temporal_order_test([]),
    "depths of other layers": lambda: hierarchy.preferred_depth(SCORES, [0, 1]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_no_refusal(case: str) -> None:
    with pytest.raises(ValueError, match=": ") as raised:
        WRONG[case]()
    assert type(raised.value) is ValueError
