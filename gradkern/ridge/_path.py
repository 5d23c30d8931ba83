"""Coefficients along a path of penalties."""

from typing import Any

import torch

from gradkern.errors import naming
from gradkern.ridge._engine.inputs import (
    Array,
    as_array,
    as_targets,
    check_alphas,
    check_finite,
    check_matrix,
    check_weights,
    column_names,
    device_plan,
    in_callers_order,
    load,
)
from gradkern.ridge._engine.precision import multiplying
from gradkern.ridge._engine.principal_coordinates import principal_coordinates


@naming("ridge_path")
@torch.no_grad()
@multiplying("float32")
def ridge_path(
    X: Any, Y: Any, alphas: Any, *, fit_intercept: bool = True, sample_weight: Any = None, device: Any = None
) -> tuple[Array, Array]:
    """Ridge coefficients of every target for every alpha, from one eigendecomposition.

    Parameters
    ----------
    X : [n, d] features
    Y : [n, v] or [n] responses
    alphas : [a] positive penalties, ascending or descending
    fit_intercept : whether to centre X and Y
    sample_weight : [n] weights, not negative
    device : where to compute; by default where X lives

    Returns
    -------
    coef : [a, v, d], or [a, d] if Y was 1-D
    intercept : [a, v], or [a]

    Raises
    ------
    ValueError : NaN or inf, wrong shapes, impossible penalties or weights

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> coef, intercept = ridge_path(rng.standard_normal((30, 5)), rng.standard_normal((30, 2)), [0.1, 1.0, 10.0])
    >>> coef.shape, intercept.shape
    ((3, 2, 5), (3, 2))
    """
    features = as_array("X", X)
    check_matrix("X", features)
    responses, one_target = as_targets(Y, features.shape[0])
    plan = device_plan(device, X, X=features, Y=responses)
    penalties = torch.from_numpy(check_alphas(alphas)).to(plan.device)
    sample_weights = check_weights(sample_weight, features.shape[0])
    check_finite("X", features, column_names(X))
    check_finite("Y", responses)
    weights = None if sample_weights is None else torch.from_numpy(sample_weights).to(plan.device)
    principal = principal_coordinates(load(features, plan), fit_intercept, weights)
    Y0 = load(responses, plan)
    share = principal.root.square() / principal.root.square().sum()
    mean = share @ Y0.double() if fit_intercept else torch.zeros_like(Y0[0]).double()
    cross = principal.coordinates.T @ ((Y0 - mean.to(Y0.dtype)) * principal.root[:, None].to(Y0.dtype))
    coef = plan.empty(len(penalties), Y0.shape[1], features.shape[1])
    intercept = plan.empty(len(penalties), Y0.shape[1])
    for number, alpha in enumerate(in_callers_order(alphas, penalties)):
        placed = cross / (principal.values[:, None] + alpha).to(Y0.dtype)
        coefficients = principal.to_features(placed)
        coef[number] = coefficients.T
        if fit_intercept:
            intercept[number] = mean - principal.at_leftover(placed) - principal.offset.double() @ coefficients.double()
        else:
            intercept[number] = 0
    if one_target:
        coef, intercept = coef[:, 0], intercept[:, 0]
    return plan.to_caller(coef), plan.to_caller(intercept)
