"""Recordings larger than memory: opened, and streamed block of targets by block, beside the disk's sequential rate.

Both read as many bytes from the same files in turns, after the pages of these files have been given back: `blocks` of
gradkern, and `read` front to back, 16 MiB at a time. The disk is that of pytest's --basetemp; it needs 45 GB.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import pytest
from nibabel.freesurfer.mghformat import MGHHeader
from numpy.typing import NDArray
from scipy.io import savemat

from benchmarks.conftest import Compare
from benchmarks.memory import peak_resident
from gradkern import Recording
from gradkern.recordings import Responses, load_nsd, load_recording, load_things_meg, save_recording
from gradkern.recordings._readers import NSD_BETAS as BETAS
from gradkern.recordings._readers import NSD_TRIALS as TRIALS

ROUNDS = 3
SESSIONS, VERTICES = 40, 163_842  # of a hemisphere
SENSORS, TIMES, EPOCHS = 271, 281, 27_000
_MIB = 2**20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with room, emptied at once: two of these recordings at a time fill a disk."""
    free = shutil.disk_usage(tmp_path).free
    if free < 45e9:
        pytest.skip(f"needs 45 GB on the disk of {tmp_path}, {free / 1e9:.0f} are free (choose another by --basetemp)")
    yield tmp_path
    shutil.rmtree(tmp_path)


def forget(paths: list[Path]) -> None:
    """Give back the pages of these files, so that they are read from the disk."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_through(paths: list[Path]) -> int:
    """All bytes, front to back."""
    total, memory = 0, bytearray(16 * _MIB)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(memory):
                total += count
    return total


def stream(recording: Recording, at_once: int) -> int:
    return sum(block.nbytes for _, block in recording.blocks(at_once))


def opening(paths: list[Path], load: Callable[[], Recording]) -> tuple[float, int]:
    """Median of the seconds that it takes, and the most memory, files read from the disk."""
    taken, extra = [], []
    for _ in range(3):
        forget(paths)
        start = time.perf_counter()
        extra.append(peak_resident(load))
        taken.append(time.perf_counter() - start)
    return sorted(taken)[1], max(extra)


def beside_the_disk(
    case: str, paths: list[Path], load: Callable[[], Recording], compare: Compare, gibibytes: int = 1
) -> None:
    paths = [path for path in paths if path.stat().st_size > _MIB]
    load()  # modules are loaded
    opened, extra = opening(paths, load)
    recording = load()
    size = recording.responses.dtype.itemsize * int(np.prod(recording.responses.shape))
    assert sum(path.stat().st_size for path in paths) == pytest.approx(size, rel=0.01)

    def turn(call: Callable[[], int]) -> Callable[[], None]:
        def run() -> None:
            forget(paths)
            assert call() == pytest.approx(size, rel=0.01)

        return run

    what = {"case": case, "threads": 2, "impl": f"blocks of {gibibytes} GiB", "rival": "read front to back"}
    what |= {"gigabytes": round(size / 1e9, 1), "open_seconds": round(opened, 2), "open_mb": extra // 10**6}
    ours = turn(lambda: stream(recording, gibibytes * 2**30))
    compare("recordings", what, ours, turn(lambda: read_through(paths)), rounds=ROUNDS, device="cpu")
    assert opened < 2
    assert extra < 1e9


def noise(count: int, dtype: str) -> NDArray[Any]:
    values: NDArray[Any] = np.random.default_rng(0).standard_normal(count, dtype=np.float32).astype(dtype)
    return values


def write_nsd(root: Path) -> list[Path]:
    """40 sessions of both hemispheres, as the bucket has them."""
    folder = root / "nsddata_betas/ppdata/subj01/fsaverage" / BETAS["b3"]
    design = root / "nsddata/experiments/nsd"
    for each in (folder, design):
        each.mkdir(parents=True)
    random = np.random.default_rng(0)
    order = np.concatenate([random.permutation(10_000) for _ in range(3)])[None] + 1
    images = np.array([random.permutation(73_000)[:10_000] for _ in range(8)]) + 1
    savemat(
        design / "nsd_expdesign.mat", {"masterordering": order, "subjectim": images, "sharedix": np.arange(1, 1001)}
    )
    header = MGHHeader()
    header.set_data_dtype(np.float32)
    header.set_data_shape((VERTICES, 1, 1, TRIALS))
    start = header.binaryblock.ljust(header.get_data_offset(), b"\0")
    rows = noise(50 * VERTICES, ">f4").tobytes()
    paths = [folder / f"{side}.betas_session{n:02d}.mgh" for n in range(1, SESSIONS + 1) for side in ("lh", "rh")]
    for path in paths:
        with path.open("wb") as file:
            file.write(start)
            for _ in range(TRIALS // 50):
                file.write(rows)
        forget([path])
    return paths


@pytest.mark.parametrize("gibibytes", [1, 2])
def test_nsd_as_the_bucket_has_it(disk: Path, gibibytes: int, compare: Compare) -> None:
    paths = write_nsd(disk)
    beside_the_disk("nsd-30000x327684-mgh", paths, lambda: load_nsd(disk, 1), compare, gibibytes)


class Noise(Responses):
    """As many responses as wanted, made of few columns over and over."""

    def __init__(self, n: int, v: int) -> None:
        self.shape, self.dtype = (n, v), np.dtype(np.float32)
        self._columns = noise(n * 1024, "<f4").reshape(1024, n)

    def columns(self, which: slice) -> NDArray[Any]:
        return self._columns[np.arange(which.start, which.stop) % 1024].T


@pytest.mark.parametrize(
    ("case", "n", "v"),
    [
        ("nsd-30000x327684-saved", SESSIONS * TRIALS, 2 * VERTICES),
        ("things-meg-27000x76151-saved", EPOCHS, SENSORS * TIMES),
    ],
)
def test_saved(disk: Path, case: str, n: int, v: int, compare: Compare) -> None:
    made = Recording(
        responses=Noise(n, v),
        presentations=pd.DataFrame({"image": np.arange(n) % 10_000, "session": np.arange(n) // TRIALS + 1}),
        targets=pd.DataFrame({"label": [f"{i}" for i in range(v)], "roi": "V1"}),
        subject="01",
        units="percent signal change",
    )
    path = disk / "saved.h5"
    save_recording(made, path)
    beside_the_disk(case, [path], lambda: load_recording(path), compare)


def write_epochs(root: Path) -> list[Path]:
    """Epochs of a subject of THINGS-MEG, in files as mne splits them; they overlap, which is faster to make."""
    folder = root / "derivatives/preprocessed"
    folder.mkdir(parents=True)
    info = mne.create_info([f"M{i}" for i in range(SENSORS)], 200.0, "mag", verbose="error")
    step = 40  # samples from one epoch to the next
    values = noise(SENSORS * (step * EPOCHS + TIMES), "<f4").reshape(SENSORS, -1)
    raw = mne.io.RawArray(values, info, verbose="error")
    onsets = 20 + step * np.arange(EPOCHS)
    events = np.stack([onsets, np.zeros(EPOCHS, int), np.ones(EPOCHS, int)], 1)
    pictures = [f"images_meg/a/thing{i % 1854:04d}_{i // 1854:02d}s.jpg" for i in range(EPOCHS)]
    metadata = pd.DataFrame(
        {"trial_type": "exp", "image_path": pictures, "session_nr": np.arange(EPOCHS) // 2250 + 1, "run_nr": 1}
    )
    epochs = mne.Epochs(raw, events, tmin=-0.1, tmax=1.3, baseline=None, metadata=metadata, verbose="error")
    epochs.save(folder / "preprocessed_P1-epo.fif", split_size="1.9GB", verbose="error")
    return sorted(folder.glob("*.fif"))


@pytest.mark.parametrize("gibibytes", [1, 2])
def test_things_meg(disk: Path, gibibytes: int, compare: Compare) -> None:
    paths = write_epochs(disk)
    beside_the_disk("things-meg-27000x76151-fif", paths, lambda: load_things_meg(disk, 1), compare, gibibytes)
