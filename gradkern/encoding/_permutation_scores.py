"""Scores of feature spaces beside those of permuted responses, and tests of blocks of targets put together."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from gradkern._progress import advanced, tracked
from gradkern.encoding._matching import aligned, check_rows
from gradkern.encoding._scale import unit_scale
from gradkern.encoding._spaces import feature_coordinates
from gradkern.encoding._unique_scores import ImageMeans, dimensions_of, pooled_variables
from gradkern.errors import naming
from gradkern.recordings._recording import Recording
from gradkern.ridge._cross_validation import CrossValidation
from gradkern.stats._permutation import permutation_test

TESTS = ("permutation", "beyond")  # what the names of variables of a test begin with
_BY_TARGET = ("r", "p", "p_max")
_SLACK = 2e-6  # a null score counts as reached if rounding of float32 alone keeps it under the observed one


@dataclass(frozen=True)
class PermutationSettings:
    """How scores are tested: see `permutation_test`.

    Parameters
    ----------
    cv : folds of images, penalties and how they are chosen
    permutations, seed : how many permutations of images, and the seed of their generator
    """

    cv: CrossValidation = field(default_factory=CrossValidation)
    permutations: int = 1000
    seed: int = 0

    @naming("PermutationSettings")
    def __post_init__(self) -> None:
        if self.permutations < 1:
            raise ValueError(f"permutations must be at least 1, got {self.permutations}")


@naming("permutation_scores")
def permutation_scores(
    spaces: Mapping[Any, Any], recording: Recording, settings: PermutationSettings | None = None
) -> xr.Dataset:
    """Test held-out r of every feature space against that of permuted responses.

    Responses to repeats of an image are averaged first, and read whole. All targets, of all blocks that a recording
    is cut into, see the same permutations, so that `join_targets` of the blocks' results is the test of all targets.

    Parameters
    ----------
    spaces : [images, d] each
    recording : row i of the features is image i of its image source

    Returns
    -------
    Dataset with the variables

    - permutation_r, permutation_p, permutation_p_max : [feature, target], of `permutation_test`
    - permutation_r_pooled, permutation_p_pooled : [feature], of the mean over all targets, permutation_tested in number
    - permutation_null_max, permutation_null_pooled : [feature, permutation], the largest null score of all targets, and
      the mean over them

    Targets that are constant or not finite are NaN, with a warning.

    Raises
    ------
    ValueError : features of other images, as `permutation_test`
    Refused : no target varies; too few images for that many permutations

    Examples
    --------
    >>> import gradkern, pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> X, Y = rng.standard_normal((50, 8)), rng.standard_normal((50, 3))
    >>> shown, voxels = pd.DataFrame({"image": range(50)}), pd.DataFrame({"label": ["a", "b", "c"]})
    >>> recording = gradkern.Recording(Y, shown, voxels, subject="s", units="z")
    >>> permutation_scores({"X": X}, recording, PermutationSettings(permutations=19)).permutation_p.shape
    (1, 3)
    """
    settings = settings or PermutationSettings()
    features, recording = aligned(spaces, spaces, recording)
    named = feature_coordinates(features)
    for values in features.values():
        check_rows(recording, len(values))
    has_repeats = len(np.unique(recording.image_ids)) < len(recording.image_ids)
    means = ImageMeans.of(recording.average_repeats(estimate=False) if has_repeats else recording, "permutation_scores")
    Y, tested = means.Y[:, means.tested], means.tested
    prefix = TESTS[0]
    rows: list[dict[str, Any]] = []
    with tracked(f"permutations of {recording.subject}", len(features), "feature spaces"):
        for values in features.values():
            X = np.asarray(values)[means.rows]
            test = permutation_test(
                unit_scale(X).astype(np.result_type(X, Y)),
                Y,
                cv=settings.cv,
                permutations=settings.permutations,
                seed=settings.seed,
                target_groups={"all": np.arange(Y.shape[1])},
            )
            row = {f"{prefix}_{name}": np.full(len(tested), np.nan) for name in _BY_TARGET}
            for name in _BY_TARGET:
                row[f"{prefix}_{name}"][tested] = getattr(test, name)
            pooled = pooled_variables(prefix, test, settings.permutations)
            rows.append({**row, f"{prefix}_p_pooled": test.target_groups["all"].p, **pooled})
            advanced(1, "feature spaces")
    result = xr.Dataset(
        {name: (dimensions_of(name)[: np.ndim(rows[0][name]) + 1], [row[name] for row in rows]) for name in rows[0]},
        coords={**named, "target": list(recording.labels)},
    )
    stated = {**asdict(settings), "images": len(means.rows), "smallest_p": 1 / (1 + settings.permutations)}
    return result.assign_attrs(subject=recording.subject, permutations=json.dumps(stated))


@naming("join_targets")
def join_targets(blocks: Sequence[xr.Dataset]) -> xr.Dataset:
    """Put scores of blocks of targets together, as if all targets had been scored at once.

    What is of a target stays, numbers of targets are summed, and p values over all targets are computed from the null
    distributions of the blocks, whose permutations must be the same.

    Parameters
    ----------
    blocks : of `score`, `permutation_scores`, or `unique_scores` with `keep_null`; of the same features, in the order
        of the targets

    Raises
    ------
    ValueError : none, other features, or p values over all targets without their null distributions

    Examples
    --------
    >>> block = xr.Dataset({"r": (("feature", "target"), np.zeros((2, 3)))}, {"feature": ["a", "b"]})
    >>> join_targets([block, block]).r.shape
    (2, 6)
    """
    if not blocks:
        raise ValueError("blocks must be at least one, got none")
    if len(blocks) == 1:
        return blocks[0]
    first = blocks[0]
    for block in blocks[1:]:
        if list(block.feature.values) != list(first.feature.values) or set(block.data_vars) != set(first.data_vars):
            raise ValueError(f"blocks must be of the same features and variables, got {block} beside {first}")
    with_targets = [block[[name for name in block.data_vars if "target" in block[name].dims]] for block in blocks]
    joined = xr.concat(with_targets, "target", data_vars="all", coords="minimal", compat="override", join="exact")
    for name in first.data_vars:
        if "target" not in first[name].dims:
            is_count = str(name).startswith("targets_at_")
            joined[name] = sum(block[name] for block in blocks) if is_count else first[name]
    for prefix in TESTS:
        if f"{prefix}_p_max" in first:
            joined = joined.assign(_test_of_all(prefix, blocks, joined))
    return joined.assign_attrs(first.attrs)


def _test_of_all(prefix: str, blocks: Sequence[xr.Dataset], joined: xr.Dataset) -> dict[str, xr.DataArray]:
    """The test of all targets, from those of blocks that saw the same permutations."""
    if f"{prefix}_null_max" not in joined:
        raise ValueError(f"blocks must have {prefix}_null_max and {prefix}_null_pooled for {prefix}_p_max, got neither")
    counts = _stacked(prefix, "tested", blocks)
    tested = counts.sum("block")
    largest = _stacked(prefix, "null_max", blocks).max("block", skipna=False)
    null, r = (
        (counts * _stacked(prefix, name, blocks)).sum("block", skipna=False) / tested
        for name in ("null_pooled", "r_pooled")
    )
    total = 1 + largest.sizes["permutation"]
    observed = joined[f"{prefix}_r"]
    above = np.stack(
        [
            (one[:, None] >= scores[None] - _SLACK).sum(0)
            for one, scores in zip(largest.values, observed.transpose("feature", "target").values, strict=True)
        ]
    )
    p_max = xr.DataArray((1 + above) / total, dims=("feature", "target")).where(observed.notnull())
    p_pooled = ((1 + (null >= r - _SLACK).sum("permutation")) / total).where(r.notnull())
    return {
        f"{prefix}_p_max": p_max,
        f"{prefix}_p_pooled": p_pooled,
        f"{prefix}_r_pooled": r,
        f"{prefix}_tested": tested,
        f"{prefix}_null_max": largest,
        f"{prefix}_null_pooled": null,
    }


def _stacked(prefix: str, name: str, blocks: Sequence[xr.Dataset]) -> xr.DataArray:
    return xr.concat(
        [block[f"{prefix}_{name}"] for block in blocks], "block", coords="minimal", compat="override", join="exact"
    )
