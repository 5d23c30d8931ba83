"""Tests over subjects and targets against hand-made cases, other libraries, and their own level."""

from itertools import product as every

import numpy as np
import pytest
from scipy import stats

from gradkern.errors import Refused
from gradkern.stats import combine, fdr, over_subjects, prevalence, sign_flip, wilcoxon

pytestmark = pytest.mark.usefixtures("one_thread")


def test_four_subjects_cannot_go_under_an_eighth():
    found = wilcoxon([0.3, 0.1, 0.2, 0.5])
    assert (found.statistic, found.p, found.n, found.smallest_p) == (10, 0.125, 4, 0.125)
    with pytest.raises(Refused, match=r"level must be at least 0.125, the smallest p that 4 subjects .* got 0.05"):
        found.significant()
    assert found.significant(0.125)
    assert wilcoxon(np.arange(1, 7)).significant()
    assert not wilcoxon([1, 2, 3, 4, 5, -6]).significant()
    assert wilcoxon([1, 2, 3, 4], alternative="greater").p == 1 / 16


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("n", [2, 5, 9, 20])
def test_wilcoxon_is_the_exact_one(alternative, n):
    values = np.random.default_rng(n).normal(0.3, 1, n)
    expected = stats.wilcoxon(values, alternative=alternative, method="exact")
    assert wilcoxon(values, alternative=alternative).p == pytest.approx(expected.pvalue, rel=1e-12)


@pytest.mark.parametrize("values", [[1, 1, 2, -2, 3], [0, 0.5, 0.5, -0.5, 2], [0, 0, -1, 2, 3, 4], [1, 1, 1, 1]])
def test_wilcoxon_with_ties_and_zeros_is_an_enumeration(values):
    values = np.array(values, dtype=float)
    ranks = stats.rankdata(np.abs(values)) * (values != 0)
    sums = np.array([np.dot(np.array(signs) > 0, ranks) for signs in every([-1, 1], repeat=len(values))])
    observed = ranks[values > 0].sum()
    p = min(1, 2 * min((sums >= observed).mean(), (sums <= observed).mean()))
    found = wilcoxon(values)
    assert found.p == pytest.approx(p)
    assert found.smallest_p == pytest.approx(2 * 0.5 ** np.count_nonzero(values))


def test_sign_flips_are_all_patterns_of_few_subjects():
    rng = np.random.default_rng(0)
    values = rng.normal(0.3, 1, (7, 3))
    means = np.array([np.array(signs) @ values / 7 for signs in every([-1, 1], repeat=7)])
    found = sign_flip(values)
    np.testing.assert_allclose(found.p, (np.abs(means) >= np.abs(values.mean(0)) - 1e-9).mean(0))
    largest = np.abs(means).max(1)
    np.testing.assert_allclose(found.p_max, [(largest >= abs(mean) - 1e-9).mean() for mean in values.mean(0)])
    assert found.smallest_p == 2 / 128
    assert sign_flip(np.abs(values), alternative="greater").p.tolist() == [1 / 128] * 3
    assert sign_flip([0, 1, 2, 3.0]).smallest_p == 2 / 8 == sign_flip([0, 1, 2, 3.0]).p[0]


def test_random_sign_flips_agree_with_a_t_test_and_count_themselves():
    values = np.random.default_rng(1).normal(0.4, 1, (30, 1))
    found = sign_flip(values, permutations=4000)
    assert found.p[0] == pytest.approx(stats.ttest_1samp(values[:, 0], 0).pvalue, abs=0.015)
    assert (
        sign_flip(np.abs(values) + 1, permutations=200).p[0]
        == 1 / 201
        == sign_flip(values, permutations=200).smallest_p
    )


def test_sign_flips_hold_their_level():
    values = np.random.default_rng(2).standard_normal((8, 2000))
    p = sign_flip(values).p
    assert abs((p <= 0.05).mean() - 12 / 256) < 4 * np.sqrt(0.05 * 0.95 / 2000)


def test_fdr_by_hand_and_what_is_missing():
    p = [0.01, np.nan, 0.04, 0.03, 0.2, 0.005]
    found = fdr(p, 0.05, smallest_p=0.005)
    np.testing.assert_allclose(found.adjusted, [0.025, np.nan, 0.05, 0.05, 0.2, 0.025])
    assert found.rejected.tolist() == [True, False, True, True, False, True]
    assert (found.n, found.missing, found.fewest) == (5, 1, 1)
    assert fdr(np.full(1000, 0.5), smallest_p=0.001).fewest == 20
    assert fdr(p, 0.05, method="by").rejected.sum() == 0
    harmonic = sum(1 / i for i in range(1, 6))
    np.testing.assert_allclose(fdr(p, method="by").adjusted[0], 0.025 * harmonic)


def test_fewest_is_what_can_be_rejected_at_once():
    for count, rejected in ((19, 0), (20, 20)):
        p = np.r_[np.full(count, 0.001), np.ones(1000 - count)]
        assert fdr(p, 0.05).rejected.sum() == rejected


def test_false_discoveries_are_held():
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(200):
        z = rng.standard_normal(200) + 3 * (np.arange(200) < 40)
        rejected = fdr(stats.norm.sf(z), 0.1).rejected
        shares.append(rejected[40:].sum() / max(1, rejected.sum()))
    assert 0.05 < np.mean(shares) < 0.1  # q times the share of nulls is .08


def test_combinations_are_scipys_and_say_what_they_can_reach():
    p = np.random.default_rng(0).uniform(0.01, 1, (4, 3))
    for method in ("fisher", "stouffer"):
        expected = [stats.combine_pvalues(each, method).pvalue for each in p.T]
        found = combine(p, method=method, smallest_p=0.01)
        np.testing.assert_allclose(found.p, expected)
        assert found.smallest_p == pytest.approx(stats.combine_pvalues([0.01] * 4, method).pvalue)
    assert combine([1, 0.5]).ones == 1


def test_twice_the_mean_p_needs_no_independence():
    """Of 4 subjects who share all but a little, Fisher's p is under .05 in far more than 5 % of cases."""
    shared, own = np.random.default_rng(0).standard_normal((2, 4, 4000))
    p = stats.norm.sf(np.sqrt(0.9) * shared[0] + np.sqrt(0.1) * own)
    assert (combine(p).p <= 0.05).mean() > 0.1
    assert (combine(p, method="mean").p <= 0.05).mean() <= 0.05
    assert combine([0.01, 0.03], method="mean", smallest_p=0.01).p == pytest.approx(0.04)
    assert combine([0.9, 0.8], method="mean").p == 1
    assert combine([0.01, 0.03], method="mean", smallest_p=0.01).smallest_p == pytest.approx(0.02)


def test_the_mean_z_holds_its_level_under_any_correlation():
    random = np.random.default_rng(4)
    for shared in (0.0, 0.5, 1.0):
        z = np.sqrt(shared) * random.standard_normal(20000) + np.sqrt(1 - shared) * random.standard_normal((3, 20000))
        assert (combine(stats.norm.sf(z), method="mean-z").p <= 0.05).mean() <= 0.054
    assert combine([0.01, 0.01, 0.2], method="mean-z").p < combine([0.01, 0.01, 0.2], method="mean").p
    found = combine([0.02, 1.0], method="mean-z", smallest_p=0.02)
    assert found.p == pytest.approx(stats.norm.sf(stats.norm.isf([0.02, 0.99]).mean()))
    assert (found.smallest_p, found.ones) == (pytest.approx(0.02), 1)
    assert combine([0.02, 1.0], method="mean-z").p == 1


def test_discrete_p_are_combined_conservatively():
    discrete = (1 + np.random.default_rng(0).integers(0, 10, (4, 20000))) / 10
    assert (combine(discrete).p <= 0.05).mean() < 0.03


@pytest.mark.parametrize(("k", "n", "alpha"), [(0, 8, 0.05), (3, 8, 0.05), (8, 8, 0.05), (14, 20, 0.01), (1, 20, 0.1)])
def test_prevalence_is_that_of_the_posterior(k, n, alpha):
    found = prevalence(k, n, alpha=alpha, confidence=0.96)
    g = np.linspace(0, 1, 200_001)
    density = stats.binom.pmf(k, n, alpha + (1 - alpha) * g)
    density /= density.sum()
    assert found.map == pytest.approx(g[density.argmax()], abs=1e-5)
    ordered = np.sort(density)[::-1]
    least = ordered[np.searchsorted(np.cumsum(ordered), 0.96)]
    inside = g[density >= least]
    assert found.interval == pytest.approx((inside.min(), inside.max()), abs=1e-4)
    assert found.bound == pytest.approx(g[np.searchsorted(np.cumsum(density), 0.04)], abs=1e-4)


def test_prevalence_of_small_cases_by_hand():
    assert prevalence(10, 20).map == pytest.approx(0.45 / 0.95)
    assert (prevalence(0, 8).map, prevalence(8, 8).map) == (0, 1)
    assert prevalence(4, 4).p == prevalence(4, 4).smallest_p == pytest.approx(0.05**4)
    assert prevalence(4, 4, null=0.5).p == pytest.approx(0.525**4)
    assert prevalence(0, 4).p == 1
    # all n significant: the posterior of the chance is t^n between alpha and 1
    assert prevalence(3, 3, confidence=0.5).bound == pytest.approx(((0.5 + 0.5 * 0.05**4) ** 0.25 - 0.05) / 0.95)


def test_subjects_with_images_of_their_own_have_an_interval_that_covers():
    """The variance between subjects holds the noise of their images already: nothing has to be drawn."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        truth = rng.normal(0.3, 0.5, 6)
        found = over_subjects((truth[:, None] + 3 * rng.standard_normal((6, 30))).mean(1))
        covered += found.low <= 0.3 <= found.high
    low, high = stats.binom.ppf([0.001, 0.999], 400, 0.95)
    assert low <= covered <= high


def test_sign_flips_of_negative_values_are_those_of_positive_ones():
    values = np.random.default_rng(0).normal(0.3, 1, (7, 3))
    less, greater = sign_flip(-values, alternative="less"), sign_flip(values, alternative="greater")
    np.testing.assert_array_equal(less.p, greater.p)
    np.testing.assert_array_equal(less.p_max, greater.p_max)
    assert less.smallest_p == greater.smallest_p == 1 / 128


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fdr([0.1, 1.2]), r"fdr: p must lie in 0..1, got 1.2"),
        (lambda: fdr([np.nan]), "fdr: p must be .* got 0 of 1"),
        (lambda: fdr([0.1], method="holm"), "fdr: method must be"),
        (lambda: fdr([0.1], 5), "fdr: q must lie"),
        (lambda: wilcoxon([0.1, np.nan]), "wilcoxon: values must be finite, got 1"),
        (lambda: wilcoxon([0, 0.0]), "wilcoxon: values must differ from zero"),
        (lambda: wilcoxon([1.0]), "wilcoxon: values must be of at least 2 subjects"),
        (lambda: sign_flip([1, 2.0], alternative="positive"), "sign_flip: alternative must be"),
        (lambda: combine([0.0, 0.1]), "combine: p must be over 0"),
        (lambda: combine([0.1]), "combine: p must be of at least 2 subjects, got 1"),
        (lambda: combine([0.1, 0.1], method="min"), "combine: method must be"),
        (lambda: prevalence(5, 4), "prevalence: k must lie in 0..n, got 5 of 4"),
        (lambda: prevalence(1, 4, alpha=0.5, power=0.4), "prevalence: alpha and power must obey 0 < alpha < power"),
        (lambda: prevalence(1.0, 4), "prevalence: k must be a whole number"),
        (lambda: prevalence(1, 4, confidence=96), "prevalence: confidence must lie between 0 and 1, got 96"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
