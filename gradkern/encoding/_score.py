"""Held-out scores of whole studies: every feature space, fold and target, streamed, in named arrays."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
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
from gradkern.encoding._score_values import SCORES, ScoresInMemory, Values, scores_in_file, with_normalised
from gradkern.encoding._spaces import COORDINATES, feature_coordinates
from gradkern.encoding._wide import image_coordinates
from gradkern.errors import naming
from gradkern.recordings._noise_ceiling import Ceiling, estimate_ncsnr, noise_ceiling
from gradkern.recordings._recording import Recording
from gradkern.ridge._cross_val import stream_scores
from gradkern.ridge._cross_validation import CrossValidation, Nesting, OtherFolds
from gradkern.ridge._engine.folds import OTHERS
from gradkern.ridge._nested_scores import HeldOutScores

MEMORY = 4 * 2**30  # bytes of feature spaces that are held at once
_SQUARES = 20  # matrices [d, d] of a feature space: eigenvectors and held-out samples of five folds, in two precisions
_SQUARES_OF_PAIRS = 90  # of the fits without every two of five folds
_WIDE = 2  # columns for each image: from there on features are replaced by coordinates of the images
_RESERVED = {  # a column of the targets with such a name gets another one
    *("feature", "fold", *COORDINATES, "r", "r2", "noise_ceiling", "r_normalised", "r2_normalised"),
    *("targets_at_lowest_alpha", "targets_at_largest_alpha"),
    *("effective_rank", "effective_rank_entropy", "effective_rank_matched", "effective_rank_entropy_matched"),
    *("sketch_seed", "r_matched", "r2_matched", "targets_at_lowest_alpha_matched", "targets_at_largest_alpha_matched"),
    # of `unique_scores`, in the same file
    *("joint_r2", "unique_r2", "unique_covariates_r2", "unique_given_r2", "shared_r2"),
    *("beyond_r", "beyond_p", "beyond_p_max", "beyond_p_pooled"),
}
_EDGES = ("targets_at_lowest_alpha", "targets_at_largest_alpha")
_RANKS = ("effective_rank", "effective_rank_entropy")


@naming("score")
def score(
    features: Mapping[Any, Any],
    recording: Recording,
    cv: CrossValidation | None = None,
    matching: DimensionMatching | None = None,
    *,
    memory: int = MEMORY,
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
    memory : bytes of feature spaces that are held at once; the responses are read once for as many feature spaces as
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
    job = _Job.of(features, recording, cv or CrossValidation(), matching)
    values = ScoresInMemory(len(job.spaces) + len(job.sketched), len(job.splits), len(job.recording.targets))
    few = _scored(job, values, memory)
    return with_normalised(_dataset(job, few | values.variables(len(job.spaces))))


def score_into(
    path: Path,
    features: Mapping[Any, Any],
    recording: Recording,
    cv: CrossValidation,
    matching: DimensionMatching | None = None,
    *,
    memory: int = MEMORY,
    beside: xr.Dataset | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Write what `score` returns into a new file, block by block, so that memory does not grow with the targets.

    Parameters
    ----------
    beside : other variables of these feature spaces and targets
    attributes : of the file, beside those of `score`
    """
    job = _Job.of(features, recording, cv, matching)
    shape = len(job.splits), len(job.recording.targets)
    with scores_in_file(path, len(job.spaces), len(job.spaces) + len(job.sketched), shape) as values:
        few = _scored(job, values, memory)
    rest = _dataset(job, few)
    if beside is not None:
        rest = rest.assign(beside.reindex(feature=rest.feature.values).data_vars).assign_attrs(beside.attrs)
    rest.assign_attrs(attributes or {}).to_netcdf(path, mode="a", engine="h5netcdf")


@dataclass(frozen=True, eq=False)
class _Job:
    """What is scored: checked features and sketches of them by name, and the recording that they are matched with."""

    named: Mapping[str, Any]
    spaces: Mapping[str, Any]
    sketched: Mapping[str, Any]
    recording: Recording
    cv: CrossValidation
    matching: DimensionMatching | None
    splits: list[Any]
    odd: tuple[str, ...]

    @classmethod
    def of(
        cls,
        features: Mapping[Any, Any],
        recording: Recording,
        cv: CrossValidation,
        matching: DimensionMatching | None,
    ) -> "_Job":
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
        sketched = {f"{name}, sketch {seed}": X for (seed, name), X in narrow.items()}
        return cls(named, spaces, sketched, recording, cv, matching, splits, odd)


def _dataset(job: _Job, variables: Mapping[str, Any]) -> xr.Dataset:
    ceiling = ceiling_of(job.recording)
    coordinates = {**job.named, **_targets(job.recording), "fold": range(len(job.splits))}
    result = xr.Dataset(dict(variables), coords=coordinates)
    result["noise_ceiling"] = ("target", ceiling.r)
    result.attrs = _provenance(job.recording, job.cv, job.splits, ceiling, job.odd)
    if job.matching:
        result = result.assign_coords(sketch_seed=list(job.matching.seeds)).assign_attrs(
            matched=json.dumps(asdict(job.matching))
        )
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


class _Edges:
    """How many targets chose the lowest and the largest alpha, [2, f] of each feature space; one alpha is no choice."""

    def __init__(self, names: Iterable[str], folds: int, grid: tuple[float, ...]) -> None:
        self.counts = {name: np.zeros((2, folds), np.int64) for name in names}
        self._edges = (min(grid), max(grid)) if len(set(grid)) > 1 else (np.nan, np.nan)
        self._places: dict[tuple[str, int], NDArray[np.int8]] = {}

    def put(self, name: str, folds: slice, targets: Any, alphas: NDArray[np.float64], total: int) -> None:
        """Count the choices [f, k] of some folds and targets, in the place of what these targets chose before."""
        # what was chosen may have been rounded to the features' precision
        at = [np.isclose(alphas, edge, rtol=1e-5, atol=0) for edge in self._edges]
        now = (at[0] + 2 * at[1]).astype(np.int8)
        kept = self._places.setdefault((name, folds.start), np.zeros((len(now), total), np.int8))
        kept[:, targets] = now

    def settle(self, name: str, folds: slice) -> None:
        """Count what all targets chose in some folds."""
        kept = self._places.pop((name, folds.start))
        for number in range(2):
            self.counts[name][number, folds] = (kept == number + 1).sum(1)


def _scored(job: _Job, values: Values, memory: int) -> dict[str, tuple[tuple[str, ...], NDArray[Any]]]:
    """Put the scores of all feature spaces among `values`; an object that has several names is scored once.

    Returns
    -------
    how many targets chose an alpha at an edge, and effective ranks, with their dimensions
    """
    recording, cv, features = job.recording, job.cv, {**job.spaces, **job.sketched}
    groups = inner_groups(cv, recording)
    images = np.unique(recording.image_ids, return_index=True)[1]
    first: dict[int, str] = {}
    same_as = {name: first.setdefault(id(X), name) for name, X in features.items()}
    once = {name: features[name] for name in first.values()}
    rows_of = {name: [row for row, other in enumerate(same_as.values()) if other == name] for name in once}
    by_fold = {name: X for name, X in once.items() if isinstance(X, Residualized)}
    edges, count = _Edges(once, len(job.splits), cv.alphas), len(recording.targets)
    ranks: dict[str, list[EffectiveRank]] = {name: [] for name in once}

    def add(rows: dict[str, NDArray[np.float32]], folds: slice) -> None:
        def write(name: str, targets: Any, scored: HeldOutScores) -> None:
            places = targets if isinstance(targets, slice) else targets.numpy()
            values.put(rows_of[name], folds, places, scored.scores.cpu().numpy())
            edges.put(name, folds, places, scored.alphas.numpy(), count)

        for name, X in rows.items():
            varies = np.ptp(X[images], axis=0).any()
            ranks[name].append(effective_rank(X[images]) if varies else EffectiveRank(np.nan, np.nan))
        inner: Any = cv.inner_folds
        if inner == OTHERS and folds != slice(0, len(job.splits)):
            inner = OtherFolds(job.splits, folds.start)
        nesting = Nesting(job.splits[folds], inner, cv.alphas, cv.selection_for(groups))
        stream_scores(rows, recording.responses, nesting, groups, SCORES, write)
        for name in rows:
            edges.settle(name, folds)

    with tracked(f"scores of {recording.subject}", len(once) * len(job.splits), "fits"):
        whole, pairs = {name: X for name, X in once.items() if name not in by_fold}, cv.inner_folds == OTHERS
        for names in _shares(whole, recording, memory, pairs=pairs):
            add({name: _rows(once[name], recording) for name in names}, slice(0, len(job.splits)))
        for names in _shares(by_fold, recording, memory):
            for number, (train, _) in enumerate(job.splits):
                residuals = _residuals({name: by_fold[name] for name in names}, recording, train, groups)
                add(residuals, slice(number, number + 1))
    of_edges = np.stack([edges.counts[same_as[name]] for name in features], axis=1)
    of_ranks = np.stack([np.mean(ranks[same_as[name]], axis=0) for name in features], axis=1)
    return _along_sketches(dict(zip(_EDGES, of_edges, strict=True)), ("feature", "fold"), len(job.spaces)) | (
        _along_sketches(dict(zip(_RANKS, of_ranks, strict=True)), ("feature",), len(job.spaces))
    )


def _along_sketches(
    values: Mapping[str, NDArray[Any]], dims: tuple[str, ...], spaces: int
) -> dict[str, tuple[tuple[str, ...], NDArray[Any]]]:
    """Variables of the first feature spaces, and of the others sketch by sketch, with their dimensions."""
    result = {name: (dims, every[:spaces]) for name, every in values.items()}
    for name, every in values.items():
        if len(every) > spaces:
            result[f"{name}_matched"] = ("sketch_seed", *dims), every[spaces:].reshape(-1, spaces, *every.shape[1:])
    return result


def _shares(
    features: Mapping[str, Any], recording: Recording, memory: int, *, pairs: bool = False
) -> Iterator[list[str]]:
    """Names of feature spaces that are in memory at once: rows of presentations, coordinates and eigenvectors."""
    share: list[str] = []
    size = 0
    for name, X in features.items():
        added = bytes_of_space(len(recording.image_ids), X.shape[1], pairs=pairs)
        if share and size + added > memory:
            yield share
            share, size = [], 0
        share.append(name)
        size += added
    if share:
        yield share


def bytes_of_space(rows: int, columns: int, *, pairs: bool = False) -> int:
    """Bytes that a feature space takes while it is scored, in float32; `pairs`: with fits without every two folds."""
    narrow = min(rows, columns)
    squares = _SQUARES + _SQUARES_OF_PAIRS if pairs else _SQUARES
    return 4 * (2 * rows * narrow + squares * narrow**2)


def _rows(X: Any, recording: Recording) -> NDArray[np.float32]:
    """Features of every presentation, float32 of unit size; of wide ones their coordinates, which predict the same."""
    shown, group = np.unique(recording.image_ids, return_inverse=True)
    if X.shape[1] > _WIDE * len(shown):
        coordinates, size = image_coordinates(X, shown)
        return coordinates[group] / np.float32(size)
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
