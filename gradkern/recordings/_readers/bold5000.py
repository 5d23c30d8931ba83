"""BOLD5000, release 2.0: single-trial responses of one subject, estimated by GLMsingle.

Chang, N. et al. BOLD5000, a public fMRI dataset while viewing 5000 visual images. Scientific Data 6:49 (2019); release
2.0: figshare article 14456124. `load_bids` reads the preprocessed runs of release 1.0 (OpenNeuro ds001499): their task
is "5000scenes", and their images are in the column "ImgName".
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gradkern._image_names import canonical
from gradkern.errors import naming
from gradkern.recordings._formats.agreement import Agreements
from gradkern.recordings._formats.files import Folder, read_lines
from gradkern.recordings._formats.nifti import in_regions, open_volumes, volume_shape
from gradkern.recordings._formats.timeseries import voxels
from gradkern.recordings._formats.volumes import open_image
from gradkern.recordings._maps.known import volume_grid
from gradkern.recordings._readers.dataset import GLMSINGLE, PUBLIC_DATA, DataSet, check_choice, sorted_sessions
from gradkern.recordings._readers.fmri import stack_sessions
from gradkern.recordings._recording import Recording
from gradkern.recordings._stimuli import FileImages

BOLD5000_SESSIONS = (15, 15, 15, 9)  # of each subject
BETAS = {
    "A": ("TYPEA-ASSUMEHRF",),
    "B": ("TYPEB-FITHRF", "TYBEB-FITHRF"),  # the second is the spelling on the authors' page
    "C": ("TYPEC-FITHRF-GLMDENOISE",),
    "D": ("TYPED-FITHRF-GLMDENOISE-RR",),
}
_REGIONS = ("EarlyVis", "LOC", "OPA", "PPA", "RSC")
_SPELLINGS = {"LOC": ("LOC", "LO"), "RSC": ("RSC", "RRSC")}  # in the names of some subjects' masks
_BOLD5000 = DataSet(
    name="BOLD5000 release 2.0",
    citation=f"Chang et al. (2019), Scientific Data 6:49; {GLMSINGLE}",
    license=PUBLIC_DATA,
    source="figshare, article 14456124 (release 2.0); masks: s3://openneuro.org/ds001499/derivatives/spm",
    subjects=range(1, len(BOLD5000_SESSIONS) + 1),
)
_IMAGES = "BOLD5000_Stimuli/Scene_Stimuli/Presented_Stimuli"


@naming("load_bold5000")
def load_bold5000(
    folder: Any,
    subject: int,
    *,
    betas: str = "D",
    sessions: Sequence[int] | None = None,
    mask: Any = None,
    scratch: Any = None,
) -> Recording:
    """Betas of every trial.

    Parameters
    ----------
    folder : holds `CSI1_GLMbetas-TYPED-FITHRF-GLMDENOISE-RR_ses-01.nii.gz` and so on, `CSI1_imgnames.txt` and
        `CSI1_brainmask.nii.gz`. Masks of regions, in `sub-CSI1` or `derivatives/spm/sub-CSI1`, and images, in
        `BOLD5000_Stimuli`, are read if they are there
    subject : 1 to 4
    betas : "A" to "D", the last with all steps of GLMsingle
    sessions : 1-based; all by default. The files of earlier sessions must be there too, since one list names the
        images of all sessions
    mask : path of a NIfTI file on the grid of the betas; the authors' brain mask by default, which leaves out some
        voxels with data: the history says how many
    scratch : folder where the mask's voxels are kept unpacked, instead of in memory (some 4 GB)

    Returns
    -------
    Recording : targets have a "roi" and a column for the mask of every region, such as "LHPPA"; "x", "y" and "z" are
        computed with the mask's affine, since that of the betas is wrong

    Raises
    ------
    FileNotFoundError : a file is missing; the message names it and says where to get it
    ValueError : a file does not hold what it should, or the list of images is another subject's
    """
    check_choice("betas", betas, BETAS)
    data, name = _BOLD5000.open(folder, subject), f"CSI{subject}"
    last = BOLD5000_SESSIONS[subject - 1]
    chosen = list(range(1, last + 1)) if sessions is None else sorted_sessions(sessions, last)
    files = [
        data.file(*(f"{name}_GLMbetas-{kind}_ses-{number:02d}.nii.gz" for kind in BETAS[betas]))
        for number in range(1, chosen[-1] + 1)
    ]
    shown = _images(data, name, files, complete=len(files) == last)
    agreements = Agreements()
    brain = voxels(data.file(f"{name}_brainmask.nii.gz") if mask is None else mask, agreements)
    used = [files[number - 1] for number in chosen]
    parts = [open_volumes(path, brain.inside, scratch) for path in used]
    recording = stack_sessions(used, parts, [shown[number - 1] for number in chosen], brain.targets, chosen)
    agreements.decided("affine", "that of the mask, since that of the betas is known to be wrong", "the reader")
    regions, targets = _regions(data, name), recording.targets
    outside = _outside(used[0], brain.inside)
    return replace(
        recording,
        targets=in_regions(targets, regions, brain.grid, agreements) if regions else targets,
        subject=name,
        space="T1w",
        images=_stimuli(data, recording.image_names or ()),
        history=(
            f"{BETAS[betas][0]}, {len(used)} sessions; the mask leaves out {outside} voxels with data",
            *brain.notes,
        ),
        provenance=_BOLD5000.provenance(data, sessions=chosen, agreed=agreements.provenance()),
        geometry=volume_grid(brain.grid),
    )


def _images(data: Folder, name: str, files: Sequence[Path], complete: bool) -> list[list[str]]:
    """Names of each session's images: the list goes on from session to session, with one name per volume."""
    path = data.file(f"{name}_imgnames.txt")
    names = [canonical(line) for line in read_lines(path)]
    counts = [volume_shape(file)[1] for file in files]
    if len(names) < sum(counts) or (complete and len(names) != sum(counts)):
        raise ValueError(
            f"{path} must name the images of {sum(counts)} volumes, got {len(names)} names (is it another subject's?)"
        )
    ends = np.cumsum(counts)
    return [names[end - count : end] for end, count in zip(ends.tolist(), counts, strict=True)]


def _regions(data: Folder, name: str) -> dict[str, Path]:
    """Masks of regions that are in the folder, by hemisphere and region."""
    masks = {}
    for side in ("LH", "RH"):
        for region in _REGIONS:
            for spelling in _SPELLINGS.get(region, (region,)):
                for home in (f"sub-{name}", f"derivatives/spm/sub-{name}"):
                    if data.has(path := f"{home}/sub-{name}_mask-{side}{spelling}.nii.gz"):
                        masks[f"{side}{region}"] = data.file(path)
    return masks


def _outside(path: Path, inside: Any) -> int:
    """How many voxels outside the mask have data in the first volume."""
    first = np.asarray(open_image(path).dataobj[..., 0])
    return int((np.isfinite(first) & (first != 0) & ~inside).sum())


def _stimuli(data: Folder, names: Sequence[str]) -> FileImages | None:
    """The images by name, which lie in one folder per collection; None if the folder has no stimuli."""
    if not (home := data.root / _IMAGES).is_dir():
        return None
    paths: dict[str, list[Path]] = {}
    for path in sorted(home.glob("*/*")):
        paths.setdefault(canonical(path.name), []).append(path)
    for name in names:
        if name not in paths:
            raise FileNotFoundError(f"{name} is missing in {home}/*; get it from https://bold5000.org")
        if len(paths[name]) > 1:
            folders = " and ".join(path.parent.name for path in paths[name])
            raise ValueError(f"{name} must lie in one folder of {home}, got {folders}")
    return FileImages([paths[name][0] for name in names])
