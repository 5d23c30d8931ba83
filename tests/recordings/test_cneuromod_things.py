"""CNeuroMod-THINGS: trials in the order of sessions and runs, voxels in that of the mask, images by THINGS' names."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from gradkern.recordings import load, load_cneuromod_things
from tests.fake_datasets.cneuromod_things import NAME, TRIALS, FakeCNeuroMod


@pytest.mark.parametrize("old", [False, True])
def test_trials_voxels_and_images(tmp_path: Path, old: bool) -> None:
    fake = FakeCNeuroMod(tmp_path, old)
    recording = load_cneuromod_things(tmp_path, 3)
    np.testing.assert_array_equal(np.asarray(recording.responses), fake.betas.reshape(3 * TRIALS, -1))
    names = recording.image_names or ()
    shown = [path for run in fake.images for path in run]
    assert [names[i] for i in recording.image_ids] == [path.rpartition("/")[2] for path in shown]
    assert recording.presentations["concept"].tolist() == [path.split("/")[1] for path in shown]
    assert recording.presentations["session"].tolist() == [2] * 16 + [10] * 8
    assert recording.units == "standard deviations within a session"
    volume = np.zeros(fake.mask.shape)
    volume[fake.mask] = fake.betas[0, 3]  # as nilearn unmasks
    i, j, k = (recording.targets[axis].to_numpy() for axis in "ijk")
    np.testing.assert_array_equal(volume[i, j, k], np.asarray(recording.responses)[3])
    x = recording.targets[["x", "y", "z"]].to_numpy()
    np.testing.assert_allclose(x, np.stack([i, j, k], 1) * 2 + [-9, 5, 7])


def test_by_name_sessions_and_the_folder_of_the_data_set(tmp_path: Path) -> None:
    fake = FakeCNeuroMod(tmp_path)
    recording = load("cneuromod-things", tmp_path / "THINGS", subject=3, sessions=[10])
    np.testing.assert_array_equal(np.asarray(recording.responses), fake.betas[2])
    with pytest.raises(ValueError, match=r"load_cneuromod_things: sessions must be in .*, got \[3\]"):
        load_cneuromod_things(tmp_path, 3, sessions=[3])
    with pytest.raises(ValueError, match=r"subject must be one of \(1, 2, 3, 6\), got 4"):
        load_cneuromod_things(tmp_path, 4)
    with pytest.raises(FileNotFoundError, match=r"stats-trialBetas_statseries\.h5 .* is missing"):
        load_cneuromod_things(tmp_path, 3, betas="raw")


def test_runs_without_betas_are_counted(tmp_path: Path) -> None:
    fake = FakeCNeuroMod(tmp_path)
    with h5py.File(fake.path, "r+") as file:
        del file["2/2"]
    recording = load_cneuromod_things(tmp_path, 3)
    assert len(recording.presentations) == 2 * TRIALS
    assert [(entry.count, entry.reason) for entry in recording.excluded] == [(1, "without betas: ses-002 run-2")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"session": "ses-010"},
            "session must be the same everywhere, got ses-002 in the name .* ses-010 in the table",
        ),
        ({"run": 3}, "run must be the same everywhere, got 2 .* 3 in"),
        ({"subject": "06"}, "subject must be the same everywhere, got 03 .* 06 in"),
        ({"onset": np.arange(TRIALS)[::-1]}, "order of their onsets"),
        ({"image_path": ["n/a", *["images_fmri/a/a_02s.jpg"] * (TRIALS - 1)]}, "8 trials with an image.* 1 without"),
    ],
)
def test_events_of_another_run_are_refused(tmp_path: Path, changes: Any, message: str) -> None:
    fake = FakeCNeuroMod(tmp_path)
    fake.write_events(1, **changes)
    with pytest.raises(ValueError, match=message):
        load_cneuromod_things(tmp_path, 3)


def test_fewer_events_than_betas(tmp_path: Path) -> None:
    fake = FakeCNeuroMod(tmp_path)
    lines = fake.events_path(0).read_text().splitlines()
    fake.events_path(0).write_text("\n".join(lines[:-1]))
    with pytest.raises(ValueError, match="8 trials with an image, as the betas, got 7"):
        load_cneuromod_things(tmp_path, 3)


@pytest.mark.parametrize("lacking", ["mask_array", "2/1/betas", "10"])
def test_files_that_lack_something(tmp_path: Path, lacking: str) -> None:
    fake = FakeCNeuroMod(tmp_path)
    with h5py.File(fake.path, "r+") as file:
        del file[lacking]
        if lacking == "10":
            file["10/1/betas"] = np.ones((TRIALS, 3))
    with pytest.raises(ValueError, match=NAME):
        load_cneuromod_things(tmp_path, 3)
