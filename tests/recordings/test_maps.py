"""`save_maps`: a value returns at its place, bit for bit, from files with the fields that other programs ask for."""

import gzip
import json
import struct
from pathlib import Path
from typing import Any

import mne
import nibabel
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.affines import from_matvec
from numpy.typing import NDArray

from gradkern.errors import Refused
from gradkern.recordings import Parcels, Recording, SurfaceMesh, VolumeGrid, save_maps
from tests.fake_datasets import geometries
from tests.fake_datasets.geometries import AFFINE, TIMES

GRID = VolumeGrid((4, 5, 6), AFFINE, 1)
MESH = SurfaceMesh({"left": 10, "right": 12}, "fsaverage5")
MAKERS: dict[str, tuple[Any, Any]] = {
    "volume": (geometries.volume, GRID),
    "surface": (geometries.surface, MESH),
    "grayordinates": (geometries.grayordinates, geometries.brain_models()),
    "sensors": (geometries.sensors, geometries.sensor_geometry()),
}
some_values = st.floats(width=32, allow_infinity=False)


def read(paths: list[Path]) -> NDArray[np.float32]:
    """Values [maps, places] of the files of one recording, in the order of its geometry's places."""
    parts = []
    for path in paths:
        if path.name.endswith("-ave.fif"):
            parts.append(np.stack([e.data.ravel() for e in mne.read_evokeds(path, verbose="error")]))
        elif path.name.endswith(".gii"):
            parts.append(np.stack([array.data for array in nibabel.load(path).darrays]))
        elif path.name.endswith((".dscalar.nii", ".pscalar.nii")):
            parts.append(np.asarray(nibabel.load(path).dataobj))
        else:
            volume = np.asarray(nibabel.load(path).dataobj)
            parts.append(volume.reshape(-1, volume.shape[3] if volume.ndim == 4 else 1, order="F").T)
    return np.concatenate(parts, axis=1).astype(np.float32)


def same_bits(a: Any, b: Any) -> None:
    np.testing.assert_array_equal(np.asarray(a, np.float32), np.asarray(b, np.float32))


@pytest.mark.parametrize("kind", sorted(MAKERS))
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_a_value_returns_at_its_place(kind: str, data: st.DataObject, tmp_path_factory: Any) -> None:
    """For any subset of the targets, in any order, whatever the values."""
    make, geometry = MAKERS[kind]
    places = data.draw(st.lists(st.integers(0, geometry.size - 1), min_size=1, max_size=geometry.size, unique=True))
    if kind == "sensors":  # whose files begin and end with the times of the targets
        corners = [len(TIMES) - 1, 0]
        places = [*corners, *(place for place in places if place not in corners)]
    values = data.draw(st.lists(some_values, min_size=len(places), max_size=len(places)))
    values[0] = 1.5
    other = np.arange(len(places)) / 7
    fill = data.draw(st.sampled_from([np.nan, 0.0, -1.0]))
    recording = make(places, geometry)
    folder = tmp_path_factory.mktemp("maps")
    stored = read(save_maps({"a": values, "b": other}, recording, folder / "maps", stat="r", fill=fill))
    expected = np.full((2, geometry.size), fill, np.float32)
    expected[:, places] = [values, other]
    same_bits(stored, expected)
    chosen = data.draw(st.permutations(range(len(places))))[: max(1, len(places) // 2)]
    if kind != "sensors":
        fewer = recording.select_targets(list(chosen), "some")
        again = read(save_maps(other[list(chosen)], fewer, folder / "fewer", stat="r"))
        expected = np.full(geometry.size, np.nan, np.float32)
        expected[np.array(places)[list(chosen)]] = other[list(chosen)]
        same_bits(again[0], expected)


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 5)] * 3),
    numbers=st.lists(st.floats(-3, 3, width=32), min_size=9, max_size=9),
    shift=st.tuples(*[st.floats(-200, 200, width=32)] * 3),
    code=st.integers(1, 5),
)
def test_any_affine_returns(shape: Any, numbers: list[float], shift: Any, code: int, tmp_path_factory: Any) -> None:
    matrix = np.array(numbers).reshape(3, 3) + np.diag([4, -4, 4])
    if abs(np.linalg.det(matrix)) < 1:
        matrix = np.diag([4.0, -4, 4])
    grid = VolumeGrid(shape, from_matvec(matrix, shift), code)
    last = grid.size - 1
    paths = save_maps([0.25], geometries.volume([last], grid), tmp_path_factory.mktemp("maps") / "m.nii")
    image = nibabel.load(paths[0])
    header = image.header
    # NIfTI-1: a program takes the sform where its code is not 0, else the qform; both must say the same
    same_bits(header.get_sform(), grid.affine)
    assert int(header["sform_code"]) == code
    assert int(header["qform_code"]) in (0, code)
    if header["qform_code"]:
        np.testing.assert_allclose(header.get_qform(), grid.affine, atol=1e-3)
    assert image.shape == grid.shape
    assert np.asarray(image.dataobj)[tuple(n - 1 for n in shape)] == 0.25


class TestFields:
    """What the documentation of other programs asks for, field by field."""

    def test_of_volumes(self, tmp_path: Path) -> None:
        recording = geometries.volume([3, 77], GRID)
        (path,) = save_maps({"r of 1": [0.5, 0.25], "r of 2": [0.0, 1.0]}, recording, tmp_path, stat="r")
        header = nibabel.load(path).header
        assert path.name == "sub-01_space-T1w_stat-r_statmap.nii.gz"
        assert header["magic"] == b"n+1"  # NIfTI-1, one file
        assert header.get_data_dtype() == np.float32
        with gzip.open(path) as file:  # nibabel hides these two fields; other programs multiply by the slope
            assert struct.unpack("<2f", file.read(120)[112:]) == (1, 0)
        assert header.get_data_shape() == (4, 5, 6, 2)  # maps along the fourth axis, as time is
        assert header.get_xyzt_units()[0] == "mm"  # freeview and pycortex read millimetres
        assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
        np.testing.assert_allclose(header.get_zooms()[:3], [2, 2, 2.5])
        # the axes are as in the recording: no program is given another orientation than its reference
        assert nibabel.aff2axcodes(nibabel.load(path).affine) == ("L", "A", "S")
        assert header.get_intent()[0] == "estimate"

    @pytest.mark.parametrize(("space", "code"), [("T1w", 2), ("MNI152NLin2009cAsym:res-2", 4)])
    def test_of_volumes_whose_code_nobody_said(self, tmp_path: Path, space: str, code: int) -> None:
        """NIfTI-1: 2 is aligned to another scan, 4 MNI 152."""
        recording = geometries.volume([3], VolumeGrid((4, 5, 6), AFFINE), space=space)
        (path,) = save_maps([1.0], recording, tmp_path, stat="r")
        assert int(nibabel.load(path).header["sform_code"]) == code
        assert ("res-2" in path.name) == (code == 4)

    def test_of_volumes_without_an_affine(self, tmp_path: Path) -> None:
        """NIfTI-1: code 0 says that nobody knows; the file does not claim an orientation."""
        (path,) = save_maps([1.0], geometries.volume([3], VolumeGrid((4, 5, 6))), tmp_path, stat="r")
        header = nibabel.load(path).header
        assert (int(header["sform_code"]), int(header["qform_code"])) == (0, 0)
        assert json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())["Orientation"] == "unknown"

    @pytest.mark.parametrize(
        # FreeSurfer reads overlays of the intents TIME_SERIES, SHAPE, NONE and NORMAL alone (MRISreadGiftiAsMRI in
        # utils/gifti.cpp); GIFTI asks for SHAPE in .shape.gii
        ("ending", "intent"), [(".func.gii", "none"), (".shape.gii", "NIFTI_INTENT_SHAPE")],
    )  # fmt: skip
    def test_of_surfaces(self, tmp_path: Path, ending: str, intent: str) -> None:
        recording = geometries.surface([0, 21], MESH)
        paths = save_maps({"a": [1, 2], "b": [3, 4]}, recording, tmp_path / f"x{ending}", stat="r")
        assert [path.name for path in paths] == [f"x_hemi-L{ending}", f"x_hemi-R{ending}"]
        for path, structure, count in zip(paths, ("CortexLeft", "CortexRight"), (10, 12), strict=True):
            image = nibabel.load(path)
            assert image.meta["AnatomicalStructurePrimary"] == structure  # wb_view: the structure of a metric file
            assert [array.meta["Name"] for array in image.darrays] == ["a", "b"]  # wb_view: the names of the maps
            for array in image.darrays:
                assert nibabel.nifti1.intent_codes.code[intent] == array.intent
                assert nibabel.nifti1.data_type_codes.niistring[array.datatype] == "NIFTI_TYPE_FLOAT32"
                assert list(array.dims) == [count]  # pycortex and freeview: every vertex, the medial wall too
                assert nibabel.gifti.gifti.array_index_order_codes.label[array.ind_ord] == "RowMajorOrder"

    def test_of_grayordinates(self, tmp_path: Path) -> None:
        models = geometries.brain_models()
        (path,) = save_maps({"a": [1.0, 2], "b": [3, 4]}, geometries.grayordinates([0, 24], models), tmp_path, stat="r")
        assert path.name == "sub-01_space-fsLR_stat-r_statmap.dscalar.nii"
        image = nibabel.load(path)
        header = image.nifti_header
        # CIFTI-2, file types: the intent of the ending, in NIfTI-2, with the data along the fifth and sixth axis
        assert int(header["intent_code"]) == 3006
        assert bytes(header["intent_name"]).rstrip(b"\0") == b"ConnDenseScalar"
        assert header["dim"][:7].tolist() == [6, 1, 1, 1, 1, 2, 25]
        assert header.get_data_dtype() == np.float32
        assert struct.unpack("<2d", path.read_bytes()[176:192]) == (1, 0)  # slope and intercept
        maps, axis = image.header.get_axis(0), image.header.get_axis(1)
        assert maps.name.tolist() == ["a", "b"]
        assert axis == models.axis()
        structures = {name: (part, axis) for name, part, axis in axis.iter_structures()}
        assert list(structures) == list(models.structures)
        assert axis.nvertices == {
            "CIFTI_STRUCTURE_CORTEX_LEFT": 20, "CIFTI_STRUCTURE_CORTEX_RIGHT": 20
        }  # fmt: skip
        assert axis.volume_shape == (5, 6, 7)
        np.testing.assert_array_equal(axis.affine, AFFINE)

    def test_of_parcels(self, tmp_path: Path) -> None:
        parcels = Parcels(geometries.brain_models(), ("V1", "V4", "deep"), np.arange(25), np.arange(25) // 9)
        recording = geometries.recording(pd.DataFrame({"label": ["deep", "V1"]}), parcels, space="fsLR")
        (path,) = save_maps([1.0, 2.0], recording, tmp_path, stat="r")
        assert path.name.endswith(".pscalar.nii")
        image = nibabel.load(path)
        assert int(image.nifti_header["intent_code"]) == 3008
        assert bytes(image.nifti_header["intent_name"]).rstrip(b"\0") == b"ConnParcelScalr"
        assert image.header.get_axis(1) == parcels.axis()
        same_bits(read([path])[0], [2, np.nan, 1])

    def test_of_regions_of_a_surface_every_vertex_has_the_value(self, tmp_path: Path) -> None:
        parcels = Parcels(MESH, ("a", "b"), [0, 3, 11, 12], [0, 0, 1, 1])
        recording = geometries.recording(pd.DataFrame({"label": ["b", "a"]}), parcels, space="fsaverage5")
        values = read(save_maps([5.0, 7.0], recording, tmp_path, stat="r"))[0]
        expected = np.full(22, np.nan)
        expected[[0, 3]], expected[[11, 12]] = 7, 5
        same_bits(values, expected)

    def test_of_sensors(self, tmp_path: Path) -> None:
        geometry = geometries.sensor_geometry()
        places = [s * 5 + t for s in (0, 1, 3) for t in (1, 2, 3)]
        recording = geometries.sensors(places, geometry)
        (path,) = save_maps({"a": np.arange(9), "b": np.arange(9) / 3}, recording, tmp_path, stat="r")
        assert path.name == "sub-01_stat-r_statmap-ave.fif"  # mne: names of Evoked end in -ave.fif
        first, second = mne.read_evokeds(path, verbose="error")
        assert (first.comment, second.comment) == ("a", "b")
        np.testing.assert_allclose(first.times, [0.0, 0.1, 0.2], atol=1e-7)
        assert first.ch_names == list(geometry.names)
        assert first.info["bads"] == ["MEG0121"]  # without a target: NaN, and no topomap of mne uses it
        assert np.isnan(first.data[2]).all()
        same_bits(second.data[[0, 1, 3]].ravel(), np.arange(9) / 3)
        assert first.get_channel_types() == ["mag", "grad", "grad", "eeg"]

    def test_of_vertices_at_times(self, tmp_path: Path) -> None:
        table = pd.DataFrame({"hemisphere": ["right", "left", "left", "right"], "vertex": [7, 5, 5, 2]})
        table["time"] = [0.1, 0.1, 0.2, 0.2]
        table["label"] = list("abcd")
        recording = geometries.recording(table, MESH, space="fsaverage5")
        paths = save_maps([1.0, 2.0, 3.0, 4.0], recording, tmp_path, stat="r")
        assert [path.name[-7:] for path in paths] == ["-lh.stc", "-rh.stc"]
        estimate = mne.read_source_estimate(str(paths[0]).removesuffix("-lh.stc"))
        assert [vertices.tolist() for vertices in estimate.vertices] == [[5], [2, 7]]
        np.testing.assert_allclose(estimate.times, [0.1, 0.2], atol=1e-7)
        same_bits(estimate.data, [[2, 3], [np.nan, 4], [1, np.nan]])
        several = save_maps({"act": np.arange(4.0), "grad": np.ones(4)}, recording, tmp_path, stat="p")
        assert len(several) == 4
        stated = [json.loads(path.with_suffix(".json").read_text())["Maps"] for path in several]
        assert stated == [["act"], ["act"], ["grad"], ["grad"]]


class TestSidecar:
    def test_it_says_what_the_map_is(self, tmp_path: Path) -> None:
        recording = geometries.volume([3, 77], GRID)
        about = {"units": "z", "claim": "layers follow the hierarchy", "model": "dinov2", "layer": "blocks.3"}
        paths = save_maps({"a": [1, 2]}, recording, tmp_path, stat="r", desc="weight_gradient, CE", about=about)
        assert paths[0].name == "sub-01_space-T1w_stat-r_desc-weightGradientCE_statmap.nii.gz"
        stated = json.loads((tmp_path / paths[0].name.replace(".nii.gz", ".json")).read_text())
        assert {name: stated[name] for name in ("Units", "Claim", "Model", "Layer", "Statistic", "Maps")} == {
            "Units": "z", "Claim": about["claim"], "Model": "dinov2", "Layer": "blocks.3", "Statistic": "r",
            "Maps": ["a"],
        }  # fmt: skip
        assert stated["GeneratedBy"][0]["Name"] == "gradkern"
        assert (stated["Targets"], stated["PlacesWithoutTarget"]) == (2, "n/a")


class TestValues:
    RECORDING = geometries.surface([0, 21, 5], MESH)

    def scores(self, labels: list[str]) -> xr.Dataset:
        r = xr.DataArray(np.arange(18.0).reshape(2, 3, 3), dims=("feature", "fold", "target"))
        return xr.Dataset(
            {"r": r, "noise_ceiling": ("target", [0.1, 0.2, 0.3]), "edges": ("feature", [1, 2])},
            {"feature": ["a", "b"], "target": labels},
        )

    def test_scores_are_found_by_their_labels(self, tmp_path: Path) -> None:
        order = [2, 0, 1]
        labels = [self.RECORDING.labels[place] for place in order]
        paths = save_maps(self.scores(labels), self.RECORDING, tmp_path)
        assert [path.name for path in paths] == [
            f"sub-01_hemi-{side}_space-fsaverage5_stat-{stat}_statmap.func.gii"
            for stat in ("r", "noiseCeiling") for side in "LR"
        ]  # fmt: skip
        stored = read(paths[:2])
        same_bits(stored[:, [5, 0, 21]], [[3, 4, 5], [12, 13, 14]])  # means over folds
        same_bits(read(paths[2:])[0, [5, 0, 21]], [0.1, 0.2, 0.3])
        assert [array.meta["Name"] for array in nibabel.load(paths[0]).darrays] == ["a", "b"]
        assert len(save_maps(self.scores(labels), self.RECORDING, tmp_path / "r", stat="r")) == 2
        same_bits(read(save_maps(self.scores(labels).noise_ceiling, self.RECORDING, tmp_path / "c"))[0, 5], 0.1)

    def test_arrays_in_a_mapping_are_found_by_their_labels_too(self, tmp_path: Path) -> None:
        order = [2, 0, 1]
        values = xr.DataArray([1.0, 2, 3], {"target": [self.RECORDING.labels[at] for at in order]}, dims="target")
        stored = read(save_maps({"a": values}, self.RECORDING, tmp_path))
        same_bits(stored[0, [5, 0, 21]], [1, 2, 3])
        with pytest.raises(ValueError, match="save_maps: values of 'a' must be one map, got 2"):
            save_maps({"a": xr.concat([values, values], "layer")}, self.RECORDING, tmp_path / "two")

    def test_variables_without_a_value_have_no_file(self, tmp_path: Path) -> None:
        scores = self.scores(list(self.RECORDING.labels)).assign(noise_ceiling=("target", [np.nan] * 3))
        assert {path.name.split("_")[3] for path in save_maps(scores, self.RECORDING, tmp_path)} == {"stat-r"}
        with pytest.raises(Refused, match="save_maps: values must be known somewhere"):
            save_maps(scores, self.RECORDING, tmp_path / "ceiling", stat="noise_ceiling")

    def test_a_single_time_is_an_evoked_too(self, tmp_path: Path) -> None:
        recording = geometries.sensors([2, 7], geometries.sensor_geometry())
        (path,) = save_maps([1.0, 2.0], recording, tmp_path)
        (evoked,) = mne.read_evokeds(path, verbose="error")
        assert evoked.data.shape == (4, 1)
        np.testing.assert_allclose(evoked.times, [0.1], atol=1e-7)

    def test_scores_of_other_targets_are_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"save_maps: values must be of the recording's 3 targets, .*'left\.0'"):
            save_maps(self.scores(["x", "y", "z"]), self.RECORDING, tmp_path)
        assert list(tmp_path.iterdir()) == []


class TestBadInput:
    VOLUME = geometries.volume([3, 77], GRID)

    @pytest.mark.parametrize(
        ("values", "error", "message"),
        [
            ([1, 2, 3], ValueError, r"values of 'value' must be one for each of the recording's 2 targets, got \[3\]"),
            (np.ones(120), ValueError, r"got \[120\] \(the volume of 4 x 5 x 6 voxels, .* has as many places\)"),
            ([np.nan, np.nan], Refused, r"values must be known somewhere, got NaN at all of 2 targets"),
            ([np.inf, 1], ValueError, "must be finite or NaN in float32, got inf"),
            ([1e60, 1], ValueError, r"must be finite or NaN in float32, got 1e\+60"),
            (["a", "b"], ValueError, "must be numbers, got <U1"),
            ({1: [1, 2], "1": [3, 4]}, ValueError, r"values must have different names, got \['1', '1'\]"),
            ({}, ValueError, "values must be at least one map, got none"),
            (xr.Dataset({"r": ("feature", [1.0])}), ValueError, "values must have variables of numbers along 'target'"),
        ],
    )
    def test_values(self, tmp_path: Path, values: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=f"save_maps: .*{message}"):
            save_maps(values, self.VOLUME, tmp_path / "maps")
        assert list(tmp_path.iterdir()) == []

    def test_a_mesh_with_another_number_of_vertices(self, tmp_path: Path) -> None:
        table = geometries.surface([0, 21], MESH).targets.assign(vertex=[0, 10_242])
        recording = geometries.recording(table, None, space="fsaverage5")  # whose mesh everybody has
        with pytest.raises(ValueError, match=r"save_maps: 'vertex' of the right hemisphere must lie in 0\.\.10241"):
            save_maps([1, 2], recording, tmp_path)

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"unit": [0, 1]}, r"must have a geometry \(a grid.*got none; it has targets in 'units' with label, unit"),
            ({"i": [0, 1], "j": [0, 1], "k": [0, 1]}, r".*got none; .* with label, i, j, k; read_geometry\(file\)"),
        ],
    )
    def test_a_recording_without_geometry_says_what_it_has(self, tmp_path: Path, columns: Any, message: str) -> None:
        recording = geometries.recording(pd.DataFrame({"label": ["a", "b"], **columns}), None, space="units")
        with pytest.raises(Refused, match=f"save_maps: the recording of 'sub-01' {message}"):
            save_maps([1, 2], recording, tmp_path)

    def test_what_exists_is_kept_unless_it_shall_be_replaced(self, tmp_path: Path) -> None:
        recording = geometries.surface([0, 21], MESH)
        paths = save_maps([1, 2], recording, tmp_path, stat="r")
        sidecars = sorted(tmp_path.glob("*.json"))
        paths[0].unlink()
        for kept in (paths[1], sidecars[0]):
            with pytest.raises(FileExistsError, match=r"save_maps: path must be a new file, got .*, which exists"):
                save_maps([3, 4], recording, tmp_path, stat="r")
            assert not paths[0].exists()  # of several files none is written
            kept.unlink()
        for sidecar in sidecars[1:]:
            sidecar.unlink()
        save_maps([3, 4], recording, tmp_path, stat="r")
        save_maps([5, 6], recording, tmp_path, stat="r", overwrite=True)
        same_bits(read(paths)[0, [0, 21]], [5, 6])

    def test_folders(self, tmp_path: Path) -> None:
        (tmp_path / "x.nii.gz").mkdir()
        (tmp_path / "sub-01_space-T1w_stat-r_statmap.nii.gz").mkdir()
        (tmp_path / "file").touch()
        for path, error, message in (
            ("x.nii.gz", FileExistsError, "path must be a file, got .*a folder that exists"),
            (".", FileExistsError, "path must be a file, got .*a folder that exists"),
            ("file", FileExistsError, "path must be a folder, got .*, which is a file"),
            ("missing/x.nii", FileNotFoundError, "path must lie in a folder that exists"),
            ("x.mgz", ValueError, r"path must be a folder or end in \.nii\.gz or \.nii, got 'x\.mgz'"),
            ("x.dscalar.nii", ValueError, r"path must end in \.nii\.gz or \.nii for such a recording"),
        ):
            with pytest.raises(error, match=f"save_maps: {message}"):
                save_maps([1, 2], self.VOLUME, tmp_path / path, stat="r")
        assert sorted(p.name for p in tmp_path.rglob("*")) == [
            "file", "sub-01_space-T1w_stat-r_statmap.nii.gz", "x.nii.gz"
        ]  # fmt: skip

    def test_nothing_is_half_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(path: Path, *args: Any, **kwargs: Any) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space left"):
            save_maps([1, 2], self.VOLUME, tmp_path / "new", stat="r")
        assert list(tmp_path.iterdir()) == []

    def test_names_that_no_file_can_have(self, tmp_path: Path) -> None:
        nameless = geometries.volume([3], GRID, subject="被験者")
        with pytest.raises(ValueError, match="save_maps: subject must have letters or digits"):
            save_maps([1], nameless, tmp_path)
        assert save_maps([1], nameless, tmp_path / "x.nii")[0].is_file()
        with pytest.raises(ValueError, match="save_maps: desc must have letters or digits"):
            save_maps([1, 2], self.VOLUME, tmp_path, desc="!")
        with pytest.raises(ValueError, match="save_maps: fill must be"):
            save_maps([1, 2], self.VOLUME, tmp_path, fill=np.inf)
        source = pd.DataFrame({"label": ["a"], "hemisphere": "left", "vertex": 1, "time": 0.1})
        estimate = geometries.recording(source, MESH)
        with pytest.raises(ValueError, match="save_maps: maps must have names that differ in letters or digits"):
            save_maps({"a b": [1], "a-b": [2]}, estimate, tmp_path)
        with pytest.raises(TypeError, match="save_maps: like must be a Recording, got DataFrame"):
            save_maps([1, 2], self.VOLUME.targets, tmp_path)
        timed: Recording = geometries.recording(self.VOLUME.targets.assign(time=[0.0, 0.1]), GRID)
        with pytest.raises(Refused, match="save_maps: maps over time must be of sensors or of vertices"):
            save_maps([1, 2], timed, tmp_path)
