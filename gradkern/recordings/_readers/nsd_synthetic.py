"""NSD-synthetic: single-trial betas of NSD's subjects for 284 synthetic images, out of distribution by design.

Gifford, A. T. et al. The NSD-synthetic dataset. Nature Communications (2026), s41467-026-69345-9. The files are in
NSD's bucket.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.errors import naming
from gradkern.recordings._formats.agreement import Agreements
from gradkern.recordings._formats.files import Folder, read_mat
from gradkern.recordings._readers.dataset import NSD_AGREEMENT, DataSet, check_choice, measured_targets
from gradkern.recordings._readers.nsd import NSD_BETAS, NSD_SPACES, Experiment, Request, read_betas
from gradkern.recordings._recording import Recording
from gradkern.recordings._stimuli import HDF5Images

_SHARED, _COLORED = 220, 64  # images of all subjects, and those in colors matched to each subject
_TRIALS = 744
_EXPERIMENT = Experiment(_TRIALS, "betas_nsdsynthetic")
_BETAS = ("b2", "b3")
_DESIGN = "nsddata/experiments/nsdsynthetic/nsdsynthetic_expdesign.mat"
_STIMULI = "nsddata_stimuli/stimuli/nsdsynthetic/nsdsynthetic_"
_NSD_SYNTHETIC = DataSet(
    name="NSD-synthetic",
    citation="Gifford et al. (2026), Nature Communications, s41467-026-69345-9; Allen et al. (2022)",
    license=NSD_AGREEMENT,
    source="s3://natural-scenes-dataset (aws s3 cp --no-sign-request; see cvnlab.slite.page/p/CT9Fwl4_hc)",
    subjects=range(1, 9),
)


class JoinedImages:
    """Image sources one after another."""

    def __init__(self, sources: Sequence[Any]) -> None:
        self.sources = tuple(sources)
        self.ends = np.cumsum([len(source) for source in self.sources])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        number = range(len(self))[number]
        source = int(np.searchsorted(self.ends, number, side="right"))
        first = int(self.ends[source]) - len(self.sources[source])
        image: NDArray[np.uint8] = self.sources[source][number - first]
        return image


@naming("load_nsd_synthetic")
def load_nsd_synthetic(
    folder: Any,
    subject: int,
    *,
    space: str = "fsaverage",
    betas: str = "b3",
    atlas: str | None = None,
    scratch: Any = None,
    affine: str | None = None,
) -> Recording:
    """Betas of every trial, read when they are needed: see `load_nsd`, whose targets these are.

    Parameters
    ----------
    folder : a copy of the bucket, or of a part of it: holds `nsddata`, `nsddata_betas` and, for the images,
        `nsddata_stimuli`
    subject : 1 to 8
    space : "fsaverage", "nativesurface", "func1pt8mm" or "func1mm"
    betas : "b2" or "b3", the last with GLMdenoise and ridge regression
    atlas : a parcellation that gives the targets their "roi"; "" where a target is in no region
    scratch : folder where the voxels of .nii.gz files are kept unpacked
    affine : in volumes, whose affine holds if those of ncsnr, betas and atlas differ, "mask" or "data"

    Returns
    -------
    Recording : responses in percent signal change of 744 trials in one session; presentations have a "run" if the
        design says how many trials each has. Image ids are 0-based among the 284; the last 64 were colored for each
        subject and have names of their own, so that they match no other subject's

    Raises
    ------
    FileNotFoundError : a file is missing; the message names it and says where to get it
    ValueError : a file does not hold what it should, or an option is wrong
    """
    check_choice("space", space, NSD_SPACES)
    check_choice("betas", betas, _BETAS)
    data, name = _NSD_SYNTHETIC.open(folder, subject), f"subj{subject:02d}"
    presentations = _presentations(data)
    parts = f"nsddata_betas/ppdata/{name}/{space}/nsdsynthetic{NSD_BETAS[betas]}"
    request = Request(data, parts, subject, space, [1], atlas, Agreements(), affine, _EXPERIMENT)
    content = read_betas(request, scratch)
    return Recording(
        **measured_targets(content.responses, content.targets, content.measured, content.ncsnr),
        presentations=presentations,
        subject=name,
        units="percent signal change",
        space=space,
        images=_images(data, name),
        image_names=(
            *(f"nsdsynthetic-{number:03d}" for number in range(_SHARED)),
            *(f"nsdsynthetic-{name}-{number:03d}" for number in range(_SHARED, _SHARED + _COLORED)),
        ),
        history=(f"{NSD_BETAS[betas]} of NSD-synthetic, stored as {content.stored_as}",),
        provenance=_NSD_SYNTHETIC.provenance(data, agreed=request.agreements.provenance()),
        geometry=content.geometry,
    )


def _presentations(data: Folder) -> pd.DataFrame:
    """The image of every trial, from the design, which is the same for all subjects."""
    path = data.file(_DESIGN)
    design = read_mat(path, ("masterordering",), ("stimpattern",))
    order = design["masterordering"].ravel().astype(np.int64)
    last = _SHARED + _COLORED
    if len(order) != _TRIALS or order.min() < 1 or order.max() > last:
        raise ValueError(
            f"{path} must hold masterordering [{_TRIALS}] of 1 to {last}, got {len(order)} of "
            f"{order.min(initial=1)} to {order.max(initial=1)}"
        )
    table = pd.DataFrame({"image": order - 1, "session": 1, "split": "test"})
    if "stimpattern" in design:
        pattern = design["stimpattern"]
        counts = pattern.reshape(-1, pattern.shape[-1]).sum(1).astype(np.int64)
        if counts.sum() != _TRIALS:
            raise ValueError(
                f"{path} must have {_TRIALS} trials in stimpattern, as in masterordering, got {counts.sum()}"
            )
        table["run"] = np.repeat(np.arange(1, len(counts) + 1), counts)
    return table


def _images(data: Folder, name: str) -> JoinedImages | None:
    """The 220 images of all and the 64 of the subject; None unless both files are in the folder."""
    files = [f"{_STIMULI}stimuli.hdf5", f"{_STIMULI}colorstimuli_{name}.hdf5"]
    if not all(map(data.has, files)):
        return None
    sources = [HDF5Images(data.file(file), "imgBrick") for file in files]
    for source, count in zip(sources, (_SHARED, _COLORED), strict=True):
        if len(source) != count:
            raise ValueError(f"{source.path} must hold {count} images, got {len(source)}")
    return JoinedImages(sources)
