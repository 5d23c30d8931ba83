"""What the three estimators share: parameters, checks of arrays, predictions, scores and their description."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, fields
from functools import wraps
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

import numpy as np
import torch
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from gradkern.errors import naming
from gradkern.kernels._arrays import is_dlpack_array
from gradkern.ridge._alphas import count_edges, edge_sentences, shorten
from gradkern.ridge._cross_validation import check_only_folds_are_set
from gradkern.ridge._engine.blocks import BlockIterator, StreamedTargets, is_stream
from gradkern.ridge._engine.folds import Folds, Indices, selection_folds, subset
from gradkern.ridge._engine.inputs import (
    Array,
    DevicePlan,
    Targets,
    as_array,
    as_targets,
    check_alphas,
    check_finite,
    check_matrix,
    check_weights,
    device_plan,
    load,
)
from gradkern.ridge._engine.metrics import r_squared
from gradkern.ridge._engine.precision import multiplying
from gradkern.ridge._engine.target_counts import TargetCounts, warn

_Estimator = TypeVar("_Estimator")
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def naming_class(
    method: Callable[Concatenate[_Estimator, _Arguments], _Result],
) -> Callable[Concatenate[_Estimator, _Arguments], _Result]:
    """Let errors of a method name its class, "RidgeCV: ..." for `fit`, and "RidgeCV.predict: ..." for others."""

    @wraps(method)
    def named(self: _Estimator, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        suffix = "" if method.__name__ == "fit" else f".{method.__name__}"
        with naming(type(self).__name__ + suffix):
            return method(self, *args, **kwargs)

    return named  # type: ignore[return-value]  # mypy keeps the name of `self`


@dataclass(frozen=True)
class TrainingSet:
    """The checked arrays of a fit, without the samples of weight 0.

    `rows` are the samples that have a weight, None for all of them; `weights` [n] are in float64.
    """

    features: Array
    targets: Targets | StreamedTargets
    one_target: bool
    plan: DevicePlan
    folds: Folds | None
    rows: Indices | None
    weights: Tensor | None

    def load_features(self) -> Tensor:
        """The features [n, d] of these samples, to compute with."""
        return load(self.features, self.plan, self.rows)


@dataclass(eq=False, repr=False)
class FeatureEstimator(BaseEstimator):  # type: ignore[misc]
    """A cross-validated estimator of features X [n, d], which are arrays, data frames or tensors.

    Estimators are dataclasses: a field is a parameter of the constructor, which keeps it and does nothing else, as
    scikit-learn requires.
    """

    _: KW_ONLY
    cv: Any = 5
    scoring: str = "r2"
    fit_intercept: bool = True
    standardize: bool = False
    device: Any = None

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        """The parameters that are not at their default, and of a fitted estimator how many targets chose an edge."""
        defaults = {field.name: field.default for field in fields(self)}
        shown = [
            f"{name}={shorten(value)}"
            for name, value in self.get_params(deep=False).items()
            if name not in defaults or not _equal(value, defaults[name])
        ]
        text = f"{type(self).__name__}({', '.join(shown)})"
        edges = vars(self).get("alphas_at_edge_")
        return text if edges is None else f"{text}, fitted on {self.n_features_in_} features; {edges}"

    def _features(self, X: Any, *, reset: bool) -> Array:
        """X as a 2-D array, checked as scikit-learn checks it, but for the values."""
        if is_dlpack_array(X):
            X = from_dlpack(X)
        if not isinstance(X, Tensor):
            if not hasattr(X, "toarray"):  # scikit-learn says what is wrong with sparse ones
                as_array("X", X)
            array: Array = validate_data(self, X, reset=reset, ensure_all_finite=False, ensure_min_samples=1)
            return array
        check_matrix("X", X)
        if reset:
            self.n_features_in_ = X.shape[1]
            self.__dict__.pop("feature_names_in_", None)
        elif X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(self).__name__} is expecting {self.n_features_in_} features "
                "as input"
            )
        return X

    def _check_values(self, features: Array) -> None:
        check_finite("X", features, getattr(self, "feature_names_in_", None))


@dataclass(eq=False, repr=False)
class LinearModel(MultiOutputMixin, RegressorMixin, FeatureEstimator):  # type: ignore[misc]
    """A regression with `coef_` [v, d] and `intercept_` [v]; a subclass has the parameter `alphas`."""

    _takes_blocks: ClassVar[bool] = False  # whether y may be an iterator of blocks of targets

    @naming_class
    def predict(self, X: Any) -> Array:
        """Predict responses [n, v] (or [n] if Y was 1-D) of features X [n, d].

        Raises
        ------
        ValueError : NaN or inf in X, another number of features, X on another device than the coefficients
        """
        check_is_fitted(self)
        return self._predicted(X, self.coef_)

    @naming_class
    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Mean over targets of the R2 of the predictions, as scikit-learn's `r2_score` defines it.

        X is [n, d], y [n, v] or [n]. A target that does not vary counts 1 where it is predicted perfectly,
        else 0.
        """
        predicted, _ = as_targets(self.predict(X), len(X))
        responses, _ = as_targets(y, len(X))
        check_finite("y", responses)
        plan = device_plan(None, prediction=predicted, y=responses)
        ours, theirs = load(responses, plan), load(predicted, plan)
        weights = check_weights(sample_weight, len(X))
        scale = None if weights is None else torch.from_numpy(weights).to(plan.device)
        r2 = r_squared(ours, theirs, scale)
        return float(torch.where(r2.isnan(), (ours == theirs).all(0).double(), r2).mean())

    def _training_set(self, X: Any, y: Any, groups: Any, sample_weight: Any) -> TrainingSet:
        """Check all that a fit reads."""
        features = self._features(X, reset=True)
        n = features.shape[0]
        blocks = BlockIterator(y, n) if self._takes_blocks and is_stream(y) else None
        responses, one_target = (blocks.head, False) if blocks else as_targets(y, n)
        plan = device_plan(self.device, X, X=features, Y=responses)
        weights, rows = check_weights(sample_weight, n), None
        folds = self._folds(n, groups)
        if weights is not None:
            rows = np.flatnonzero(weights)
            folds, weights = folds and subset(folds, rows), weights[rows]
        self._check_values(features)
        targets = StreamedTargets(blocks, plan, rows) if blocks else Targets(responses, plan, rows)
        share = None if weights is None else torch.from_numpy(weights).to(plan.device)
        return TrainingSet(features, targets, one_target, plan, folds, rows, share)

    def _folds(self, n_samples: int, groups: Any) -> Folds | None:
        """The folds to choose alphas on."""
        check_only_folds_are_set(self.cv, self.alphas, "kfold")
        return selection_folds(self.cv, n_samples, groups)

    def _report(self, counts: TargetCounts, alpha: Tensor, score: Tensor) -> None:
        """Count the chosen alphas [v], with scores [v], at an edge of the grid, and warn of all that was counted."""
        alphas = torch.from_numpy(check_alphas(self.alphas))
        self.alphas_at_edge_ = count_edges(alpha, score, alphas)
        sentences = edge_sentences(self.alphas_at_edge_, alpha, score, alphas, self.scoring)
        for sentence in (*counts.sentences(), *sentences):
            warn(type(self).__name__, sentence)

    def _predicted(self, X: Any, fitted: Array, samples: Array | None = None) -> Array:
        """X through `samples` [m, d] if there are any, times coefficients [v, d] or [v, m], and the intercept."""
        features = self._features(X, reset=False)
        one_target = fitted.ndim == 1
        coef = as_array("coef_", fitted[None] if one_target else fitted)
        intercept = as_array("intercept_", self.intercept_.reshape(1, -1))
        plan = device_plan(self.device, X, X=features, coef_=coef)
        self._check_values(features)
        rows = load(features, plan)
        with multiplying("float32"):
            if samples is not None:
                rows = rows @ load(as_array("X_fit_", samples), plan).T
            predicted = rows @ load(coef, plan).T + load(intercept, plan)
        return plan.to_caller(predicted[:, 0] if one_target else predicted)


def _equal(value: Any, default: Any) -> bool:
    return value is default or (type(value) is type(default) and not hasattr(value, "shape") and value == default)
