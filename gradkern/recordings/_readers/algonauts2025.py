"""Algonauts 2025: parcels' time series of four subjects of CNeuroMod, who watched Friends and four films.

The layout is that of the repository courtois-neuromod/algonauts_2025.competitors: a file of HDF5 for Friends (seasons
1 to 6) and one for the films, with one dataset [samples, parcels] for every run, and an atlas of the 1,000 parcels.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern._hdf5 import reading_hdf5
from gradkern.errors import naming
from gradkern.recordings._formats.agreement import Agreements
from gradkern.recordings._formats.files import Folder
from gradkern.recordings._formats.hdf5 import Trials
from gradkern.recordings._formats.names import numbered_images
from gradkern.recordings._formats.volumes import read_volume
from gradkern.recordings._maps.geometry import VolumeGrid
from gradkern.recordings._maps.parcels import Parcels
from gradkern.recordings._readers.dataset import DataSet, check_choice
from gradkern.recordings._recording import Recording
from gradkern.recordings._responses.lazy import ChosenPresentations, Stacked

_ALGONAUTS = DataSet(
    name="Algonauts 2025",
    citation="Gifford et al. (2025), arXiv:2501.00504",
    license="CNeuroMod's terms: not for commercial use, not to be passed on under other terms",
    source="https://github.com/courtois-neuromod/algonauts_2025.competitors (datalad get)",
    subjects=(1, 2, 3, 5),
)
_STIMULI = {"friends": "_desc-s123456", "movie10": ""}
_SPACE = "space-MNI152NLin2009cAsym_atlas-Schaefer18_parcel-1000Par7Net"
_PARCELS = 1000  # the first half on the left, as Schaefer et al. (2018) number them
_RUN = re.compile(r"ses-(\d+)_task-(?:(s\d+e\d+[a-z]+)|([a-z]+\d+))(?:_run-(\d+))?")
_INTERVAL = 1.49  # s, between samples, and the length of a chunk of a movie


class _Run(NamedTuple):
    session: int
    clip: str
    showing: int
    key: str


@naming("load_algonauts2025")
def load_algonauts2025(
    folder: Any, subject: int, *, stimuli: Sequence[str] = ("friends", "movie10"), lag: int = 3, edges: int = 5
) -> Recording:
    """Samples of 1,000 parcels, every 1.49 s, each with the chunk of the movie that was shown `lag` samples before.

    Parameters
    ----------
    folder : the repository: holds `fmri/sub-01/func` and, for the places of the parcels, `fmri/sub-01/atlas`
    subject : 1, 2, 3 or 5
    stimuli : "friends" (seasons 1 to 6), "movie10" (four films, two of them shown twice), or both
    lag : samples from a chunk to the response to it; 3, that is 4.47 s, as in the challenge's own model
    edges : samples left out at the beginning and at the end of every run, as the challenge does

    Returns
    -------
    Recording : an image is a chunk of 1.49 s of a movie, named by the run's movie and the chunk's 0-based number, as
        "s01e02a_0017" or "life03_0017": name the frames so. Films shown twice have two presentations of each chunk.
        "concept" is the movie: chunks that follow each other are alike, so make folds by it. The targets are parcels,
        with "hemisphere" and, from the atlas, "x", "y", "z" in mm. Seasons without responses are not in the files

    Raises
    ------
    FileNotFoundError : a file is missing; the message names it and says where to get it
    ValueError : a file does not hold what it should, a movie is shown twice as the same showing, or an argument is
        wrong
    """
    chosen = (stimuli,) if isinstance(stimuli, str) else tuple(stimuli)
    for name in chosen:
        check_choice("stimuli", name, tuple(_STIMULI))
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"stimuli must be different, of {tuple(_STIMULI)}, got {stimuli!r}")
    for name, value in (("lag", lag), ("edges", edges)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
            raise ValueError(f"{name} must be a whole number of samples, 0 or more, got {value!r}")
    data, name = _ALGONAUTS.open(folder, subject), f"sub-{subject:02d}"
    tables, parts, rows, start = [], [], [], 0
    for stimulus in _STIMULI:
        if stimulus not in chosen:
            continue
        path = data.file(*_places(f"{name}/func/{name}_task-{stimulus}_{_SPACE}{_STIMULI[stimulus]}_bold.h5"))
        for run in _runs_of(path):
            part = Trials(path, run.key)
            kept = np.arange(max(edges, lag), len(part) - edges)
            if not len(kept):
                raise ValueError(f"{path} must have more samples than lag and edges leave out, got {len(part)}")
            tables.append(_presentations(run, kept, lag))
            rows.append(start + kept)
            parts.append(part)
            start += len(part)
    presentations = pd.concat(tables, ignore_index=True)
    ids, names = numbered_images(presentations.pop("name").to_numpy())
    agreements = Agreements()
    targets, geometry = _parcels(data, name, agreements)
    return Recording(
        responses=ChosenPresentations(Stacked(parts), np.concatenate(rows)),
        presentations=presentations.assign(image=ids, split="train"),
        targets=targets,
        subject=name,
        units="as stored",
        space="MNI152NLin2009cAsym",
        image_names=names,
        excluded=(
            Excluded("samples", start - len(presentations), f"{edges} at both ends, and those before lag {lag}"),
        ),
        history=(f"{len(presentations)} of {start} samples in {len(parts)} runs, {lag} after their chunk of a movie",),
        provenance=_ALGONAUTS.provenance(data, agreed=agreements.provenance()),
        geometry=geometry,
    )


def _places(path: str) -> tuple[str, ...]:
    return f"fmri/{path}", f"algonauts_2025.competitors/fmri/{path}"


def _runs_of(path: Path) -> list[_Run]:
    """The runs in the order of sessions, whose names are those of movies, with the showing of films shown twice."""
    runs: list[_Run] = []
    seen: dict[tuple[str, int], str] = {}
    with reading_hdf5(path) as file:
        for key in file:
            match = _RUN.fullmatch(key)
            if match is None:
                raise ValueError(
                    f"{path} must hold runs as ses-001_task-s01e02a or ses-007_task-life03_run-1, got {key}"
                )
            shape = tuple(getattr(file[key], "shape", ()))
            kind = getattr(getattr(file[key], "dtype", None), "kind", "")
            if len(shape) != 2 or shape[1] != _PARCELS or kind != "f":
                raise ValueError(f"{path} must hold float [samples, {_PARCELS}] in {key}, got {kind} {list(shape)}")
            run = _Run(int(match[1]), match[2] or match[3], int(match[4] or 1), key)
            place = run.clip, run.showing
            if place in seen:
                raise ValueError(f"{path} must hold a showing of a movie once, got {seen[place]} and {key}")
            seen[place] = key
            runs.append(run)
    if not runs:
        raise ValueError(f"{path} must hold runs, got none")
    return sorted(runs)


def _presentations(run: _Run, samples: NDArray[np.int64], lag: int) -> pd.DataFrame:
    """The chunk that each sample is the response to, and when it was shown."""
    chunks = samples - lag
    return pd.DataFrame(
        {
            "name": [f"{run.clip}_{chunk:04d}" for chunk in chunks],
            "session": run.session,
            "run": f"{run.clip}_{run.showing}",
            "concept": run.clip,
            "onset": chunks * _INTERVAL,
        }
    )


def _parcels(data: Folder, name: str, agreements: Agreements) -> tuple[pd.DataFrame, Parcels | None]:
    """The targets, and the voxels of each if the atlas is in the folder."""
    numbers = np.arange(1, _PARCELS + 1)
    side = np.where(numbers <= _PARCELS // 2, "left", "right")
    labels = [f"parcel-{number:04d}" for number in numbers]
    targets = pd.DataFrame({"label": labels, "hemisphere": side, "parcel": numbers})
    atlas = next((place for place in _places(f"{name}/atlas/{name}_{_SPACE}_desc-dseg_parcellation.nii.gz")
                  if data.has(place)), None)  # fmt: skip
    if atlas is None:
        return targets, None
    path = data.file(atlas)
    volume = read_volume(path)
    values = np.asarray(volume.values)
    found = np.unique(values[values != 0])
    if values.ndim != 3 or not np.array_equal(found, numbers):
        raise ValueError(
            f"{path} must hold the parcels 1..{_PARCELS} in 3 dimensions, got {len(found)}, {list(values.shape)}"
        )
    flat = values.ravel(order="F")  # as places of a volume are numbered
    place = np.flatnonzero(flat)
    parcel = flat[place].astype(np.int64) - 1
    voxels = (
        np.stack(np.unravel_index(place, values.shape, order="F"), 1) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    )
    sizes = np.bincount(parcel)
    centers = np.stack([np.bincount(parcel, weights=axis) / sizes for axis in voxels.T], 1)
    for half, word in ((slice(None, _PARCELS // 2), "left"), (slice(_PARCELS // 2, None), "right")):
        middle = "left" if np.median(centers[half, 0]) < 0 else "right"
        agreements.same(
            f"hemisphere of the {word} half of the parcels",
            {"numbers of the parcels": word, f"header of {path}": middle},
        )
    grid = VolumeGrid(values.shape, volume.affine, volume.code)
    return targets.assign(**dict(zip("xyz", centers.T, strict=True))), Parcels(grid, labels, place, parcel)
