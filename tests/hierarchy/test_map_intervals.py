"""Intervals of spatial scores over maps: they hold that smooth maps have a slope by chance."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from gradkern.hierarchy import HierarchyScores, Preference, SpatialVariant, every_spatial_score, spatial_score
from gradkern.stats import Scores

DEPTH = np.linspace(0, 1, 6)
pytestmark = pytest.mark.usefixtures("one_thread")


def of(mapped: HierarchyScores | list[HierarchyScores], **choice: Any) -> Any:
    return spatial_score(mapped if isinstance(mapped, list) else [mapped], DEPTH, SpatialVariant(**choice))


def smooth_subject(seed: int, order: float, v: int = 100) -> HierarchyScores:
    """Targets whose preferred depth is a map that varies over half the cortex, and follows an axis with r = `order`."""
    random = np.random.default_rng(seed)
    points = random.random((v, 3)) * [40, 80, 40]
    apart = np.linalg.norm(points[:, None] - points, axis=2)
    smooth = np.linalg.cholesky(np.exp(-((apart / 40) ** 2) / 2) + 1e-6 * np.eye(v)) @ random.standard_normal(v)
    axis = (points[:, 1] - 40) / 23
    peak = stats.norm.cdf(order * axis + np.sqrt(1 - order**2) * smooth)
    r = 0.3 * np.exp(-((DEPTH[:, None] - peak) ** 2) / 0.08)
    resampled = r + 0.02 * random.standard_normal((60, *r.shape))
    return HierarchyScores(Scores(r, resampled, 100), axis, points=points)


def test_an_interval_over_maps_holds_the_smoothness_of_the_map() -> None:
    """Without an order the interval over images excludes 0 nearly always, that over maps as 95 % says."""
    images = maps = found = 0
    for seed in range(20):
        score = of(smooth_subject(seed, 0.0), preference=Preference("centre of mass"))
        images += score.over_images.contains_zero
        maps += score.over_maps.contains_zero
        assert score.over_maps.low < score.value < score.over_maps.high
    assert images < 7
    assert maps >= stats.binom.ppf(0.005, 20, 0.95)
    for seed in range(6):
        score = of(
            [smooth_subject(seed, 0.95), smooth_subject(50 + seed, 0.95)], preference=Preference("centre of mass")
        )
        found += not score.over_maps.contains_zero
        assert score.over_maps.over == "random maps of the same smoothness, 2"
    assert found >= 5


def test_an_interval_over_maps_is_of_targets_with_places_and_pearson_r() -> None:
    one = smooth_subject(0, 0.5)
    assert of(one).over_maps is not None
    for other, choice in (
        (replace(one, points=None), {}),
        (one, {"correlation": "spearman"}),
        (one, {"subjects": "pooled"}),
        (replace(one, points=np.where(np.arange(100)[:, None] < 19, one.points, np.nan)), {}),
    ):
        assert of(other, **choice).over_maps is None
    assert all(score.over_maps is None for score in every_spatial_score([one], DEPTH, [Preference()]))
    alike = of([one, replace(one)], subjects="subjects-first").over_maps
    assert (alike.low, alike.high) == (of(one).over_maps.low, of(one).over_maps.high)
    with pytest.raises(ValueError, match=r"HierarchyScores: points must be \[100, 3\], a place per target, got \[3\]"):
        replace(one, points=[1, 2, 3])
