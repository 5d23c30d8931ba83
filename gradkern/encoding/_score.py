"""Held-out scores of whole studies: every feature space, fold and target, streamed, in named arrays."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import gradkern
from gradkern._progress import tracked
from gradkern.encoding._dimension import DimensionMatching, EffectiveRank, effective_rank, match_spaces
from gradkern.encoding._folds import inner_groups, outer_folds
from gradkern.encoding._matching import aligned, check_rows
from gradkern.encoding._residualize import Residualized, residualize_spaces
from gradkern.encoding._scale import check_first, unit_size
from gradkern.encoding._spaces import COORDINATES, feature_coordinates
from gradkern.errors import naming
from gradkern.recordings._noise_ceiling import Ceiling, estimate_ncsnr, noise_ceiling
from gradkern.recordings._recording import Recording
from gradkern.ridge._cross_val import cross_val_score
from gradkern.ridge._cross_validation import CrossValidation

_RESERVED = {  # a column of the targets with such a name gets another one
    *("feature", "fold", *COORDINATES, "r", "r2", "noise_ceiling", "r_normalised", "r2_normalised"),
    *("targets_at_lowest_alpha", "targets_at_largest_alpha"),
    *("effective_rank", "effective_rank_entropy", "effective_rank_matched", "effective_rank_entropy_matched"),
    *("sketch_seed", "r_matched", "r2_matched", "targets_at_lowest_alpha_matched", "targets_at_largest_alpha_matched"),
    # of `unique_scores`, in the same file
    *("joint_r2", "unique_r2", "unique_covariates_r2", "unique_given_r2", "shared_r2"),
    *("beyond_r", "beyond_p", "beyond_p_max", "beyond_p_pooled"),
}
_SCORES = ("r", "r2")
_EDGES = ("targets_at_lowest_alpha", "targets_at_largest_alpha")
_RANKS = ("effective_rank", "effective_rank_entropy")


@naming("score")
def score(
    features: Mapping[Any, Any],
    recording: Recording,
    cv: CrossValidation | None = None,
    matching: DimensionMatching | None = None,
    *,
    memory: int = 4 * 2**30,
) -> xr.Dataset:
    """Score each feature space at every target by nested cross-validation, raw and relative to the noise ceiling.

    `Recording.check` runs first: what it finds odd is warned of and kept in the result.

    Parameters
    ----------
    features : name -> [images, d], named by `FeatureSpace` (of `join_captures` and `control_spaces`), by pairs (kind,
        layer) as `gradkern.capture` gives, or in any other way. Captures are matched with the recording's images by
        names and pixels (`matched_rows`); of other features, row i is image i of the recording's image source, which
        must have as many.
        Features that are `Residualized` are fitted anew on the training images of every fold.
    recording : single trials, or means over repeats (which is faster)
    cv : what is held out, and how alphas are chosen; None: `CrossValidation()`
    matching : score every feature space sketched to one number of columns too
    memory : bytes of feature rows that are held at once; the responses are read once for as many feature spaces as
        fit

    Returns
    -------
    Dataset with the variables

    - r, r2 : [feature, fold, target], Pearson r, and 1 - residual over total variance
    - noise_ceiling : [target], the highest r that is possible, NaN where it is not known
    - r_normalised, r2_normalised : [feature, fold, target], divided by noise_ceiling and by its square, NaN where
      that is 0
    - targets_at_lowest_alpha, targets_at_largest_alpha : [feature, fold], number of targets whose chosen penalty is
      the lowest or the largest of the grid. Targets that the features do not predict choose the largest
    - effective_rank, effective_rank_entropy : [feature], see `effective_rank`, of the images shown, NaN where
      features do not vary; the mean over folds where features are residualized

    With `matching` also all of these but the noise ceiling and what is normalised by it, as "NAME_matched"
    [sketch_seed, ...]. "feature" has coordinates "model", "objective", "kind", "layer" and "depth", as far as the
    features' names hold them, so that `set_index(feature=[...])` selects by them; "target" has all columns of the
    recording's table of targets, called "target_NAME" where NAME is taken. `attrs` hold the provenance.

    Raises
    ------
    ValueError : features of other images or sizes, not finite, two with one name, fewer columns than `matching` needs;
        folds that the recording does not allow; infinite responses

    Examples
    --------
    >>> import pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> X, Y = rng.standard_normal((50, 8)), rng.standard_normal((50, 3))
    >>> shown, voxels = pd.DataFrame({"image": range(50)}), pd.DataFrame({"label": ["a", "b", "c"]})
    >>> score({"X": X}, gradkern.Recording(Y, shown, voxels, subject="s", units="z")).r.shape
    (1, 5, 3)
    """
    cv = cv or CrossValidation()
    features, recording = aligned(features, features, recording)
    named = feature_coordinates(features)
    for name, X in features.items():
        if len(X.shape) != 2:
            raise ValueError(f"features must be [images, d], got {list(X.shape)} of {name!r}")
        check_rows(recording, len(X))
    odd = check_first("score", recording)
    splits = outer_folds(cv, recording)
    spaces = dict(zip(named["feature"], features.values(), strict=True))
    narrow = match_spaces(spaces, matching) if matching else {}
    by_sketch = {f"{name}, sketch {seed}": X for (seed, name), X in narrow.items()}
    variables = _scored(spaces | by_sketch, recording, cv, memory)
    ceiling = ceiling_of(recording)
    result = xr.Dataset(
        {name: (dims, values[: len(spaces)]) for name, (dims, values) in variables.items()},
        coords={**named, **_targets(recording), "fold": range(len(splits))},
    )
    result["noise_ceiling"] = ("target", ceiling.r)
    reachable = result.noise_ceiling.where(result.noise_ceiling > 0)
    result["r_normalised"] = result.r / reachable
    result["r2_normalised"] = result.r2 / reachable**2
    result.attrs = _provenance(recording, cv, splits, ceiling, odd)
    if matching:
        result = result.assign_coords(sketch_seed=list(matching.seeds)).assign_attrs(
            matched=json.dumps(asdict(matching))
        )
        for name, (dims, values) in variables.items():
            by_seed = values[len(spaces) :].reshape(len(matching.seeds), len(spaces), *values.shape[1:])
            result[f"{name}_matched"] = (("sketch_seed", *dims), by_seed)
    return result


def ceiling_of(recording: Recording) -> Ceiling:
    """Noise ceiling by the recording's ncsnr, or else by its repeats; NaN, with the reason, where there is neither."""
    if recording.ncsnr is not None:
        return noise_ceiling(recording)
    if (recording.repeats == 1).all() and len(np.unique(recording.image_ids)) < len(recording.image_ids):
        return noise_ceiling(replace(recording, ncsnr=estimate_ncsnr(recording)))
    unknown = np.full(len(recording.targets), np.nan)
    reason = "not known: neither ncsnr nor single presentations of an image shown twice"
    return Ceiling(unknown, reason, "not known", len(np.unique(recording.image_ids)))


@dataclass
class _Folds:
    """Results of one feature space in the folds so far: r and r2 [2, f, v], chosen alphas [f, v], effective ranks."""

    scores: list[NDArray[Any]] = field(default_factory=list)
    alphas: list[NDArray[np.float64]] = field(default_factory=list)
    ranks: list[EffectiveRank] = field(default_factory=list)

    def at_edges(self, grid: tuple[float, ...]) -> tuple[NDArray[np.int64], ...]:
        """How many targets chose the lowest and the largest alpha, [f] each; a single alpha is no choice."""
        alphas = np.concatenate(self.alphas)
        edges = (min(grid), max(grid)) if len(set(grid)) > 1 else (np.nan, np.nan)
        # what was chosen may have been rounded to the features' precision
        lowest, largest = (np.isclose(alphas, edge, rtol=1e-5, atol=0).sum(1) for edge in edges)
        return lowest, largest


def _scored(
    features: Mapping[str, Any], recording: Recording, cv: CrossValidation, memory: int
) -> dict[str, tuple[tuple[str, ...], NDArray[Any]]]:
    """Variables of all feature spaces with their dimensions; an object that has several names is scored once."""
    splits, groups = outer_folds(cv, recording), inner_groups(cv, recording)
    images = np.unique(recording.image_ids, return_index=True)[1]
    first: dict[int, str] = {}
    same_as = {name: first.setdefault(id(X), name) for name, X in features.items()}
    once = {name: features[name] for name in first.values()}
    by_fold = {name: X for name, X in once.items() if isinstance(X, Residualized)}
    results = {name: _Folds() for name in once}

    def add(rows: dict[str, NDArray[np.float32]], folds: list[Any]) -> None:
        scores, alphas = cross_val_score(
            rows,
            recording.responses,
            cv.alphas,
            cv=folds,
            inner_cv=cv.inner_folds,
            groups=groups,
            scoring=_SCORES,
            selection=cv.selection_for(groups),
            return_alphas=True,
        )
        for name, X in rows.items():
            results[name].scores.append(scores[name])
            results[name].alphas.append(alphas[name])
            varies = np.ptp(X[images], axis=0).any()
            results[name].ranks.append(effective_rank(X[images]) if varies else EffectiveRank(np.nan, np.nan))

    with tracked(f"scores of {recording.subject}", len(once) * len(splits), "fits"):
        for names in _shares({name: X for name, X in once.items() if name not in by_fold}, recording, memory):
            add({name: _rows(once[name], recording) for name in names}, splits)
        for names in _shares(by_fold, recording, memory):
            for train, test in splits:
                add(_residuals({name: by_fold[name] for name in names}, recording, train, groups), [(train, test)])
    ordered = [results[same_as[name]] for name in features]
    scores = np.stack([np.concatenate(each.scores, axis=1) for each in ordered], axis=1)
    edges = np.stack([each.at_edges(cv.alphas) for each in ordered], axis=1)
    ranks = np.stack([np.mean(each.ranks, axis=0) for each in ordered], axis=1)
    dims = {_SCORES: ("feature", "fold", "target"), _EDGES: ("feature", "fold"), _RANKS: ("feature",)}
    return {
        name: (along, values)
        for (names, along), group in zip(dims.items(), (scores, edges, ranks), strict=True)
        for name, values in zip(names, group, strict=True)
    }


def _shares(features: Mapping[str, Any], recording: Recording, memory: int) -> Iterator[list[str]]:
    """Names of feature spaces whose rows of presentations, in float32, are in memory at once."""
    share: list[str] = []
    size = 0
    for name, X in features.items():
        added = 4 * len(recording.image_ids) * X.shape[1]
        if share and size + added > memory:
            yield share
            share, size = [], 0
        share.append(name)
        size += added
    if share:
        yield share


def _rows(X: Any, recording: Recording) -> NDArray[np.float32]:
    """Features of every presentation, float32 of unit size."""
    values = np.asarray(X, dtype=np.float32)
    return values[recording.image_ids] / np.float32(unit_size(values))


def _residuals(
    spaces: Mapping[str, Residualized], recording: Recording, train: NDArray[np.int64], groups: NDArray[Any]
) -> dict[str, NDArray[np.float32]]:
    """Residuals of every presentation, float32 of unit size, fitted on the training images, each image once."""
    images, first, group = np.unique(recording.image_ids, return_index=True, return_inverse=True)
    trained = np.unique(group[train])
    residuals = residualize_spaces(spaces, images, trained, groups[first])
    return {
        name: values.astype(np.float32)[group] / np.float32(unit_size(values[trained]))
        for name, values in residuals.items()
    }


def _targets(recording: Recording) -> dict[str, Any]:
    table = recording.targets
    columns = {str(name): table[name].to_numpy() for name in table if name not in ("label", "target")}
    return {"target": list(recording.labels)} | {
        f"target_{name}" if name in _RESERVED else name: (
            "target",
            values if values.dtype.kind in "biuf" else values.astype(str),
        )
        for name, values in columns.items()
    }


def _provenance(
    recording: Recording, cv: CrossValidation, splits: list[Any], ceiling: Ceiling, odd: tuple[str, ...]
) -> dict[str, Any]:
    facts = {
        "gradkern": gradkern.__version__,
        "subject": recording.subject,
        "units": recording.units,
        "space": recording.space,
        "presentations": len(recording.presentations),
        "images": ceiling.images,
        "repeats": ceiling.repeats,
        "ceiling": f"{ceiling.formula}; unknown at {ceiling.unknown} of {len(ceiling.r)} targets",
        "held_out": asdict(cv),
        "tested": [len(test) for _, test in splits],
        "trained": [len(train) for train, _ in splits],
        "score": "of each fold's held-out presentations, alpha chosen inside each training set, for every target",
        "history": recording.history,
        "excluded": [f"{each.count} {each.what}: {each.reason}" for each in recording.excluded],
        "odd": odd,
        "recording": recording.provenance,
    }
    return {
        name: value if isinstance(value, str | int) else json.dumps(value, default=str) for name, value in facts.items()
    }
