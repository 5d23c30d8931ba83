"""Figures of a study's scores for its report: maps, layers, time and controls, and what the fits look like."""

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from gradkern import plotting
from gradkern.encoding._score import score
from gradkern.encoding._spaces import NO_OBJECTIVE, FeatureSpace
from gradkern.errors import Refused
from gradkern.hierarchy._layers import Preference, predicted_targets
from gradkern.plotting._turned.scene import Scene, cortex_scene, sensor_scene
from gradkern.recordings import Sensors
from gradkern.study._settings import KINDS, Study, VerdictSettings
from gradkern.study.claims._claim import FMRI, MEG
from gradkern.study.claims._scored import ScoredStudy, score_study
from gradkern.study.report._picture import Picture

_FEW = 0.2  # of a template's vertices: so few are drawn with what lies around them
_REACH = 6.0  # mm
_MOST_REGIONS = 60
_PLACES = ("target", "hemisphere", "vertex", "roi", "x", "y", "z")
_AS_THEY_ARE = "r is of held-out images and of features as they are, not beyond anything"


@dataclass
class StudyPictures:
    """Pictures of a study's scores, what could not be drawn and why, and diagnostics of the fits, in words."""

    pictures: list[Picture] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    diagnostics: dict[str, str] = field(default_factory=dict)
    only: Collection[str] | None = None  # names of the pictures that are wanted; None: all

    def draw(
        self, name: str, place: tuple[str, str], figure: Callable[[], Any], data: pd.DataFrame,
        scene: Callable[[], Scene] | None = None,
    ) -> None:  # fmt: skip
        """Add a picture with its topic and caption, or the reason why there is none; `scene` is the same to be turned,
        where it can be."""
        if self.only is not None and name not in self.only:
            return
        topic, caption = place
        try:
            turned = None if scene is None else scene()
        except (ValueError, ImportError) as error:
            turned = None
            self.notes.append(f"figure {name} cannot be turned: {error}")
        try:
            short = data.astype(dict.fromkeys(data.select_dtypes("float64"), np.float32))  # of half the digits
            self.pictures.append(Picture.of(name, caption, figure(), data=short, topic=topic, scene=turned))
        except (ValueError, ImportError) as error:
            self.notes.append(f"no figure {name}: {error}")


def study_pictures(study: Study, settings: VerdictSettings, only: Collection[str] | None = None) -> StudyPictures:
    """Score activations, gradients and controls of every layer once more without resampling, and draw the scores.

    Parameters
    ----------
    only : names of the pictures to draw; None: all
    """
    made = StudyPictures(only=only)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the verdict has said what is odd
        scored = score_study(study, settings)
        by_modality = {name: _scores(scored, name) for name in (FMRI, MEG) if scored.subjects[name]}
    for name, scores in by_modality.items():
        made.diagnostics |= _diagnostics(name, scores, settings)
        geometry = scored.subjects[name][0].recording.geometry
        draw_scores(made, name, scores, scored.study.hierarchy, geometry)
    return made


def draw_scores(
    made: StudyPictures, modality: str, scores: list[xr.Dataset], hierarchy: str, geometry: Any = None
) -> None:
    """Draw scores of all subjects of a modality: layers, regions or times, maps, and controls where there are any.

    Parameters
    ----------
    hierarchy : column of the targets that regions and maps are ordered by; one that they lack is none
    geometry : of the first subject's recording; sensors that have places can be turned
    """
    shown = [_of_kinds(one, KINDS) for one in scores]
    if modality == FMRI:
        _fmri(made, shown, hierarchy)
    else:
        _meg(made, shown, geometry)
    controls = [kind for kind in dict.fromkeys(map(str, scores[0].kind.values)) if kind.startswith("gradient/")]
    if modality == FMRI and controls:
        beside = [_of_kinds(one, (*KINDS, *controls)) for one in scores]
        made.draw(
            "controls", ("Controls", f"Gradients beside their controls, mean over fMRI targets; {_AS_THEY_ARE}."),
            partial(plotting.controls_beside, beside), _by_layer(beside),
        )  # fmt: skip


def _scores(scored: ScoredStudy, modality: str) -> list[xr.Dataset]:
    kinds = (*KINDS, *scored.study.controls) if modality == FMRI else KINDS
    spaces = {
        FeatureSpace("model", NO_OBJECTIVE, kind, f"layer {number}", float(depth)): X
        for kind in kinds
        for number, (X, depth) in enumerate(zip(scored.features[kind], scored.study.depth, strict=True), 1)
    }
    return [score(spaces, subject.recording, scored.settings.cv) for subject in scored.subjects[modality]]


def _of_kinds(scores: xr.Dataset, kinds: Sequence[str]) -> xr.Dataset:
    return scores.isel(feature=np.flatnonzero(np.isin(scores.kind.values, list(kinds))))


def _diagnostics(modality: str, scores: Sequence[xr.Dataset], settings: VerdictSettings) -> dict[str, str]:
    fits = sum(one.r.size for one in scores)
    at = {name: sum(int(one[f"targets_at_{name}_alpha"].sum()) for one in scores) for name in ("lowest", "largest")}
    ranks = {
        kind: [float(value) for one in scores for value in one.effective_rank.values[one.kind.values == kind]]
        for kind in KINDS
    }
    known = sum(int(np.isfinite(one.noise_ceiling).sum()) for one in scores)
    return {
        f"{modality}: penalties at an edge of the grid": f"lowest in {at['lowest']:,} of {fits:,} fits, largest in "
        f"{at['largest']:,}. Targets that the features do not predict choose the largest",
        f"{modality}: folds": f"{settings.cv.folds} of images; {scores[0].attrs['trained']} rows trained, "
        f"{scores[0].attrs['tested']} tested in the first subject",
        f"{modality}: effective rank of the features": "; ".join(
            f"{kind} {min(values):.3g} to {max(values):.3g} over layers" for kind, values in ranks.items()
        ),
        f"{modality}: targets with a noise ceiling": f"{known:,} of {sum(one.sizes['target'] for one in scores):,}",
    }


def _fmri(made: StudyPictures, scores: list[xr.Dataset], hierarchy: str) -> None:
    made.draw(
        "depth", ("Layers", f"Mean r over fMRI targets at every layer; {_AS_THEY_ARE}."),
        lambda: plotting.scores_by_depth(scores), _by_layer(scores),
    )  # fmt: skip
    if all("roi" in one.coords for one in scores):
        regions = _regions(scores[0], hierarchy)
        made.draw(
            "regions", ("Layers", f"Mean r in every region at every layer; {_AS_THEY_ARE}."),
            lambda: plotting.layer_map(scores, "roi", order=regions), _by_layer(scores, "roi"),
        )  # fmt: skip
    first = scores[0]
    try:
        values = {kind: _preferred(first, kind) for kind in KINDS if kind in first.kind.values}
    except ValueError as reason:  # depths that are not known, or of a single layer
        made.notes.append(f"no maps of preferred depth: {reason}")
        return
    table = _targets(first).assign(**{f"preferred depth, {kind}": depths for kind, (depths, _) in values.items()})
    subject = first.attrs["subject"]
    places = _places(first, hierarchy)
    if places is not None:
        caption = f"Depth that every predicted target of {subject} prefers, against its {hierarchy}; {_AS_THEY_ARE}."
        depths = {kind: preferred for kind, (preferred, _) in values.items()}
        made.draw(
            "order", ("Maps", caption),
            lambda: plotting.depth_by_hierarchy(depths, places, hierarchy), table,
        )  # fmt: skip
    for kind, (preferred, best) in values.items():
        if np.isnan(preferred).all():
            made.notes.append(f"no map of {kind}s: they predict no target of {subject}")
            continue
        words = f"Depth that {subject}'s targets prefer among {kind}s; opaque: r of the best layer is high"
        depths = _targets(first, few=True).assign(**{"preferred depth": preferred, "r of the best layer": best})
        _draw_map(made, f"map_{kind}", f"{words}; {_AS_THEY_ARE}.", _depth_map(first, kind, preferred, best), depths)
        words = f"r of {subject}'s targets at the layer among {kind}s that predicts them best, which makes it too high"
        _draw_map(made, f"r_{kind}", f"{words}; {_AS_THEY_ARE}.", _r_map(first, kind, best), depths)


def _preferred(scores: xr.Dataset, kind: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Preferred depth [v], NaN where no layer predicts, and r of the best layer [v]."""
    of_kind = _of_kinds(scores, [kind])
    r, depth = of_kind.r.mean("fold").transpose("feature", "target").values, of_kind.depth.values.astype(np.float64)
    try:
        predicted = predicted_targets(r, int(scores.attrs["images"]))
    except Refused:
        predicted = np.zeros(r.shape[1], dtype=bool)
    return np.where(predicted, Preference().depth_of(r, depth), np.nan), np.nan_to_num(r).max(axis=0)


@dataclass(frozen=True)
class _Map:
    """A value of every target, on the cortex or in a volume."""

    scores: xr.Dataset
    values: NDArray[Any]
    label: str
    title: str
    limits: tuple[float, float] | None = None
    opacity: NDArray[Any] | None = None

    @property
    def is_of_vertices(self) -> bool:
        return "vertex" in self.scores.coords

    def figure(self) -> Any:
        if not self.is_of_vertices:
            return plotting.volume_map(self.values, self.scores, self.label, title=self.title, limits=self.limits)
        return plotting.cortex_map(
            self.values, self.scores, self.label, title=self.title, opacity=self.opacity, view=self._view()
        )

    def scene(self) -> Scene:
        return cortex_scene(self.values, self.scores, self.label, opacity=self.opacity, view=self._view())

    def _view(self) -> plotting.CortexView:
        reach = _REACH if self.scores.sizes["target"] < _FEW * 2 * 32_492 else 0.0
        return plotting.CortexView(limits=self.limits, reach=reach, opacity_label="r / largest r")


def _depth_map(scores: xr.Dataset, kind: str, preferred: NDArray[Any], best: NDArray[Any]) -> _Map:
    opacity = np.clip(best / max(float(best.max()), 1e-12), 0, 1)
    label = "preferred depth (0: first layer, 1: last)"
    return _Map(scores, preferred, label, kind, _ends(preferred), opacity)


def _r_map(scores: xr.Dataset, kind: str, best: NDArray[Any]) -> _Map:
    return _Map(scores, best, "held-out r of the best layer", kind)


def _draw_map(made: StudyPictures, name: str, caption: str, drawn: _Map, table: pd.DataFrame) -> None:
    made.draw(name, ("Maps", caption), drawn.figure, table, drawn.scene if drawn.is_of_vertices else None)


def _places(scores: xr.Dataset, hierarchy: str) -> NDArray[np.float64] | None:
    """Value of the hierarchy at every target; None where it is not known. `score` renames columns that it needs."""
    for name in (f"target_{hierarchy}", hierarchy):
        if name in scores.coords and scores[name].dims == ("target",) and scores[name].dtype.kind in "fiu":
            return np.asarray(scores[name].values, dtype=np.float64)
    return None


def _ends(values: NDArray[Any]) -> tuple[float, float] | None:
    """Limits of a color scale that nearly all values lie in; None where they are all the same or there are none."""
    known = values[np.isfinite(values)]
    low, high = np.quantile(known, [0.02, 0.98]) if len(known) else (0.0, 0.0)
    return (float(low), float(high)) if low < high else None


def _regions(scores: xr.Dataset, hierarchy: str) -> list[str]:
    """Regions in the order of the hierarchy, or as they come; the largest where there are many."""
    table = pd.DataFrame({"roi": scores.roi.values})
    table = table[~table["roi"].isin(["", "nan"])]
    kept = table["roi"].value_counts().index[:_MOST_REGIONS]
    places = _places(scores, hierarchy)
    if places is not None:
        table = table.assign(place=places[table.index])
        kept = table[table["roi"].isin(kept)].groupby("roi")["place"].median().sort_values(kind="stable").index
    return [str(name) for name in kept]


def _meg(made: StudyPictures, scores: list[xr.Dataset], geometry: Any) -> None:
    caption = f"Mean r over sensors at every time; {_AS_THEY_ARE}."
    times = _by_layer(scores, "time")
    made.draw("times", ("Time", caption), lambda: plotting.scores_by_time(scores), times)
    caption = f"Mean r over sensors at every time and layer; {_AS_THEY_ARE}."
    made.draw("layers_times", ("Time", caption), lambda: plotting.layer_map(scores, "time"), times)
    first = scores[0]
    places = geometry.positions() if isinstance(geometry, Sensors) else {}
    for kind in [kind for kind in KINDS if kind in first.kind.values]:
        values = _of_kinds(first, [kind]).r.mean(["fold", "feature"]).values
        words = f"r of {kind}s at the sensors of {first.attrs['subject']}, mean over layers; {_AS_THEY_ARE}."
        made.draw(
            f"sensors_{kind}", ("Time", words), partial(plotting.topomaps, values, first, "held-out r"),
            _targets(first).assign(r=values),
            partial(sensor_scene, values, first, places, "held-out r") if places else None,
        )  # fmt: skip


def _targets(scores: xr.Dataset, few: bool = False) -> pd.DataFrame:
    """The targets' columns; `few`: only those that say where a target lies."""
    names = [str(name) for name, values in scores.coords.items() if values.dims == ("target",)]
    names = [name for name in names if name in _PLACES] if few else names
    return pd.DataFrame({name: scores[name].values for name in names})


def _by_layer(scores: Sequence[xr.Dataset], by: str | None = None) -> pd.DataFrame:
    """Mean r over targets by subject, kind and layer, and by a coordinate of the targets."""
    return pd.concat(_tables(scores, by), ignore_index=True)


def _tables(scores: Sequence[xr.Dataset], by: str | None) -> Iterator[pd.DataFrame]:
    for one in scores:
        r = one.r.mean("fold").transpose("feature", "target").values
        ceiling = one.noise_ceiling.values
        groups: Mapping[Any, Any] = {None: slice(None)} if by is None else _groups(one[by].values)
        for value, chosen in groups.items():
            table = pd.DataFrame({"subject": one.attrs["subject"], "kind": one.kind.values, "layer": one.layer.values})
            table["depth"] = one.depth.values
            if by is not None:
                table[by] = value
            known = ceiling[chosen][np.isfinite(ceiling[chosen])]
            yield table.assign(
                r=[_mean(row[chosen]) for row in r], noise_ceiling=known.mean() if len(known) else np.nan
            )


def _groups(values: NDArray[Any]) -> dict[Any, NDArray[np.int64]]:
    return {value: np.flatnonzero(values == value) for value in dict.fromkeys(values.tolist())}


def _mean(values: NDArray[Any]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan
