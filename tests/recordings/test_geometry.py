"""A recording's geometry: kept through whatever is done with it, and in files; read from files that lie on it."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import mne
import nibabel
import numpy as np
import pandas as pd
import pytest

from gradkern.errors import Refused
from gradkern.recordings import (
    Excluded,
    Geometry,
    Parcels,
    Recording,
    Sensors,
    SurfaceMesh,
    VolumeGrid,
    load_betas,
    load_bold,
    load_nsd,
    load_recording,
    load_things_eeg2,
    read_geometry,
    save_recording,
)
from gradkern.study import region_means, subject_mean
from tests.fake_datasets import geometries
from tests.fake_datasets.geometries import AFFINE
from tests.fake_datasets.nsd import FakeNSD, V
from tests.fake_datasets.things_eeg2 import write_eeg

EARLIER = Path(__file__).parent / "earlier_recordings"
GRID = VolumeGrid((4, 5, 6), AFFINE, 4)
MESH = SurfaceMesh({"left": 10, "right": 12}, "tiny")


def recordings() -> dict[str, Recording]:
    models = geometries.brain_models()
    parcels = Parcels(models, ("a", "b"), np.arange(20), np.arange(20) % 2)
    return {
        "volume": geometries.volume([0, 50, 119, 7], GRID),
        "volume without an affine": geometries.volume([0, 50], VolumeGrid((4, 5, 6))),
        "surface": geometries.surface([0, 21, 5], MESH),
        "grayordinates": geometries.grayordinates([3, 24, 15], models),
        "parcels": geometries.recording(pd.DataFrame({"label": ["b", "a"]}), parcels),
        "sensors": geometries.sensors([0, 19, 7], geometries.sensor_geometry()),
        "none": geometries.recording(pd.DataFrame({"label": ["x"]}), None),
    }


KINDS = sorted(recordings())


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_kept_by_selections_averages_and_files(kind: str, tmp_path: Path) -> None:
    brain = recordings()[kind]
    shown = pd.DataFrame({"image": [0, 1, 2, 0, 1, 2], "session": [1, 1, 1, 2, 2, 2]})
    brain = replace(brain, presentations=shown)
    chosen = brain.select_targets([0], "one").zscore().select_presentations([0, 1, 3], "some")
    averaged = chosen.average_repeats(estimate=False)
    save_recording(averaged, tmp_path / "a.h5")
    again = load_recording(tmp_path / "a.h5")
    for other in (chosen, averaged, again):
        assert other.geometry == brain.geometry
    save_recording(again, tmp_path / "b.h5")
    assert load_recording(tmp_path / "b.h5").geometry == brain.geometry
    if brain.geometry is not None:
        assert brain.geometry.words in repr(again)
        np.testing.assert_array_equal(again.geometry.places(again.targets), brain.geometry.places(brain.targets)[:1])


def test_geometries_differ_where_anything_does() -> None:
    different: list[Geometry] = [brain.geometry for brain in recordings().values() if brain.geometry is not None]
    different += [
        VolumeGrid((4, 5, 6), AFFINE + 1e-6, 4), VolumeGrid((4, 5, 6), AFFINE, 1), SurfaceMesh({"lh": 10}, "tiny"),
        SurfaceMesh({"left": 10, "right": 12}), geometries.brain_models(5), Sensors(geometries.SENSORS),
    ]  # fmt: skip
    assert len(set(different)) == len(different)
    assert SurfaceMesh({"R": 12, "lh": 10}, "tiny") == MESH


def test_a_file_of_the_first_version_is_read_and_has_none() -> None:
    brain = load_recording(EARLIER / "version-1.h5")
    np.testing.assert_array_equal(brain.responses[:, :], np.arange(12, dtype=np.float32).reshape(4, 3) / 7)
    assert brain.geometry is None
    assert brain.targets["vertex"].tolist() == [5, 9, 0]
    assert brain.excluded == (Excluded("targets", 2, "without data"),)
    assert (brain.space, brain.image_names) == ("fsaverage5", ("a", "b"))


def test_files_state_their_version(tmp_path: Path) -> None:
    save_recording(recordings()["surface"], tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["version"] == 2
        assert json.loads(file["geometry/plain"].asstr()[()]) == {"vertices": {"left": 10, "right": 12}, "mesh": "tiny"}


def test_targets_outside_it_are_an_error() -> None:
    inside = recordings()
    for kind, wrong, message in (
        ("volume", VolumeGrid((4, 5, 5), AFFINE), r"'k' of voxels must lie in 0\.\.4 .*got 0\.\.5"),
        ("surface", SurfaceMesh({"left": 10, "right": 11}), r"'vertex' of the right hemisphere must lie in 0\.\.10"),
        ("sensors", Sensors(geometries.SENSORS[:-1]), r"'sensor' of targets must be some of the 3 sensors"),
    ):
        with pytest.raises(ValueError, match=f"Recording: {message}"):
            replace(inside[kind], geometry=wrong)
    with pytest.raises(TypeError, match="Recording: geometry must be a Geometry or None, got tuple"):
        replace(inside["volume"], geometry=(4, 5, 6))
    with pytest.raises(ValueError, match=r"targets must be some of the .*got 1 others, first 'g24'"):
        geometries.brain_models(1).places(inside["grayordinates"].targets)
    with pytest.raises(Refused, match=r"targets of a surface must have 'hemisphere', 'vertex', got only \['label'"):
        MESH.places(inside["volume"].targets)
    twice = inside["volume"].targets.assign(i=0, j=0, k=0)
    with pytest.raises(ValueError, match=r"targets must lie at different places, got '0-0-0' and '2-2-2' at one"):
        GRID.places(twice)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VolumeGrid((4, 5)), "VolumeGrid: shape must be 3 positive numbers"),
        (lambda: VolumeGrid((4, 5, 6), np.zeros((4, 4))), r"VolumeGrid: affine must be \[4, 4\] and have an inverse"),
        (lambda: VolumeGrid((4, 5, 6), AFFINE, 9), "VolumeGrid: code must be one of NIfTI's, 0 to 5, got 9"),
        (lambda: SurfaceMesh({"middle": 5}), "SurfaceMesh: vertices must be a positive number for 'left', 'right'"),
        (lambda: SurfaceMesh({}), "SurfaceMesh: vertices must be known"),
        (lambda: Sensors(("a", "a")), "Sensors: names must be different"),
        (lambda: Sensors(("a",), (0.0, 0.1, 0.3)), "Sensors: times must be evenly spaced"),
        (lambda: Parcels(MESH, ("a",), [1, 1], [0, 0]), "Parcels: place must be in one parcel"),
        (lambda: Parcels(MESH, ("a",), [99], [0]), r"Parcels: place must be \[1\] of 0\.\.21"),
    ],
)
def test_geometries_that_cannot_be_are_errors(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


class TestReaders:
    def test_betas_have_the_grid_of_their_mask_and_its_code(self, tmp_path: Path) -> None:
        mask = np.zeros((4, 5, 6), np.uint8)
        mask[1:3, 2, 3:5] = 1
        image = nibabel.Nifti1Image(mask, AFFINE)
        image.set_sform(AFFINE, 4)
        nibabel.save(image, tmp_path / "mask.nii.gz")
        betas = np.random.default_rng(0).standard_normal((4, 5, 6, 3)).astype(np.float32)
        data = nibabel.Nifti1Image(betas, AFFINE)
        data.set_sform(AFFINE, 4)
        nibabel.save(data, tmp_path / "betas.nii.gz")
        brain = load_betas([tmp_path / "betas.nii.gz"], [[0, 1, 2]], mask=tmp_path / "mask.nii.gz", subject="s")
        assert brain.geometry == GRID == read_geometry(tmp_path / "mask.nii.gz")
        places = brain.geometry.places(brain.targets)
        np.testing.assert_array_equal(brain.responses[:, :], betas.reshape(-1, 3, order="F")[places].T)

    def test_series_have_their_meshes_grayordinates_or_parcels(self, tmp_path: Path) -> None:
        events = tmp_path / "events.tsv"
        events.write_text("onset\tname\n2\ta\n4\tb\n")
        series = np.abs(np.random.default_rng(0).standard_normal((20, 25))).astype(np.float32) + 5
        for side, part in (("L", series[:, :10]), ("R", series[:, 10:22])):
            arrays = [nibabel.gifti.GiftiDataArray(row, "NIFTI_INTENT_TIME_SERIES") for row in part]
            image = nibabel.gifti.GiftiImage(darrays=arrays)
            nibabel.save(image, tmp_path / f"sub-1_hemi-{side}_space-tiny_bold.func.gii")
        pair = tuple(tmp_path / f"sub-1_hemi-{side}_space-tiny_bold.func.gii" for side in "LR")
        brain = load_bold([(pair, events)], "name", subject="s", repetition_time=1.0)
        assert brain.geometry == MESH == read_geometry(pair, mesh="tiny")
        models = geometries.brain_models()
        axis = nibabel.cifti2.SeriesAxis(0, 1, 20)
        parcels = Parcels(models, ("a", "b"), np.arange(25), np.arange(25) // 13)
        for name, geometry, values in (("x.dtseries.nii", models, series), ("x.ptseries.nii", parcels, series[:, :2])):
            nibabel.save(nibabel.cifti2.Cifti2Image(values, header=(axis, geometry.axis())), tmp_path / name)
            brain = load_bold([(tmp_path / name, events)], "name", subject="s")
            assert brain.geometry == read_geometry(tmp_path / name)
            assert brain.geometry.axis() == geometry.axis()
            np.testing.assert_array_equal(brain.geometry.places(brain.targets), np.arange(geometry.size))

    def test_nsd_has_both_meshes_and_the_grid(self, tmp_path: Path) -> None:
        made = FakeNSD(tmp_path)
        brain = load_nsd(made.folder, 2)
        assert brain.geometry == SurfaceMesh({"lh": V, "rh": V}, "fsaverage")
        assert len(set(brain.geometry.places(brain.targets))) == len(brain.targets)
        brain = load_nsd(made.folder, 2, space="func1pt8mm")
        assert isinstance(brain.geometry, VolumeGrid)
        corner = brain.geometry.affine @ [*brain.targets[["i", "j", "k"]].to_numpy()[0], 1]
        np.testing.assert_array_equal(brain.targets[["x", "y", "z"]].to_numpy()[0], corner[:3])

    def test_eeg_with_names_alone_has_sensors_and_times(self, tmp_path: Path) -> None:
        write_eeg(tmp_path)
        brain = load_things_eeg2(tmp_path, 4, allow_pickle=True)
        assert isinstance(brain.geometry, Sensors)
        np.testing.assert_array_equal(brain.geometry.places(brain.targets), np.arange(brain.geometry.size))


class TestSensors:
    def test_what_mne_says_of_them_survives_files(self, tmp_path: Path) -> None:
        info = geometries.sensor_info()
        info["bads"] = ["MEG0112"]
        brain = geometries.sensors([0, 5, 10], Sensors.of_info(info, geometries.TIMES))
        save_recording(brain, tmp_path / "a.h5")
        made, where = load_recording(tmp_path / "a.h5").geometry.mne_info(0.01)
        assert where == "as recorded"
        assert made.ch_names == info.ch_names
        assert made.get_channel_types() == info.get_channel_types() == ["mag", "grad", "grad", "eeg"]
        assert made["bads"] == ["MEG0112"]
        for before, after in zip(info["chs"], made["chs"], strict=True):
            np.testing.assert_array_equal(before["loc"], after["loc"])
            assert (before["coil_type"], before["coord_frame"]) == (after["coil_type"], after["coord_frame"])
        np.testing.assert_array_equal(made["dev_head_t"]["trans"], info["dev_head_t"]["trans"])
        assert made["dig"] == info["dig"]
        assert len(made["dig"]) == 4
        assert made.get_montage().get_positions()["ch_pos"].keys() == {"EEG001"}

    def test_electrodes_of_known_names_lie_where_the_template_says(self) -> None:
        info, where = Sensors(("Oz", "Pz"), modality="eeg").mne_info(0.1)
        assert where == "template of the 10-05 system, by the sensors' names"
        assert np.isfinite([channel["loc"][:3] for channel in info["chs"]]).all()
        info, where = Sensors(("Oz", "nowhere"), modality="eeg").mne_info(0.1)
        assert where == "unknown"

    def test_files_of_mne_say_which_they_are(self, tmp_path: Path) -> None:
        geometry = geometries.sensor_geometry()
        info, _ = geometry.mne_info(0.1)
        mne.write_evokeds(tmp_path / "x-ave.fif", mne.EvokedArray(np.zeros((4, 5)), info, -0.1), verbose="error")
        read = read_geometry(tmp_path / "x-ave.fif")
        assert isinstance(read, Sensors)
        assert (read.names, read.times) == (geometry.names, None)
        assert [channel["kind"] for channel in read.info["channels"]] == [
            channel["kind"] for channel in geometry.info["channels"]
        ]


class TestFromFiles:
    def test_freesurfer_surfaces_have_meshes(self, tmp_path: Path) -> None:
        for side, count in (("lh", 10), ("rh", 12)):
            points = np.random.default_rng(0).random((count, 3))
            nibabel.freesurfer.write_geometry(tmp_path / f"{side}.white", points, np.array([[0, 1, 2]]))
        assert read_geometry((tmp_path / "lh.white", tmp_path / "rh.white"), mesh="tiny") == MESH
        with pytest.raises(ValueError, match="read_geometry: source must be the left and the right surface"):
            read_geometry((tmp_path / "rh.white", tmp_path / "lh.white"))
        with pytest.raises(ValueError, match="read_geometry: source must be one path, or a pair"):
            read_geometry((tmp_path / "rh.white",))

    def test_other_files_are_errors(self, tmp_path: Path) -> None:
        for name in ("x.dscalar.nii", "x.fif", "x.nii"):
            (tmp_path / name).write_bytes(b"no")
            with pytest.raises(ValueError, match=f"read_geometry: .*{re.escape(name)} cannot be read"):
                read_geometry(tmp_path / name)
        with pytest.raises(FileNotFoundError, match="read_geometry: path must be a file"):
            read_geometry(tmp_path / "missing.nii")


def test_means_over_regions_are_parcels_and_means_over_subjects_keep_it() -> None:
    places = np.arange(22)
    brain = geometries.surface(places, MESH)
    table = brain.targets.assign(roi=np.where(places % 3 == 0, "V1", np.where(places % 3 == 1, "V4", "")), depth=0.5)
    brain = replace(brain, targets=table)
    means = region_means(brain, "depth")
    assert isinstance(means.geometry, Parcels)
    for number, label in enumerate(means.labels):
        side, roi = label.split()
        members = means.geometry.place[means.geometry.parcel == means.geometry.places(means.targets)[number]]
        expected = places[((table["hemisphere"] == side) & (table["roi"] == roi)).to_numpy()]
        assert sorted(members) == expected.tolist()
    mean = subject_mean([brain, brain], "depth")
    assert mean.geometry == MESH
    np.testing.assert_array_equal(MESH.places(mean.targets), places)
    other = replace(brain, geometry=SurfaceMesh({"left": 10, "right": 99}))
    assert subject_mean([brain, other], "depth").geometry is None
