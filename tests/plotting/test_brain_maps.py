"""Maps on cortex, in volumes and on helmets: each value where it belongs, and what is not drawn is said."""

import importlib.util
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import TriMesh
from matplotlib.figure import Figure

from gradkern import Recording, plotting

needs_nilearn = pytest.mark.skipif(importlib.util.find_spec("nilearn") is None, reason="nilearn is not installed")


def recording(targets: pd.DataFrame, space: str) -> Recording:
    labelled = targets.assign(label=[f"t{number}" for number in range(len(targets))])
    return Recording(np.zeros((2, len(targets))), pd.DataFrame({"image": [0, 1]}), labelled, "S", "z", space=space)


def vertices(count: int, side: str = "left", space: str = "fs_LR 32k") -> Recording:
    return recording(pd.DataFrame({"hemisphere": side, "vertex": np.arange(count)}), space)


def faces(figure: Figure) -> list[Any]:
    return [drawn for axis in figure.axes for drawn in axis.collections if isinstance(drawn, TriMesh)]


def colored(mesh: Any) -> int:
    """Triangles that are not grey."""
    colors = mesh.get_facecolor()[::3, :3]
    return int((np.ptp(colors, axis=1) > 0.01).sum())


VIEW = plotting.CortexView(views=("lateral",))


class TestCortex:
    def test_values_color_the_triangles_of_their_vertices_and_no_others(self) -> None:
        like = vertices(32_492)
        values = np.full(32_492, np.nan)
        some = np.arange(400, 4000)
        values[some] = 1.0
        flat = plotting.CortexView(views=("flat",), limits=(0, 2))
        (mesh,) = faces(plotting.cortex_map(values, like, "r", view=flat))
        tri = mesh.get_facecolor()[::3, :3]
        middle = np.array([0.1276, 0.5669, 0.5506])  # viridis at half
        assert colored(mesh) == int((np.abs(tri - middle).max(axis=1) < 0.02).sum()) > 1000

    def test_far_sides_are_not_seen(self) -> None:
        lateral, medial = faces(
            plotting.cortex_map(np.ones(32_492), vertices(32_492), "r", view=plotting.CortexView(("lateral", "medial")))
        )
        counts = [len(mesh.get_facecolor()) // 3 for mesh in (lateral, medial)]
        assert sum(counts) == pytest.approx(64_980, rel=0.02)

    def test_opacity_0_leaves_the_cortex_grey(self) -> None:
        like, values = vertices(32_492), np.ones(32_492)
        see = [faces(plotting.cortex_map(values, like, "r", opacity=values * a, view=VIEW))[0] for a in (0, 1)]
        assert colored(see[0]) == 0
        assert colored(see[1]) == len(see[1].get_facecolor()) // 3

    def test_few_vertices_reach_around_themselves_and_it_is_said(self) -> None:
        like = recording(pd.DataFrame({"hemisphere": ["left"], "vertex": [5000]}), "fs_LR 32k")
        counts = []
        for reach in (0.0, 5.0, 10.0):
            view = plotting.CortexView(views=("lateral", "medial"), reach=reach)
            figure = plotting.cortex_map([1.0], like, "r", view=view)
            counts.append(sum(map(colored, faces(figure))))
            assert (f"within {reach:g} mm" in figure.get_suptitle()) == (reach > 0)
        assert counts[0] == 0  # a triangle needs two corners with a value
        assert 0 < counts[1] < counts[2]

    def test_borders_are_of_the_named_areas(self) -> None:
        view = plotting.CortexView(views=("flat",), outlines=("V1", "MT"))
        axis = plotting.cortex_map(np.ones(32_492), vertices(32_492), "r", view=view).axes[0]
        assert {text.get_text() for text in axis.texts} >= {"V1", "MT"}
        wrong = plotting.CortexView(views=("flat",), outlines=("V99",))
        with pytest.raises(
            ValueError, match=r"cortex_map: outlines must be areas of the map, got \['V99'\]; it has .*V1"
        ):
            plotting.cortex_map(np.ones(32_492), vertices(32_492), "r", view=wrong)

    @needs_nilearn
    def test_fsaverage_is_drawn_by_its_first_vertices_and_the_others_are_counted(self) -> None:
        like = vertices(12_000, "right", "fsaverage")
        figure = plotting.cortex_map(np.arange(12_000.0), like, "r", view=VIEW)
        assert "1,758 of them between those of fsaverage5, not drawn" in figure.get_suptitle().replace("\n", " ")
        with pytest.raises(ValueError, match=r"vertices of fsaverage must lie in 0\.\.163841, got 0\.\.163842"):
            plotting.cortex_map(np.ones(163_843), vertices(163_843, space="fsaverage"), "r", view=VIEW)

    @pytest.mark.parametrize(
        ("values", "like", "options", "message"),
        [
            (np.ones(9), vertices(10), {}, r"values must be \[10\], one for each target, got \[9\]"),
            (np.full(10, np.nan), vertices(10), {}, "values must have a number, got NaN everywhere"),
            (np.full(10, np.inf), vertices(10), {}, "values must not be infinite, got 10"),
            (np.ones(10), vertices(10, space="T1w"), {}, "the space must be fs_LR 32k or fsaverage, .* got 'T1w'"),
            (np.ones(10), recording(pd.DataFrame({"i": range(10)}), ""), {}, r"'hemisphere' and 'vertex', got \['i'"),
            (np.ones(10), vertices(10), {"opacity": np.ones(10) * 2}, r"opacity must lie in \[0, 1\], got 2 to 2"),
            (np.ones(10), vertices(10), {"opacity": np.ones(9)}, r"opacity must be \[10\]"),
            (np.ones(2), recording(pd.DataFrame({"hemisphere": "left", "vertex": [3, 3]}), "fs_LR"), {}, "different"),
            (np.ones(40_000), vertices(40_000), {"view": VIEW}, r"vertices of fs_LR must lie in 0\.\.32491"),
        ],
    )
    def test_what_has_no_place_is_refused(self, values: Any, like: Any, options: Any, message: str) -> None:
        with pytest.raises(ValueError, match=f"cortex_map: .*{message}"):
            plotting.cortex_map(values, like, "r", **options)

    def test_a_view_that_there_is_not(self) -> None:
        with pytest.raises(ValueError, match=r"CortexView: views must be some of lateral, .*, got \['front'\]"):
            plotting.CortexView(views=("front",))
        with pytest.raises(TypeError, match="cortex_map: like must be a Recording or scores, got list"):
            plotting.cortex_map([1.0], [1], "r")


class TestVolume:
    def test_the_value_of_largest_size_is_seen_from_each_side(self) -> None:
        places = pd.DataFrame({"x": [0.0, 0, 2, 4], "y": [0.0, 2, 0, 0], "z": [0.0, 0, 0, 2]})
        like = recording(places, "T1w")
        figure = plotting.volume_map([1.0, -5.0, 2.0, np.nan], like, "r", signed=True)
        left, behind, above = (axis.images[0].get_array() for axis in figure.axes[:3])
        assert left.filled(np.nan)[0].tolist() == [2.0, -5.0]
        assert behind.filled(np.nan)[0].tolist() == [-5.0, 2.0]
        np.testing.assert_array_equal(above.filled(np.nan), [[1.0, 2.0], [-5.0, np.nan]])
        assert "n = 3 voxels, 1 without a value" in figure.get_suptitle()
        assert figure.axes[0].images[0].get_extent() == [-1, 3, -1, 1]

    @needs_nilearn
    def test_the_outline_is_of_the_mni_brain_only(self) -> None:
        places = pd.DataFrame({"x": [0.0, 2], "y": [0.0, 0], "z": [0.0, 0]})
        drawn = [
            len(plotting.volume_map([1.0, 2.0], recording(places, s), "r").axes[0].patches) for s in ("T1w", "MNI")
        ]
        assert drawn[0] == 0 < drawn[1]


def sensors(names: list[str], times: tuple[float, ...] = (0.1, 0.2)) -> Recording:
    table = pd.DataFrame({"sensor": np.repeat(names, len(times)), "time": np.tile(times, len(names))})
    return recording(table, "sensors")


class TestSensors:
    @pytest.mark.parametrize(
        ("names", "layout", "rows"),
        [
            (["MLC11-2622", "MRO12-2622", "MLT11-2622", "MZF01-2622"], "CTF275", 1),
            (["MEG 0111", "MEG0121", "MEG 0341", "MEG 2641"], "Vectorview-all", 1),
            ([f"MEG {site}{end}" for site in ("011", "012", "034", "264") for end in (1, 2, 3)], "Vectorview-all", 2),
            (["Fp1", "FP2", "Oz", "Cz"], "EEG1005", 1),
        ],
    )
    def test_sensors_are_found_by_name_whatever_the_spelling(self, names: list[str], layout: str, rows: int) -> None:
        like = sensors(names)
        figure = plotting.topomaps(np.arange(len(like.targets), dtype=float), like, "r")
        assert f"layout {layout}" in figure.get_suptitle()
        assert len(figure.axes) == 2 * rows + 1
        assert [axis.get_title() for axis in figure.axes[:2]] == ["100 ms", "200 ms"]

    def test_times_are_the_nearest_that_there_are(self) -> None:
        like = sensors(["Fp1", "Fp2", "Oz", "Cz"], (0.0, 0.1, 0.2, 0.3))
        figure = plotting.topomaps(np.ones(16), like, "r", times=[0.11, 0.29])
        assert [axis.get_title() for axis in figure.axes[:2]] == ["100 ms", "300 ms"]
        with pytest.raises(ValueError, match=r"topomaps: times must lie in 0\.\.0\.3 s, got \[0\.5\]"):
            plotting.topomaps(np.ones(16), like, "r", times=[0.5])

    def test_unknown_or_too_few_sensors(self) -> None:
        with pytest.raises(ValueError, match=r"topomaps: sensors must be of one of mne's layouts .*1 of 4 .*\['X99'\]"):
            plotting.topomaps(np.ones(8), sensors(["Fp1", "Fp2", "Oz", "X99"]), "r")
        with pytest.raises(ValueError, match=r"topomaps: values must be of at least 4 sensors at 0\.1 s, got 3"):
            plotting.topomaps(np.ones(6), sensors(["Fp1", "Fp2", "Oz"]), "r")


@pytest.mark.parametrize("limits", [(0.2, 0.8), (0.0, 1.0), (-1.0, -0.5)])
def test_a_color_bar_that_hides_0_says_so(limits: tuple[float, float]) -> None:
    places = recording(pd.DataFrame({"x": [0.0, 2], "y": [0.0, 0], "z": [0.0, 0]}), "T1w")
    like = sensors(["Fp1", "Fp2", "Oz", "Cz"])
    figures = [
        plotting.cortex_map(
            np.ones(400), vertices(400), "r", view=plotting.CortexView(("lateral",), limits=limits), opacity=opacity
        )
        for opacity in (None, np.ones(400))
    ]
    figures += [plotting.volume_map([0.3, 0.4], places, "r", limits=limits)]
    figures += [plotting.topomaps(np.ones(8), like, "r", limits=limits)]
    for figure in figures:
        said = "0 is not on this scale" in figure.axes[-1].get_ylabel()
        assert said == (not limits[0] <= 0 <= limits[1])
