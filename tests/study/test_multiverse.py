"""Choices varied: every run is there once, refusals are kept, and the figure shows what the table holds."""

from typing import Any

import numpy as np
import pytest

from gradkern.errors import Refused
from gradkern.plotting import specification_curve
from gradkern.study import Estimate, multiverse, survival

CHOICES = {"delay": {"5.5 s": 5.5, "4 s": 4.0, "betas": None}, "points": {"voxels": 1, "regions": -1}}


def analysis(delay: Any, points: int) -> dict[str, Estimate]:
    if delay is None:
        raise Refused("betas have no delay")
    value = delay * points
    low, high = value - 1, value + 1
    return {"space": Estimate(value, low, high, 0.01, "order" if low > 0 else "none"), "time": Estimate(0.0)}


def test_one_choice_at_a_time_and_all_together() -> None:
    table = multiverse(analysis, CHOICES)
    space = table[table["claim"] == "space"]
    assert space[["delay", "points"]].values.tolist() == [
        ["5.5 s", "voxels"], ["4 s", "voxels"], ["betas", "voxels"], ["5.5 s", "regions"],
    ]  # fmt: skip
    assert space["changed"].tolist() == ["", "delay", "delay", "points"]
    np.testing.assert_array_equal(space["value"], [5.5, 4.0, np.nan, -5.5])
    assert len(multiverse(analysis, CHOICES, together=True)) == 2 * 6


def test_a_refusal_is_kept_with_its_reason() -> None:
    table = multiverse(analysis, CHOICES)
    refused = table[table["conclusion"] == "refused"]
    assert refused["why"].tolist() == ["betas have no delay"] * 2
    assert set(refused["delay"]) == {"betas"}
    with pytest.raises(ValueError, match="got only refusals, first: betas have no delay"):
        multiverse(analysis, {"delay": {"betas": None}, "points": {"voxels": 1}})


def test_other_errors_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        multiverse(lambda delay: {"x": Estimate(1 / delay)}, {"delay": {"zero": 0}})

    def broken(delay: Any, points: int) -> dict[str, Estimate]:
        return {"x": Estimate(float((np.zeros(3) + np.zeros(2)).sum()))}

    with pytest.raises(ValueError, match="could not be broadcast"):
        multiverse(broken, CHOICES)


def test_survival_counts_the_same_conclusion() -> None:
    found = survival(multiverse(analysis, CHOICES)).set_index("claim").loc["space"]
    assert (found["value"], found["lowest"], found["highest"]) == (5.5, -5.5, 5.5)
    assert (found["same conclusion"], found["runs"], found["refused"]) == (2, 3, 1)

    def told(points: int) -> dict[str, Estimate]:
        number = Estimate(1.0, conclusion="order") if points > 0 else Estimate(np.nan, conclusion="not tested")
        return {"space": number}

    # what could not be tested contradicts nothing
    row = survival(multiverse(told, {"points": CHOICES["points"]})).loc[0]
    assert (row["same conclusion"], row["runs"], row["refused"]) == (1, 1, 1)


@pytest.mark.parametrize("choices", [{}, {"delay": {}}])
def test_choices_without_options_are_refused(choices: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="multiverse: choices must have options"):
        multiverse(analysis, choices)


def test_claims_that_come_and_go_are_refused() -> None:
    with pytest.raises(ValueError, match="must always have the same claims"):
        multiverse(lambda x: {x: Estimate(1.0)}, {"x": {"a": "a", "b": "b"}})


def test_the_curve_shows_every_run_in_order_of_its_value() -> None:
    figure = specification_curve(multiverse(analysis, CHOICES, together=True), "space")
    top, bottom = figure.axes
    points = top.lines[0].get_ydata()
    np.testing.assert_array_equal(points, np.sort(points))
    assert len(points) == 4  # two of the six were refused
    labels = [label.get_text() for label in bottom.get_yticklabels()]
    assert labels == ["delay: 5.5 s", "delay: 4 s", "delay: betas", "points: voxels", "points: regions"]
    assert "2 refused" in top.get_title(loc="left")
    with pytest.raises(ValueError, match="specification_curve: claim must be one of"):
        specification_curve(multiverse(analysis, CHOICES), "nothing")
