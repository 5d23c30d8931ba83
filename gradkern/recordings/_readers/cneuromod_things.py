"""CNeuroMod-THINGS: single-trial betas of four subjects, who saw some 4,000 THINGS images up to three times each.

The layout is that of the repository courtois-neuromod/cneuromod-things: GLMsingle's betas in HDF5, by session and run.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern._hdf5 import reading_hdf5
from gradkern._image_names import canonical
from gradkern.errors import naming
from gradkern.recordings._formats.agreement import Agreements
from gradkern.recordings._formats.bids_names import entities
from gradkern.recordings._formats.files import Folder
from gradkern.recordings._formats.hdf5 import Trials
from gradkern.recordings._formats.names import numbered_images
from gradkern.recordings._formats.tables import read_table
from gradkern.recordings._readers.dataset import PUBLIC_DATA, DataSet, check_choice, sorted_sessions
from gradkern.recordings._recording import Recording
from gradkern.recordings._responses.lazy import Stacked
from gradkern.recordings._stimuli import things_images
from gradkern.recordings._targets import voxel_targets

_CNEUROMOD = DataSet(
    name="CNeuroMod-THINGS",
    citation="Courtois NeuroMod: github.com/courtois-neuromod/cneuromod-things; images: Hebart et al. (2019)",
    license=PUBLIC_DATA,
    source="https://github.com/courtois-neuromod/cneuromod-things (datalad get)",
    subjects=(1, 2, 3, 6),
)
_BETAS = {"zscore": "desc-zscore_", "raw": ""}
_UNITS = {"zscore": "standard deviations within a session", "raw": "beta of GLMsingle"}
_COLUMNS = ("image_path", "onset", "session", "run", "subject")
_KEPT = ("condition", "subcondition", "repetition", "response_time", "error")


@naming("load_cneuromod_things")
def load_cneuromod_things(
    folder: Any,
    subject: int,
    *,
    betas: str = "zscore",
    sessions: Sequence[int] | None = None,
    images: Any = None,
) -> Recording:
    """Betas of every trial, read when they are needed.

    Parameters
    ----------
    folder : the repository, or its folder THINGS: holds `glmsingle` and, for the events, `fmriprep/sourcedata/things`
        (in earlier releases "things.glmsingle" and "things.fmriprep")
    subject : 1, 2, 3 or 6
    betas : "zscore", z-scored within sessions by the authors, or "raw"
    sessions : all that have betas by default
    images : folder of the THINGS images, with one folder per concept; without it the recording has only their names

    Returns
    -------
    Recording : presentations have "session", "run", "onset", "concept" and what the events say of each trial; targets
        are the voxels of the mask in the file, with "i", "j", "k" and "x", "y", "z" in mm. Runs that have events but no
        betas are counted

    Raises
    ------
    FileNotFoundError : a file is missing; the message names it and says where to get it
    ValueError : a run has other trials than its events, events of another subject, session or run, or a damaged file
    """
    check_choice("betas", betas, tuple(_BETAS))
    data, name = _CNEUROMOD.open(folder, subject), f"sub-{subject:02d}"
    file = f"{name}_task-things_space-T1w_model-fitHrfGLMdenoiseRR_stats-trialBetas_{_BETAS[betas]}statseries.h5"
    path = data.file(*_places(f"glmsingle/{name}/glmsingle/output/{file}"))
    runs = _runs_of(path)
    chosen = sorted({session for session, _ in runs} if sessions is None else set(sorted_sessions(sessions)))
    missing = sorted(set(chosen) - {session for session, _ in runs})
    if missing:
        raise ValueError(f"sessions must be in {path}, got {missing}")
    runs = {place: key for place, key in sorted(runs.items()) if place[0] in chosen}
    agreements = Agreements()
    tables, parts = [], []
    for (session, run), key in runs.items():
        part = Trials(path, f"{key}/betas")
        tables.append(_events(data, (name, session, run), len(part), agreements))
        parts.append(part)
    targets = _voxels(path, parts)
    presentations = pd.concat(tables, ignore_index=True)
    ids, names = numbered_images(presentations.pop("name").to_numpy())
    concepts = presentations["concept"].to_numpy()[np.unique(ids, return_index=True)[1]]
    return Recording(
        responses=Stacked(parts),
        presentations=presentations.assign(image=ids),
        targets=targets,
        subject=name,
        units=_UNITS[betas],
        space="T1w",
        images=None if images is None else things_images(images, names or (), concepts.tolist()),
        image_names=names,
        excluded=_without_betas(data, name, chosen, runs),
        history=(f"betas of {len(presentations)} trials in {len(runs)} runs of {len(chosen)} sessions",),
        provenance=_CNEUROMOD.provenance(data, agreed=agreements.provenance()),
    )


def _places(path: str) -> tuple[str, ...]:
    """A path in the repository of now and in earlier releases, below the folder or its folder THINGS."""
    return tuple(f"{home}{old}{path}" for home in ("THINGS/", "") for old in ("", "things."))


def _runs_of(path: Path) -> dict[tuple[int, int], str]:
    """The group of every (session, run), whose names are numbers in the order of words."""
    runs: dict[tuple[int, int], str] = {}
    with reading_hdf5(path) as file:
        for session in (key for key in file if key.isdecimal()):
            for run in file[session]:
                if not run.isdecimal() or "betas" not in file[session][run] or file[session][run]["betas"].ndim != 2:
                    raise ValueError(
                        f"{path} must hold betas [trials, voxels] of every run, got none in {session}/{run}"
                    )
                place = int(session), int(run)
                if place in runs:
                    raise ValueError(f"{path} must hold a run once, got {runs[place]} and {session}/{run}")
                runs[place] = f"{session}/{run}"
    if not runs:
        raise ValueError(f"{path} must hold sessions by number, got none")
    return runs


def _events(data: Folder, place: tuple[str, int, int], count: int, agreements: Agreements) -> pd.DataFrame:
    """The trials of a run in their order, whose table says whose it is as well."""
    name, session, run = place
    start = f"fmriprep/sourcedata/things/{name}/ses-{session:03d}/func/{name}_ses-{session:03d}_task-things"
    path = data.file(
        *(known for word in (f"{run}", f"{run:02d}") for known in _places(f"{start}_run-{word}_events.tsv"))
    )
    table = read_table(path, _COLUMNS, "\t", names=("image_path", "session", "subject", *_KEPT[:2]))
    stated = {"session": f"ses-{session:03d}", "subject": name.removeprefix("sub-"), "run": str(run)}
    for column, value in stated.items():
        for other in table[column].unique().tolist():
            agreements.same(column, {f"name of {path}": value, f"table of {path}": str(other)})
    if len(table) != count or table["image_path"].isna().any():
        unnamed = int(table["image_path"].isna().sum())
        raise ValueError(
            f"{path} must have {count} trials with an image, as the betas, got {len(table)}, {unnamed} without"
        )
    if table["onset"].dtype.kind not in "iuf" or not (np.diff(table["onset"]) > 0).all():
        raise ValueError(f"{path} must have trials in the order of their onsets, got others")
    files = [PurePosixPath(canonical(word)) for word in table["image_path"]]
    own = {column: table[column].to_numpy() for column in _KEPT if column in table}
    words = {"name": [file.name for file in files], "concept": [file.parent.name for file in files]}
    return pd.DataFrame({"session": session, "run": run, "onset": table["onset"], **words, **own})


def _voxels(path: Path, parts: Sequence[Trials]) -> pd.DataFrame:
    """The voxels of the mask in the file, in the order of its memory (z fastest), in which betas are."""
    with reading_hdf5(path) as file:
        if "mask_array" not in file or "mask_affine" not in file:
            raise ValueError(f"{path} must hold mask_array and mask_affine, got {sorted(file)[:3]} and others")
        mask: NDArray[Any] = np.asarray(file["mask_array"])
        affine: NDArray[np.float64] = np.asarray(file["mask_affine"], dtype=np.float64)
    if mask.ndim != 3 or affine.shape != (4, 4) or not np.isin(mask, (0, 1)).all():
        raise ValueError(f"{path} must hold a mask [x, y, z] of 0 and 1, got {list(mask.shape)}")
    i, j, k = np.nonzero(mask)
    widths = sorted({part.shape[1] for part in parts})
    if widths != [len(i)]:
        raise ValueError(f"{path} must hold betas of the {len(i)} voxels of its mask, got {widths}")
    return voxel_targets(i, j, k, affine)


def _without_betas(
    data: Folder, name: str, sessions: Sequence[int], runs: dict[tuple[int, int], str]
) -> tuple[Excluded, ...]:
    """Runs of these sessions that have events, but no betas."""
    names = []
    for place in _places(f"fmriprep/sourcedata/things/{name}"):
        for path in sorted((data.root / place).glob("ses-*/func/*_events.tsv")):
            session, run = (entities(path.name).get(key, "") for key in ("ses", "run"))
            if session.isdecimal() and run.isdecimal() and int(session) in sessions:
                names += [f"ses-{session} run-{run}"] * ((int(session), int(run)) not in runs)
    return (Excluded("runs", len(names), f"without betas: {', '.join(names)}"),) if names else ()
