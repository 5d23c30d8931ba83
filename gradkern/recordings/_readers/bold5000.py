"""BOLD5000, release 2.0: single-trial responses of one subject, estimated by GLMsingle.

Chang, N. et al. BOLD5000, a public fMRI dataset while viewing 5000 visual images. Scientific Data 6:49 (2019); release
2.0: figshare article 14456124. The preprocessed runs of release 1.0 (OpenNeuro ds001499) are read by `load_bids`: the
task is "5000scenes" and the column of images "ImgName".
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gradkern.recordings._formats.files import Folder
from gradkern.recordings._formats.nifti import in_regions, open_volumes, volume_shape
from gradkern.recordings._formats.timeseries import voxels
from gradkern.recordings._readers.fmri import stack_sessions
from gradkern.recordings._recording import Recording
from gradkern.recordings._stimuli import FileImages

SESSIONS = (15, 15, 15, 9)
BETAS = {
    "A": ("TYPEA-ASSUMEHRF",),
    "B": ("TYPEB-FITHRF", "TYBEB-FITHRF"),  # as the authors' page spells it
    "C": ("TYPEC-FITHRF-GLMDENOISE",),
    "D": ("TYPED-FITHRF-GLMDENOISE-RR",),
}
REGIONS = ("EarlyVis", "LOC", "OPA", "PPA", "RSC")
_SPELT = {"LOC": ("LOC", "LO"), "RSC": ("RSC", "RRSC")}  # in the names of some subjects' masks
_SOURCE = "figshare, article 14456124 (release 2.0); masks: s3://openneuro.org/ds001499/derivatives/spm"
_IMAGES = "BOLD5000_Stimuli/Scene_Stimuli/Presented_Stimuli"


def load_bold5000(
    folder: Any,
    subject: int,
    *,
    betas: str = "D",
    sessions: Sequence[int] | None = None,
    mask: Any = None,
    scratch: Any = None,
) -> Recording:
    """Responses of every trial of some sessions.

    Parameters
    ----------
    folder : holds `CSI1_GLMbetas-TYPED-FITHRF-GLMDENOISE-RR_ses-01.nii.gz` and so on, `CSI1_imgnames.txt` and
        `CSI1_brainmask.nii.gz`; and, if they are there, the regions' masks in `sub-CSI1` or `derivatives/spm/sub-CSI1`
        and the images in `BOLD5000_Stimuli`
    subject : 1 to 4
    betas : "A" to "D", the last with all of GLMsingle's steps
    sessions : 1-based; by default all. Those before the last of them must be there, for names are listed in one file
    mask : path of a NIfTI file on the grid of the betas; by default the authors' brain mask, which leaves out some
        voxels that have data: how many is written into the history
    scratch : a folder where the mask's voxels are kept, unpacked once, instead of in memory (some 4 GB)

    Returns
    -------
    Recording : targets tell "roi" and have a column for every region's mask, such as "LHPPA"; their "x", "y", "z" are
        by the mask's header, for that of the betas is wrong

    Raises
    ------
    FileNotFoundError : a file is missing; it is named, and where to get it
    ValueError : a file does not hold what it should, or the list of images is another subject's
    """
    op = "load_bold5000"
    if subject not in range(1, len(SESSIONS) + 1):
        raise ValueError(f"{op}: subject must be 1 to {len(SESSIONS)}, got {subject!r}")
    if betas not in BETAS:
        raise ValueError(f"{op}: betas must be one of {tuple(BETAS)}, got {betas!r}")
    most = SESSIONS[subject - 1]
    chosen = list(range(1, most + 1)) if sessions is None else sorted(sessions)
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(1, most + 1)):
        raise ValueError(f"{op}: sessions of subject {subject} must be different and in 1..{most}, got {sessions!r}")
    name = f"CSI{subject}"
    data = Folder(op, folder, _SOURCE)
    files = [
        data.file(*(f"{name}_GLMbetas-{kind}_ses-{number:02d}.nii.gz" for kind in BETAS[betas]))
        for number in range(1, chosen[-1] + 1)
    ]
    shown = _images(data, name, files, complete=len(files) == most)
    inside, targets = voxels(op, data.file(f"{name}_brainmask.nii.gz") if mask is None else mask)
    used = [files[number - 1] for number in chosen]
    parts = [open_volumes(op, path, inside, scratch) for path in used]
    found = stack_sessions(op, used, parts, [shown[number - 1] for number in chosen], targets, chosen)
    regions = _regions(data, name)
    outside = _outside(op, used[0], inside)
    return replace(
        found,
        targets=in_regions(op, found.targets, regions, inside.shape) if regions else found.targets,
        subject=name,
        space="T1w",
        images=_source(data, found.image_names or ()),
        history=(f"{BETAS[betas][0]}, {len(used)} sessions; the mask leaves out {outside} voxels with data",),
        provenance={
            "dataset": "BOLD5000 release 2.0",
            "citation": "Chang et al. (2019), Scientific Data 6:49; Prince et al. (2022), eLife 11:e77599",
            "licence": "CC0 (data); images by their own terms",
            "sessions": chosen,
            "files": data.hashes(),
        },
    )


def _images(data: Folder, name: str, files: Sequence[Path], complete: bool) -> list[list[str]]:
    """The names of each session's images: the list's, as many as there are volumes."""
    path = data.file(f"{name}_imgnames.txt")
    names = path.read_text().split("\n")
    names = [each.strip() for each in names if each.strip()]
    counts = [volume_shape(data.op, file)[1] for file in files]
    if len(names) < sum(counts) or (complete and len(names) != sum(counts)):
        raise ValueError(
            f"{data.op}: {path} must name the images of {sum(counts)} volumes, got {len(names)} names "
            "(is it another subject's?)"
        )
    ends = np.cumsum(counts)
    return [names[end - count : end] for end, count in zip(ends.tolist(), counts, strict=True)]


def _regions(data: Folder, name: str) -> dict[str, Path]:
    """Masks of regions that are there, by side and region."""
    found = {}
    for side in ("LH", "RH"):
        for region in REGIONS:
            for spelt in _SPELT.get(region, (region,)):
                for home in (f"sub-{name}", f"derivatives/spm/sub-{name}"):
                    if data.has(path := f"{home}/sub-{name}_mask-{side}{spelt}.nii.gz"):
                        found[f"{side}{region}"] = data.file(path)
    return found


def _outside(op: str, path: Path, inside: Any) -> int:
    """Voxels outside the mask with data in the first volume."""
    import nibabel

    image: Any = nibabel.load(path)
    first = np.asarray(image.dataobj[..., 0])
    return int((np.isfinite(first) & (first != 0) & ~inside).sum())


def _source(data: Folder, names: Sequence[str]) -> FileImages | None:
    """The images by name, if the stimuli are there; they lie in folders of the collections that they are from."""
    if not (home := data.root / _IMAGES).is_dir():
        return None
    found: dict[str, list[Path]] = {}
    for path in sorted(home.glob("*/*")):
        found.setdefault(path.name, []).append(path)
    for name in names:
        if name not in found:
            raise FileNotFoundError(f"{data.op}: {name} is missing in {home}/*; get it from https://bold5000.org")
        if len(found[name]) > 1:
            folders = " and ".join(path.parent.name for path in found[name])
            raise ValueError(f"{data.op}: {name} must lie in one folder of {home}, got {folders}")
    return FileImages([found[name][0] for name in names])
