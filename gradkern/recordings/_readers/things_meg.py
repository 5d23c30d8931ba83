"""THINGS-MEG: epochs of one subject as preprocessed by its authors.

Hebart, M. N. et al. THINGS-data, a multimodal collection of large-scale datasets for investigating object
representations in human brain and behavior. eLife 12:e82580 (2023). OpenNeuro ds004212.
"""

import re
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from gradkern.errors import naming
from gradkern.recordings._readers.dataset import PUBLIC_DATA, THINGS_DATA, DataSet
from gradkern.recordings._readers.mne_epochs import load_epochs
from gradkern.recordings._recording import Recording
from gradkern.recordings._stimuli import things_images

EPOCHS = "preprocessed_P{}-epo.fif"
THINGS_MEG = DataSet(
    name="THINGS-MEG",
    citation=THINGS_DATA,
    license=PUBLIC_DATA,
    source="OpenNeuro ds004212, https://doi.org/10.18112/openneuro.ds004212",
    subjects=range(1, 5),
)
_SPLITS = {"exp": "train", "test": "test"}
_RENAMED = {"session_nr": "session", "run_nr": "run"}
_EXEMPLAR = re.compile(r"(.+)_\d+[a-z]+$")  # of a THINGS image: concept, number, source


@naming("load_things_meg")
def load_things_meg(folder: Any, subject: int, *, images: Any = None) -> Recording:
    """Epochs of the experimental and the test images, without catch trials, read when they are needed.

    Parameters
    ----------
    folder : holds `derivatives/preprocessed`, or what `epoch_things_meg` wrote
    subject : 1 to 4
    images : folder of the THINGS images, with one folder per concept; without it the recording has only their names

    Returns
    -------
    Recording : [epochs, sensors x times], z-scored over the baseline; presentations have "session", "run", "concept"
        and "split". Epochs are cut by the optical sensor unless `provenance["onset"]` says otherwise. In the authors'
        file, the column "onset" is by the clock of the presenting computer ("image_on"): use only differences of it

    Raises
    ------
    FileNotFoundError : a file is missing; the message names it and says where to get it
    ValueError : a file does not hold what it should
    """
    data = THINGS_MEG.open(folder, subject)
    name = EPOCHS.format(subject)
    path = data.file(name, f"derivatives/preprocessed/{name}")
    epochs = load_epochs(path, "image_path", subject=f"P{subject}", units="standard deviations of the baseline")
    table = epochs.presentations
    for column in ("trial_type", "session_nr"):
        if column not in table:
            raise ValueError(f"the metadata of {path} must have the column {column!r}, got {list(table.columns)}")
    unknown = set(table["trial_type"]) - {*_SPLITS, "catch"}
    if unknown:
        raise ValueError(f"trial_type in {path} must be exp, test or catch, got {sorted(map(str, unknown))}")
    # times first, since epochs overlap with those of catch trials too
    timed = replace(epochs, presentations=_timed(table.rename(columns=_RENAMED)))
    shown = timed.select_presentations((table["trial_type"] != "catch").to_numpy(), "of experimental and test images")
    used, ids = np.unique(shown.image_ids, return_inverse=True)
    names = [epochs.image_names[number] for number in used.tolist()] if epochs.image_names else []
    concepts = np.array([_concept(name) for name in names])
    rows = shown.presentations.assign(
        image=ids, concept=concepts[ids], split=shown.presentations["trial_type"].map(_SPLITS)
    )
    onsets = () if "onset" in epochs.provenance else ("onsets of the optical sensor",)
    return replace(
        shown,
        presentations=rows,
        image_names=tuple(names),
        images=None if images is None else things_images(images, names, concepts.tolist()),
        units=epochs.provenance.get("units", epochs.units),
        history=(*epochs.history, *onsets, *shown.history[len(epochs.history) :]),
        provenance={**THINGS_MEG.provenance(data), "onset": "optical sensor", **epochs.provenance},
    )


def _timed(table: pd.DataFrame) -> pd.DataFrame:
    """The table with an "onset", which the authors' metadata have only by the clock of the presenting computer."""
    if "sample" in table or "image_on" not in table:
        return table
    return table.rename(columns={"onset": "planned_onset"}).assign(onset=table["image_on"])


def _concept(name: str) -> str:
    stem = PurePosixPath(name.replace("\\", "/")).stem
    match = _EXEMPLAR.match(stem)
    if match is None:
        raise ValueError(f"image_path must end as in aardvark_01b.jpg, got {name!r}")
    return match.group(1)
