"""Readers of THINGS-fMRI, Algonauts 2023 and THINGS-EEG2, on small files of their layouts."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from gradkern.recordings import (
    estimate_ncsnr,
    load_algonauts2023,
    load_things_eeg2,
    load_things_fmri,
    noise_ceiling,
    published,
)

RANDOM = np.random.default_rng(0)


class ThingsFMRI:
    """6 voxels, 20 training images, 4 test images shown 5 times."""

    start = "betas_csv/sub-02_"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "betas_csv").mkdir()
        stimuli = [f"thing{i}_01b.jpg" for i in range(20)] + [f"probe{i}_14s.jpg" for i in range(4)] * 5
        self.trials = pd.DataFrame(
            {
                "trial_type": ["train"] * 20 + ["test"] * 20,
                "session": np.arange(40) % 2 + 1,
                "run": 1,
                "subject_id": 2,
                "trial_id": np.arange(40),
                "stimulus": stimuli,
                "concept": [name.rpartition("_")[0] for name in stimuli],
            }
        )
        self.voxels = pd.DataFrame(
            {
                "voxel_id": np.arange(6),
                "voxel_x": np.arange(6) + 10,
                "voxel_y": 20,
                "voxel_z": 30,
                "nc_singletrial": [0.0, 10.0, 20.0, 50.0, 80.0, np.nan],
                "V1": [1, 1, 0, 0, 0, 0],
            }
        )
        self.betas = RANDOM.standard_normal((6, 40))
        self.write()

    def write(self) -> None:
        self.trials.to_csv(self.folder / f"{self.start}StimulusMetadata.csv", index=False)
        self.voxels.to_csv(self.folder / f"{self.start}VoxelMetadata.csv", index=False)
        with h5py.File(self.folder / f"{self.start}ResponseData.h5", "w") as file:
            group = file.create_group("ResponseData")  # as pandas' to_hdf writes it
            group.attrs["nblocks"] = 2
            group["block0_values"], group["block1_values"] = self.betas, np.arange(6)[:, None]


@pytest.fixture
def things(tmp_path: Path) -> ThingsFMRI:
    return ThingsFMRI(tmp_path)


def test_things_fmri(things: ThingsFMRI) -> None:
    found = load_things_fmri(things.folder, 2)
    np.testing.assert_array_equal(np.asarray(found.responses), things.betas.T)
    np.testing.assert_array_equal(found.responses[:, 2:5], things.betas.T[:, 2:5])
    assert [found.image_names[i] for i in found.image_ids] == things.trials["stimulus"].tolist()
    assert found.targets.loc[3, ["i", "j", "k"]].tolist() == [13, 20, 30]
    assert found.select_targets(found.targets["V1"] == 1, "in V1").labels == ("0", "1")
    np.testing.assert_allclose(100 * noise_ceiling(found).r2, things.voxels["nc_singletrial"])
    train, test = published(found)
    assert (len(train), len(test)) == (20, 20)
    assert estimate_ncsnr(found).shape == (6,)


def test_images_of_things_fmri_are_found_by_concept(things: ThingsFMRI, tmp_path: Path) -> None:
    for number, row in things.trials.iterrows():
        (tmp_path / "images" / row["concept"]).mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), number).save(tmp_path / "images" / row["concept"] / row["stimulus"])
    found = load_things_fmri(things.folder, 2, images=tmp_path / "images")
    last = {row["stimulus"]: number for number, row in things.trials.iterrows()}
    for number in (0, 20, 33):
        shown = things.trials["stimulus"][number]
        assert abs(int(found.images[found.image_ids[number]].mean()) - last[shown]) <= 1  # .jpg
    (tmp_path / "images/thing7/thing7_01b.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"load_things_fmri: thing7/thing7_01b.jpg is missing in .*osf"):
        load_things_fmri(things.folder, 2, images=tmp_path / "images")


def changed(**tables: Callable[[ThingsFMRI], Any]) -> Callable[[ThingsFMRI], None]:
    def plant(things: ThingsFMRI) -> None:
        for name, change in tables.items():
            setattr(things, name, change(things))
        things.write()

    return plant


TRAPS: dict[str, tuple[Callable[[ThingsFMRI], None], str]] = {
    "fewer trials": (changed(trials=lambda t: t.trials[:39]), "StimulusMetadata.csv has 39 rows, 40 expected"),
    "another subject's voxels": (changed(voxels=lambda t: t.voxels[:4]), "VoxelMetadata.csv has 4 rows, 6 expected"),
    "transposed": (changed(betas=lambda t: t.betas.T), "StimulusMetadata.csv has 40 rows, 6 expected"),
    "catch trials": (
        changed(trials=lambda t: t.trials.assign(trial_type="catch")),
        r"trial_type must be train or test, got \['catch'\]",
    ),
    "no names": (changed(trials=lambda t: t.trials.drop(columns="stimulus")), "must have the column 'stimulus'"),
    "fractions for percent": (
        changed(voxels=lambda t: t.voxels.assign(nc_singletrial=[0, 10, 20, 50, 80, 120])),
        "nc_singletrial must be percent, 0 to 100, got 0 to 120",
    ),
    "an empty table": (
        lambda t: (t.folder / f"{t.start}VoxelMetadata.csv").write_text("") and None,
        "VoxelMetadata.csv cannot be read as a table: No columns",
    ),
    "no table": (
        lambda t: (t.folder / f"{t.start}ResponseData.h5").write_bytes(b"no") and None,
        r"must be a table of betas as pandas writes it \(fixed format\)",
    ),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_what_is_wrong_in_things_fmri_yields_no_recording(things: ThingsFMRI, trap: str) -> None:
    plant, message = TRAPS[trap]
    plant(things)
    with pytest.raises(ValueError, match=message):
        load_things_fmri(things.folder, 2)


def test_missing_files_are_named(tmp_path: Path, things: ThingsFMRI) -> None:
    with pytest.raises(FileNotFoundError, match=r"sub-01_ResponseData.h5 is missing in .*figshare"):
        load_things_fmri(things.folder, 1)
    with pytest.raises(FileNotFoundError, match=r"lh_training_fmri.npy is missing in .*algonauts"):
        load_algonauts2023(tmp_path, 1)
    with pytest.raises(FileNotFoundError, match=r"preprocessed_eeg_training.npy is missing in .*figshare"):
        load_things_eeg2(tmp_path, 1)
    for load, least in ((load_things_fmri, 0), (load_algonauts2023, 0), (load_things_eeg2, 0)):
        with pytest.raises(ValueError, match="subject must be"):
            load(tmp_path, least)


def algonauts(folder: Path, images: int = 12) -> NDArray[Any]:
    split = folder / "subj03" / "training_split"
    (split / "training_fmri").mkdir(parents=True)
    (split / "training_images").mkdir()
    values = RANDOM.standard_normal((12, 9)).astype(np.float32)
    np.save(split / "training_fmri" / "lh_training_fmri.npy", values[:, :5])
    np.save(split / "training_fmri" / "rh_training_fmri.npy", values[:, 5:])
    for number in range(images):
        name = f"train-{number + 1:04d}_nsd-{7 * number + 13:05d}.png"
        Image.new("RGB", (3, 3), (number, 0, 0)).save(split / "training_images" / name)
    return values


def test_algonauts(tmp_path: Path) -> None:
    values = algonauts(tmp_path)
    found = load_algonauts2023(tmp_path, 3)
    np.testing.assert_array_equal(np.asarray(found.responses), values)
    assert found.presentations["nsd"].tolist() == [7 * number + 13 for number in range(12)]
    assert found.images[11][0, 0].tolist() == [11, 0, 0]
    assert found.labels[5] == "rh.0"
    assert found.ncsnr is None


def test_algonauts_with_another_number_of_images_is_refused(tmp_path: Path) -> None:
    algonauts(tmp_path, images=11)
    with pytest.raises(ValueError, match=r"must hold 12 images train-\*.png, got 11"):
        load_algonauts2023(tmp_path, 3)


def test_algonauts_pickles_and_cut_files_are_refused(tmp_path: Path) -> None:
    algonauts(tmp_path)
    path = tmp_path / "subj03/training_split/training_fmri/rh_training_fmri.npy"
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(ValueError, match=r"rh_training_fmri.npy cannot be read as an array"):
        load_algonauts2023(tmp_path, 3)
    np.save(path, np.array({"a": 1}, dtype=object))
    with pytest.raises(ValueError, match=r"rh_training_fmri.npy cannot be read as an array"):
        load_algonauts2023(tmp_path, 3)
    np.save(path, np.zeros((12, 4), np.int16))
    with pytest.raises(ValueError, match=r"must hold float of 2 dimensions, got int16 \[12, 4\]"):
        load_algonauts2023(tmp_path, 3)


def eeg(folder: Path, bare: bool = False, **changes: Any) -> dict[str, NDArray[Any]]:
    (folder / "sub-04").mkdir()
    made = {}
    for name, images, repeats in (("training", 10, 4), ("test", 3, 8)):
        made[name] = RANDOM.standard_normal((images, repeats, 2, 5))
        content = {"preprocessed_eeg_data": made[name], "ch_names": ["O1", "O2"], "times": 0.01 * np.arange(5)}
        content |= changes if name == "test" else {}
        path = folder / "sub-04" / f"preprocessed_eeg_{name}.npy"
        if bare:
            path.write_bytes(pickle.dumps(content))
        else:
            np.save(path, np.array(content, dtype=object))
    return made


@pytest.mark.parametrize("bare", [False, True])
def test_eeg(tmp_path: Path, bare: bool) -> None:
    made = eeg(tmp_path, bare)
    found = load_things_eeg2(tmp_path, 4, allow_pickle=True)
    whole = np.concatenate([made["training"].reshape(40, 10), made["test"].reshape(24, 10)])
    np.testing.assert_array_equal(np.asarray(found.responses), whole)
    assert found.image_ids.tolist() == np.repeat(range(10), 4).tolist() + np.repeat(range(10, 13), 8).tolist()
    assert found.labels[:2] == ("O1 0 ms", "O1 10 ms")
    train, test = published(found.average_repeats())
    assert (len(train), len(test)) == (10, 3)


def test_pickles_are_not_read_unless_asked_for_by_name(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "run",))

    (tmp_path / "sub-04").mkdir()
    (tmp_path / "sub-04/preprocessed_eeg_training.npy").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"is a pickle, which can run any code .*allow_pickle=True"):
        load_things_eeg2(tmp_path, 4)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"times": np.arange(5.0)}, "must have the sensors and times of the training file"),
        ({"ch_names": ["O1"]}, r"must hold float \[images, repeats, 1 sensors, 5 times\], got float64"),
    ],
)
def test_what_is_wrong_in_eeg_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    eeg(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        load_things_eeg2(tmp_path, 4, allow_pickle=True)


def test_an_eeg_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sub-04").mkdir()
    np.save(tmp_path / "sub-04/preprocessed_eeg_training.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"must hold a dict of .* got ndarray"):
        load_things_eeg2(tmp_path, 4, allow_pickle=True)


def test_a_cut_pickle_is_named(tmp_path: Path) -> None:
    eeg(tmp_path)
    path = tmp_path / "sub-04/preprocessed_eeg_training.npy"
    for content in (path.read_bytes()[:-50], b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"load_things_eeg2: .*training.npy cannot be read: .*cut short"):
            load_things_eeg2(tmp_path, 4, allow_pickle=True)
