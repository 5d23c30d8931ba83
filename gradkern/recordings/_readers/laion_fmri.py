"""LAION-fMRI: single-trial responses of one subject, estimated by GLMsingle.

Hebart lab; five subjects at 7 T, 25,052 images. The layout is that of s3://laion-fmri as the `laion_fmri` package and
the documentation at laion-fmri.hebartlab.com describe it (autumn 2026).
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.recordings._formats.files import Folder, read_table, read_volume
from gradkern.recordings._formats.nifti import in_regions, open_volumes
from gradkern.recordings._formats.timeseries import voxel_table, voxels
from gradkern.recordings._readers.fmri import stack_sessions
from gradkern.recordings._recording import Recording

SUBJECTS = (1, 3, 5, 6, 7)
_SOURCE = "s3://laion-fmri (aws s3 sync --no-sign-request); the images by request: laion-fmri.hebartlab.com"
_GREY = (128, 128, 128)  # the screen behind images that are transparent in places
_REPEATS = 12  # of the images that the noise ceiling is estimated from
_LABEL = re.compile(r"_space-T1w_res-1pt8_label-(\w+)_mask\.nii\.gz$")
_COLUMNS = ("session", "run", "beta_index", "label")


class EncodedImages:
    """Images that an HDF5 file keeps as the bytes of .jpg or .png files; uint8 [h, w, 3] as they were shown."""

    def __init__(self, op: str, path: Path, name: str = "images") -> None:
        import h5py

        try:
            with h5py.File(path) as file:
                if name not in file or file[name].ndim != 1:
                    raise ValueError(f"{op}: {path} must hold {name!r}, one file's bytes an image, got {sorted(file)}")
                self.count = len(file[name])
        except OSError as error:
            raise ValueError(f"{op}: {path} cannot be read as HDF5: {error} (is it cut short?)") from error
        self.path, self.name = path, name

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        import h5py
        from PIL import Image

        with h5py.File(self.path) as file:
            packed = bytes(file[self.name][range(len(self))[number]])
        with Image.open(BytesIO(packed)) as image:
            if "A" not in image.getbands():
                return np.asarray(image.convert("RGB"))
            over = image.convert("RGBA")
            return np.asarray(Image.alpha_composite(Image.new("RGBA", over.size, (*_GREY, 255)), over).convert("RGB"))


def load_laion_fmri(
    folder: Any,
    subject: int,
    *,
    sessions: Sequence[int] | None = None,
    mask: Any = None,
    scratch: Any = None,
) -> Recording:
    """Betas of every trial of some sessions.

    Parameters
    ----------
    folder : what corresponds to the bucket: holds `derivatives/glmsingle-tedana` and, if they are there,
        `derivatives/rois` and `stimuli`
    subject : 1, 3, 5, 6 or 7
    sessions : by their numbers; by default those that are there
    mask : path of a NIfTI file on the grid of the betas; by default the voxels whose mean R^2 over sessions is positive
    scratch : a folder where the mask's voxels are kept, unpacked once, instead of in memory: 4 bytes a voxel and trial,
        1 GB a session of 250,000 voxels. A session unpacks to 12 GB, of which a volume at a time is held

    Returns
    -------
    Recording : images are those of `task-images_metadata.csv` by its rows where that is there; presentations tell
        "session", "run" and "shared", whether all subjects saw the image; targets tell "roi" and have a column for
        every region; `ncsnr` is by the ceiling of the images shown 12 times

    Raises
    ------
    FileNotFoundError : a file is missing; it is named, and where to get it
    ValueError : a file does not hold what it should
    """
    op = "load_laion_fmri"
    if subject not in SUBJECTS:
        raise ValueError(f"{op}: subject must be one of {SUBJECTS}, got {subject!r}")
    data, name = Folder(op, folder, _SOURCE), f"sub-{subject:02d}"
    home = f"derivatives/glmsingle-tedana/{name}"
    start = f"{home}/{name}_task-images_space-T1w_"
    chosen = _sessions(data, home, name, sessions)
    tables, files = [], []
    for number in chosen:
        stem = f"{home}/ses-{number:02d}/func/{name}_ses-{number:02d}_task-images_"
        files.append(data.file(f"{stem}space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz"))
        tables.append(_trials(op, data.file(f"{stem}desc-SingletrialBetas_trials.tsv")))
    rsquare = f"{start}stat-rsquare_desc-R2mean_statmap.nii.gz"
    inside, targets = _fitted(op, data.file(rsquare)) if mask is None else voxels(op, mask)
    parts = [open_volumes(op, path, inside, scratch) for path in files]
    found = stack_sessions(op, files, parts, [table["label"] for table in tables], targets, chosen)
    trials = pd.concat(tables, ignore_index=True)
    presentations = found.presentations.assign(run=trials["run"], shared=trials["label"].str.startswith("shared_"))
    names, images = found.image_names or (), None
    if data.has(listed := "stimuli/task-images_metadata.csv"):
        names, ids = _listed(op, data.file(listed), trials["label"])
        presentations["image"] = ids
        stimuli = "stimuli/task-images_stimuli.h5"
        images = EncodedImages(op, data.file(stimuli)) if data.has(stimuli) else None
    regions = _regions(data, name)
    return replace(
        found,
        presentations=presentations,
        targets=in_regions(op, found.targets, regions, inside.shape) if regions else found.targets,
        subject=name,
        space="T1w",
        images=images,
        image_names=names,
        ncsnr=_ncsnr(data, f"{start}desc-Noiseceiling{_REPEATS}rep_statmap.nii.gz", found.targets, inside.shape),
        history=(f"TYPED betas of sessions {', '.join(map(str, chosen))}",),
        provenance={
            "dataset": "LAION-fMRI",
            "citation": "Hebart lab, LAION-fMRI (laion-fmri.hebartlab.com); Prince et al. (2022), eLife 11:e77599",
            "licence": "CC0 (data); images by their own terms, on request",
            "sessions": chosen,
            "files": data.hashes(),
        },
    )


def _sessions(data: Folder, home: str, name: str, sessions: Sequence[int] | None) -> list[int]:
    betas = f"func/{name}_ses-*_task-images_space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz"
    there = sorted(int(path.parts[-3][4:]) for path in (data.root / home).glob(f"ses-[0-9]*/{betas}"))
    chosen = there if sessions is None else sorted(sessions)
    if not chosen:
        data.file(f"{home}/ses-01/{betas.replace('*', '01')}")  # says that it is missing
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"{data.op}: sessions must be different numbers, got {sessions!r}")
    return chosen


def _fitted(op: str, path: Path) -> tuple[NDArray[np.bool_], pd.DataFrame]:
    """Voxels that GLMsingle explains something of: it is 0 elsewhere."""
    values, affine = read_volume(op, path)
    inside = np.asarray(values) > 0
    if inside.ndim != 3 or not inside.any():
        raise ValueError(f"{op}: {path} must be a volume with voxels above 0, got shape {list(inside.shape)}")
    return inside, voxel_table(inside, affine)


def _trials(op: str, path: Path) -> pd.DataFrame:
    """A row a volume, in their order."""
    table = read_table(op, path, _COLUMNS, "\t")
    if table["beta_index"].tolist() != list(range(len(table))):
        raise ValueError(
            f"{op}: beta_index of {path} must count from 0 in steps of 1, got {table['beta_index'].iloc[0]}..."
        )
    if table["label"].isna().any():
        raise ValueError(
            f"{op}: {path} must name the image of every trial, got {int(table['label'].isna().sum())} empty"
        )
    return table


def _listed(op: str, path: Path, labels: pd.Series) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """All images by row, and those of the trials."""
    table = read_table(op, path, ("image_name",))
    if not table["image_name"].is_unique:
        twice = table["image_name"][table["image_name"].duplicated()].iloc[0]
        raise ValueError(f"{op}: {path} must name each image once, in 'image_name', got {twice!r} again")
    ids = pd.Index(table["image_name"]).get_indexer(labels)
    if (ids < 0).any():
        raise ValueError(f"{op}: {path} must list every image shown, got no {labels[ids < 0].iloc[0]!r}")
    return tuple(table["image_name"].astype(str)), ids.astype(np.int64)


def _regions(data: Folder, name: str) -> dict[str, Path]:
    found = {}
    for path in sorted(
        (data.root / f"derivatives/rois/{name}").glob(f"*/{name}_space-T1w_res-1pt8_label-*_mask.nii.gz")
    ):
        match = _LABEL.search(path.name)
        if match is not None:
            found[match.group(1)] = data.file(str(path.relative_to(data.root)))
    return found


def _ncsnr(data: Folder, path: str, targets: pd.DataFrame, grid: tuple[int, ...]) -> NDArray[np.float64] | None:
    """From percent of the variance of the mean over 12 presentations."""
    if not data.has(path):
        return None
    values, _ = read_volume(data.op, data.file(path))
    i, j, k = targets[["i", "j", "k"]].to_numpy().T
    if values.shape != grid:
        raise ValueError(f"{data.op}: {path} must be {list(grid)} as the betas are, got {list(values.shape)}")
    share = values[i, j, k].astype(np.float64) / 100
    if np.nanmax(share) >= 1 or np.nanmin(share) < 0:
        raise ValueError(
            f"{data.op}: {path} must be percent, 0 to 100, got {100 * np.nanmin(share):g} to {100 * np.nanmax(share):g}"
        )
    ncsnr: NDArray[np.float64] = np.sqrt(share / (1 - share) / _REPEATS)
    return ncsnr
