"""Unique variance of the gradients of a study beside the activations of their model, in named arrays."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from gradkern._progress import advanced, tracked
from gradkern.encoding._control_spaces import COVARIATES, activations_for
from gradkern.encoding._matching import aligned, check_rows
from gradkern.encoding._spaces import FeatureSpace, coordinates
from gradkern.encoding._unique import UniqueVariance, unique_variance
from gradkern.errors import Refused, naming
from gradkern.recordings._recording import Recording
from gradkern.ridge._cross_validation import CrossValidation
from gradkern.stats._permutation import PermutationTest

UNIQUE_VARIABLES = (
    "joint_r2",
    "unique_r2",
    "unique_covariates_r2",
    "shared_r2",
    "beyond_r",
    "beyond_p",
    "beyond_p_max",
)  # by target; `score` gives no column of the targets such a name
_TEST = "beyond"  # what the names of variables of the test begin with


@dataclass(frozen=True)
class UniqueVarianceSettings:
    """How the unique variance of gradients is estimated and tested: see `unique_variance`.

    Parameters
    ----------
    covariates : "all-layers", the activations of all captured layers of the model, or "same-layer"; what a gradient
        tells beyond the activations of its own layer may be in those of other layers
    n_components : number of principal components of the activations that the test removes; None: all
    cv : folds of images, penalties and how they are chosen
    band_weights : number of pairs of band weights that banded ridge chooses from
    permutations : of the test
    seed : of the permutations and of the band weights
    """

    covariates: str = "all-layers"
    n_components: int | None = None
    cv: CrossValidation = field(default_factory=CrossValidation)
    band_weights: int = 20
    permutations: int = 1000
    seed: int = 0

    @naming("UniqueVarianceSettings")
    def __post_init__(self) -> None:
        if self.covariates not in COVARIATES:
            raise ValueError(f"covariates must be one of {', '.join(COVARIATES)}, got {self.covariates!r}")
        for name in ("band_weights", "permutations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


@naming("unique_scores")
def unique_scores(
    spaces: Mapping[FeatureSpace, Any],
    captured: Mapping[FeatureSpace, Any],
    recording: Recording,
    settings: UniqueVarianceSettings | None = None,
    *,
    keep_null: bool = False,
) -> xr.Dataset:
    """Partition the held-out R2 of every gradient beside activations, and test whether it tells anything beyond them.

    Responses to repeats of an image are averaged first, and read whole in float64.

    Parameters
    ----------
    spaces : [images, d] each; the gradients among them are tested
    captured : all of `join_captures`, from which the activations are taken
    recording : row i of the features is image i of its image source
    keep_null : whether to keep what tests of several blocks of targets are put together from: beyond_null_max and
        beyond_null_pooled, [feature, permutation], beyond_r_pooled and beyond_tested (how many targets), [feature]

    Returns
    -------
    Dataset whose features are the gradients, with the variables

    - joint_r2, unique_r2, unique_covariates_r2, shared_r2 : [feature, target], of nested banded ridge: of gradient
      and activations, what only the gradient adds, what only the activations add, what either explains
    - beyond_r, beyond_p, beyond_p_max : [feature, target], of `partial_permutation_test`
    - beyond_p_pooled : [feature], of the mean over all targets

    Targets that are constant or not finite are NaN, with a warning; so are gradients whose test is `Refused`, with the
    reason in attrs["unique"], a JSON object that also holds the settings.

    Raises
    ------
    ValueError : no gradients, activations that were not captured, features of other images, as `unique_variance`
    Refused : no target varies, or the test of every gradient is refused
    """
    rows_of = spaces if hasattr(spaces, "images") else captured
    (spaces, given), (captured, _) = aligned(spaces, rows_of, recording), aligned(captured, rows_of, recording)
    recording = given
    settings = settings or UniqueVarianceSettings()
    gradients = {space: values for space, values in spaces.items() if space.kind != "activation"}
    if not gradients:
        raise ValueError(f"spaces must hold gradients, got only {[str(space) for space in spaces]}")
    activations = {space: activations_for(space, captured, settings.covariates) for space in gradients}
    for values in gradients.values():
        check_rows(recording, len(values))
    has_repeats = len(np.unique(recording.image_ids)) < len(recording.image_ids)
    means = recording.average_repeats(estimate=False) if has_repeats else recording
    repeats = means.repeats
    responses = ImageMeans.of(means, "unique_scores")
    if repeats.min() < repeats.max():
        warnings.warn(
            f"unique_scores: images of {recording.subject} were shown {repeats.min()} to {repeats.max()} times, so "
            "that their errors differ in variance: p of the test is not exact",
            stacklevel=3,
        )
    with tracked(f"unique variance of {recording.subject}", len(gradients), "gradients"):
        variables, facts = _variables(gradients, activations, responses, settings, keep_null=keep_null)
    result = xr.Dataset(
        {name: (dimensions_of(name)[: values.ndim], values) for name, values in variables.items()},
        coords={**coordinates(gradients), "target": list(recording.labels)},
    )
    stated = {
        **asdict(settings),
        "folds_of": "images",
        "images": len(responses.rows),
        "repeats": [int(repeats.min()), int(repeats.max())],
        "smallest_p": 1 / (1 + settings.permutations),
        "pooled": f"mean over {int(responses.tested.sum())} targets",
        **facts,
    }
    return result.assign_attrs(unique=json.dumps(stated))


def dimensions_of(name: str) -> tuple[str, str]:
    """Dimensions of a variable of a test, which may have the first alone."""
    return ("feature", "permutation") if "_null_" in name else ("feature", "target")


def pooled_variables(prefix: str, test: PermutationTest | None, permutations: int) -> dict[str, Any]:
    """What tests of blocks of targets are put together from; NaN without a test."""
    if test is None:
        nothing = np.full(permutations, np.nan)
        return {
            f"{prefix}_r_pooled": np.nan,
            f"{prefix}_tested": 0,
            f"{prefix}_null_max": nothing,
            f"{prefix}_null_pooled": nothing,
        }
    whole = test.target_groups["all"]
    return {
        f"{prefix}_r_pooled": whole.r,
        f"{prefix}_tested": whole.targets,
        f"{prefix}_null_max": test.null_max,
        f"{prefix}_null_pooled": whole.null,
    }


@dataclass(frozen=True, eq=False)
class ImageMeans:
    """Responses Y [n, v] to the images `rows` [n], and which targets can have a score, `tested` [v]."""

    Y: NDArray[Any]
    rows: NDArray[np.int64]
    tested: NDArray[np.bool_]

    @classmethod
    def of(cls, recording: Recording, verb: str) -> "ImageMeans":
        """Of means over repeats; `verb` opens the warning about targets that cannot have a score."""
        Y = np.asarray(recording.responses)
        tested: NDArray[np.bool_] = np.isfinite(Y).all(0) & (np.ptp(Y, axis=0) > 0)
        if not tested.any():
            raise Refused(f"recording must have targets that are finite and vary, got none of {len(tested)}")
        if not tested.all():
            warnings.warn(
                f"{verb}: {int((~tested).sum())} of {len(tested)} targets of {recording.subject} are constant "
                "or not finite: NaN",
                stacklevel=4,
            )
        return cls(Y, recording.image_ids, tested)


def _variables(
    gradients: Mapping[FeatureSpace, Any],
    activations: Mapping[FeatureSpace, Any],
    responses: ImageMeans,
    settings: UniqueVarianceSettings,
    *,
    keep_null: bool,
) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any]]:
    """Variables by target and pooled; how many rows each test had left, and why tests were refused."""
    tested = responses.tested
    shape = len(gradients), len(tested)
    variables: dict[str, NDArray[np.float64]] = {name: np.full(shape, np.nan) for name in UNIQUE_VARIABLES}
    variables[f"{_TEST}_p_pooled"] = np.full(len(gradients), np.nan)
    rows_left: dict[str, int] = {}
    pooled: list[dict[str, Any]] = []
    refusals: dict[str, Refused] = {}
    for number, (space, X) in enumerate(gradients.items()):
        try:
            result = _unique_variance(X, activations[space], responses, settings)
        except Refused as refusal:
            refusals[str(space)] = refusal
            pooled.append(pooled_variables(_TEST, None, settings.permutations))
            continue
        finally:
            advanced(1, "gradients")
        test, rows_left[str(space)] = result.test, result.test.n
        parts = (result.joint, result.unique, result.unique_covariates, result.shared, test.r, test.p, test.p_max)
        for name, values in zip(UNIQUE_VARIABLES, parts, strict=True):
            variables[name][number, tested] = values
        variables[f"{_TEST}_p_pooled"][number] = test.target_groups["all"].p
        pooled.append(pooled_variables(_TEST, test, settings.permutations))
    if len(refusals) == len(gradients):
        raise next(iter(refusals.values()))
    reasons = {name: str(error) for name, error in refusals.items()}
    for name, reason in reasons.items():
        warnings.warn(f"unique_scores: {name} is NaN: {reason}", stacklevel=4)
    if keep_null:
        variables |= {name: np.array([row[name] for row in pooled]) for name in pooled[0]}
    return variables, {"rows_left": rows_left, "refused": reasons}


def _unique_variance(
    X: Any, activations: Any, responses: ImageMeans, settings: UniqueVarianceSettings
) -> UniqueVariance:
    matrices = activations if isinstance(activations, list) else [activations]
    Y = responses.Y[:, responses.tested]
    return unique_variance(
        np.asarray(X)[responses.rows],
        [np.asarray(matrix)[responses.rows] for matrix in matrices],
        Y,
        band_weights=settings.band_weights,
        cv=settings.cv,
        n_components=settings.n_components,
        permutations=settings.permutations,
        seed=settings.seed,
        target_groups={"all": np.arange(Y.shape[1])},
    )
