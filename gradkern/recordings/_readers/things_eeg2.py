"""THINGS-EEG2: epochs of one subject as preprocessed by its authors."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.errors import naming
from gradkern.recordings._formats.files import read_pickle
from gradkern.recordings._maps.sensors import Sensors
from gradkern.recordings._readers.dataset import DataSet
from gradkern.recordings._recording import Recording
from gradkern.recordings._responses.lazy import Stacked, Whole
from gradkern.recordings._targets import sensor_targets

_THINGS_EEG2 = DataSet(
    name="THINGS-EEG2",
    citation="Gifford et al. (2022), NeuroImage 264:119754",
    license="CC BY 4.0",
    source="https://doi.org/10.6084/m9.figshare.18470912",
    subjects=range(1, 11),
)
_SPLITS = {"train": "training", "test": "test"}
_CONTENT = ("preprocessed_eeg_data", "ch_names", "times")


@naming("load_things_eeg2")
def load_things_eeg2(folder: Any, subject: int, *, allow_pickle: bool = False) -> Recording:
    """Preprocessed epochs of the training and the test images.

    Parameters
    ----------
    folder : holds `sub-01` and so on
    subject : 1 to 10
    allow_pickle : the files are pickles, which can run any code when they are read; they are read only if this is True

    Returns
    -------
    Recording : [presentations, sensors x times]; images are numbered from 0, the training images first; presentations
        have a "split". Units are microvolts after the authors' multivariate noise normalization.

    Raises
    ------
    FileNotFoundError : a file is missing; the message names it and says where to get it
    ValueError : `allow_pickle` is False, or a file does not hold what it should
    """
    data = _THINGS_EEG2.open(folder, subject)
    parts: list[Whole] = []
    tables, first = [], 0
    sensors: list[str] = []
    times = np.zeros(0)
    for split, name in _SPLITS.items():
        path = data.file(f"sub-{subject:02d}/preprocessed_eeg_{name}.npy")
        values, path_sensors, path_times = _epochs(path, allow_pickle)
        if parts and (path_sensors != sensors or not np.array_equal(path_times, times)):
            raise ValueError(f"{path} must have the sensors and times of the training file, got others")
        sensors, times = path_sensors, path_times
        images, repeats = values.shape[:2]
        parts.append(Whole(values.reshape(images * repeats, -1)))
        tables.append(pd.DataFrame({"image": first + np.repeat(np.arange(images), repeats), "split": split}))
        first += images
    return Recording(
        responses=Stacked(parts),
        presentations=pd.concat(tables),
        targets=sensor_targets(sensors, times),
        subject=f"sub-{subject:02d}",
        units="normalised by the noise",
        space="sensors",
        history=(f"{first} images, {times[0]:g} to {times[-1]:g} s",),
        provenance=_THINGS_EEG2.provenance(data),
        geometry=Sensors(sensors, times.tolist(), modality="eeg"),
    )


def _epochs(path: Path, allow_pickle: bool) -> tuple[NDArray[Any], list[str], NDArray[Any]]:
    """Values [images, repeats, sensors, times], names of the sensors, and times in s."""
    content = read_pickle(path, _CONTENT, allow_pickle=allow_pickle)
    values, sensors, times = (content[name] for name in _CONTENT)
    values, times = np.asarray(values), np.asarray(times, dtype=np.float64)
    if values.ndim != 4 or values.shape[2:] != (len(sensors), len(times)) or values.dtype.kind != "f":
        raise ValueError(
            f"{path} must hold float [images, repeats, {len(sensors)} sensors, {len(times)} times], "
            f"got {values.dtype} {list(values.shape)}"
        )
    return values, list(map(str, sensors)), times
