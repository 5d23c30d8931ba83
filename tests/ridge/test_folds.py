"""What `cv` and `groups` mean."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    LeaveOneGroupOut,
    RepeatedKFold,
    ShuffleSplit,
)

from gradkern.errors import naming
from gradkern.ridge._engine.folds import resolve_folds

GROUPS = np.repeat(np.arange(6), 5)


def pairs(folds):
    return [(fold.train.tolist(), fold.test.tolist()) for fold in folds.folds]


def expected(splits):
    return [(train.tolist(), test.tolist()) for train, test in splits]


@given(n=st.integers(4, 60), k=st.integers(2, 8))
@settings(max_examples=30, deadline=None)
def test_an_int_is_scikit_learns_unshuffled_kfold(n, k):
    k = min(k, n)
    folds = resolve_folds(k, n)
    assert pairs(folds) == expected(KFold(k).split(np.zeros(n)))
    assert folds.partition


def test_an_int_with_groups_is_group_kfold():
    folds = resolve_folds(3, 30, GROUPS)
    assert pairs(folds) == expected(GroupKFold(3).split(np.zeros(30), groups=GROUPS))
    assert folds.partition


def test_a_splitter_gets_the_groups():
    folds = resolve_folds(LeaveOneGroupOut(), 30, GROUPS)
    assert pairs(folds) == expected(LeaveOneGroupOut().split(np.zeros(30), groups=GROUPS))


def test_groups_may_be_strings_tensors_or_lists():
    names = np.array(["cat", "dog", "cup", "hat", "pen", "car"])[GROUPS]
    for groups in (names, torch.from_numpy(GROUPS), GROUPS.tolist()):
        folds = resolve_folds(6, 30, groups)
        assert all(len(np.unique(GROUPS[fold.test])) == 1 for fold in folds.folds)


def test_index_pairs_are_taken_as_they_are():
    given_pairs = [(np.arange(4), np.arange(4, 8)), (torch.arange(4, 8), [0, 1, 2, 3])]
    folds = resolve_folds(iter(given_pairs), 8)
    assert pairs(folds) == [([0, 1, 2, 3], [4, 5, 6, 7]), ([4, 5, 6, 7], [0, 1, 2, 3])]
    assert folds.partition


@pytest.mark.parametrize(
    ("splitter", "complement", "tested_once"),
    [
        (KFold(4, shuffle=True, random_state=0), True, True),
        (RepeatedKFold(n_splits=3, n_repeats=2, random_state=0), True, False),
        (ShuffleSplit(3, test_size=0.2, random_state=0), True, False),
        (ShuffleSplit(3, train_size=0.5, test_size=0.2, random_state=0), False, False),
    ],
)
def test_it_is_known_which_training_sets_are_complements(splitter, complement, tested_once):
    folds = resolve_folds(splitter, 30)
    assert all(fold.complement == complement for fold in folds.folds)
    assert folds.tested_once == tested_once
    assert folds.partition == (complement and tested_once)


def test_a_training_sample_twice_is_no_complement():
    folds = resolve_folds([([0, 1, 2, 2], [3])], 5)
    assert not folds.folds[0].complement


@pytest.mark.parametrize(
    ("cv", "groups", "message"),
    [
        (1, None, "op: cv must be at least 2 folds, got 1"),
        (31, None, "op: cv=31 needs at least 31 samples, got n_samples=30"),
        (7, GROUPS, "op: cv=7 needs at least 7 different groups, got 6"),
        ([], None, "op: cv must give at least one fold, got none"),
        ([([0, 1], [30])], None, r"op: cv, fold 0: test indices must lie in 0\.\.29, got 30"),
        ([([0, -1], [3])], None, r"op: cv, fold 0: train indices must lie in 0\.\.29, got -1"),
        ([([[0, 1]], [3])], None, r"op: cv, fold 0: train indices must be 1-D, got shape \(1, 2\)"),
        ([([0], [3])], None, "op: cv, fold 0 must train on at least 2 samples, got 1"),
        ([([0, 1], [])], None, "op: cv, fold 0 must test at least 1 sample, got 0"),
        ([([0, 1], [2]), ([0, 1], [1, 2])], None, "fold 1 must not train on what it tests, got 1 shared samples"),
        (5, GROUPS[:29], r"op: groups must hold one label per sample, shape \(30,\), got shape \(29,\)"),
        (5, GROUPS[:, None], r"op: groups must hold one label per sample, shape \(30,\), got shape \(30, 1\)"),
        (KFold(4), GROUPS, "op: cv, fold 0 must keep each group on one side, got 1 groups in both"),
    ],
)
@pytest.mark.filterwarnings("ignore:The groups parameter is ignored")
def test_impossible_folds_are_value_errors(cv, groups, message):
    with pytest.raises(ValueError, match=message), naming("op"):
        resolve_folds(cv, 30, groups)


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        ("five", "op: cv must be an int, a scikit-learn splitter or an iterable"),
        (True, "op: cv must be an int, a scikit-learn splitter or an iterable"),
        (2.5, "op: cv must be an int, a scikit-learn splitter or an iterable"),
        ([3, 4], r"op: cv, fold 0 must be a pair \(train, test\) of indices, got 3"),
        ([([0.5, 1], [2])], "op: cv, fold 0: train indices must be integers, got float64"),
        ([(np.ones(30, bool), [2])], "op: cv, fold 0: train indices must be integers, got bool"),
    ],
)
def test_what_is_no_split_is_a_type_error(cv, message):
    with pytest.raises(TypeError, match=message), naming("op"):
        resolve_folds(cv, 30)


def test_grouped_shuffles_pass_and_folds_are_frozen():
    folds = resolve_folds(GroupShuffleSplit(2, random_state=0), 30, GROUPS)
    with pytest.raises(AttributeError):
        folds.n_samples = 3
