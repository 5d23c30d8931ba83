"""What every fitted linear model does with new samples."""

from typing import Any

import torch
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from gradkern.ridge._engine.inputs import (
    Array,
    adopt,
    as_array,
    as_targets,
    check_finite,
    check_matrix,
    check_weights,
    comes_by_dlpack,
    load,
    place,
)
from gradkern.ridge._engine.metrics import r_squared
from gradkern.ridge._engine.precision import multiplying


class Featured(BaseEstimator):  # type: ignore[misc]
    """An estimator of features X [n, d], which are arrays, data frames or tensors."""

    def _features(self, X: Any, *, reset: bool) -> Array:
        """X as a 2-D array, checked as scikit-learn checks it, but for the values."""
        op = type(self).__name__
        if comes_by_dlpack(X):
            X = adopt(X)
        if not isinstance(X, Tensor):
            if not hasattr(X, "toarray"):  # scikit-learn says what is wrong with sparse ones
                as_array(op, "X", X)
            array: Array = validate_data(self, X, reset=reset, ensure_all_finite=False, ensure_min_samples=1)
            return array
        check_matrix(op, "X", X)
        if reset:
            self.n_features_in_ = X.shape[1]
            self.__dict__.pop("feature_names_in_", None)
        elif X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} features, but {op} is expecting {self.n_features_in_} features as input"
            )
        return X

    def _check_values(self, op: str, features: Array) -> None:
        check_finite(op, "X", features, getattr(self, "feature_names_in_", None))


class LinearModel(MultiOutputMixin, RegressorMixin, Featured):  # type: ignore[misc]
    """A regression with `coef_` [v, d] and `intercept_` [v], and the parameter `device`."""

    def predict(self, X: Any) -> Array:
        """Predict responses [n, v] (or [n] if Y was 1-D) of features X [n, d].

        Raises
        ------
        ValueError : NaN or inf in X, another number of features, X on another device than the coefficients
        """
        check_is_fitted(self)
        return self._predicted(f"{type(self).__name__}.predict", X, self.coef_)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Mean over targets of the R2 of the predictions, as scikit-learn's `r2_score` defines it.

        X is [n, d], y [n, v] or [n]. A target that does not vary counts 1 where it is predicted perfectly,
        else 0.
        """
        op = f"{type(self).__name__}.score"
        predicted, _ = as_targets(op, self.predict(X), len(X))
        responses, _ = as_targets(op, y, len(X))
        check_finite(op, "y", responses)
        placement = place(op, None, prediction=predicted, y=responses)
        ours, theirs = load(responses, placement), load(predicted, placement)
        weights = check_weights(op, sample_weight, len(X))
        scale = None if weights is None else torch.from_numpy(weights).to(placement.device)
        r2 = r_squared(ours, theirs, scale)
        return float(torch.where(r2.isnan(), (ours == theirs).all(0).double(), r2).mean())

    def _predicted(self, op: str, X: Any, fitted: Array, samples: Array | None = None) -> Array:
        """X through `samples` [m, d] if there are any, times coefficients [v, d] or [v, m], and the intercept."""
        features = self._features(X, reset=False)
        one_target = fitted.ndim == 1
        coef = as_array(op, "coef_", fitted[None] if one_target else fitted)
        intercept = as_array(op, "intercept_", self.intercept_.reshape(1, -1))
        placement = place(op, self.device, X, X=features, coef_=coef)
        self._check_values(op, features)
        given = load(features, placement)
        with multiplying("float32"):
            if samples is not None:
                given = given @ load(as_array(op, "X_fit_", samples), placement).T
            predicted = given @ load(coef, placement).T + load(intercept, placement)
        return placement.hand_back(predicted[:, 0] if one_target else predicted)
