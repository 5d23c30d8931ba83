"""THINGS-fMRI: single-trial responses of one subject, from the tables of betas.

Hebart, M. N. et al. THINGS-data, a multimodal collection of large-scale datasets for investigating object
representations in human brain and behavior. eLife 12:e82580 (2023). OpenNeuro ds004192 and figshare.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern._hdf5 import reading_hdf5
from gradkern.errors import naming
from gradkern.recordings._formats.names import numbered_images
from gradkern.recordings._formats.tables import read_table
from gradkern.recordings._readers.dataset import (
    PUBLIC_DATA,
    THINGS_DATA,
    DataSet,
    ncsnr_of_percent,
)
from gradkern.recordings._recording import Recording
from gradkern.recordings._responses.lazy import Responses
from gradkern.recordings._stimuli import things_images

_THINGS_FMRI = DataSet(
    name="THINGS-fMRI",
    citation=THINGS_DATA,
    license=PUBLIC_DATA,
    source="https://doi.org/10.25452/figshare.plus.c.6161151 (betas_csv)",
    subjects=range(1, 4),
)
_TRIALS = ("trial_type", "session", "run", "stimulus", "concept")
_VOXELS = {"voxel_x": "i", "voxel_y": "j", "voxel_z": "k"}


class Table(Responses):
    """The block of floats, [trials, voxels], in a table that pandas wrote to HDF5 in its fixed format."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with reading_hdf5(path) as file:
                self.group = _only(list(file))
                group = file[self.group]
                names = [f"block{number}" for number in range(int(group.attrs["nblocks"]))]
                floats = [name for name in names if group[f"{name}_values"].dtype.kind == "f"]
                self.block = f"{_only(floats)}_values"
                stored = group[self.block]
                self.shape, self.dtype = (int(stored.shape[1]), int(stored.shape[0])), stored.dtype
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(f"{path} must be a table of betas as pandas writes it (fixed format): {error}") from error

    def columns(self, which: slice) -> NDArray[Any]:
        with reading_hdf5(self.path) as file:
            block: NDArray[Any] = file[self.group][self.block][which].T
        return block


def _only(names: list[str]) -> str:
    if len(names) != 1:
        raise ValueError(f"one table of floats is expected, got {names}")
    return names[0]


@naming("load_things_fmri")
def load_things_fmri(folder: Any, subject: int, *, images: Any = None) -> Recording:
    """Betas of every trial, read when they are needed.

    Parameters
    ----------
    folder : holds `betas_csv`
    subject : 1 to 3
    images : folder of the THINGS images, with one folder per concept; without it the recording has only their names

    Returns
    -------
    Recording : presentations have "session", "run", "concept" and "split"; targets have all columns of the table of
        voxels, among them the regions; `ncsnr` is from the noise ceiling of a single trial

    Raises
    ------
    FileNotFoundError : a file is missing; the message names it and says where to get it
    ValueError : a file does not hold what it should
    """
    data = _THINGS_FMRI.open(folder, subject)
    start = f"betas_csv/sub-{subject:02d}_"
    responses = Table(data.file(f"{start}ResponseData.h5"))
    voxels = read_table(data.file(f"{start}VoxelMetadata.csv"), ("voxel_id", *_VOXELS, "nc_singletrial"))
    trials = read_table(data.file(f"{start}StimulusMetadata.csv"), _TRIALS, names=("stimulus", "concept", "trial_type"))
    for name, table, axis in (("StimulusMetadata", trials, 0), ("VoxelMetadata", voxels, 1)):
        if len(table) != responses.shape[axis]:
            raise ValueError(
                f"{start}{name}.csv has {len(table)} rows, {responses.shape[axis]} expected by ResponseData.h5 "
                f"of {responses.shape[0]} trials and {responses.shape[1]} voxels"
            )
    unknown = set(trials["trial_type"]) - {"train", "test"}
    if unknown:
        raise ValueError(f"trial_type must be train or test, got {sorted(map(str, unknown))}")
    ids, names = numbered_images(trials["stimulus"].to_numpy())
    concepts = trials["concept"].astype(str).to_numpy()[np.unique(ids, return_index=True)[1]]
    return Recording(
        responses=responses,
        presentations=trials.assign(image=ids, split=trials["trial_type"]),
        targets=voxels.rename(columns=_VOXELS).assign(label=voxels["voxel_id"].astype(str)),
        subject=f"sub-{subject:02d}",
        units="beta of GLMsingle",
        space="T1w",
        images=None if images is None else things_images(images, names or (), concepts.tolist()),
        image_names=names,
        ncsnr=ncsnr_of_percent("nc_singletrial", voxels["nc_singletrial"].to_numpy(dtype=np.float64)),
        history=(f"betas of {len(trials)} trials",),
        provenance=_THINGS_FMRI.provenance(data),
    )
