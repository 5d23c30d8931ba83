"""How much of the responses each band of features explains: the product measure, and unique variance."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradkern.errors import naming
from gradkern.ridge._alphas import DEFAULT_ALPHAS
from gradkern.ridge._cross_validation import CrossValidation, Nesting, resolve_setting
from gradkern.ridge._engine.band_weights import resolve_band_weights, without_band
from gradkern.ridge._engine.banded import join_bands, refit, search
from gradkern.ridge._engine.folds import Fold, check_groups, check_inner_cv, inner_folds, selection_folds
from gradkern.ridge._engine.inputs import (
    Array,
    DevicePlan,
    Targets,
    as_array,
    as_feature_spaces,
    as_targets,
    check_finite,
    check_memory,
    device_plan,
    load,
)
from gradkern.ridge._engine.metrics import constant_columns, r_squared, sum_about_mean
from gradkern.ridge._engine.precision import multiplying
from gradkern.ridge._engine.principal_coordinates import PrincipalCoordinates, principal_coordinates
from gradkern.ridge._engine.solve import AlphaSelection, alpha_selection
from gradkern.ridge._engine.target_counts import warn

_COLUMNS_AT_ONCE = 1024


@dataclass(frozen=True)
class VariancePartition:
    """Explained variance of each target on held-out samples, by band; means over the outer folds.

    Attributes
    ----------
    joint : [v] R2 of the model of all bands
    product : [bands, v] product measure of each band, which adds up to `joint`
    unique : [bands, v] `joint` minus the R2 of the model without the band
    shared : [v] `joint` minus the sum of `unique`: what more than one band can explain
        Negative where bands explain more together than the sum of their parts (suppression), or by chance.

    Without v where Y was 1-D; NaN where a target does not vary in some held-out fold.
    """

    joint: Array
    product: Array
    unique: Array
    shared: Array


@naming("r2_split")
def r2_split(y: Any, parts: Any, *, intercept: Any = None) -> Array:
    """Split the R2 of a prediction among the parts it is the sum of, by the product measure.

    With y_c and p_b the responses and the parts about their means, p the sum of the p_b, and delta by how much the
    mean of the prediction is wrong::

        R2_b = (2 sum(y_c p_b) - sum(p_b p) - n delta^2 / bands) / sum(y_c^2)

    These add up to ``1 - sum((y - yhat)^2) / sum(y_c^2)``, yhat being the parts' sum plus the intercept. Where a fit
    is scored on its own samples by least squares, R2_b is the product of a band's standardized weight and
    correlation. A band may get less than nothing: where its part makes the prediction worse, or is there to cancel
    what is wrong in another.

    Parameters
    ----------
    y : [n, v] or [n] responses
    parts : [bands, n, v] or [bands, n], as of ``BandedRidgeCV.predict(X, split=True)``
    intercept : [v] or scalar, what the prediction adds to the parts' sum
        By default the one that fits y best, so that delta is 0.

    Returns
    -------
    r2 : [bands, v], or [bands] for 1-D responses; NaN where y does not vary

    Raises
    ------
    ValueError : shapes or devices that do not fit together, NaN or inf

    References
    ----------
    Hoffman (1960), Psychological Bulletin 57, 116; Pratt (1987), Proc. 2nd Tampere Conference in Statistics, 245; of
    predictions: Dupré la Tour et al. (2022), NeuroImage 264, 119728.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> parts = rng.standard_normal((2, 60, 3))
    >>> r2_split(parts.sum(0) + rng.standard_normal((60, 3)), parts).shape
    (2, 3)
    """
    first, second = as_array("y", y), as_array("parts", parts)
    if first.ndim not in (1, 2) or first.shape[0] < 2 or second.shape[1:] != first.shape or second.shape[0] == 0:
        raise ValueError(
            f"y must be [n, v] or [n] with n of at least 2, and parts [bands, n, v] or [bands, n], got "
            f"{tuple(first.shape)} and {tuple(second.shape)}"
        )
    n_bands, n = second.shape[:2]
    plan = device_plan(None, y, y=first, parts=second)
    responses, one_target = as_targets(first, n)
    flat = second.reshape(n_bands * n, -1)
    check_finite("y", responses)
    check_finite("parts", flat)
    added = _check_intercept(intercept, responses.shape[1])
    split = plan.empty(n_bands, responses.shape[1])
    for start in range(0, responses.shape[1], _COLUMNS_AT_ONCE):
        columns = slice(start, start + _COLUMNS_AT_ONCE)
        some = load(flat, plan, columns=columns).view(n_bands, n, -1)
        bias = None if added is None else added[columns].to(plan.device)
        split[:, columns] = product_measure(load(responses, plan, columns=columns), some, bias).to(split)
    return plan.to_caller(split[:, 0] if one_target else split)


def product_measure(y: Tensor, parts: Tensor, intercept: Tensor | None) -> Tensor:
    """The formula of `r2_split` for y [n, b], parts [bands, n, b] and an intercept [b]: [bands, b] in float64."""
    spread = torch.where(constant_columns(y), torch.nan, sum_about_mean(y))
    responses = y.double()
    mean = responses.mean(0)
    responses = responses - mean
    centres = torch.stack([part.double().mean(0) for part in parts])
    total = parts.double().sum(0) - centres.sum(0)
    loss = torch.zeros_like(mean) if intercept is None else (centres.sum(0) + intercept - mean).square() * len(y)
    # about its mean: of a part that is y itself nothing cancels
    gained = [
        ((part.double() - centre) * (2 * responses - total)).sum(0) for part, centre in zip(parts, centres, strict=True)
    ]
    return (torch.stack(gained) - loss / len(parts)) / spread


@naming("variance_partition")
def variance_partition(
    Xs: Any,
    Y: Any,
    alphas: Any = DEFAULT_ALPHAS,
    *,
    band_weights: Any = 20,
    cv: Any = 5,
    inner_cv: Any = 5,
    groups: Any = None,
    sampling: str = "random",
    seed: Any = 0,
    device: Any = None,
    max_memory: int | None = None,
) -> VariancePartition:
    """Partition held-out R2 among bands of features, with penalties chosen inside each training fold.

    On the training samples of each outer fold, banded ridge (`BandedRidgeCV`) is fitted to all bands, and to all
    bands but one. Each model chooses band weights and alphas, per target, by R2 on inner folds. R2 is that of the
    predictions of the held-out samples, about their mean. The models without a band choose among the relative weights
    of the other bands.

    Parameters
    ----------
    Xs : bands (at least two) of features [n, d_b]
    Y : [n, v] or [n] responses; may be a memory map, or whatever reads `Y[:, a:b]` (HDF5, Zarr), block by block
    alphas : [a] positive penalties
    band_weights, sampling, seed : as in `BandedRidgeCV`
    cv : outer folds (f of them): int, scikit-learn splitter, or iterable of (train, test) indices; or a
        `CrossValidation`, which also decides alphas and inner_cv
    inner_cv : inner folds: int, scikit-learn splitter, or "outer" for the other outer folds
    groups : [n] labels that neither outer nor inner folds may split
    device : where to compute; by default where the first band lives
    max_memory : bytes that a block of targets may take beside the features, Y and the results; by default 256 MiB, on a
        GPU 4 GiB

    Returns
    -------
    VariancePartition : arrays of the kind, and on the device, of the first band

    Raises
    ------
    ValueError : fewer than two bands, NaN or inf, wrong shapes or options, impossible folds

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> Xs = [rng.standard_normal((60, 4)), rng.standard_normal((60, 8))]
    >>> Y = Xs[0] @ rng.standard_normal((4, 3)) + rng.standard_normal((60, 3))
    >>> partition = variance_partition(Xs, Y, band_weights=6, cv=3, inner_cv=3)
    >>> partition.joint.shape, partition.product.shape, partition.unique.shape
    ((3,), (2, 3), (2, 3))
    """
    spaces = _name_bands(Xs)
    nesting = _nesting(Xs[0], cv, inner_cv, alphas, groups)
    selection = alpha_selection(nesting.alphas, nesting.selection, "r2")
    features = as_feature_spaces(spaces, "bands")
    n_bands, n = len(features), len(features["Xs[0]"])
    responses, one_target = as_targets(Y, n)
    plan = device_plan(device, Xs[0], **features, Y=responses)
    models = _models(resolve_band_weights(band_weights, n_bands, seed, sampling))
    check_memory(max_memory)
    outer = selection_folds(nesting.cv, n, groups)
    check_inner_cv(nesting.inner_cv)
    labels = None if groups is None else check_groups(groups, n)
    inner = [inner_folds(nesting.inner_cv, outer, number, labels) for number in range(len(outer))]
    for name, array in (*features.items(), ("Y", responses)):
        check_finite(name, array)

    v = responses.shape[1]
    joint, product, reduced = plan.empty(v).zero_(), *(plan.empty(n_bands, v).zero_() for _ in range(2))
    with torch.no_grad(), multiplying("float32"):
        for fold, folds in zip(outer.folds, inner, strict=True):
            split = _split(tuple(features.values()), responses, plan, fold)
            for number, model in enumerate(models):
                for held in _held_out(split, model, replace(selection, folds=folds), max_memory):
                    r2 = r_squared(held.responses, held.predictions) / len(outer)
                    if number:
                        reduced[number - 1, held.columns] += r2.to(reduced)
                        continue
                    joint[held.columns] += r2.to(joint)
                    measure = product_measure(held.responses, held.parts, held.intercept) / len(outer)
                    product[:, held.columns] += measure.to(product)
    undefined = int(joint.isnan().sum())
    if undefined:
        warn(
            "variance_partition", f"{undefined} of {v} targets do not vary in some held-out fold; their results are NaN"
        )
    unique = joint - reduced
    results = (joint, product, unique, joint - unique.sum(0))
    return VariancePartition(*(plan.to_caller(result[..., 0] if one_target else result) for result in results))


@dataclass(frozen=True)
class _Model:
    """The bands of a model, and the band weights [m, bands] that it chooses among."""

    bands: tuple[int, ...]
    band_weights: NDArray[np.float64]


@dataclass(frozen=True)
class _Split:
    """One outer fold: bands of its training samples, held-out features about the bands' offsets, and targets."""

    bands: tuple[PrincipalCoordinates, ...]
    tested: tuple[Tensor, ...]  # [m, d_b]
    training: Targets
    held_out: Targets


@dataclass(frozen=True)
class _HeldOut:
    """Predictions of some targets for held-out samples, as parts [bands, m, b] and an intercept."""

    columns: Tensor
    responses: Tensor  # [m, b]
    parts: Tensor
    intercept: Tensor  # [b] float64

    @property
    def predictions(self) -> Tensor:
        return self.parts.sum(0) + self.intercept.to(self.parts.dtype)


def _models(band_weights: NDArray[np.float64]) -> list[_Model]:
    """The model of all bands, and those without one of them."""
    bands = tuple(range(band_weights.shape[1]))
    without = [_Model(tuple(band for band in bands if band != out), without_band(band_weights, out)) for out in bands]
    return [_Model(bands, band_weights), *without]


def _split(features: tuple[Array, ...], responses: Array, plan: DevicePlan, fold: Fold) -> _Split:
    bands = tuple(principal_coordinates(load(X, plan, fold.train), True) for X in features)
    return _Split(
        bands=bands,
        tested=tuple(load(X, plan, fold.test) - band.offset for X, band in zip(features, bands, strict=True)),
        training=Targets(responses, plan, fold.train),
        held_out=Targets(responses, plan, fold.test),
    )


def _held_out(split: _Split, model: _Model, selection: AlphaSelection, max_memory: int | None) -> Iterator[_HeldOut]:
    """Fit a model on an outer fold's training samples alone, and predict what it holds out."""
    bands = join_bands([split.bands[band] for band in model.bands])
    tested = [split.tested[band] for band in model.bands]
    gammas = torch.from_numpy(model.band_weights).to(bands.coordinates.device)
    choice = search(bands, gammas, selection, split.training, max_memory)
    for fitted in refit(bands, gammas, choice, split.training, max_memory):
        weights = torch.split(fitted.coefficients, [X.shape[1] for X in tested])
        parts = torch.stack([X @ w for X, w in zip(tested, weights, strict=True)])
        responses = split.held_out.block(fitted.columns)[:, fitted.chosen]
        yield _HeldOut((fitted.columns.start + fitted.chosen).cpu(), responses, parts, fitted.at_offset)


def _name_bands(Xs: Any) -> dict[str, Any]:
    """The bands by their names in messages; ValueError unless there are at least two."""
    if not isinstance(Xs, Sequence) or len(Xs) < 2:
        got = f"{len(Xs)}" if isinstance(Xs, Sequence) else type(Xs).__name__
        raise ValueError(f"Xs must be a list of at least 2 bands [n, d_b], got {got}")
    return {f"Xs[{number}]": X for number, X in enumerate(Xs)}


def _nesting(X: Any, cv: Any, inner_cv: Any, alphas: Any, groups: Any) -> Nesting:
    """The setting of a call; band weights and alphas are chosen by k-fold alone."""
    if isinstance(cv, CrossValidation):
        if cv.selection not in ("auto", "kfold"):
            raise ValueError(f"selection must be 'kfold' or 'auto' for bands, got {cv.selection!r}")
        cv = replace(cv, selection="kfold")
    n = len(as_array("Xs[0]", X)) if isinstance(cv, CrossValidation) else 0
    return resolve_setting(cv, inner_cv, alphas, "kfold", groups, n)


def _check_intercept(intercept: Any, n_targets: int) -> Tensor | None:
    if intercept is None:
        return None
    added = torch.as_tensor(intercept).detach().double().cpu()
    if added.ndim > 1 or (added.ndim == 1 and len(added) != n_targets):
        raise ValueError(
            f"intercept must be a scalar or one number a target, [{n_targets}], got shape {tuple(added.shape)}"
        )
    if not bool(added.isfinite().all()):
        raise ValueError("intercept must be finite")
    return added.expand(n_targets)
