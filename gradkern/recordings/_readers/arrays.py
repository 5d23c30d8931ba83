"""Recordings that come as NumPy files: Algonauts 2023 and THINGS-EEG2."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.recordings._formats.files import Folder
from gradkern.recordings._lazy import Beside, Responses, Stacked, Whole
from gradkern.recordings._out_of_core import as_responses
from gradkern.recordings._recording import Recording
from gradkern.recordings._stimuli import FileImages

_ALGONAUTS = "http://algonauts.csail.mit.edu (challenge of 2023)"
_EEG = "https://doi.org/10.6084/m9.figshare.18470912"
_NSD_IMAGE = re.compile(r"train-(\d+)_nsd-(\d+)\.png$")


def load_algonauts2023(folder: Any, subject: int) -> Recording:
    """Training responses of the Algonauts 2023 challenge: means over repeats in standard deviations, both hemispheres.

    Parameters
    ----------
    folder : holds `subj01` and so on
    subject : 1 to 8

    Returns
    -------
    Recording : images are those of the training split, in order; presentations tell "nsd", the number in the image's
        name. There is no ceiling: repeats were averaged, and how many there were is not given.

    Raises
    ------
    FileNotFoundError : a file is missing; it is named, and where to get it
    ValueError : a file does not hold what it should
    """
    op = "load_algonauts2023"
    if subject not in range(1, 9):
        raise ValueError(f"{op}: subject must be 1 to 8, got {subject!r}")
    data = Folder(op, folder, _ALGONAUTS)
    start = f"subj{subject:02d}/training_split/"
    sides: list[Responses] = []
    tables = []
    for side in ("lh", "rh"):
        values = _map(op, data.file(f"{start}training_fmri/{side}_training_fmri.npy"), 2)
        sides.append(as_responses(values))
        vertices = np.arange(values.shape[1])
        tables.append(pd.DataFrame({"label": [f"{side}.{v}" for v in vertices], "hemisphere": side, "place": vertices}))
    if sides[0].shape[0] != sides[1].shape[0]:
        raise ValueError(
            f"{op}: both hemispheres must have as many images, got {sides[0].shape[0]} and {sides[1].shape[0]}"
        )
    images = sorted((data.root / start / "training_images").glob("train-*.png"))
    if len(images) != sides[0].shape[0]:
        raise ValueError(
            f"{op}: {data.root / start / 'training_images'} must hold {sides[0].shape[0]} images train-*.png, "
            f"got {len(images)}"
        )
    found = [_NSD_IMAGE.search(path.name) for path in images]
    for path, match in zip(images, found, strict=True):
        if match is None:
            raise ValueError(f"{op}: images must be named as train-0001_nsd-00013.png, got {path.name}")
    numbers = [int(match.group(2)) for match in found if match is not None]
    return Recording(
        responses=Beside(sides),
        presentations=pd.DataFrame({"image": range(len(images)), "nsd": numbers, "split": "train"}),
        targets=pd.concat(tables),
        subject=f"subj{subject:02d}",
        units="standard deviations within a session",
        space="challenge vertices of fsaverage",
        images=FileImages(images),
        image_names=tuple(path.name for path in images),
        history=("repeats were averaged by the challenge",),
        provenance={
            "dataset": "Algonauts 2023",
            "citation": "Gifford et al. (2023), arXiv:2301.03198",
            "licence": "NSD Data Access Agreement; not to be passed on",
            "files": data.hashes(),
        },
    )


def load_things_eeg2(folder: Any, subject: int, *, allow_pickle: bool = False) -> Recording:
    """Preprocessed epochs of THINGS-EEG2, training and test.

    Parameters
    ----------
    folder : holds `sub-01` and so on
    subject : 1 to 10
    allow_pickle : the files are pickles, which can run any code when they are read. Only True reads them.

    Returns
    -------
    Recording : [presentations, sensors x times]; images are numbered from 0, the training images first; presentations
        tell "split". Microvolts that the authors normalised (multivariate noise normalisation).

    Raises
    ------
    FileNotFoundError : a file is missing; it is named, and where to get it
    ValueError : `allow_pickle` is not given, or a file does not hold what it should
    """
    op = "load_things_eeg2"
    if subject not in range(1, 11):
        raise ValueError(f"{op}: subject must be 1 to 10, got {subject!r}")
    data = Folder(op, folder, _EEG)
    parts, rows, first = [], [], 0
    head: tuple[list[str], NDArray[Any]] | None = None
    for split, name in (("train", "training"), ("test", "test")):
        path = data.file(f"sub-{subject:02d}/preprocessed_eeg_{name}.npy")
        values, sensors, times = _eeg(op, path, allow_pickle)
        if head is not None and (sensors != head[0] or not np.array_equal(times, head[1])):
            raise ValueError(f"{op}: {path} must have the sensors and times of the training file, got others")
        head = sensors, times
        images, repeats = values.shape[:2]
        parts.append(Whole(values.reshape(images * repeats, -1)))
        rows.append(pd.DataFrame({"image": first + np.repeat(np.arange(images), repeats), "split": split}))
        first += images
    sensors, times = head or ([], np.zeros(0))
    sensor, time = np.repeat(sensors, len(times)), np.tile(times, len(sensors))
    labels = [f"{name} {1000 * at:g} ms" for name, at in zip(sensor, time, strict=True)]
    return Recording(
        responses=Stacked(parts),
        presentations=pd.concat(rows),
        targets=pd.DataFrame({"label": labels, "sensor": sensor, "time": time}),
        subject=f"sub-{subject:02d}",
        units="normalised by the noise",
        space="sensors",
        history=(f"{first} images, {times[0]:g} to {times[-1]:g} s",),
        provenance={
            "dataset": "THINGS-EEG2",
            "citation": "Gifford et al. (2022), NeuroImage 264:119754",
            "licence": "CC BY 4.0",
            "files": data.hashes(),
        },
    )


def _eeg(op: str, path: Path, allow_pickle: bool) -> tuple[NDArray[Any], list[str], NDArray[Any]]:
    """[images, repeats, sensors, times], the sensors, and times in s."""
    if not allow_pickle:
        raise ValueError(
            f"{op}: {path} is a pickle, which can run any code when it is read; say allow_pickle=True if you trust "
            "where it is from"
        )
    try:
        found = np.load(path, allow_pickle=True)
    except Exception as error:
        raise ValueError(f"{op}: {path} cannot be read: {error} (is it cut short?)") from error
    content = found.item() if getattr(found, "shape", None) == () else found  # some are bare pickles of the dict
    wanted = ("preprocessed_eeg_data", "ch_names", "times")
    if not isinstance(content, dict) or any(name not in content for name in wanted):
        got = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{op}: {path} must hold a dict of {wanted}, got {got}")
    values, sensors, times = (content[name] for name in wanted)
    values, times = np.asarray(values), np.asarray(times, dtype=np.float64)
    if values.ndim != 4 or values.shape[2:] != (len(sensors), len(times)) or values.dtype.kind != "f":
        raise ValueError(
            f"{op}: {path} must hold float [images, repeats, {len(sensors)} sensors, {len(times)} times], "
            f"got {values.dtype} {list(values.shape)}"
        )
    return values, list(map(str, sensors)), times


def _map(op: str, path: Path, ndim: int) -> NDArray[Any]:
    """A .npy file, mapped."""
    try:
        values: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{op}: {path} cannot be read as an array: {error}") from error
    if values.ndim != ndim or values.dtype.kind != "f":
        raise ValueError(f"{op}: {path} must hold float of {ndim} dimensions, got {values.dtype} {list(values.shape)}")
    return values
