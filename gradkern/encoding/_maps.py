"""Scores as values of targets, for maps: each statistic of each model, objective and kind of features."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from gradkern.errors import Refused, naming
from gradkern.hierarchy._layers import Preference

_NAMES = ("model", "objective", "kind")
_CEILING = "noise_ceiling"
# statistics that are no variable of the scores, and what they are in words
SUMMARIES = {
    "best-r": "highest r of all layers",
    "best-layer": "layer with the highest r, as its number among `layers`",
    "preferred-depth": "depth of the layers, weighted by their r above 0",
    "ceiling": "noise ceiling: the highest r that is possible",
}
# variables that most studies map; any other variable along "target" can be named too
VARIABLES = {
    "r": "held-out Pearson r, mean over folds",
    "r2": "held-out R2, mean over folds",
    "r_normalised": "r divided by the noise ceiling",
    "unique_r2": "R2 that only the features of the row explain",
    "beyond_r": "r beyond the activations",
    "beyond_p": "p of r beyond the activations",
}
STATISTICS = SUMMARIES | VARIABLES
_UNITS = {
    "best-r": "Pearson correlation",
    "best-layer": "number of the layer, from 0",
    "preferred-depth": "relative depth of the layer, 0 to 1",
    "ceiling": "Pearson correlation",
    "r": "Pearson correlation",
    "beyond_r": "Pearson correlation",
    "r_normalised": "share of the noise ceiling",
    "beyond_p": "probability",
}


@dataclass(frozen=True, eq=False)
class ScoreMaps:
    """One statistic of one model, objective and kind: values of targets by the name of the map.

    Attributes
    ----------
    stat : its name in `STATISTICS`, or that of a variable of the scores
    description : what it is, in words
    features : "model", "objective" and "kind" of the features, as far as the scores name them; {} of the ceiling
    layers : those that maps are of, or that a number in the map stands for
    values : map -> [v], NaN where a target has no value
    """

    stat: str
    description: str
    features: dict[str, str]
    layers: tuple[str, ...]
    values: dict[str, NDArray[np.float64]] = field(repr=False)

    @property
    def desc(self) -> str:
        """The features in words, for the name of a file."""
        words = [self.features.get(name, "") for name in ("kind", "objective", "model")]
        return " ".join(word for word in words if word not in ("", "none"))

    @property
    def about(self) -> dict[str, Any]:
        """What a file of the maps should say of them."""
        units = _UNITS.get(self.stat, "share of variance" if self.stat.endswith("r2") else "unknown")
        return {"description": self.description, "units": units, **self.features, "layers": list(self.layers)}


@naming("score_maps")
def score_maps(
    scores: xr.Dataset, stat: str, *, kinds: Sequence[str] | None = None, layers: Sequence[str] | None = None
) -> list[ScoreMaps]:
    """Compute a statistic of every target, for each model, objective and kind of the scores.

    Parameters
    ----------
    scores : of `score`
    stat : "r" or another variable along "target" (one map a layer, mean over folds), "best-r", "best-layer" (the layer
        with the highest r), "preferred-depth" (`hierarchy.Preference`) or "ceiling"
    kinds, layers : of the features; None: all

    Returns
    -------
    one for each model, objective and kind, and one alone of the ceiling; their `values` are map -> [targets]

    Raises
    ------
    ValueError : no such statistic, kind or layer
    Refused : scores that do not have it: no variable, one layer alone, depths unknown, or NaN at all targets

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> r = xr.DataArray(np.random.default_rng(0).random((2, 3, 5)), dims=("feature", "fold", "target"))
    >>> scores = xr.Dataset({"r": r}, {"feature": ["a", "b"], "layer": ("feature", ["1", "2"])})
    >>> score_maps(scores, "best-layer")[0].values["best-layer"].shape
    (5,)
    """
    variable = {"ceiling": _CEILING}.get(stat, "r" if stat in SUMMARIES else stat)
    if stat not in STATISTICS and (stat not in scores or "target" not in scores[stat].dims):
        along = [str(name) for name, values in scores.data_vars.items() if "target" in values.dims]
        raise ValueError(f"stat must be one of {', '.join(dict.fromkeys([*STATISTICS, *along]))}, got {stat!r}")
    if variable not in scores:
        raise Refused(f"scores must have {variable!r} for {stat!r}, got {', '.join(map(str, scores.data_vars))}")
    values = scores[variable]
    values = values.mean([dim for dim in values.dims if dim not in ("feature", "target")], skipna=False)
    if "feature" not in values.dims:
        maps = [ScoreMaps(stat, _words(stat), {}, (), {stat: values.to_numpy().astype(np.float64)})]
    else:
        groups = _groups(scores, kinds, layers)
        maps = [_of_group(stat, values.isel(feature=rows), features) for features, rows in groups]
    known = [each for each in maps if any(np.isfinite(array).any() for array in each.values.values())]
    if not known:
        raise Refused(f"{stat} must be known at some target, got NaN at all {scores.sizes['target']}")
    return known


def _groups(
    scores: xr.Dataset, kinds: Sequence[str] | None, layers: Sequence[str] | None
) -> Iterator[tuple[dict[str, str], list[int]]]:
    """Rows of the features of each model, objective and kind, of the chosen kinds and layers."""
    columns = {name: list(map(str, scores[name].to_numpy())) for name in (*_NAMES, "layer") if name in scores.coords}
    chosen = list(range(scores.sizes["feature"]))
    for name, wanted in (("kind", kinds), ("layer", layers)):
        if wanted is None:
            continue
        known = list(dict.fromkeys(columns.get(name, [])))
        for word in wanted:
            if word not in known:
                raise ValueError(f"{name}s must be some of {', '.join(known) or 'none'}, got {word!r}")
        chosen = [row for row in chosen if columns[name][row] in wanted]
    rows: dict[tuple[str, ...], list[int]] = {}
    named = [name for name in _NAMES if name in columns]
    for row in chosen:
        rows.setdefault(tuple(columns[name][row] for name in named), []).append(row)
    if not rows:
        raise ValueError(f"scores must have features of kinds {kinds} and layers {layers} at once, got none")
    yield from ((dict(zip(named, words, strict=True)), numbers) for words, numbers in rows.items())


def _of_group(stat: str, values: xr.DataArray, features: dict[str, str]) -> ScoreMaps:
    """The maps of the layers of one model, objective and kind."""
    names = values["layer" if "layer" in values.coords else "feature"].to_numpy()
    layers = tuple(map(str, names))
    array = values.transpose("feature", "target").to_numpy().astype(np.float64)
    if stat not in SUMMARIES:
        return ScoreMaps(stat, _words(stat), features, layers, dict(zip(layers, array, strict=True)))
    if len(layers) < 2 and stat != "best-r":
        raise Refused(f"{stat} must be of at least 2 layers, got {len(layers)} of {' '.join(features.values())}")
    return ScoreMaps(stat, _words(stat), features, layers, {stat: _summary(stat, values, array)})


def _summary(stat: str, values: xr.DataArray, r: NDArray[np.float64]) -> NDArray[np.float64]:
    """A statistic over layers [v] of r [l, v]; NaN where the score of a layer is."""
    unknown = np.isnan(r).any(0)
    if stat == "preferred-depth":
        depth = values["depth"].to_numpy() if "depth" in values.coords else np.full(len(r), np.nan)
        if not np.isfinite(depth).all():
            raise Refused(f"depth must be known for {stat!r}, got none for {int((~np.isfinite(depth)).sum())} layers")
        preferred: NDArray[np.float64] = Preference().depth_of(np.where(unknown, np.nan, r), depth)
        return preferred
    filled = np.where(unknown, 0.0, r)
    best: NDArray[np.float64] = np.where(unknown, np.nan, filled.max(0) if stat == "best-r" else filled.argmax(0))
    return best


def _words(stat: str) -> str:
    return STATISTICS.get(stat, f"variable {stat!r} of the scores")
