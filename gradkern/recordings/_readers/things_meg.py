"""THINGS-MEG: epochs of one participant as preprocessed by its authors.

Hebart, M. N. et al. THINGS-data, a multimodal collection of large-scale datasets for investigating object
representations in human brain and behavior. eLife 12:e82580 (2023). OpenNeuro ds004212.
"""

import re
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from gradkern.recordings._formats.files import Folder
from gradkern.recordings._readers.mne_epochs import load_epochs
from gradkern.recordings._recording import Recording
from gradkern.recordings._stimuli import things_images

PARTICIPANTS = (1, 2, 3, 4)
EPOCHS = "preprocessed_P{}-epo.fif"
SOURCE = "OpenNeuro ds004212, https://doi.org/10.18112/openneuro.ds004212"
_SPLITS = {"exp": "train", "test": "test"}
_RENAMED = {"session_nr": "session", "run_nr": "run"}
_EXEMPLAR = re.compile(r"(.+)_\d+[a-z]+$")  # of a THINGS image: concept, number, source


def load_things_meg(folder: Any, participant: int, *, images: Any = None) -> Recording:
    """Epochs of the experimental and the test images, read when they are needed; catch trials are left out.

    Parameters
    ----------
    folder : holds `derivatives/preprocessed`, or what `epoch_things_meg` wrote
    participant : 1 to 4
    images : folder of the THINGS images, one folder a concept; by default the recording has names only

    Returns
    -------
    Recording : units of z over the baseline, [epochs, sensors x times]; presentations tell "session", "run",
        "concept" and "split". Onsets are those of the optical sensor, by which the authors cut the epochs, or as
        `provenance["onset"]` says. With the authors' file, the column "onset" has the clock of the presenting computer
        ("image_on"), good for what lies between two of them

    Raises
    ------
    FileNotFoundError : a file is missing; it is named, and where to get it
    ValueError : a file does not hold what it should
    """
    op = "load_things_meg"
    if participant not in PARTICIPANTS:
        raise ValueError(f"{op}: participant must be one of {PARTICIPANTS}, got {participant!r}")
    data = Folder(op, folder, SOURCE)
    name = EPOCHS.format(participant)
    path = data.file(name, f"derivatives/preprocessed/{name}")
    every = load_epochs(path, "image_path", subject=f"P{participant}", units="standard deviations of the baseline")
    table = every.presentations
    for column in ("trial_type", "session_nr"):
        if column not in table:
            raise ValueError(f"{op}: the metadata of {path} must have the column {column!r}, got {list(table.columns)}")
    unknown = set(table["trial_type"]) - {*_SPLITS, "catch"}
    if unknown:
        raise ValueError(f"{op}: trial_type in {path} must be exp, test or catch, got {sorted(map(str, unknown))}")
    # before catch trials go, since epochs reach into theirs too
    timed = replace(every, presentations=_timed(table.rename(columns=_RENAMED)))
    found = timed.select_presentations((table["trial_type"] != "catch").to_numpy(), "of experimental and test images")
    used, ids = np.unique(found.image_ids, return_inverse=True)
    names = [every.image_names[number] for number in used.tolist()] if every.image_names else []
    concepts = np.array([_concept(op, name) for name in names])
    rows = found.presentations.assign(
        image=ids, concept=concepts[ids], split=found.presentations["trial_type"].map(_SPLITS)
    )
    source = None if images is None else things_images(op, images, names, concepts.tolist())
    said = () if "onset" in every.provenance else ("onsets of the optical sensor",)
    return replace(
        found,
        presentations=rows,
        image_names=tuple(names),
        images=source,
        units=every.provenance.get("units", every.units),
        history=(*every.history, *said, *found.history[len(every.history) :]),
        provenance={
            "dataset": "THINGS-MEG",
            "citation": "Hebart et al. (2023), eLife 12:e82580",
            "licence": "CC0 (data); images by their own terms",
            "onset": "optical sensor",
            **every.provenance,
        },
    )


def _timed(table: pd.DataFrame) -> pd.DataFrame:
    """With "onset"; the authors' metadata have it by the clock of the presenting computer only."""
    if "sample" in table or "image_on" not in table:
        return table
    return table.rename(columns={"onset": "planned_onset"}).assign(onset=table["image_on"])


def _concept(op: str, name: str) -> str:
    stem = PurePosixPath(name.replace("\\", "/")).stem
    found = _EXEMPLAR.match(stem)
    if found is None:
        raise ValueError(f"{op}: image_path must end as in aardvark_01b.jpg, got {name!r}")
    return found.group(1)
