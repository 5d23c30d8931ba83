"""Held-out scores of whole studies: every feature space, fold and target, streamed, in named arrays."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import gradkern
from gradkern.encoding._control_spaces import Residualized, residualized
from gradkern.encoding._controls import EffectiveRank, effective_rank
from gradkern.encoding._folds import inner_groups, outer_folds
from gradkern.encoding._matched_dimension import DimensionMatching, matched
from gradkern.encoding._scale import check_first, unit_size
from gradkern.encoding._spaces import AXES, named_spaces
from gradkern.recordings._noise_ceiling import Ceiling, estimate_ncsnr, noise_ceiling
from gradkern.recordings._recording import Recording
from gradkern.ridge._cross_val import cross_val_score
from gradkern.ridge._cross_validation import CrossValidation

_TAKEN = {
    *("feature", "fold", *AXES, "r", "r2", "noise_ceiling", "r_normalised", "r2_normalised"),
    *("effective_rank", "effective_rank_entropy", "effective_rank_matched", "effective_rank_entropy_matched"),
    *("sketch_seed", "r_matched", "r2_matched"),
    # of `unique_scores`, in the same file
    *("joint_r2", "unique_r2", "unique_given_r2", "shared_r2"),
    *("beyond_r", "beyond_p", "beyond_p_max", "beyond_p_pooled"),
}
_SCORES = ("r", "r2")
_RANKS = ("effective_rank", "effective_rank_entropy")
_BYTES_OF_X = 4 * 2**30  # of rows of features that share one read of the responses


def score(
    features: Mapping[Any, Any],
    recording: Recording,
    cv: CrossValidation | None = None,
    matching: DimensionMatching | None = None,
) -> xr.Dataset:
    """Nested cross-validated scores of each feature space at every target, raw and beside the noise ceiling.

    Responses are read once for as many feature spaces as 4 GiB of rows hold. `Recording.check` runs before: what it
    finds odd is warned of and kept in the result.

    Parameters
    ----------
    features : of `spaces.join_captures`; or names, or pairs (kind, layer) as `gradkern.capture` gives, to [images, d].
        Row i is image i of the recording's image source. Of `space_controls.control_spaces` too, of which what is
        residualised is fitted anew on the training images of every fold
    recording : single presentations, or means over repeats (which is faster)
    cv : what is held out, and how alphas are chosen; None: `CrossValidation()`
    matching : score every feature space at one dimension too, by several sketches

    Returns
    -------
    Dataset : r (Pearson) and r2 (1 - residual over total variance) [feature, fold, target]; noise_ceiling [target], the
        highest r, NaN where it is not known; r_normalised and r2_normalised [feature, fold, target], by noise_ceiling
        and its square, NaN where that is 0; effective_rank and effective_rank_entropy [feature], see
        `controls.effective_rank`, of the images shown, NaN where features do not vary, of what is residualised the mean
        over folds. With `matching` also r_matched and r2_matched [sketch_seed, feature, fold, target],
        effective_rank_matched and effective_rank_entropy_matched [sketch_seed, feature]. "feature" has coordinates
        "model", "objective", "kind", "layer" and "depth", as far as the features' names tell them, so that
        `set_index(feature=[...])` selects by them; of targets all columns of their table, called "target_NAME" where
        NAME is taken here. `attrs` hold the provenance.

    Raises
    ------
    ValueError : features of other images or sizes, not finite, two of one name, fewer columns than `matching` wants;
        folds that the recording does not allow; infinite responses
    """
    cv = cv or CrossValidation()
    named = named_spaces("score", features)
    for name, X in features.items():
        if len(X.shape) != 2:
            raise ValueError(f"score: features must be [images, d], got {list(X.shape)} of {name!r}")
        recording.check_images(len(X))
    odd = check_first("score", recording)
    splits = outer_folds(cv, recording)
    given = dict(zip(named["feature"], features.values(), strict=True))
    narrow = matched(given, matching) if matching else {}
    by_sketch = {f"{name}, sketch {seed}": X for (seed, name), X in narrow.items()}
    scores, ranks = _scored(given | by_sketch, recording, cv)
    ceiling = ceiling_of(recording)
    result = xr.Dataset(
        {name: (("feature", "fold", "target"), each[: len(given)]) for name, each in zip(_SCORES, scores, strict=True)},
        coords={**named, **_targets(recording), "fold": range(len(splits))},
    )
    result["noise_ceiling"] = ("target", ceiling.r)
    reachable = result.noise_ceiling.where(result.noise_ceiling > 0)
    result["r_normalised"] = result.r / reachable
    result["r2_normalised"] = result.r2 / reachable**2
    for name, each in zip(_RANKS, ranks, strict=True):
        result[name] = ("feature", each[: len(given)])
    if matching:
        result = result.assign_coords(sketch_seed=list(matching.seeds))
        by_seed = (len(matching.seeds), len(given))
        for name, each in zip((*_SCORES, *_RANKS), (*scores, *ranks), strict=True):
            values = each[len(given) :].reshape(*by_seed, *each.shape[1:])
            result[f"{name}_matched"] = (("sketch_seed", "feature", "fold", "target")[: values.ndim], values)
    result.attrs = _provenance(recording, cv, splits, ceiling, odd)
    if matching:
        result.attrs["matched"] = json.dumps(asdict(matching))
    return result


def ceiling_of(recording: Recording) -> Ceiling:
    """By the recording's ncsnr, or else by its repeats; NaN, which says why, where there is neither."""
    if recording.ncsnr is not None:
        return noise_ceiling(recording)
    if (recording.repeats == 1).all() and len(np.unique(recording.image_ids)) < len(recording.image_ids):
        return noise_ceiling(replace(recording, ncsnr=estimate_ncsnr(recording)))
    unknown = np.full(len(recording.targets), np.nan)
    why = "not known: neither ncsnr nor single presentations of an image shown twice"
    return Ceiling(unknown, why, "not known", len(np.unique(recording.image_ids)))


def _scored(
    features: Mapping[str, Any], recording: Recording, cv: CrossValidation
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """r and r2 [2, feature, fold, target], effective ranks [2, feature]; what has several names is scored once."""
    splits, groups = outer_folds(cv, recording), inner_groups(cv, recording)
    score = partial(
        cross_val_score,
        alphas=cv.alphas,
        inner_cv=cv.inner_folds,
        groups=groups,
        scoring=_SCORES,
        selection=cv.selection_for(groups),
    )
    images = np.unique(recording.image_ids, return_index=True)[1]
    first: dict[int, str] = {}
    same_as = {name: first.setdefault(id(X), name) for name, X in features.items()}
    once = {name: features[name] for name in first.values()}
    mirror_hemispheres = {name: X for name, X in once.items() if isinstance(X, Residualized)}
    found: dict[str, Any] = {}
    ranks: dict[str, list[EffectiveRank]] = {name: [] for name in once}
    for names in _shares({name: X for name, X in once.items() if name not in mirror_hemispheres}, recording):
        rows = {name: _rows(once[name], recording) for name in names}
        found |= score(rows, recording.responses, cv=splits)
        _add_ranks(ranks, rows, images)
    for names in _shares(mirror_hemispheres, recording):
        parts: list[Any] = []
        for train, test in splits:
            rows = _left({name: mirror_hemispheres[name] for name in names}, recording, train, groups)
            parts.append(score(rows, recording.responses, cv=[(train, test)]))
            _add_ranks(ranks, rows, images)
        found |= {name: np.concatenate([part[name] for part in parts], axis=1) for name in names}
    mean = {name: np.mean(each, axis=0) for name, each in ranks.items()}
    in_order = [same_as[name] for name in features]
    return np.stack([found[name] for name in in_order], axis=1), np.stack([mean[name] for name in in_order], axis=1)


def _add_ranks(ranks: dict[str, list[EffectiveRank]], rows: Mapping[str, Any], images: NDArray[np.int64]) -> None:
    """`images`: a row of each that was shown."""
    for name, X in rows.items():
        shown = X[images]
        varies = np.ptp(shown, axis=0).any()
        ranks[name].append(effective_rank(shown) if varies else EffectiveRank(np.nan, np.nan))


def _shares(features: Mapping[str, Any], recording: Recording) -> Iterator[list[str]]:
    """Names of feature spaces whose rows of presentations, in float32, are in memory at once."""
    share: list[str] = []
    size = 0
    for name, X in features.items():
        added = 4 * len(recording.image_ids) * X.shape[1]
        if share and size + added > _BYTES_OF_X:
            yield share
            share, size = [], 0
        share.append(name)
        size += added
    if share:
        yield share


def _rows(X: Any, recording: Recording) -> NDArray[np.float32]:
    """Rows of presentations, float32 of unit size."""
    values = np.asarray(X, dtype=np.float32)
    return values[recording.image_ids] / np.float32(unit_size(values))


def _left(
    spaces: Mapping[str, Residualized], recording: Recording, train: NDArray[np.int64], groups: NDArray[Any]
) -> dict[str, NDArray[np.float32]]:
    """The same of what is left of features; held-out images take no part in its fit, and each image counts once."""
    images, first, which = np.unique(recording.image_ids, return_index=True, return_inverse=True)
    trained = np.unique(which[train])
    left = residualized(spaces, images, trained, groups[first])
    return {
        name: values.astype(np.float32)[which] / np.float32(unit_size(values[trained])) for name, values in left.items()
    }


def _targets(recording: Recording) -> dict[str, Any]:
    table = recording.targets
    others = {str(name): table[name].to_numpy() for name in table if name not in ("label", "target")}
    return {"target": list(recording.labels)} | {
        f"target_{name}" if name in _TAKEN else name: ("target", values if _numbers(values) else values.astype(str))
        for name, values in others.items()
    }


def _numbers(values: NDArray[Any]) -> bool:
    return values.dtype.kind in "biuf"


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
        "score": "of each fold's held-out presentations, alpha chosen by inner folds, for every target",
        "history": recording.history,
        "excluded": [f"{each.count} {each.what}: {each.reason}" for each in recording.excluded],
        "odd": odd,
        "recording": recording.provenance,
    }
    return {
        name: value if isinstance(value, str | int) else json.dumps(value, default=str) for name, value in facts.items()
    }
