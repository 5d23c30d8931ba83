"""Every reader that knows where its targets lie keeps it: maps of what it reads return at the same places."""

from collections.abc import Callable
from pathlib import Path

import mne
import nibabel
import numpy as np
import pytest

from gradkern.errors import Refused
from gradkern.recordings import (
    Grayordinates,
    Recording,
    Sensors,
    SurfaceMesh,
    VolumeGrid,
    load_bids,
    load_bold5000,
    load_epochs,
    load_kay2017,
    load_laion_fmri,
    load_nod,
    load_nsd,
    load_recording,
    load_things_eeg2,
    save_maps,
    save_recording,
)
from tests.fake_datasets.bids import SPACE, write_bids
from tests.fake_datasets.bold5000 import FakeBOLD5000
from tests.fake_datasets.glmsingle import CONTAINERS, GRID, FakeGLMsingle
from tests.fake_datasets.laion_fmri import FakeLAION
from tests.fake_datasets.nod import FakeNOD
from tests.fake_datasets.nsd import FakeNSD
from tests.fake_datasets.things_eeg2 import write_eeg
from tests.fake_datasets.things_meg import FOLDER, fake_epochs, fake_trials


def bids(folder: Path, surfaces: bool, space: str) -> Recording:
    write_bids(folder, surfaces)
    return load_bids(folder, "07", "images", "stim_file", space=space)


def glmsingle(folder: Path, container: str) -> Recording:
    mask = nibabel.Nifti1Image(np.ones(GRID, np.uint8), np.diag([2.0, 2, 3, 1]))
    nibabel.save(mask, folder / "mask.nii.gz")
    return FakeGLMsingle(folder, container).load(mask=folder / "mask.nii.gz")


def epochs(folder: Path) -> Recording:
    (folder / FOLDER).mkdir(parents=True)
    path = folder / FOLDER / "preprocessed_P1-epo.fif"
    fake_epochs(fake_trials()).save(path, verbose="error")
    return load_epochs(path, "image_path", subject="1", units="as stored")


def eeg(folder: Path) -> Recording:
    write_eeg(folder)
    return load_things_eeg2(folder, 4, allow_pickle=True)


READERS: dict[str, tuple[type, Callable[[Path], Recording]]] = {
    "bids, volumes": (VolumeGrid, lambda folder: bids(folder, False, SPACE)),
    "bids, surfaces": (SurfaceMesh, lambda folder: bids(folder, True, "fsaverage5")),
    "bold5000": (VolumeGrid, lambda folder: load_bold5000(FakeBOLD5000(folder).folder, 4)),
    "laion": (VolumeGrid, lambda folder: load_laion_fmri(FakeLAION(folder).folder, 3)),
    "nod, fmri": (Grayordinates, lambda folder: load_nod(FakeNOD(folder).folder, 3)),
    "nod, meg": (Sensors, lambda folder: load_nod(FakeNOD(folder).folder, 3, "meg")),
    "nsd": (SurfaceMesh, lambda folder: load_nsd(FakeNSD(folder).folder, 2)),
    "nsd, volume": (VolumeGrid, lambda folder: load_nsd(FakeNSD(folder).folder, 2, space="func1pt8mm")),
    "epochs": (Sensors, epochs),
    "things eeg": (Sensors, eeg),
    **{f"glmsingle {name}": (VolumeGrid, lambda folder, name=name: glmsingle(folder, name)) for name in CONTAINERS},
}


def value_at(row: dict[str, object], paths: list[Path]) -> float:
    """What the files have at the place that a row of the table of targets names."""
    for path in paths:
        if path.name.endswith("-ave.fif"):
            (evoked,) = mne.read_evokeds(path, verbose="error")
            at = int(np.abs(evoked.times - row["time"]).argmin())
            return float(evoked.data[evoked.ch_names.index(str(row["sensor"])), at])
        image = nibabel.load(path)
        if path.name.endswith(".gii") and image.meta["AnatomicalStructurePrimary"].lower().endswith(
            str(row["hemisphere"])
        ):
            return float(image.darrays[0].data[row["vertex"]])
        if path.name.endswith(".dscalar.nii"):
            axis = image.header.get_axis(1)
            here = (axis.name == row["structure"]) & (axis.vertex == row["vertex"])
            (place,) = np.flatnonzero(here & (axis.voxel == [row[name] for name in "ijk"]).all(1))
            return float(np.asarray(image.dataobj)[0, place])
        if path.name.endswith(".nii.gz"):
            return float(np.asarray(image.dataobj)[row["i"], row["j"], row["k"]])
    raise AssertionError(row)


@pytest.mark.parametrize("name", READERS)
def test_maps_of_what_a_reader_reads_return_at_the_same_places(name: str, tmp_path: Path) -> None:
    kind, read = READERS[name]
    recording = read(tmp_path)
    assert type(recording.geometry) is kind
    save_recording(recording, tmp_path / "saved.h5")
    again = load_recording(tmp_path / "saved.h5")
    chosen = again.select_targets(list(range(len(again.targets)))[::-2], "every other, backwards")
    values = np.arange(len(chosen.targets)) + 0.5
    paths = save_maps(values, chosen, tmp_path / "maps", stat="r")
    for row, value in list(zip(chosen.targets.to_dict("records"), values, strict=True))[:6]:
        assert value_at(row, paths) == value
    if kind is VolumeGrid and recording.geometry.affine is not None and "x" in recording.targets:
        places = np.column_stack([recording.targets[["i", "j", "k"]].to_numpy(), np.ones(len(recording.targets))])
        expected = (places @ recording.geometry.affine.T)[:, :3]
        np.testing.assert_allclose(recording.targets[["x", "y", "z"]], expected, atol=1e-4)


def test_what_files_do_not_say_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"save_maps: .*'experiment 2' must have a geometry.*with label, roi"):
        save_maps([1, 2], load_kay2017(), tmp_path)
