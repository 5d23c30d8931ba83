"""Figures show the numbers that they are given, with units, n and ceiling, and say what they leave out."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import xarray as xr
from matplotlib import image
from matplotlib.figure import Figure

from gradkern import plotting
from gradkern.stats import Cluster, ClusterTest

LAYERS, FOLDS, TARGETS = 4, 2, 6
KINDS = ("activation", "gradient", "gradient/image-permuted")
RANDOM = np.random.default_rng(0)


def scores(subject: str = "S1", **coordinates: Any) -> xr.Dataset:
    """As `encoding.score` gives them, of three kinds, shallow layers last."""
    kind, layer = np.repeat(KINDS, LAYERS), np.tile(np.arange(LAYERS)[::-1], len(KINDS))
    r = RANDOM.uniform(0.1, 0.5, (len(kind), FOLDS, TARGETS))
    coords = {
        "feature": [f"{a}/{b}" for a, b in zip(kind, layer, strict=True)], "kind": ("feature", kind),
        "layer": ("feature", [f"blocks.{number}" for number in layer]), "depth": ("feature", layer / (LAYERS - 1)),
        "model": ("feature", ["m"] * len(kind)),
        "objective": ("feature", ["none" if name == "activation" else "ce" for name in kind]),
        "target": [f"t{number}" for number in range(TARGETS)], "roi": ("target", list("aabbcc")),
        "time": ("target", [0.1, 0.2, 0.3] * 2), "sensor": ("target", ["MLO11"] * 3 + ["MLO12"] * 3),
    }  # fmt: skip
    made = xr.Dataset(
        {"r": (("feature", "fold", "target"), r), "noise_ceiling": ("target", np.full(TARGETS, 0.8))},
        coords=coords | {name: ("target", values) for name, values in coordinates.items()},
    )
    return made.assign_attrs(subject=subject, images=100)


def without_controls(made: xr.Dataset) -> xr.Dataset:
    return made.isel(feature=slice(0, 2 * LAYERS))


ONE = scores()
BOTH = [without_controls(ONE), without_controls(scores("S2"))]


def words(figure: Figure) -> str:
    """All text of a figure."""
    labels = [axis.get_xlabel() + axis.get_ylabel() + axis.get_title() for axis in figure.axes]
    return " | ".join([figure.get_suptitle(), *labels])


def line(axis: Any, label: str) -> Any:
    return next(drawn for drawn in axis.lines if drawn.get_label() == label)


class TestLayers:
    def test_lines_are_means_over_folds_and_targets_from_shallow_to_deep(self) -> None:
        figure = plotting.scores_by_depth(BOTH)
        axis = figure.axes[0]
        expected = np.mean([one.r.values[LAYERS : 2 * LAYERS].mean((1, 2))[::-1] for one in BOTH], axis=0)
        np.testing.assert_allclose(line(axis, "gradient").get_ydata(), expected)
        np.testing.assert_allclose(line(axis, "gradient").get_xdata(), np.linspace(0, 1, LAYERS))
        assert line(axis, "noise ceiling").get_ydata()[0] == pytest.approx(0.8)
        assert "n = 2 subjects, 100 images, 6 targets each" in words(figure)
        assert "held-out r" in words(figure)

    def test_a_map_has_the_means_of_each_region(self) -> None:
        figure = plotting.layer_map(ONE, "roi", order=["c", "a"])
        top = figure.axes[0].images[0].get_array()
        r = ONE.r.values[:LAYERS].mean(1)[::-1]
        np.testing.assert_allclose(top, np.stack([r[:, 4:].mean(1), r[:, :2].mean(1)], axis=1))
        assert [label.get_text() for label in figure.axes[len(KINDS)].get_xticklabels()] == ["c", "a"]
        assert [bar.get_height() for bar in figure.axes[len(KINDS)].patches] == [0.8, 0.8]

    def test_times_are_in_order_and_in_ms(self) -> None:
        figure = plotting.scores_by_time(BOTH, layer="blocks.1")
        drawn = line(figure.axes[0], "activation")
        np.testing.assert_allclose(drawn.get_xdata(), [100, 200, 300])
        at = [list(one.layer.values[:LAYERS]).index("blocks.1") for one in BOTH]
        expected = np.mean(
            [one.r.values[row].mean(0).reshape(2, 3).mean(0) for row, one in zip(at, BOTH, strict=True)], axis=0
        )
        np.testing.assert_allclose(drawn.get_ydata(), expected)
        with pytest.raises(ValueError, match=r"scores_by_time: layer must be one of .*blocks.0.*, got 'x'"):
            plotting.scores_by_time(BOTH, layer="x")

    def test_extents_are_of_significant_clusters_only(self) -> None:
        found = [Cluster(np.array([0, 1]), np.array([0, 1]), 3.0, p) for p in (0.01, 0.2)]
        test = ClusterTest("t", tuple(found), np.zeros(9), 9, 0.1)
        figure = plotting.scores_by_time(BOTH, clusters={"gradient": test})
        bars = [drawn for drawn in figure.axes[0].lines if drawn.get_linewidth() == 3.5]
        assert [list(bar.get_xdata()) for bar in bars] == [[100, 200]]
        assert "1 clusters with p ≤ 0.05" in words(figure).replace("\n", " ")
        beyond = ClusterTest("t", (Cluster(np.array([0]), np.array([7]), 3.0, 0.01),), np.zeros(9), 9, 0.1)
        for wrong in ({"gradient": beyond}, {"other": test}):
            with pytest.raises(ValueError, match="scores_by_time: clusters must"):
                plotting.scores_by_time(BOTH, clusters=wrong)

    def test_controls_stand_beside_the_gradient_and_are_taken_from_it(self) -> None:
        left, right = plotting.controls_beside(ONE).axes
        r = ONE.r.values.mean((1, 2)).reshape(len(KINDS), LAYERS)[:, ::-1]
        np.testing.assert_allclose(line(right, KINDS[2]).get_ydata(), r[1] - r[2])
        assert line(left, KINDS[2]).get_linestyle() != line(left, "gradient").get_linestyle()
        with pytest.raises(ValueError, match="controls_beside: scores must have 'gradient' and its controls"):
            plotting.controls_beside(BOTH)

    def test_shares_below_0_are_drawn(self) -> None:
        names = ("joint_r2", "unique_covariates_r2", "shared_r2", "unique_r2")
        r2 = {name: (("feature", "target"), np.full((LAYERS, TARGETS), 0.1 * i - 0.1)) for i, name in enumerate(names)}
        base = ONE.isel(feature=slice(LAYERS, 2 * LAYERS))
        axis = plotting.variance_shares(xr.Dataset(r2, base.coords, base.attrs)).axes[0]
        assert line(axis, "both together").get_ydata() == pytest.approx([-0.1] * LAYERS)
        assert line(axis, "gradient alone").get_ydata() == pytest.approx([0.2] * LAYERS)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (ONE.assign(r=ONE.r * np.nan), "r must have a number, got NaN everywhere"),
        (ONE.assign_coords(model=("feature", ["a", "b"] * 6)), r"scores must be of one model, got \['a', 'b'\]"),
        (ONE.drop_vars("kind"), r"scores must have \['r', 'kind'\]"),
        ([], "at least one subject, got none"),
        ([ONE, BOTH[0]], "the same kinds and layers in all subjects"),
        (np.zeros(3), "scores must be a Dataset"),
    ],
)
@pytest.mark.parametrize("figure", [plotting.scores_by_depth, plotting.layer_map, plotting.controls_beside])
def test_scores_that_are_not_of_one_question_are_refused(figure: Any, made: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"{figure.__name__}: .*{message}"):
        figure(made)


def test_columns_that_are_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match=r"layer_map: by must be a coordinate of the targets, .*roi.*, got 'region'"):
        plotting.layer_map(ONE, "region")
    with pytest.raises(ValueError, match=r"layer_map: order must be of 'roi' of the targets, got \['z'\]"):
        plotting.layer_map(ONE, "roi", order=["z"])
    with pytest.raises(ValueError, match="layer_map: limits must rise, got 1 and 0"):
        plotting.layer_map(ONE, "roi", limits=(1, 0))


class TestOrder:
    def test_targets_without_a_place_or_a_depth_are_counted(self) -> None:
        hierarchy, depth = np.array([0.0, 10, 20, np.nan]), np.array([0.1, np.nan, 0.9, 0.5])
        figure = plotting.depth_by_hierarchy({"activation": depth, "gradient": hierarchy / 20}, hierarchy)
        assert "n = 2 targets, 2 without" in words(figure)
        assert "n = 3 targets, 1 without" in words(figure)
        with pytest.raises(ValueError, match="depth_by_hierarchy: depths must have a target with a depth and a place"):
            plotting.depth_by_hierarchy({"activation": depth * np.nan}, hierarchy)
        with pytest.raises(ValueError, match=r"depths must be \[v\] as the hierarchy, got \[3\]"):
            plotting.depth_by_hierarchy({"activation": depth[:3]}, hierarchy)

    def test_an_axis_that_hides_0_says_so(self) -> None:
        late = {"activation": [0.1, 0.2, 0.3], "gradient": [[0.3, 0.25, 0.2], [0.3, np.nan, 0.2]]}
        figure = plotting.latency_by_depth(late, [0, 0.5, 1])
        assert "latency after onset (ms)\n(0 is not on this axis)" in words(figure)
        np.testing.assert_allclose(figure.axes[0].lines[-1].get_ydata(), [300, 250, 200])
        figure = plotting.latency_by_depth({"activation": [-0.1, 0.2, 0.3]}, [0, 0.5, 1])
        assert "not on this axis" not in words(figure)
        assert "not on this axis" not in words(plotting.scores_by_depth(BOTH))
        with pytest.raises(ValueError, match=r"latency_by_depth: latencies must be \[3\] with a number"):
            plotting.latency_by_depth({"activation": [np.nan] * 3}, [0, 0.5, 1])


def test_files_hold_text_as_text_and_are_the_same_each_time(tmp_path: Path) -> None:
    paths = plotting.save(plotting.scores_by_depth(BOTH), tmp_path / "figure")
    assert [path.name for path in paths] == ["figure.svg", "figure.png"]
    texts = [element.text for element in ElementTree.parse(paths[0]).iter() if element.tag.endswith("text")]
    assert "relative depth of the layer" in texts
    assert image.imread(paths[1]).shape[1] > 1200  # 300 dots per inch
    plotting.save(plotting.scores_by_depth(BOTH), tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == paths[0].read_bytes()
    assert not re.search(r"\d{4}-\d\d-\d\dT", paths[0].read_text())
    with pytest.raises(NotADirectoryError, match=r"save: .*nowhere must be a folder"):
        plotting.save(Figure(), tmp_path / "nowhere" / "figure")
