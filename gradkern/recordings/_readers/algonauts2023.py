"""Algonauts 2023: NSD's training responses as the challenge distributed them."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.errors import naming
from gradkern.recordings._formats.files import Folder
from gradkern.recordings._maps.surfaces import SurfaceMesh
from gradkern.recordings._readers.dataset import NSD_AGREEMENT, DataSet
from gradkern.recordings._recording import Recording
from gradkern.recordings._responses.lazy import Beside
from gradkern.recordings._responses.out_of_core import as_responses
from gradkern.recordings._stimuli import FileImages
from gradkern.recordings._targets import vertex_targets

_ALGONAUTS = DataSet(
    name="Algonauts 2023",
    citation="Gifford et al. (2023), arXiv:2301.03198",
    license=NSD_AGREEMENT,
    source="http://algonauts.csail.mit.edu (challenge of 2023)",
    subjects=range(1, 9),
)
_FSAVERAGE = 163842  # vertices of a hemisphere
_ALL = "all-vertices_fsaverage_space.npy"
_NSD_IMAGE = re.compile(r"train-(\d+)_nsd-(\d+)\.png$")


@naming("load_algonauts2023")
def load_algonauts2023(folder: Any, subject: int) -> Recording:
    """Training responses of both hemispheres: means over repeats of z-scored betas.

    Parameters
    ----------
    folder : holds `subj01` and so on; `roi_masks/lh.all-vertices_fsaverage_space.npy` and rh. there give targets their
        "vertex" of fsaverage
    subject : 1 to 8

    Returns
    -------
    Recording : images are those of the training split, in order; the presentations' "nsd" is the number in the name of
        the image. There is no noise ceiling, since repeats were averaged and their number is not in the files.

    Raises
    ------
    FileNotFoundError : a file is missing; the message names it and says where to get it
    ValueError : a file does not hold what it should
    """
    data = _ALGONAUTS.open(folder, subject)
    split = f"subj{subject:02d}/training_split/"
    sides = {side: _map(data.file(f"{split}training_fmri/{side}_training_fmri.npy")) for side in ("lh", "rh")}
    counts = [len(values) for values in sides.values()]
    if counts[0] != counts[1]:
        raise ValueError(f"both hemispheres must have as many images, got {counts[0]} and {counts[1]}")
    home = data.root / split / "training_images"
    images = sorted(home.glob("train-*.png"))
    if len(images) != counts[0]:
        raise ValueError(f"{home} must hold {counts[0]} images train-*.png, got {len(images)}")
    numbers = [_nsd_number(path, place) for place, path in enumerate(images, 1)]
    tables = [vertex_targets(side, values.shape[1], "place") for side, values in sides.items()]
    vertices = [
        _vertices(data, f"subj{subject:02d}/roi_masks/{side}.{_ALL}", values.shape[1]) for side, values in sides.items()
    ]
    geometry = None
    if all(numbers is not None for numbers in vertices):
        tables = [table.assign(vertex=numbers) for table, numbers in zip(tables, vertices, strict=True)]
        geometry = SurfaceMesh(dict.fromkeys(sides, _FSAVERAGE), "fsaverage")
    return Recording(
        responses=Beside([as_responses(values) for values in sides.values()]),
        presentations=pd.DataFrame({"image": range(len(images)), "nsd": numbers, "split": "train"}),
        targets=pd.concat(tables),
        subject=f"subj{subject:02d}",
        units="standard deviations within a session",
        space="challenge vertices of fsaverage" if geometry is None else "fsaverage",
        images=FileImages(images),
        image_names=tuple(path.name for path in images),
        history=("repeats were averaged by the challenge",),
        provenance=_ALGONAUTS.provenance(data),
        geometry=geometry,
    )


def _vertices(data: Folder, name: str, count: int) -> NDArray[np.int64] | None:
    """The vertices of fsaverage that a hemisphere's responses are of; None if their file is not in the folder."""
    if not data.has(name):
        return None
    path = data.file(name)
    try:
        inside = np.load(path, allow_pickle=False)
    except Exception as error:  # NumPy raises what its parser of headers finds
        raise ValueError(f"{path} cannot be read as an array: {error}") from error
    vertices: NDArray[np.int64] = np.flatnonzero(inside)
    if inside.shape != (_FSAVERAGE,) or len(vertices) != count:
        raise ValueError(
            f"{path} must hold [{_FSAVERAGE}] with {count} vertices, as the responses have, got {list(inside.shape)} "
            f"with {len(vertices)}"
        )
    return vertices


def _nsd_number(path: Path, place: int) -> int:
    """The image's number in NSD; its number in the challenge must be its place, which is its row of the responses."""
    match = _NSD_IMAGE.search(path.name)
    if match is None:
        raise ValueError(f"images must be named as train-0001_nsd-00013.png, got {path.name}")
    if int(match.group(1)) != place:
        raise ValueError(f"images must be numbered without gaps, got {path.name} in place {place}")
    return int(match.group(2))


def _map(path: Path) -> NDArray[Any]:
    """A .npy file [images, vertices] as a memory map."""
    try:
        values: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy raises what its parser of headers finds
        raise ValueError(f"{path} cannot be read as an array: {error}") from error
    size, expected = path.stat().st_size, int(getattr(values, "offset", 0)) + values.nbytes
    if size != expected:
        raise ValueError(f"{path} must have {expected} bytes by its header, got {size}")
    if values.ndim != 2 or values.dtype.kind != "f":
        raise ValueError(f"{path} must hold float of 2 dimensions, got {values.dtype} {list(values.shape)}")
    return values
