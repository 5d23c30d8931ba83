"""Subjects that carry a result are named, and those who do not are not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradkern.stats import leave_one_out, over_subjects

VALUES = st.lists(st.floats(-10, 10), min_size=2, max_size=9)


@given(VALUES)
def test_means_and_intervals_are_those_of_the_others(values):
    found = leave_one_out(values)
    for left in range(len(values)):
        rest = np.delete(values, left)
        assert found.without[left] == pytest.approx(rest.mean())
        if len(rest) > 1:
            interval = over_subjects(rest)
            assert (found.low[left], found.high[left]) == (interval.low, interval.high)
    assert np.isnan(found.low).all() == (len(values) == 2)


@given(VALUES, st.floats(0.01, 100), st.integers(0, 8))
def test_neither_units_nor_the_order_of_subjects_matter(values, scale, shift):
    found = leave_one_out(values).carries
    assert np.array_equal(leave_one_out(np.roll(values, shift)).carries, np.roll(found, shift))
    away = [value for value in values if value == 0 or abs(value) > 1e-6]
    if len(away) > 1:
        np.testing.assert_array_equal(leave_one_out(-np.array(away)).carries, leave_one_out(away).carries)


@pytest.mark.parametrize(
    ("values", "carriers"),
    [
        ([0.10, 0.11, 0.09, 0.10, 0.12], []),
        ([0.01, 0.02, -0.01, 3.0], [3]),  # most of the mean
        ([-0.1, -0.1, 0.5], [2]),  # its sign
        ([0.1, 0.1, 0.1, 0.2], []),
        ([0.3, 0.2, 0.25, -0.02, 0.2], [0, 1, 2, 4]),  # an interval that each of them keeps above 0
        ([0.0, 0.0, 0.0], []),
    ],
)
def test_who_carries_a_result_is_flagged(values, carriers):
    names = [f"s{number}" for number in range(len(values))]
    found = leave_one_out(values, names)
    assert np.flatnonzero(found.carries).tolist() == carriers
    assert all((f"s{number}" in found.brief) == (number in carriers) for number in range(len(values)))


def test_a_result_that_is_lost_without_a_subject_hangs_on_it():
    """Four subjects, whose interval excludes 0 only with all of them."""
    found = leave_one_out([0.30, 0.10, 0.24, 0.17])
    assert found.significant
    assert found.carries.tolist() == [True, False, True, False]
    assert found.low[3] <= 0  # but the mean is larger without that subject


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: leave_one_out([0.1]), "values must be of at least 2 subjects, got 1"),
        (lambda: leave_one_out([0.1, np.nan]), "values must be finite"),
        (lambda: leave_one_out([[0.1, 0.2]]), "values must be finite"),
        (lambda: leave_one_out([0.1, 0.2], ["a"]), "subjects must be 2 names, got 1"),
        (lambda: leave_one_out([0.1, 0.2], confidence=95), "confidence must lie between 0 and 1"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=f"leave_one_out: {message}"):
        call()
