"""Saved recordings and unpacked files are whole or not there, whoever writes, and however full the disk is."""

import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from gradkern.recordings import Recording, load_betas, load_recording, save_recording

GRID = (10, 10, 10)


def recording(number: int, targets: int = 40) -> Recording:
    responses = np.random.default_rng(number).standard_normal((30, targets)).astype(np.float32)
    labels = pd.DataFrame({"label": [f"{number}.{i}" for i in range(targets)]})
    return Recording(responses, pd.DataFrame({"image": range(30)}), labels, f"s{number}", "u")


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """What the system says to a file that grows beyond this is what it says of a full disk, but for the number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_said_before_the_work_with_the_bytes_that_are_needed(tmp_path: Path) -> None:
    with largest_file(30_000), pytest.raises(OSError, match=r"must have room for 480000 bytes, got \d+ free"):
        save_recording(recording(0, 4000), tmp_path / "r.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_full_scratch_folder_is_an_error_and_no_bus_error(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-9, 9, (*GRID, 40)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "b.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.ones(GRID, np.uint8), np.eye(4)), tmp_path / "m.nii")
    (scratch := tmp_path / "scratch").mkdir()
    with largest_file(20_000), pytest.raises(OSError):  # noqa: PT011  # NumPy's or ours, by what grows the file
        load_betas([tmp_path / "b.nii.gz"], [range(40)], mask=tmp_path / "m.nii", subject="s", scratch=scratch)
    assert list(scratch.iterdir()) == []


def test_of_many_writers_one_wins_and_the_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "r.h5"

    def write(number: int) -> bool:
        try:
            save_recording(recording(number), path)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        written = list(pool.map(write, range(6)))
    assert any(written)
    found = load_recording(path)
    right = recording(int(found.subject[1:]))
    np.testing.assert_array_equal(np.asarray(found.responses), np.asarray(right.responses))
    assert found.labels == right.labels
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.h5"]


def test_a_reader_never_sees_the_numbers_of_another_writer(tmp_path: Path) -> None:
    save_recording(recording(0), tmp_path / "r.h5")
    found = load_recording(tmp_path / "r.h5")
    save_recording(recording(1), tmp_path / "r.h5", overwrite=True)
    with pytest.raises(OSError, match="was replaced while it was open"):
        np.asarray(found.responses)


def test_responses_that_were_changed_on_the_disk_are_refused_when_they_are_read(tmp_path: Path) -> None:
    save_recording(recording(0), path := tmp_path / "r.h5")
    found = load_recording(path)
    content, stored = bytearray(path.read_bytes()), np.asarray(found.responses).T.tobytes()
    content[content.find(stored) + 4 * 30 * 7 + 2] ^= 1
    path.write_bytes(content)  # of the same inode and size
    np.testing.assert_array_equal(found.responses[:, :7], np.asarray(recording(0).responses)[:, :7])
    with pytest.raises(OSError, match="responses of 1 targets are not those that were saved, first of target 7"):
        np.asarray(load_recording(path).responses)
