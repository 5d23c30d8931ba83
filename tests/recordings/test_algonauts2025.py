"""Algonauts 2025: a sample belongs to the chunk of the movie before it, runs to sessions, parcels to a place."""

from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest

from gradkern.recordings import Parcels, folds, load, load_algonauts2025, save_maps
from tests.fake_datasets.algonauts2025 import FRIENDS, FakeAlgonauts


def test_every_sample_has_the_chunk_shown_before_it(tmp_path: Path) -> None:
    fake = FakeAlgonauts(tmp_path)
    recording = load_algonauts2025(tmp_path, 3)
    responses, names = np.asarray(recording.responses), recording.image_names or ()
    kept = {name: len(values) - 10 for name, values in fake.values.items()}
    assert responses.shape == (sum(kept.values()), 1000)
    for row in range(len(responses)):
        clip, chunk = names[recording.image_ids[row]].rsplit("_", 1)
        place = recording.presentations.iloc[row]
        showing = place["run"].removeprefix(f"{clip}_")
        run = f"_run-{showing}" if clip.startswith("life") else ""
        values = fake.values[f"ses-{place['session']:03d}_task-{clip}{run}"]
        np.testing.assert_array_equal(responses[row], values[int(chunk) + 3])
        assert place["onset"] == pytest.approx(1.49 * int(chunk))
    assert recording.presentations["concept"].nunique() == 5  # life01 was shown twice
    assert recording.presentations["session"].tolist()[: kept["ses-001_task-s01e02a"]] == [1] * 6
    assert [(entry.what, entry.count) for entry in recording.excluded] == [("samples", 60)]


def test_films_shown_twice_repeat_their_chunks_and_folds_keep_movies_together(tmp_path: Path) -> None:
    FakeAlgonauts(tmp_path)
    recording = load("algonauts2025", tmp_path, subject=3, stimuli=["movie10"])
    names = np.array(recording.image_names)[recording.image_ids]
    values, counts = np.unique(names[[name.startswith("life") for name in names]], return_counts=True)
    assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == {
        f"life01_{n:04d}": 2 - (n == 7) for n in range(2, 8)
    }
    for train, test in folds(recording, "concept", 2):
        assert not set(recording.presentations["concept"].iloc[train]) & set(
            recording.presentations["concept"].iloc[test]
        )


@pytest.mark.parametrize(("lag", "edges", "first"), [(0, 0, 0), (4, 0, 0), (0, 5, 5), (8, 5, 0)])
def test_lag_and_edges(tmp_path: Path, lag: int, edges: int, first: int) -> None:
    fake = FakeAlgonauts(tmp_path)
    recording = load_algonauts2025(tmp_path / "algonauts_2025.competitors", 3, stimuli="friends", lag=lag, edges=edges)
    names = recording.image_names or ()
    assert names[recording.image_ids[0]] == f"s01e02a_{first:04d}"
    np.testing.assert_array_equal(recording.responses[0, 0:1000], fake.values["ses-001_task-s01e02a"][first + lag])


def test_parcels_have_their_voxels(tmp_path: Path) -> None:
    fake = FakeAlgonauts(tmp_path)
    recording = load_algonauts2025(tmp_path, 3, stimuli=["friends"])
    assert isinstance(recording.geometry, Parcels)
    assert recording.targets["hemisphere"].tolist() == ["left"] * 500 + ["right"] * 500
    voxel = np.argwhere(fake.atlas == 731).mean(0)
    np.testing.assert_allclose(
        recording.targets.loc[730, ["x", "y", "z"]].astype(float), fake.affine[:3, :3] @ voxel + fake.affine[:3, 3]
    )
    (path,) = save_maps(np.arange(1.0, 1001), recording, tmp_path / "number", stat="number")
    np.testing.assert_array_equal(np.nan_to_num(nibabel.load(path).get_fdata()).squeeze(), fake.atlas)


def test_without_the_atlas_parcels_have_no_place(tmp_path: Path) -> None:
    FakeAlgonauts(tmp_path).atlas_path.unlink()
    recording = load_algonauts2025(tmp_path, 3)
    assert recording.geometry is None
    assert "x" not in recording.targets


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("ses-004_task-s01e02a", np.ones((20, 1000), np.float32), r"a showing of a movie once, got ses-001.* ses-004"),
        (
            "ses-003_task-s01e03a",
            np.ones((20, 400), np.float32),
            r"float \[samples, 1000\] in ses-003.* got f \[20, 400\]",
        ),
        ("ses-003_task-s01e03a", np.ones((20, 1000), np.int16), r"got i \[20, 1000\]"),
        ("ses-003_task-s01e03a", np.ones((8, 1000), np.float32), "more samples than lag and edges leave out, got 8"),
        ("task-s01e03a", np.ones((20, 1000), np.float32), r"must hold runs as .*, got task-s01e03a"),
        ("ses-003_task-S01E03", np.ones((20, 1000), np.float32), "must hold runs as"),
    ],
)
def test_runs_of_another_kind_are_refused(tmp_path: Path, name: str, values: Any, message: str) -> None:
    fake = FakeAlgonauts(tmp_path)
    with h5py.File(fake.path("friends"), "a") as file:
        file[name] = values
    with pytest.raises(ValueError, match=message):
        load_algonauts2025(tmp_path, 3)


def test_atlases_of_another_kind_are_refused(tmp_path: Path) -> None:
    fake = FakeAlgonauts(tmp_path)
    fake.affine[0] *= -1  # left is right
    fake.write_atlas()
    with pytest.raises(ValueError, match=r"left half of the parcels must be the same everywhere, got left .* right in"):
        load_algonauts2025(tmp_path, 3)
    fake.affine[0] *= -1
    fake.atlas[fake.atlas == 7] = 0
    fake.write_atlas()
    with pytest.raises(ValueError, match=r"parcels 1\.\.1000 .* got 999"):
        load_algonauts2025(tmp_path, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subject": 4}, r"subject must be one of \(1, 2, 3, 5\), got 4"),
        ({"stimuli": ["friends", "friends"]}, "stimuli must be different"),
        ({"stimuli": ["movies"]}, r"stimuli must be one of \('friends', 'movie10'\), got 'movies'"),
        ({"lag": -1}, "lag must be a whole number of samples, 0 or more, got -1"),
        ({"edges": 2.5}, "edges must be a whole number"),
    ],
)
def test_arguments(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    FakeAlgonauts(tmp_path)
    with pytest.raises(ValueError, match=f"load_algonauts2025: {message}"):
        load_algonauts2025(tmp_path, **{"subject": 3, **options})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    FakeAlgonauts(tmp_path).path("movie10").unlink()
    assert load_algonauts2025(tmp_path, 3, stimuli=["friends"]).presentations["concept"].nunique() == len(FRIENDS)
    with pytest.raises(FileNotFoundError, match=r"task-movie10.*datalad"):
        load_algonauts2025(tmp_path, 3)
