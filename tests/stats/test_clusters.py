"""Clusters of sensors and times: by hand, at their level, and over subjects by exact sign patterns."""

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.stats import binom, ttest_1samp
from scipy.stats import t as t_distribution

from gradkern.errors import Refused
from gradkern.stats import cluster_test, group_cluster_test, sensor_adjacency

LINE = np.eye(4, k=1) + np.eye(4, k=-1)  # four sensors in a row

pytestmark = pytest.mark.usefixtures("one_thread")


def test_clusters_by_hand():
    observed = np.array([[3, 3, 0, 0, 2], [0, 3, 0, 0, 0], [0, 0, 0, 0, 0], [-4, -4, 0, 0, 5.0]])
    found = cluster_test(
        observed,
        [np.full((4, 5), 0.45), np.eye(4, 5) * 8.9, np.eye(4, 5) * -9.5],
        LINE,
        threshold=1,
        alternative="two-sided",
    )
    assert [cluster.mass for cluster in found.clusters] == [9, -8, 5, 2]
    assert sorted(zip(*(found.clusters[0].sensors, found.clusters[0].times), strict=True)) == [(0, 0), (0, 1), (1, 1)]
    # a diagonal is not connected: 8.9 four times, not 35.6
    assert found.null_max.tolist() == [0, 8.9, 9.5]
    assert [cluster.p for cluster in found.clusters] == [2 / 4, 3 / 4, 3 / 4, 3 / 4]
    assert found.smallest_p == 1 / 4
    positive = cluster_test(observed, [np.zeros((4, 5))], LINE, threshold=np.full((4, 5), 2.5))
    assert [cluster.mass for cluster in positive.clusters] == [9, 5]


def test_a_negative_effect_is_that_of_the_negative_map():
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((20, 4, 9))
    less, greater = (
        cluster_test(sign * maps[0], sign * maps[1:], LINE, threshold=1.0, alternative=alternative)
        for sign, alternative in ((1, "less"), (-1, "greater"))
    )
    assert [(cluster.mass, cluster.p) for cluster in less.clusters] == [
        (-cluster.mass, cluster.p) for cluster in greater.clusters
    ]
    group = rng.standard_normal((6, 4, 9)) + 1
    found, turned = group_cluster_test(group, LINE), group_cluster_test(-group, LINE, alternative="less")
    assert [cluster.p for cluster in found.clusters] == [cluster.p for cluster in turned.clusters]
    assert found.clusters[0].mass == pytest.approx(-turned.clusters[0].mass)


@pytest.mark.parametrize("alternative", ["greater", "less"])
def test_the_largest_effect_of_five_subjects_has_the_smallest_p_in_every_data_set(alternative):
    sign = 1 if alternative == "greater" else -1
    for seed in range(40):
        maps = sign * (3 + np.random.default_rng(seed).random((5, 4, 3)))
        best = group_cluster_test(maps, LINE, alternative=alternative).clusters[0]
        assert (best.p, len(best.sensors)) == (1 / 32, 12)


def test_p_is_the_share_of_all_sign_patterns_whose_largest_cluster_is_as_large():
    """Of 32 patterns by hand, at one sensor and one time, where the largest cluster is t itself."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        x = rng.standard_normal(5) + 1
        signs = 1 - 2 * ((np.arange(32)[:, None] >> np.arange(5)) & 1)
        t = ttest_1samp(signs * x, 0, axis=1).statistic
        result = group_cluster_test(x[:, None, None], [[1]], threshold=0.5)
        np.testing.assert_allclose(np.sort(result.null_max), np.sort(np.where(t > 0.5, t, 0)))
        assert [cluster.p for cluster in result.clusters] == [(t >= t[0] - 1e-9).mean()] * int(t[0] > 0.5)


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_clusters_and_p_are_those_of_mne_where_its_are_exact(alternative, capsys):
    mne = pytest.importorskip("mne", minversion="1.13")  # which does not split connected clusters
    tail, sides = {"greater": (1, 1), "less": (-1, 1), "two-sided": (0, 2)}[alternative]
    for seed in range(5):
        maps = smooth(np.random.default_rng(seed), 6, 4, 14)
        maps[:, :2, 3:5] += 3 if alternative == "greater" else -3
        limit = float(t_distribution.isf(0.05 / sides, 5))
        capsys.readouterr()
        result = group_cluster_test(maps, LINE, alternative=alternative)
        assert capsys.readouterr() == ("", "")
        t, clusters, p, null = mne.stats.spatio_temporal_cluster_1samp_test(
            maps.transpose(0, 2, 1),
            threshold=-limit if alternative == "less" else limit,
            n_permutations=1024,
            tail=tail,
            adjacency=coo_array(LINE),
            out_type="mask",
            verbose="error",
        )
        order = np.argsort([-abs(t[cluster].sum()) for cluster in clusters])
        assert len(order) == len(result.clusters) > 0
        for number, cluster in zip(order, result.clusters, strict=True):
            points = np.zeros((12, 4), dtype=bool)
            points[cluster.times, cluster.sensors] = True
            np.testing.assert_array_equal(points, clusters[number])
            assert cluster.mass == pytest.approx(t[clusters[number]].sum())
            if alternative == "two-sided":
                assert cluster.p == p[number]
            assert abs(cluster.p - p[number]) <= 1.01 / len(result.null_max)
        if alternative == "two-sided":
            np.testing.assert_allclose(np.sort(result.null_max), np.sort(np.abs(null)))


def test_points_of_one_size_in_all_subjects_are_refused():
    maps = np.random.default_rng(0).standard_normal((5, 4, 3))
    for dead in (0.0, 2.0, np.array([1, -1, 1, 1, -1.0])):
        constant = maps.copy()
        constant[:, 2, 1] = dead
        with pytest.raises(Refused, match=r"group_cluster_test: maps must differ .* 1 of 12 points.* sensor 2, time 1"):
            group_cluster_test(constant, LINE)


@pytest.mark.parametrize(("subjects", "alternative", "patterns"), [(10, "greater", 1024), (11, "two-sided", 1024)])
def test_few_subjects_are_tested_by_all_sign_patterns(subjects, alternative, patterns):
    maps = np.random.default_rng(0).standard_normal((subjects, 4, 3)) + 1
    first, second = (group_cluster_test(maps, LINE, alternative=alternative, seed=seed) for seed in (0, 1))
    assert first.smallest_p == 1 / patterns
    assert len(first.null_max) == patterns
    assert sorted(first.null_max) == sorted(second.null_max)


def test_without_a_cluster_the_test_says_so():
    found = group_cluster_test(np.random.default_rng(0).standard_normal((5, 4, 3)), LINE, threshold=1e6)
    assert (found.clusters, found.smallest_p) == ((), 1 / 32)


def test_null_maps_may_be_streamed_and_an_equal_one_counts():
    observed = np.random.default_rng(0).standard_normal((4, 9))
    found = cluster_test(observed, (each for each in [observed, observed / 2]), LINE, threshold=0.5)
    assert found.clusters[0].p == 2 / 3


def smooth(rng, *shape):
    noise = rng.standard_normal(shape)
    return noise[..., :-2] + noise[..., 1:-1] + noise[..., 2:]


def test_the_level_holds_over_all_clusters_and_power_is_there():
    rng = np.random.default_rng(0)
    hits = power = 0
    for _ in range(150):
        maps = smooth(rng, 40, 4, 14)
        planted = maps[0] + 3.5 * np.outer([1, 1, 1, 0], (np.arange(12) > 4) & (np.arange(12) < 9))
        for number, observed in enumerate((maps[0], planted)):
            found = cluster_test(observed, maps[1:], LINE, threshold=1.5)
            least = min((cluster.p for cluster in found.clusters), default=1)
            hits += number == 0 and least <= 0.05
            power += number == 1 and least <= 0.05
    assert binom.ppf(1e-3, 150, 0.05) <= hits <= binom.ppf(0.999, 150, 0.05)
    assert power > 120


def test_neighbours_of_a_helmet_come_from_mne():
    mne = pytest.importorskip("mne")
    from gradkern.recordings import sensor_info, sensor_names

    adjacency = sensor_adjacency(sensor_info())
    assert adjacency.shape == (len(sensor_names()),) * 2
    assert 4 < adjacency.sum(1).mean() < 10
    observed = np.zeros((adjacency.shape[0], 2))
    first, second = next((int(i), int(j)) for i, j in zip(*adjacency.nonzero(), strict=True) if i != j)
    observed[[first, second], [0, 0]] = 1
    found = cluster_test(observed, [observed], adjacency, threshold=0.5)
    assert len(found.clusters) == 1
    assert mne.stats is not None


def test_many_subjects_are_tested_by_their_signs():
    rng = np.random.default_rng(1)
    maps = smooth(rng, 12, 4, 14)
    maps[:, 1:3, 5:9] += 2.5
    found = group_cluster_test(maps, LINE, permutations=500)
    best = found.clusters[0]
    assert best.p == found.smallest_p == 1 / 500
    assert {1, 2} <= set(best.sensors.tolist())
    assert {6, 7} <= set(best.times.tolist())
    t = maps.mean(0) / (maps.std(0, ddof=1) / 12**0.5)
    assert best.mass == pytest.approx(t[best.sensors, best.times].sum())
    few = group_cluster_test(maps[:4], LINE)
    assert few.smallest_p == 1 / 16
    assert group_cluster_test(maps[:4], LINE, alternative="two-sided").smallest_p == 1 / 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"null": np.zeros((2, 4, 6))}, r"null must be \(4, 5\), got shape \(4, 6\)"),
        ({"null": []}, "null must hold at least one map"),
        ({"null": np.full((1, 4, 5), np.nan)}, "null must be finite, got 20"),
        ({"threshold": 0}, "threshold must be over 0"),
        ({"threshold": np.ones((2, 4, 5))}, "threshold must be over 0"),
        ({"adjacency": np.eye(3)}, r"adjacency must be \[4, 4\], got \[3, 3\]"),
        ({"alternative": "both"}, "alternative must be one of"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    arguments = {"null": np.zeros((2, 4, 5)), "adjacency": LINE, "threshold": 1.0, **change}
    with pytest.raises(ValueError, match=f"cluster_test: {message}"):
        cluster_test(np.zeros((4, 5)), **arguments)
    with pytest.raises(Refused, match="group_cluster_test: maps must be of at least 2 subjects, got 1"):
        group_cluster_test(np.zeros((1, 4, 5)), LINE)
    with pytest.raises(ValueError, match="group_cluster_test: maps must be finite"):
        group_cluster_test(np.full((3, 4, 5), np.nan), LINE)
    with pytest.raises(ValueError, match="group_cluster_test: threshold must be over 0, got -1"):
        group_cluster_test(np.random.default_rng(0).random((3, 4, 5)), LINE, threshold=-1)
    with pytest.raises(ValueError, match="group_cluster_test: alternative must be one of"):
        group_cluster_test(np.zeros((3, 4, 5)), LINE, alternative="positive")
