"""NSD-imagery: single-trial betas of NSD's subjects, who saw and who imagined the same 18 targets, one session each.

Twelve runs, as the data manual has them ("Functional data (nsdimagery)", cvnlab.slite.page): of vision, of attention
and, twice, of imagery, for three sets of six targets (A simple, B naturalistic, C conceptual), each eight times a run.
"""

from typing import Any

import numpy as np
import pandas as pd

from gradkern.errors import naming
from gradkern.recordings._formats.agreement import Agreements
from gradkern.recordings._formats.files import Folder
from gradkern.recordings._formats.names import numbered_images
from gradkern.recordings._formats.tables import read_table
from gradkern.recordings._readers.dataset import NSD_AGREEMENT, DataSet, check_choice, measured_targets
from gradkern.recordings._readers.nsd import NSD_BETAS, NSD_SPACES, Experiment, Request, read_betas
from gradkern.recordings._recording import Recording
from gradkern.recordings._responses.lazy import ChosenPresentations

# The runs in the order of the betas; attention runs have two betas a trial, of the cue and of the detection.
_RUNS = (
    *("visA", "attA", "imgA_1", "visB", "attB", "imgB_1", "visC", "attC", "imgC_1"),
    *("imgA_2", "imgB_2", "imgC_2"),
)
_TASKS = {"vision": "vis", "imagery": "img"}
_SHOWN, _TARGETS, _REPEATS = 48, 6, 8
_COUNTS = {run: _SHOWN * (2 if run.startswith("att") else 1) for run in _RUNS}
_EXPERIMENT = Experiment(sum(_COUNTS.values()), "betas_nsdimagery")
_BETAS = ("b2", "b3")
_NSD_IMAGERY = DataSet(
    name="NSD-imagery",
    citation="NSD data manual, Functional data (nsdimagery); Allen et al. (2022), Nature Neuroscience 25:116",
    license=NSD_AGREEMENT,
    source="s3://natural-scenes-dataset (aws s3 cp --no-sign-request; see cvnlab.slite.page/p/CT9Fwl4_hc)",
    subjects=range(1, 9),
)


@naming("load_nsd_imagery")
def load_nsd_imagery(
    folder: Any,
    subject: int,
    *,
    condition: str = "vision",
    space: str = "fsaverage",
    betas: str = "b3",
    atlas: str | None = None,
    scratch: Any = None,
    affine: str | None = None,
) -> Recording:
    """Betas of the trials of vision, or of imagery, read when they are needed: see `load_nsd`, whose targets these are.

    Parameters
    ----------
    folder : a copy of the bucket, or of a part of it: holds `nsddata_betas` and `nsddata/bdata/nsdimagery`
    subject : 1 to 8
    condition : "vision" (144 trials) or "imagery" (288); those of attention are left out and counted
    space : "fsaverage", "nativesurface", "func1pt8mm" or "func1mm"
    betas : "b2" or "b3", the last with GLMdenoise and ridge regression
    atlas : a parcellation that gives the targets their "roi"; "" where a target is in no region
    scratch : folder where the voxels of .nii.gz files are kept unpacked
    affine : in volumes, whose affine holds if those of betas and atlas differ, "mask" or "data"

    Returns
    -------
    Recording : responses in percent signal change; images are the 18 targets, by the names that the tables of trials
        give them (CONDITION), the same in vision and imagery; presentations have "run" and "set"

    Raises
    ------
    FileNotFoundError : a file is missing; the message names it and says where to get it
    ValueError : a file does not hold what it should, or an option is wrong
    """
    check_choice("condition", condition, tuple(_TASKS))
    check_choice("space", space, NSD_SPACES)
    check_choice("betas", betas, _BETAS)
    data, name = _NSD_IMAGERY.open(folder, subject), f"subj{subject:02d}"
    runs = [run for run in _RUNS if run.startswith(_TASKS[condition])]
    presentations = pd.concat([_trials(data, name, run) for run in runs], ignore_index=True)
    ids, names = numbered_images(presentations.pop("name").to_numpy())
    parts = f"nsddata_betas/ppdata/{name}/{space}/nsdimagery{NSD_BETAS[betas]}"
    request = Request(data, parts, subject, space, [1], atlas, Agreements(), affine, _EXPERIMENT)
    content = read_betas(request, scratch)
    rows = np.concatenate([_rows(run) for run in runs])
    measured = measured_targets(
        ChosenPresentations(content.responses, rows), content.targets, content.measured, content.ncsnr
    )
    return Recording(
        **measured,
        presentations=presentations.assign(image=ids),
        subject=name,
        units="percent signal change",
        space=space,
        image_names=names,
        history=(
            f"{NSD_BETAS[betas]} of NSD-imagery, stored as {content.stored_as}",
            f"{condition}: {len(rows)} of {_EXPERIMENT.trials} betas",
        ),
        provenance=_NSD_IMAGERY.provenance(data, agreed=request.agreements.provenance()),
    )


def _rows(run: str) -> Any:
    """The betas of a run among those of the session."""
    start = sum(_COUNTS[before] for before in _RUNS[: _RUNS.index(run)])
    return np.arange(start, start + _COUNTS[run])


def _trials(data: Folder, name: str, run: str) -> pd.DataFrame:
    """The target of every trial of a run: six, eight times each."""
    path = data.file(f"nsddata/bdata/nsdimagery/nsdimagery_{name}_{run}.tsv")
    table = read_table(path, ("CONDITION",), "\t", names=("CONDITION",))
    counts = table["CONDITION"].value_counts()
    if len(table) != _SHOWN or len(counts) != _TARGETS or (counts != _REPEATS).any():
        raise ValueError(
            f"{path} must have {_TARGETS} conditions {_REPEATS} times each, got {len(table)} trials of {len(counts)}: "
            f"{dict(counts)}"
        )
    return pd.DataFrame({"name": table["CONDITION"], "session": 1, "run": run, "set": run[3], "split": "test"})
