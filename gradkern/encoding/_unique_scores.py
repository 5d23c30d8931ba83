"""What the gradients of a study tell beyond the activations of their model, target by target, in named arrays."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from gradkern.encoding._control_spaces import GIVEN, activations_beside
from gradkern.encoding._spaces import Space, coordinates
from gradkern.encoding._unique import UniqueVariance, unique_variance
from gradkern.recordings._recording import Recording
from gradkern.ridge._cross_validation import CrossValidation

_OP = "unique_scores"
BY_TARGET = (
    "joint_r2",
    "unique_r2",
    "unique_given_r2",
    "shared_r2",
    "beyond_r",
    "beyond_p",
    "beyond_p_max",
)  # also named in `held_out`, so that no column of the targets has their names
POOLED = ("beyond_p_pooled",)


@dataclass(frozen=True)
class UniqueVarianceSettings:
    """What gradients are held against, and how: see `unique.unique_variance`.

    Parameters
    ----------
    given : activations of the model, "all-layers" that were captured, or the "same-layer"; beyond those of its layer a
        gradient may tell no more than other layers' activations do
    axes : only so many principal axes of the activations are taken out by the test
    cv : folds of images, penalties and how they are chosen
    ratios : of the two penalties that banded ridge chooses among
    permutations, seed : of the test; the seed also of the ratios
    """

    given: str = "all-layers"
    axes: int | None = None
    cv: CrossValidation = field(default_factory=CrossValidation)
    ratios: int = 20
    permutations: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.given not in GIVEN:
            raise ValueError(f"UniqueVarianceSettings: given must be one of {', '.join(GIVEN)}, got {self.given!r}")
        for name, least in (("ratios", 1), ("permutations", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"UniqueVarianceSettings: {name} must be at least {least}, got {getattr(self, name)}")


def unique_scores(
    spaces: Mapping[Space, Any],
    captured: Mapping[Space, Any],
    recording: Recording,
    how: UniqueVarianceSettings | None = None,
) -> xr.Dataset:
    """Held-out R2 of every gradient in parts, and whether it tells anything beyond activations.

    Of one row an image: single presentations are averaged. Responses are read whole, in float64.

    Parameters
    ----------
    spaces : whose gradients are tested, [images, d]; activations among them are not
    captured : all of `join_captures`, of which activations are taken
    recording : row i of the features is image i of its image source

    Returns
    -------
    Dataset [feature, target], features being the gradients: joint_r2, unique_r2 (what only the gradient adds),
        unique_given_r2 (what only the activations add) and shared_r2, of nested banded ridge; beyond_r, beyond_p and
        beyond_p_max of `unique.partial_permutation_test`; beyond_p_pooled [feature], of the mean over all targets. NaN,
        with a
        warning, of targets that are constant or not finite, and of gradients that the test refuses, with its reason.
        attrs["unique"] says how, as JSON.

    Raises
    ------
    ValueError : no gradients, activations that were not captured, features of other images; no target that varies; what
        the test refuses, if of all gradients
    """
    how = how or UniqueVarianceSettings()
    gradients = {space: values for space, values in spaces.items() if space.kind != "activation"}
    if not gradients:
        raise ValueError(f"{_OP}: spaces must hold gradients, got only {[str(space) for space in spaces]}")
    given = {space: activations_beside(space, captured, how.given) for space in gradients}
    for values in gradients.values():
        recording.check_images(len(values))
    means = recording.average_repeats() if _repeated(recording) else recording
    Y = np.asarray(means.responses)
    tested = _tested(Y, recording.subject)
    rows, repeats = means.image_ids, means.repeats
    if repeats.min() < repeats.max():
        warnings.warn(
            f"{_OP}: images of {recording.subject} were shown {repeats.min()} to {repeats.max()} times, so that their "
            "errors differ in variance: p of the test is not exact",
            stacklevel=2,
        )
    values, pooled, refused, facts = _all(gradients, given, rows, Y, tested, how)
    result = xr.Dataset(
        {name: (("feature", "target"), values[name]) for name in BY_TARGET},
        coords={**coordinates(gradients), "target": list(recording.labels)},
    )
    result[POOLED[0]] = ("feature", pooled)
    stated = {
        **asdict(how),
        "folds_of": "images",
        "images": len(rows),
        "repeats": [int(repeats.min()), int(repeats.max())],
        "smallest_p": 1 / (1 + how.permutations),
        "pooled": f"mean over {int(tested.sum())} targets",
        **facts,
        "refused": refused,
    }
    return result.assign_attrs(unique=json.dumps(stated))


def _all(
    gradients: Mapping[Space, Any],
    given: Mapping[Space, Any],
    rows: NDArray[np.int64],
    Y: NDArray[Any],
    tested: NDArray[np.bool_],
    how: UniqueVarianceSettings,
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64], dict[str, str], dict[str, Any]]:
    """By target and pooled; why gradients were refused; and how many rows the test had left."""
    values = {name: np.full((len(gradients), len(tested)), np.nan) for name in BY_TARGET}
    pooled, left = np.full(len(gradients), np.nan), {}
    refused: dict[Space, ValueError] = {}
    for place, (space, X) in enumerate(gradients.items()):
        beside = given[space] if isinstance(given[space], list) else [given[space]]
        try:
            found = _one(np.asarray(X)[rows], [np.asarray(each)[rows] for each in beside], Y[:, tested], how)
        except ValueError as error:
            refused[space] = error
            continue
        test, left[str(space)] = found.test, found.test.n
        parts = (found.joint, found.unique, found.unique_given, found.shared, test.r, test.p, test.p_max)
        for name, each in zip(BY_TARGET, parts, strict=True):
            values[name][place, tested] = each
        pooled[place] = test.target_groups["all"].p
    if len(refused) == len(gradients):
        raise next(iter(refused.values()))
    reasons = {str(space): str(reason) for space, reason in refused.items()}
    for name, reason in reasons.items():
        warnings.warn(f"{_OP}: {name} is NaN: {reason}", stacklevel=3)
    return values, pooled, reasons, {"rows_left": left}


def _one(X: NDArray[Any], given: list[NDArray[Any]], Y: NDArray[Any], how: UniqueVarianceSettings) -> UniqueVariance:
    return unique_variance(
        X,
        given,
        Y,
        ratios=how.ratios,
        cv=how.cv,
        axes=how.axes,
        permutations=how.permutations,
        seed=how.seed,
        target_groups={"all": np.arange(Y.shape[1])},
    )


def _repeated(one: Recording) -> bool:
    return len(np.unique(one.image_ids)) < len(one.image_ids)


def _tested(Y: NDArray[Any], subject: str) -> NDArray[np.bool_]:
    """Targets that have a score at all."""
    good: NDArray[np.bool_] = np.isfinite(Y).all(0) & (np.ptp(Y, axis=0) > 0)
    if not good.any():
        raise ValueError(f"{_OP}: recording must have targets that are finite and vary, got none of {len(good)}")
    if not good.all():
        warnings.warn(
            f"{_OP}: {int((~good).sum())} of {len(good)} targets of {subject} are constant or not finite: NaN",
            stacklevel=3,
        )
    return good
