"""Alphas at an edge of the grid: counted, kept, shown and, where another grid could help, warned about."""

import warnings

import numpy as np
import pytest
import torch

from gradkern.ridge import BandedRidgeCV, EdgeCount, RidgeClassifierCV, RidgeCV

pytestmark = pytest.mark.usefixtures("one_thread")
REGRESSIONS = [RidgeCV, BandedRidgeCV]


def make_data(signal=0.0, v=30):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 10))
    return X, signal * X @ rng.standard_normal((10, v)) + rng.standard_normal((80, v))


def warned_by(model, X, Y, **fit):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, Y, **fit)
    return [str(warned.message) for warned in caught]


@pytest.mark.parametrize("kind", REGRESSIONS)
def test_targets_of_noise_are_counted_at_the_largest_alpha_without_a_warning(kind):
    X, Y = make_data()
    model = kind()
    assert not warned_by(model, X, Y)
    edges = model.alphas_at_edge_
    assert edges == EdgeCount(0, int((model.alpha_ == model.alphas[-1]).sum()), 30)
    assert edges.highest > 10
    assert f"smallest alpha: 0 of 30 choices, largest: {edges.highest}" in repr(model)
    assert "80" not in repr(model)
    assert len(repr(model)) < 130


@pytest.mark.parametrize("kind", REGRESSIONS)
@pytest.mark.parametrize("order", [1, -1])
def test_a_grid_that_starts_too_high_is_said_once_with_a_count(kind, order):
    X, Y = make_data(signal=100)
    model = kind(alphas=np.logspace(2, 4, 5)[::order])
    (message,) = warned_by(model, X, Y)
    assert message.startswith(f"{kind.__name__}: 30 of 30 targets chose the smallest alpha, 100;")
    assert model.alphas_at_edge_ == EdgeCount(30, 0, 30)


@pytest.mark.parametrize("kind", REGRESSIONS)
def test_a_grid_that_ends_too_low_is_said_of_targets_that_are_predicted(kind):
    X, Y = make_data(signal=0.3)
    model = kind(alphas=[1e-3, 1e-2, 1e-1])
    (message,) = warned_by(model, X, Y)
    edges = model.alphas_at_edge_
    predicted = int(((model.alpha_ == 0.1) & (model.best_score_ > 0)).sum())
    assert message.startswith(f"{kind.__name__}: {predicted} of 30 targets chose the largest alpha, 0.1, and are")
    assert 0 < predicted <= edges.highest
    by_r = warned_by(kind(alphas=[1e-3, 1e-2, 1e-1], scoring="r"), X, Y)  # r does not change when predictions shrink
    assert not any("largest" in text for text in by_r)


def test_balanced_classes_that_nothing_predicts_are_not_warned_about():
    X, _ = make_data()  # in stratified folds the mean predicts with an R2 of 0 to rounding
    assert not warned_by(RidgeClassifierCV(cv=4), X, np.arange(80) % 2)
    assert not warned_by(RidgeClassifierCV(cv=4), np.zeros_like(X), np.arange(80) % 2)


@pytest.mark.parametrize("kind", REGRESSIONS)
def test_a_grid_of_one_alpha_has_no_edge(kind):
    X, Y = make_data(signal=1)
    model = kind(alphas=[1.0])
    assert not warned_by(model, X, Y)
    assert model.alphas_at_edge_ == EdgeCount(0, 0, 30)


def test_targets_without_a_score_have_no_choice():
    X, Y = make_data()
    Y[:, 0], Y[3, 1] = 1.0, np.nan
    model = RidgeCV()
    warned_by(model, X, Y)
    assert model.alphas_at_edge_.choices == 28


@pytest.mark.parametrize("options", [{}, {"selection": "loo"}, {"selection": "gcv"}, {"alpha_per_target": False}])
def test_the_count_is_that_of_the_alphas_however_they_are_chosen(options):
    X, Y = make_data(signal=0.1)
    model = RidgeCV(**options).fit(X, Y)
    assert model.alphas_at_edge_ == EdgeCount(0, int((model.alpha_ == model.alphas[-1]).sum()), 30)


def test_streams_tensors_and_classifiers_count_too():
    X, Y = make_data()
    whole = RidgeCV().fit(X, Y).alphas_at_edge_
    assert RidgeCV().fit(X, iter([Y[:, :7], Y[:, 7:]])).alphas_at_edge_ == whole
    assert RidgeCV().fit(torch.from_numpy(X), torch.from_numpy(Y)).alphas_at_edge_ == whole
    classifier = RidgeClassifierCV().fit(X, np.arange(80) % 3)
    assert classifier.alphas_at_edge_ == classifier.ridge_.alphas_at_edge_
    assert classifier.alphas_at_edge_.choices == 3
    assert "of 3 choices" in repr(classifier)


def test_a_warning_is_at_the_line_that_called_fit():
    X, Y = make_data(signal=100)
    with pytest.warns(UserWarning, match="smallest alpha") as caught:
        RidgeCV(alphas=[100.0, 1000.0]).fit(X, Y)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("kind", [RidgeCV, BandedRidgeCV, RidgeClassifierCV])
def test_a_repr_has_what_was_changed_and_fits_a_line(kind):
    assert repr(kind()) == f"{kind.__name__}()"
    model = kind(alphas=np.logspace(-3, 3, 200), cv=4, standardize=True)
    assert repr(model) == f"{kind.__name__}(alphas=0.001..1000 (200), cv=4, standardize=True)"
    assert len(repr(kind(alphas=torch.ones(50), cv=[(np.arange(500), np.arange(500))] * 9))) < 130
    assert repr(kind(alphas=[1.0, 2.0])) == f"{kind.__name__}(alphas=[1.0, 2.0])"
