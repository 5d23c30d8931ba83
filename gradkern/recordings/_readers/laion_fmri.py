"""LAION-fMRI: single-trial responses of one subject, estimated by GLMsingle.

Hebart lab; five subjects at 7 T, 25,052 images. The layout is that of s3://laion-fmri as the `laion_fmri` package and
the documentation at laion-fmri.hebartlab.com describe it (autumn 2026).
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._hdf5 import reading_hdf5
from gradkern._image_names import canonical
from gradkern._pixels import read_pixels
from gradkern.errors import naming
from gradkern.recordings._formats.agreement import Agreements
from gradkern.recordings._formats.files import Folder
from gradkern.recordings._formats.nifti import in_regions, open_volumes
from gradkern.recordings._formats.tables import read_table
from gradkern.recordings._formats.timeseries import Mask, voxels
from gradkern.recordings._formats.volumes import Grid, agree_on_grid, read_volume
from gradkern.recordings._maps.known import volume_grid
from gradkern.recordings._readers.dataset import GLMSINGLE, DataSet, ncsnr_of_percent, sorted_sessions
from gradkern.recordings._readers.fmri import on_one_grid, stack_sessions
from gradkern.recordings._recording import Recording
from gradkern.recordings._targets import mask_targets

_LAION_FMRI = DataSet(
    name="LAION-fMRI",
    citation=f"Hebart lab, LAION-fMRI (laion-fmri.hebartlab.com); {GLMSINGLE}",
    license="CC0 (data); images by their own terms, on request",
    source="s3://laion-fmri (aws s3 sync --no-sign-request); the images by request: laion-fmri.hebartlab.com",
    subjects=(1, 3, 5, 6, 7),
)
_GRAY = (128, 128, 128)  # the screen behind images that are transparent in places
_REPEATS = 12  # of the images that the noise ceiling is estimated from
_LABEL = re.compile(r"_space-T1w_res-1pt8_label-(\w+)_mask\.nii\.gz$")
_COLUMNS = ("session", "run", "beta_index", "label")


class EncodedImages:
    """Images, uint8 [h, w, 3] as they were shown, that an HDF5 file keeps as the bytes of .jpg or .png files."""

    def __init__(self, path: Path, name: str = "images") -> None:
        with reading_hdf5(path) as file:
            if name not in file or file[name].ndim != 1:
                raise ValueError(f"{path} must hold {name!r}, one file's bytes an image, got {sorted(map(str, file))}")
            self.count = len(file[name])
        self.path, self.name = path, name

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        with reading_hdf5(self.path) as file:
            packed = bytes(file[self.name][range(len(self))[number]])
        return read_pixels(packed, f"image {number} of {self.path}", background=_GRAY)


@naming("load_laion_fmri")
def load_laion_fmri(
    folder: Any,
    subject: int,
    *,
    sessions: Sequence[int] | None = None,
    mask: Any = None,
    scratch: Any = None,
    affine: str | None = None,
) -> Recording:
    """Betas of every trial.

    Parameters
    ----------
    folder : a copy of the bucket, or of a part of it: holds `derivatives/glmsingle-tedana`; `derivatives/rois` and
        `stimuli` are read if they are there
    subject : 1, 3, 5, 6 or 7
    sessions : their numbers; by default those that are there
    mask : path of a NIfTI file on the grid of the betas; by default the voxels whose mean R^2 over sessions is positive
    scratch : folder where the mask's voxels are kept unpacked, instead of in memory: 4 bytes per voxel and trial, 1 GB
        per session of 250,000 voxels. A session unpacks to 12 GB, of which one volume at a time is held
    affine : whose affine holds if mask and data differ, "mask" or "data"; by default that is an error

    Returns
    -------
    Recording : images are numbered by their rows in `task-images_metadata.csv` if it is there; presentations have
        "session", "run" and "shared" (whether all subjects saw the image); targets have a "roi" and a column for every
        region; `ncsnr` is from the noise ceiling of the images shown 12 times

    Raises
    ------
    FileNotFoundError : a file is missing; the message names it and says where to get it
    ValueError : a file does not hold what it should
    """
    data, name = _LAION_FMRI.open(folder, subject), f"sub-{subject:02d}"
    home = f"derivatives/glmsingle-tedana/{name}"
    start = f"{home}/{name}_task-images_space-T1w_"
    chosen = _sessions(data, home, name, sessions)
    tables, files = [], []
    for number in chosen:
        stem = f"{home}/ses-{number:02d}/func/{name}_ses-{number:02d}_task-images_"
        files.append(data.file(f"{stem}space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz"))
        tables.append(_trials(data.file(f"{stem}desc-SingletrialBetas_trials.tsv")))
    rsquare = f"{start}stat-rsquare_desc-R2mean_statmap.nii.gz"
    agreements = Agreements()
    inside = _fitted(data.file(rsquare)) if mask is None else voxels(mask, agreements, affine)
    parts = [open_volumes(path, inside.inside, scratch) for path in files]
    inside = on_one_grid(agreements, inside, files, affine)
    recording = stack_sessions(files, parts, [table["label"] for table in tables], inside.targets, chosen)
    trials = pd.concat(tables, ignore_index=True)
    presentations = recording.presentations.assign(run=trials["run"], shared=trials["label"].str.startswith("shared_"))
    names, images = recording.image_names or (), None
    if data.has(metadata := "stimuli/task-images_metadata.csv"):
        names, ids = _numbered(data.file(metadata), trials["label"])
        presentations["image"] = ids
        stimuli = "stimuli/task-images_stimuli.h5"
        images = EncodedImages(data.file(stimuli)) if data.has(stimuli) else None
    regions = _regions(data, name)
    targets, place = recording.targets, (inside.grid, agreements, affine)
    return replace(
        recording,
        presentations=presentations,
        targets=in_regions(targets, regions, *place) if regions else targets,
        subject=name,
        space="T1w",
        images=images,
        image_names=names,
        ncsnr=_ncsnr(data, f"{start}desc-Noiseceiling{_REPEATS}rep_statmap.nii.gz", targets, place),
        history=(f"TYPED betas of sessions {', '.join(map(str, chosen))}", *inside.notes),
        provenance=_LAION_FMRI.provenance(data, sessions=chosen, agreed=agreements.provenance()),
        geometry=volume_grid(inside.grid),
    )


def _sessions(data: Folder, home: str, name: str, sessions: Sequence[int] | None) -> list[int]:
    betas = f"func/{name}_ses-*_task-images_space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz"
    present = sorted(int(path.parts[-3][4:]) for path in (data.root / home).glob(f"ses-[0-9]*/{betas}"))
    if sessions is not None:
        return sorted_sessions(sessions)
    if not present:
        data.file(f"{home}/ses-01/{betas.replace('*', '01')}")  # raises the error that names the missing file
    return present


def _fitted(path: Path) -> Mask:
    """Voxels with a positive R^2 of GLMsingle, which is 0 outside the brain."""
    volume = read_volume(path)
    inside = np.asarray(volume.values) > 0
    if inside.ndim != 3 or not inside.any():
        raise ValueError(f"{path} must be a volume with voxels above 0, got shape {list(inside.shape)}")
    return Mask(inside, mask_targets(inside, volume.affine), volume.grid, (), f"fit of {path}")


def _trials(path: Path) -> pd.DataFrame:
    """The table of a session's trials, with one row per volume, in order."""
    table = read_table(path, _COLUMNS, "\t", names=("label",))
    if table["beta_index"].tolist() != list(range(len(table))):
        raise ValueError(f"beta_index of {path} must count from 0 in steps of 1, got {table['beta_index'].iloc[0]}...")
    if table["label"].isna().any():
        raise ValueError(f"{path} must name the image of every trial, got {int(table['label'].isna().sum())} empty")
    return table.assign(label=[canonical(label) for label in table["label"]])


def _numbered(path: Path, labels: pd.Series) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Names of all images in the order of the metadata, and the row of each trial's image."""
    table = read_table(path, ("image_name",), names=("image_name",))
    if table["image_name"].isna().any():
        raise ValueError(f"{path} must name every image, got {int(table['image_name'].isna().sum())} empty")
    table["image_name"] = [canonical(name) for name in table["image_name"]]
    if not table["image_name"].is_unique:
        duplicate = table["image_name"][table["image_name"].duplicated()].iloc[0]
        raise ValueError(f"{path} must name each image once, in 'image_name', got {duplicate!r} again")
    ids = pd.Index(table["image_name"]).get_indexer(labels)
    if (ids < 0).any():
        raise ValueError(f"{path} must list every image shown, got no {labels[ids < 0].iloc[0]!r}")
    return tuple(table["image_name"].astype(str)), ids.astype(np.int64)


def _regions(data: Folder, name: str) -> dict[str, Path]:
    masks = {}
    for path in sorted(
        (data.root / f"derivatives/rois/{name}").glob(f"*/{name}_space-T1w_res-1pt8_label-*_mask.nii.gz")
    ):
        match = _LABEL.search(path.name)
        if match is not None:
            masks[match.group(1)] = data.file(str(path.relative_to(data.root)))
    return masks


def _ncsnr(
    data: Folder, path: str, targets: pd.DataFrame, place: tuple[Grid, Agreements, str | None]
) -> NDArray[np.float64] | None:
    """`ncsnr` from noise ceilings of the mean over 12 presentations; None if their file is not in the folder."""
    if not data.has(path):
        return None
    grid, agreements, affine = place
    volume = read_volume(data.file(path))
    i, j, k = targets[["i", "j", "k"]].to_numpy().T
    if volume.values.shape != grid.shape:
        raise ValueError(f"{path} must be {list(grid.shape)} as the betas are, got {list(volume.values.shape)}")
    agree_on_grid(agreements, {"mask": grid, f"noise ceiling of {path}": volume.grid}, affine)
    return ncsnr_of_percent(path, volume.values[i, j, k], _REPEATS)
