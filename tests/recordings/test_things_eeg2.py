"""The reader of THINGS-EEG2, on small files of its layout, with its traps planted."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradkern.recordings import load_things_eeg2, published
from tests.fake_datasets.things_eeg2 import write_eeg


@pytest.mark.parametrize("bare", [False, True])
def test_eeg(tmp_path: Path, bare: bool) -> None:
    made = write_eeg(tmp_path, bare)
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
    write_eeg(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        load_things_eeg2(tmp_path, 4, allow_pickle=True)


def test_an_eeg_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sub-04").mkdir()
    np.save(tmp_path / "sub-04/preprocessed_eeg_training.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"must hold a dict of .* got ndarray"):
        load_things_eeg2(tmp_path, 4, allow_pickle=True)


def test_a_cut_pickle_is_named(tmp_path: Path) -> None:
    write_eeg(tmp_path)
    path = tmp_path / "sub-04/preprocessed_eeg_training.npy"
    for content in (path.read_bytes()[:-50], b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"load_things_eeg2: .*training.npy cannot be read: .*cut short"):
            load_things_eeg2(tmp_path, 4, allow_pickle=True)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"preprocessed_eeg_training.npy is missing in .*figshare"):
        load_things_eeg2(tmp_path, 1)
    with pytest.raises(ValueError, match="load_things_eeg2: subject must be 1 to 10, got 0"):
        load_things_eeg2(tmp_path, 0)
