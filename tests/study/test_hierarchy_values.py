"""The axis of a study file: made as the functions of the hierarchy make it, of targets that tell what it needs."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from gradkern import Recording
from gradkern.hierarchy import euclidean_hierarchy, rank_hierarchy
from gradkern.recordings import HCP_ORDER
from gradkern.study._hierarchy_values import MadeAxis, read_axis

TARGETS = pd.DataFrame(
    {
        "label": list("abcdefgh"),
        "hemisphere": ["left", "left", "left", "left", "right", "right", "right", None],
        "roi": ["V1", "V1", "V2", None, "V1", "", np.nan, "V4"],
        "x": [0.0, 2, 1, 1, 9, 9, np.nan, 3],
        "y": [0.0, 0, 4, 1, 0, 2, 0, 3],
        "z": [0.0, 0, 0, 0, 0, 0, 0, 3],
    }
)


def recording(**columns: Any) -> Recording:
    targets = TARGETS.assign(**columns)
    rows = pd.DataFrame({"image": [0, 1, 2]})
    return Recording(np.eye(3, 8, dtype=np.float32), rows, targets, "s", "z", history=("read",))


def axis_of(given: Any) -> Any:
    return read_axis(given, lambda key, wanted, got: ValueError(f"{key} must be {wanted}, got {got}"))


def made(given: Any, **columns: Any) -> Any:
    axis = axis_of(given)
    return axis.added(recording(**columns)).targets[axis.column].to_numpy()


def test_a_word_is_a_column() -> None:
    assert axis_of("euclidean") == "euclidean"


def test_distances_are_those_to_the_middle_of_the_origin_in_the_own_hemisphere() -> None:
    """Of targets with a place, whether they lie in a region or not."""
    found = made({"euclidean": "V1"})
    np.testing.assert_allclose(found, [1, 1, 4, 1, 0, 2, np.nan, np.nan])
    whole = TARGETS[:6]
    origin = (whole["roi"] == "V1").to_numpy()
    np.testing.assert_array_equal(found[:6], euclidean_hierarchy(whole[["x", "y", "z"]], origin, whole["hemisphere"]))
    parts = TARGETS["roi"].where(TARGETS["roi"] != "V1", ["V1v", "V1d", "", "", "V1d", "", "", ""])
    np.testing.assert_array_equal(made({"euclidean": ["V1v", "V1d"]}, roi=parts), found)


def test_ranks_are_places_in_the_list() -> None:
    nan = np.nan
    np.testing.assert_array_equal(made({"order": ["V2", "V1"]}), [1, 1, 0, nan, 1, nan, nan, nan])
    np.testing.assert_array_equal(made({"order": "HCP-MMP1"}), rank_hierarchy(HCP_ORDER, TARGETS["roi"]))
    np.testing.assert_array_equal(made({"order": ["nan", "V2", "V1"]})[[2, 6]], [1, nan])


def test_the_recording_says_what_was_done_and_is_else_the_same() -> None:
    axis, before = MadeAxis("rank", ("V1", "V2", "V4"), "order"), recording()
    after = axis.added(before)
    assert after.history == ("read", "the axis is the rank, of 5 targets; 3 have no place in it")
    pd.testing.assert_frame_equal(after.targets.drop(columns="rank"), before.targets)
    assert "rank" not in before.targets


@pytest.mark.parametrize(
    ("given", "columns", "message"),
    [
        ({"geodesic": "V1"}, {}, r"axis must be a column's name, {euclidean = region} or {order .* got {'geodesic'"),
        ({"euclidean": "V1", "order": ["V1"]}, {}, "axis must be a column's name"),
        ({}, {}, "axis must be a column's name, .* got {}"),
        (["V1"], {}, "axis must be a column's name"),
        (
            {"order": "HCP"},
            {},
            "axis.order must be a list of regions from low to high, or one of 'HCP-MMP1', got 'HCP'",
        ),
        ({"order": ["V1"]}, {}, r"axis.order must be a list of 2 regions or more, got \['V1'\]"),
        ({"order": ["V1", 2]}, {}, "axis.order must be a list of 2 regions or more"),
        ({"order": ["V1", "V2", "V1"]}, {}, "axis.order must be regions that are named once"),
        ({"euclidean": []}, {}, r"axis.euclidean must be a region, or a list of them, got \[\]"),
        ({"euclidean": 1}, {}, "axis.euclidean must be a region, or a list of them, got 1"),
        ({"euclidean": "V9"}, {}, "must lie in V9 in every hemisphere, got none in left; 'roi' there: 'V1', 'V2'"),
        ({"euclidean": "V2"}, {}, "must lie in V2 in every hemisphere, got none in right; 'roi' there: 'V1'"),
        ({"euclidean": "V1"}, {"hemisphere": None}, "in every hemisphere, got none in any hemisphere"),
        ({"euclidean": "V1"}, {"x": "far"}, "x, y and z of the targets must be numbers"),
        ({"order": ["V3", "V4"]}, {}, "at least 2 regions of the order V3, V4; their 'roi': 'V1', 'V2', 'V4'"),
        ({"order": ["V1", "V2"]}, {"rank of the region in V1, V2": 0}, "must have no 'rank of the region in V1, V2'"),
    ],
)
def test_what_cannot_be_made_is_refused(given: Any, columns: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(given, **columns)


@pytest.mark.parametrize(
    ("given", "column"),
    [({"order": ["V1", "V2"]}, "roi"), ({"euclidean": "V1"}, "hemisphere"), ({"euclidean": "V1"}, "z")],
)
def test_columns_that_are_not_there_are_named(given: Any, column: str) -> None:
    one = recording()
    without = Recording(one.responses, one.presentations, one.targets.drop(columns=column), "s", "z")
    with pytest.raises(ValueError, match=f"targets must have '{column}', got "):
        axis_of(given).added(without)
