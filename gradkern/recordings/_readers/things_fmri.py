"""THINGS-fMRI: single-trial responses of one subject, from the tables of betas.

Hebart, M. N. et al. THINGS-data, a multimodal collection of large-scale datasets for investigating object
representations in human brain and behavior. eLife 12:e82580 (2023). OpenNeuro ds004192 and figshare.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.recordings._formats.files import Folder, read_table
from gradkern.recordings._lazy import Responses
from gradkern.recordings._recording import Recording
from gradkern.recordings._stimuli import things_images

SUBJECTS = (1, 2, 3)
_SOURCE = "https://doi.org/10.25452/figshare.plus.c.6161151 (betas_csv)"
_TRIALS = ("trial_type", "session", "run", "stimulus", "concept")
_VOXELS = {"voxel_x": "i", "voxel_y": "j", "voxel_z": "k"}


class Table(Responses):
    """The columns of a pandas table in HDF5 (fixed format) that are numbered, [trials, voxels]."""

    def __init__(self, op: str, path: Path) -> None:
        import h5py

        self.path = path
        try:
            with h5py.File(path) as file:
                self.group = _only(list(file))
                group = file[self.group]
                names = [f"block{number}" for number in range(int(group.attrs["nblocks"]))]
                floats = [name for name in names if group[f"{name}_values"].dtype.kind == "f"]
                self.block = f"{_only(floats)}_values"
                stored = group[self.block]
                self.shape, self.dtype = (int(stored.shape[1]), int(stored.shape[0])), stored.dtype
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(
                f"{op}: {path} must be a table of betas as pandas writes it (fixed format): {error}"
            ) from error

    def columns(self, which: slice) -> NDArray[Any]:
        import h5py

        with h5py.File(self.path) as file:
            block: NDArray[Any] = file[self.group][self.block][which].T
        return block


def _only(names: list[str]) -> str:
    if len(names) != 1:
        raise ValueError(f"one table of floats is expected, got {names}")
    return names[0]


def load_things_fmri(folder: Any, subject: int, *, images: Any = None) -> Recording:
    """Betas of every trial, read when they are needed.

    Parameters
    ----------
    folder : holds `betas_csv`
    subject : 1 to 3
    images : folder of the THINGS images, one folder a concept; by default the recording has names only

    Returns
    -------
    Recording : presentations tell "session", "run", "concept" and "split"; targets all columns of the voxels' table,
        among them the regions; `ncsnr` is that of the table's noise ceiling of a single trial

    Raises
    ------
    FileNotFoundError : a file is missing; it is named, and where to get it
    ValueError : a file does not hold what it should
    """
    op = "load_things_fmri"
    if subject not in SUBJECTS:
        raise ValueError(f"{op}: subject must be one of {SUBJECTS}, got {subject!r}")
    data = Folder(op, folder, _SOURCE)
    start = f"betas_csv/sub-{subject:02d}_"
    responses = Table(op, data.file(f"{start}ResponseData.h5"))
    voxels = read_table(op, data.file(f"{start}VoxelMetadata.csv"), ("voxel_id", *_VOXELS, "nc_singletrial"))
    trials = read_table(op, data.file(f"{start}StimulusMetadata.csv"), _TRIALS)
    for name, table, found in (("StimulusMetadata", trials, 0), ("VoxelMetadata", voxels, 1)):
        if len(table) != responses.shape[found]:
            raise ValueError(
                f"{op}: {start}{name}.csv has {len(table)} rows, {responses.shape[found]} expected by ResponseData.h5 "
                f"of {responses.shape[0]} trials and {responses.shape[1]} voxels"
            )
    unknown = set(trials["trial_type"]) - {"train", "test"}
    if unknown:
        raise ValueError(f"{op}: trial_type must be train or test, got {sorted(map(str, unknown))}")
    names, ids = np.unique(trials["stimulus"].astype(str), return_inverse=True)
    concepts = trials["concept"].astype(str).to_numpy()[np.unique(ids, return_index=True)[1]]
    share = voxels["nc_singletrial"].to_numpy(dtype=np.float64) / 100
    if np.nanmax(share) >= 1 or np.nanmin(share) < 0:
        raise ValueError(
            f"{op}: nc_singletrial must be percent, 0 to 100, got {100 * np.nanmin(share):g} to "
            f"{100 * np.nanmax(share):g}"
        )
    return Recording(
        responses=responses,
        presentations=trials.assign(image=ids, split=trials["trial_type"]),
        targets=voxels.rename(columns=_VOXELS).assign(label=voxels["voxel_id"].astype(str)),
        subject=f"sub-{subject:02d}",
        units="beta of GLMsingle",
        space="T1w",
        images=None if images is None else things_images(op, images, names.tolist(), concepts.tolist()),
        image_names=tuple(map(str, names)),
        ncsnr=np.sqrt(share / (1 - share)),
        history=(f"betas of {len(trials)} trials",),
        provenance={
            "dataset": "THINGS-fMRI",
            "citation": "Hebart et al. (2023), eLife 12:e82580",
            "licence": "CC0 (data); images by their own terms",
            "files": data.hashes(),
        },
    )
