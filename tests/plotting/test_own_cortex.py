"""Maps on a subject's own cortex, of its vertices and of the voxels that it runs through."""

import importlib.util
from pathlib import Path
from typing import Any

import nibabel as nib
import nibabel.freesurfer as freesurfer
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import TriMesh
from matplotlib.figure import Figure

from gradkern import plotting
from gradkern.plotting import Cortex, CortexView
from gradkern.plotting._turned import cortex_scene
from tests.small_cortex import CENTERS, at_vertices, in_voxels, recording_of, sphere, spheres

needs_nilearn = pytest.mark.skipif(importlib.util.find_spec("nilearn") is None, reason="nilearn is not installed")


def colored(figure: Figure, panel: int = 0) -> int:
    """Triangles of a panel that are not grey."""
    (mesh,) = [drawn for drawn in figure.axes[panel].collections if isinstance(drawn, TriMesh)]
    return int((np.ptp(mesh.get_facecolor()[::3, :3], axis=1) > 0.01).sum())


def on_cortex(values: Any, like: Any, view: CortexView) -> np.ndarray:
    """Values at the vertices of the left hemisphere, NaN where there is none."""
    (part,) = cortex_scene(values, like, "r", view=view).parts
    found: np.ndarray = part.values[0]
    return found


class TestVertices:
    def test_they_are_drawn_on_the_cortex_of_the_view_in_any_space(self) -> None:
        like = at_vertices({"left": range(200), "right": range(50)})
        figure = plotting.cortex_map(np.ones(250), like, "r", view=CortexView(("lateral",), cortex=Cortex(spheres())))
        assert 150 < colored(figure) < 250  # of 396, those that face the reader
        assert "n = 250 vertices of native" in figure.get_suptitle()
        assert "fsaverage5" not in figure.get_suptitle()

    def test_without_a_flat_map_none_is_drawn(self) -> None:
        assert CortexView(cortex=Cortex(spheres())).shown == ("lateral", "medial", "ventral")
        flat = {side: (points * [1, 1, 0], triangles[:100]) for side, (points, triangles) in spheres().items()}
        assert CortexView(cortex=Cortex(spheres(), flat=flat)).shown[-1] == "flat"
        like = at_vertices({"left": range(200)})
        view = CortexView(("flat",), cortex=Cortex(spheres(), flat=flat))
        assert colored(plotting.cortex_map(np.ones(200), like, "r", view=view)) == 100
        with pytest.raises(ValueError, match="cortex must have a flat map for the view 'flat'"):
            plotting.cortex_map(np.ones(200), like, "r", view=CortexView(("flat",), cortex=Cortex(spheres())))

    def test_sulci_are_darker(self) -> None:
        like, some = at_vertices({"left": [0]}), np.where(np.arange(200) % 2, 1.0, -1.0)
        bright = [
            plotting.cortex_map([1.0], like, "r", view=CortexView(("lateral",), cortex=Cortex(
                {"left": sphere("left")}, sulci={"left": depth}
            ))).axes[0].collections[0].get_facecolor()[:, :3].mean()
            for depth in (-np.ones(200), some, np.ones(200))
        ]  # fmt: skip
        assert bright[0] > bright[1] > bright[2]

    @pytest.mark.parametrize("kind", ["GIFTI", "FreeSurfer"])
    def test_files_are_what_they_hold(self, kind: str, tmp_path: Path) -> None:
        points, triangles = sphere("left")
        depth = np.linspace(-1, 1, len(points), dtype=np.float32)
        if kind == "GIFTI":
            intents = (
                ("NIFTI_INTENT_POINTSET", points.astype("f4")),
                ("NIFTI_INTENT_TRIANGLE", triangles.astype("i4")),
            )
            arrays = [nib.gifti.GiftiDataArray(data, intent) for intent, data in intents]
            nib.save(nib.gifti.GiftiImage(darrays=arrays), tmp_path / "lh.surf.gii")
            nib.save(nib.gifti.GiftiImage(darrays=[nib.gifti.GiftiDataArray(depth)]), tmp_path / "lh.shape.gii")
            surface, sulci = tmp_path / "lh.surf.gii", tmp_path / "lh.shape.gii"
        else:
            freesurfer.write_geometry(tmp_path / "lh.pial", points, triangles)
            freesurfer.write_morph_data(tmp_path / "lh.sulc", depth)
            surface, sulci = tmp_path / "lh.pial", tmp_path / "lh.sulc"
        cortex = Cortex({"left": str(surface)}, sulci={"left": sulci})
        assert cortex.vertices == {"left": 200}
        np.testing.assert_allclose(cortex.folded["left"][0], points, atol=1e-4)
        np.testing.assert_array_equal(cortex.folded["left"][1], triangles)
        assert cortex.sulci is not None
        np.testing.assert_array_equal(cortex.sulci["left"], depth)

    def test_surfaces_of_freesurfer_are_brought_to_scanner_mm(self, tmp_path: Path) -> None:
        """FreeSurfer, "CoordinateSystems": scanner mm are surface mm plus c_ras."""
        points, triangles = sphere("left")
        volume: Any = {
            "head": [2, 0, 20], "valid": "1  # volume info valid", "filename": "orig.mgz", "volume": [256] * 3,
            "voxelsize": [1.0] * 3, "xras": [-1.0, 0, 0], "yras": [0.0, 0, -1], "zras": [0.0, 1, 0],
            "cras": [1.5, -20.0, 7.0],
        }  # fmt: skip
        freesurfer.write_geometry(tmp_path / "lh.pial", points, triangles, volume_info=volume)
        read = Cortex({"left": tmp_path / "lh.pial"}).folded["left"][0]
        np.testing.assert_allclose(read, points + np.array([1.5, -20, 7]), atol=1e-4)


class TestVoxels:
    @settings(max_examples=15, deadline=None)
    @given(size=st.floats(1.5, 6), numbers=st.integers(0, 2**32 - 1))
    def test_a_vertex_has_the_value_of_the_voxel_that_it_lies_in(self, size: float, numbers: int) -> None:
        """On the middle between white and pial surface, of any grid, and values are those of voxels, none between."""
        like = in_voxels(size, half=4)
        values = np.random.default_rng(numbers).permutation(len(like.targets)).astype(float)
        white, pial = sphere("left", 2 * size), sphere("left", 4 * size)
        move = -CENTERS["left"]
        cortex = Cortex({"left": (pial[0] + move, pial[1])}, white={"left": (white[0] + move, white[1])})
        view = CortexView(("lateral",), cortex=cortex, limits=(0, len(values)))
        scene_values = on_cortex(values, like, view)
        middle = (white[0] + pial[0]) / 2 + move
        steps = np.rint(middle / size).astype(int) + 4
        np.testing.assert_array_equal(scene_values, values[np.ravel_multi_index(steps.T, (9, 9, 9))])

    def test_voxels_outside_the_grey_matter_are_counted(self) -> None:
        like = in_voxels(4.0, half=5)
        cortex = Cortex({side: (points - CENTERS[side], faces) for side, (points, faces) in spheres(12.0).items()})
        figure = plotting.cortex_map(np.ones(11**3), like, "r", view=CortexView(("lateral",), cortex=cortex))
        title = " ".join(figure.get_suptitle().split())
        assert "n = 400 vertices of T1w" in title
        assert "of 1,331 voxels those in grey matter" in title

    def test_uncertain_voxels_are_pale(self) -> None:
        like = in_voxels(4.0, half=5)
        cortex = Cortex({"left": (sphere("left", 12.0)[0] - CENTERS["left"], sphere("left")[1])})
        drawn = [
            plotting.cortex_map(
                np.ones(11**3), like, "r", opacity=np.full(11**3, opaque), view=CortexView(("lateral",), cortex=cortex)
            )
            for opaque in (0.0, 1.0)
        ]
        assert colored(drawn[0]) == 0 < colored(drawn[1])

    @needs_nilearn
    def test_of_mni_space_lie_on_fsaverage(self) -> None:
        """A ball at the back of the left hemisphere colors vertices there and nowhere else."""
        grid = np.stack(np.meshgrid(*[np.arange(-12.0, 13, 3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        like = recording_of(
            pd.DataFrame(grid + np.array([-25, -90, 0]), columns=["x", "y", "z"]), "MNI152NLin2009cAsym"
        )
        figure = plotting.cortex_map(np.ones(len(grid)), like, "r", view=CortexView(("posterior", "lateral")))
        assert colored(figure) > 20
        assert len(figure.axes) == 3  # two views of the left hemisphere and the color bar
        assert "vertices of fsaverage5" in figure.get_suptitle()

    @pytest.mark.parametrize(
        ("space", "cortex", "message"),
        [
            ("T1w", None, "space must be MNI, or the view must have a cortex in the space of the voxels, got 'T1w'"),
            ("T1w", Cortex({"left": sphere("left", 500.0)}), "voxels must lie in the grey matter"),
        ],
    )
    def test_voxels_without_a_cortex_are_refused(self, space: str, cortex: Any, message: str) -> None:
        like = in_voxels(4.0, space, half=2)
        with pytest.raises(ValueError, match=message):
            plotting.cortex_map(np.ones(125), like, "r", view=CortexView(cortex=cortex))


ONE = {"left": sphere("left")}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no hemisphere": ({"folded": {}}, "folded must have 'left', 'right' or both, got neither"),
    "an unknown one": ({"folded": {"L": sphere("left")}}, r"folded must have .*, got \['L'\]"),
    "another number": ({"folded": ONE, "inflated": {"left": sphere("left", count=99)}}, "must have 200 .*, got 99"),
    "another depth": ({"folded": ONE, "sulci": {"left": np.ones(3)}}, "sulci left must have 200 .*, got 3"),
    "one side of two": ({"folded": spheres(), "white": ONE}, "white must have the hemispheres of folded"),
    "no such vertex": ({"folded": {"left": (np.zeros((3, 3)), [[0, 1, 3]])}}, r"vertices 0\.\.2, got 0\.\.3"),
    "flat points": ({"folded": {"left": (np.zeros((3, 2)), [[0, 1, 2]])}}, r"points \[v, 3\] .*, got \[3, 2\]"),
    "NaN": ({"folded": {"left": (np.full((3, 3), np.nan), [[0, 1, 2]])}}, "finite points, got 3"),
}


@pytest.mark.parametrize("case", BAD)
def test_surfaces_that_do_not_fit_are_refused(case: str) -> None:
    arguments, message = BAD[case]
    with pytest.raises(ValueError, match=f"Cortex: .*{message}"):
        Cortex(**arguments)


def test_files_that_are_no_surfaces(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"lh\.pial must be a file of a surface"):
        Cortex({"left": tmp_path / "lh.pial"})
    (tmp_path / "lh.pial").write_bytes(b"no surface")
    (tmp_path / "lh.surf.gii").write_bytes(b"no surface")
    for name in ("lh.pial", "lh.surf.gii"):
        with pytest.raises(ValueError, match=rf"{name} must be a surface of GIFTI or FreeSurfer"):
            Cortex({"left": tmp_path / name})


def test_a_mesh_with_another_number_of_vertices() -> None:
    like = at_vertices({"left": [0, 200]})
    with pytest.raises(ValueError, match=r"vertices of native must lie in 0\.\.199, got 0\.\.200"):
        plotting.cortex_map([1.0, 2.0], like, "r", view=CortexView(cortex=Cortex(spheres())))
