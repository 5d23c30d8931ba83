"""Maps and figures of scores, as tasks."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from gradkern.errors import Refused
from gradkern.study import _maps
from gradkern.study.claims._claim import FMRI, MEG
from gradkern.study.runner._claims import hierarchy_column
from gradkern.study.runner._joined_scores import REFUSED, scores_of
from gradkern.study.runner._parts import StudyParts
from gradkern.study.runner._store import Store
from gradkern.study.runner._tasks import FiguresOrder, MapsOrder

NOTES = "notes.txt"
_MODALITIES = {"fmri": FMRI, "meg": MEG}


def write_maps(parts: StudyParts, store: Store, order: MapsOrder, folder: Path) -> Mapping[str, Any]:
    """Write maps of statistics of scores for a recording; what the scores cannot tell is a result, the reason.

    Raises
    ------
    Damaged : scores are not those that were written
    """
    scores = _named(scores_of(store, order.scores), order.model, order.objective)
    request = _maps.MapRequest(parts.description.analyses.maps)
    try:
        files = _maps.write_maps(scores, parts.recordings[order.recording].load(), folder, request)
    except Refused as error:
        (folder / REFUSED).write_text(f"{error}\n", encoding="utf-8")
        return {"refused": str(error)}
    return {"files": len(files)}


def write_figures(parts: StudyParts, store: Store, order: FiguresOrder, folder: Path) -> Mapping[str, Any]:
    """Draw the scores of all recordings of an image set, modality by modality; notes say what could not be drawn.

    Raises
    ------
    Damaged : scores are not those that were written
    """
    from gradkern import plotting
    from gradkern.study._study_pictures import StudyPictures, draw_scores

    by_modality: dict[str, list[xr.Dataset]] = {}
    for wanted in order.scores:
        scores = _named(scores_of(store, wanted), order.model, order.objective)
        by_modality.setdefault(parts.recordings[wanted.recording].modality, []).append(scores)
    notes: list[str] = []
    count = 0
    for modality, of_modality in by_modality.items():
        made = StudyPictures()
        draw_scores(made, _MODALITIES[modality], of_modality, hierarchy_column(parts.description.verdict_values))
        if all("unique_r2" in scores for scores in of_modality):
            made.draw(
                "shares",
                ("Layers", "Held-out R2 that gradients and activations explain alone and together, mean over targets."),
                partial(plotting.variance_shares, of_modality),
                _shares(of_modality),
            )
        for picture in made.pictures:
            picture.write(_made(folder / modality))
        notes += [f"{modality}: {note}" for note in made.notes]
        count += len(made.pictures)
    if notes:
        (folder / NOTES).write_text("".join(f"{note}\n" for note in notes), encoding="utf-8")
    return {"figures": count, "notes": notes}


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _named(scores: xr.Dataset, model: str, objective: str) -> xr.Dataset:
    """Scores under the names of the study file, whatever these were when they were computed."""
    objectives = [objective if kind != "activation" else "none" for kind in map(str, scores.kind.values)]
    return scores.assign_coords(model=("feature", [model] * scores.sizes["feature"]), objective=("feature", objectives))


def _shares(scores: list[xr.Dataset]) -> Any:
    """Means over targets, by subject, kind and layer."""
    import pandas as pd

    names = ("joint_r2", "unique_r2", "unique_covariates_r2", "shared_r2")
    tables = []
    for each in scores:
        chosen = each.isel(feature=each.kind.values != "activation")
        table = pd.DataFrame(
            {"subject": each.attrs["subject"], "kind": chosen.kind.values, "layer": chosen.layer.values}
        )
        tables.append(table.assign(**{name: chosen[name].mean("target").values for name in names}))
    return pd.concat(tables, ignore_index=True)
