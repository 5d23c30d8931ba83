"""Natural Scenes Dataset: the experiment, which its betas and its time series share.

Allen, E. J. et al. A massive 7T fMRI dataset to bridge cognitive neuroscience and artificial intelligence. Nature
Neuroscience 25, 116-126 (2022). The files keep the names they have in the bucket.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.recordings._formats.files import Folder, read_ctab, read_mat
from gradkern.recordings._formats.tables import read_table
from gradkern.recordings._formats.volumes import Grid, Volume, read_volume
from gradkern.recordings._readers.dataset import NSD_AGREEMENT, DataSet, sorted_sessions
from gradkern.recordings._stimuli import HDF5Images

SESSIONS = (40, 40, 32, 30, 40, 32, 40, 30)  # of each subject
NSD_TRIALS = 750  # in a session
IMAGES = 73_000
_RUN = (*(63, 62) * 6,)  # trials in each run of a session
NSD = DataSet(
    name="Natural Scenes Dataset",
    citation="Allen et al. (2022), Nature Neuroscience 25, 116-126",
    license=NSD_AGREEMENT,
    source="s3://natural-scenes-dataset (aws s3 cp --no-sign-request; see cvnlab.slite.page/p/CT9Fwl4_hc)",
    subjects=range(1, len(SESSIONS) + 1),
)
_STIMULI = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
_DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"


def choose_sessions(
    data: Folder, parts: str, subject: int, sessions: Sequence[int] | None, patterns: tuple[str, ...]
) -> NDArray[np.int64]:
    """The requested sessions in order; by default those with any of the files that the patterns name."""
    last = SESSIONS[subject - 1]
    if sessions is not None:
        return np.array(sorted_sessions(sessions, last))
    names = {number: session_files(parts, patterns, number) for number in range(1, last + 1)}
    present = [number for number, files in names.items() if any(map(data.has, files))]
    if not present:
        data.file(*names[1][:2])  # raises the error that names the missing file
    return np.array(present)


def session_files(parts: str, patterns: tuple[str, ...], session: int) -> list[str]:
    """Names that the files of a session may have."""
    return [f"{parts}/{pattern.format(session)}" for pattern in patterns]


def read_design(data: Folder, subject: int, sessions: NDArray[np.int64]) -> pd.DataFrame:
    """The presentations; the shared 1,000 images are the "test" split.

    They are compared with the subject's behavioral log if it is there.
    """
    path = data.file(_DESIGN)
    design = read_mat(path, ("masterordering", "subjectim", "sharedix"))
    order, images = design["masterordering"].ravel().astype(int), design["subjectim"].astype(int)
    trials, images_per_subject = NSD_TRIALS * max(SESSIONS), int(order.max())
    if len(order) != trials or images.shape != (len(SESSIONS), images_per_subject):
        raise ValueError(
            f"{path} must hold masterordering [{trials}] and subjectim [{len(SESSIONS)}, {images_per_subject}], "
            f"got {list(order.shape)} and {list(images.shape)}"
        )
    if order.min() < 1 or images.min() < 1 or images.max() > IMAGES:
        raise ValueError(f"{path} must hold 1-based numbers up to {IMAGES}, got {images.min()} to {images.max()}")
    rows = ((sessions - 1)[:, None] * NSD_TRIALS + np.arange(NSD_TRIALS)).ravel()
    ids = images[subject - 1, order[rows] - 1] - 1
    log = f"nsddata/ppdata/subj{subject:02d}/behav/responses.tsv"
    if data.has(log):
        _compare_with_log(data.file(log), sessions, ids)
    return pd.DataFrame(
        {
            "image": ids,
            "session": np.repeat(sessions, NSD_TRIALS),
            "run": np.tile(np.repeat(np.arange(1, len(_RUN) + 1), _RUN), len(sessions)),
            "split": np.where(np.isin(ids + 1, design["sharedix"]), "test", "train"),
        }
    )


def _compare_with_log(path: Path, sessions: NDArray[np.int64], ids: NDArray[np.int64]) -> None:
    """Raise a ValueError unless the subject saw the images of the design."""
    table = read_table(path, ("SESSION", "73KID"), "\t")
    logged = table[table["SESSION"].isin(sessions.tolist())]["73KID"].to_numpy() - 1
    if len(logged) != len(ids):
        raise ValueError(f"{path} lists {len(logged)} trials of these sessions, {len(ids)} expected")
    wrong = np.flatnonzero(logged != ids)
    if len(wrong):
        first = wrong[0]
        raise ValueError(
            f"{path} and the design disagree on {len(wrong)} of {len(ids)} trials, first on trial {first}: "
            f"73KID {logged[first] + 1} and {ids[first] + 1} (is it another subject's?)"
        )


def read_images(data: Folder) -> HDF5Images | None:
    """The 73,000 images; None if their file is not in the folder."""
    return HDF5Images(data.file(_STIMULI), "imgBrick") if data.has(_STIMULI) else None


def read_values(path: Path, grid: tuple[int, ...]) -> NDArray[Any]:
    """Values of a volume [x, y, z], x fastest, or of vertices [v], whose files have more axes."""
    return values_on(path, read_volume(path), grid)


def values_on(path: Path, volume: Volume, grid: tuple[int, ...]) -> NDArray[Any]:
    """Values of a volume that was read, x fastest: see `read_values`."""
    values = volume.values
    if values.size != np.prod(grid) or (len(grid) > 1 and values.shape != grid):
        raise ValueError(f"{path} must be {list(grid)} as the responses are, got {list(values.shape)}")
    return values.ravel(order="F")


def read_regions(data: Folder, labels: str, names: str, grid: tuple[int, ...]) -> tuple[list[str], Grid]:
    """The region of every target, [v] or of a volume, x fastest; "" where a target has none; and the labels' grid."""
    volume = read_volume(path := data.file(labels))
    stored = values_on(path, volume, grid)
    if (stored != np.round(stored)).any():  # NaN included
        raise ValueError(f"{labels} must hold whole numbers, got {stored[stored != np.round(stored)][0]:g}")
    numbers = stored.astype(int)
    regions = read_ctab(data.file(names))
    for number in np.unique(numbers[numbers > 0]).tolist():
        if number not in regions:
            raise ValueError(f"{labels} has label {number}, which {names} does not name")
    return [regions[number] if number > 0 else "" for number in numbers.tolist()], volume.grid


def ranges(numbers: NDArray[np.int64]) -> str:
    """Increasing numbers in words: "1-3, 5" for 1, 2, 3, 5."""
    parts = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{part[0]}" if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)
