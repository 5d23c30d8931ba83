"""Classification by ridge regression on classes coded as -1 and 1."""

from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import assert_all_finite, check_is_fitted, column_or_1d
from torch import Tensor

from gradkern.ridge._alphas import DEFAULT_ALPHAS
from gradkern.ridge._cross_validation import check_only_folds_are_set
from gradkern.ridge._engine.inputs import Array, as_numpy, check_weights
from gradkern.ridge._estimators import FeatureEstimator, naming_class
from gradkern.ridge._ridge_cv import RidgeCV


@dataclass(eq=False, repr=False)
class RidgeClassifierCV(ClassifierMixin, FeatureEstimator):  # type: ignore[misc]
    """Classify by `RidgeCV` on one target a class, 1 for its samples and -1 for others (two classes: one target).

    Parameters
    ----------
    alphas, selection, scoring, alpha_per_target, fit_intercept, standardize, device : as in `RidgeCV`; the score is
        that of the codes, and one alpha serves all classes unless `alpha_per_target`
    cv : int (stratified folds), scikit-learn splitter, or iterable of (train, test) indices
    class_weight : None; "balanced", so that each class weighs the same; or a dict of weights by class

    Attributes
    ----------
    classes_ : [c] labels; of several labels a sample their numbers, 0..c-1
    ridge_ : the fitted `RidgeCV`
    alpha_ : the penalty of all classes; [c] with `alpha_per_target` and more than two classes or several labels
    best_score_ : score of the codes at that penalty, the mean over classes; [c] with `alpha_per_target`
    alphas_at_edge_ : `EdgeCount` of the codes
    coef_ : [c, d], or [1, d] for two classes
    intercept_ : [c], or [1]
    n_features_in_ : d

    Notes
    -----
    Same model as scikit-learn's RidgeClassifierCV, whose only exact cross-validation is leave-one-out.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 8))
    >>> labels = np.array(["face", "house", "word"])[X[:, :3].argmax(1)]
    >>> RidgeClassifierCV().fit(X, labels).predict(X).shape
    (60,)
    """

    alphas: Any = DEFAULT_ALPHAS
    _: KW_ONLY
    selection: str = "kfold"
    alpha_per_target: bool = False
    class_weight: Any = None

    @naming_class
    def fit(self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None) -> Self:
        """Code the classes and fit.

        Parameters
        ----------
        X : [n, d] features
        y : [n] labels; or several labels a sample, [n, c] of 0 and 1, each of which is a target of its own
        groups : [n] labels that no fold may split between train and test
        sample_weight : [n] weights, not negative

        Raises
        ------
        ValueError : as `RidgeCV.fit`; fewer than two classes; labels that are not classes
        """
        features = self._features(X, reset=True)
        labels = _as_labels(y, features.shape[0])
        if labels.ndim == 2:
            return self._fit_several(features, labels, groups, sample_weight)
        coder = LabelBinarizer(pos_label=1, neg_label=-1).fit(labels)
        self.classes_, self._has_several = coder.classes_, False
        weights = check_weights(sample_weight, len(labels))
        weighted_classes = np.unique(labels if weights is None else labels[weights > 0])
        if len(weighted_classes) < 2:
            raise ValueError(f"y must have at least 2 classes (with weight), got 1 class, {weighted_classes[0]}")
        if self.class_weight is not None:
            weights = self._balanced(labels, np.ones(len(labels)) if weights is None else weights)
        self._check_values(features)
        self._fit_codes(features, coder.transform(labels), groups, weights, self._splits(labels, groups))
        return self

    def _fit_several(self, features: Array, labels: NDArray[Any], groups: Any, sample_weight: Any) -> Self:
        """Fit several labels a sample, [n, c] of 0 and 1."""
        if self.class_weight is not None:
            raise ValueError("class_weight needs one label a sample, got several; give sample_weight")
        self.classes_, self._has_several = np.arange(labels.shape[1]), True
        self._check_values(features)
        self._fit_codes(features, 2 * labels - 1, groups, sample_weight, self.cv)
        return self

    def _fit_codes(self, features: Array, codes: NDArray[Any], groups: Any, weights: Any, cv: Any) -> None:
        options = self.get_params(deep=False) | {"cv": cv}
        del options["class_weight"]
        self.ridge_ = RidgeCV(**options).fit(features, _like(features, codes), groups, weights)
        self.coef_, self.intercept_ = self.ridge_.coef_, self.ridge_.intercept_
        self.alphas_at_edge_ = self.ridge_.alphas_at_edge_
        alpha, score = (np.atleast_1d(as_numpy(x)) for x in (self.ridge_.alpha_, self.ridge_.best_score_))
        is_one = not self.alpha_per_target or len(alpha) == 1
        self.alpha_ = float(alpha[0]) if is_one else self.ridge_.alpha_
        self.best_score_ = float(np.mean(score)) if is_one else self.ridge_.best_score_

    def _balanced(self, labels: NDArray[Any], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.class_weight != "balanced":
            scaled: NDArray[np.float64] = weights * compute_sample_weight(self.class_weight, labels)
            return scaled
        number = np.searchsorted(self.classes_, labels)
        of_class = np.bincount(number, weights, len(self.classes_))
        share = weights.sum() / (np.count_nonzero(of_class) * np.where(of_class > 0, of_class, 1.0))
        balanced: NDArray[np.float64] = weights * share[number]
        return balanced

    def _splits(self, labels: NDArray[Any], groups: Any) -> Any:
        """Folds of the labels, because `RidgeCV` sees codes."""
        check_only_folds_are_set(self.cv, self.alphas, self.selection)
        if self.selection != "kfold":
            return self.cv
        rows = np.zeros((len(labels), 1))
        if isinstance(self.cv, int | np.integer) and not isinstance(self.cv, bool):
            splitter = StratifiedKFold(self.cv) if groups is None else StratifiedGroupKFold(self.cv)
            return list(splitter.split(rows, labels, groups))
        return list(self.cv.split(rows, labels, groups)) if hasattr(self.cv, "split") else self.cv

    @naming_class
    def decision_function(self, X: Any) -> Array:
        """Predicted codes [n, c], or [n] of the second class of two, of features X [n, d]."""
        check_is_fitted(self)
        codes: Array = self.ridge_.predict(self._features(X, reset=False))
        return codes[:, 0] if len(self.classes_) == 2 and not self._has_several else codes

    @naming_class
    def predict(self, X: Any) -> NDArray[Any]:
        """The class [n] with the largest code, of features X [n, d]; of several labels 1 where a code is positive."""
        codes = as_numpy(self.decision_function(X))
        if self._has_several:
            return (codes > 0).astype(int)
        best = (codes > 0).astype(int) if codes.ndim == 1 else codes.argmax(1)
        predicted: NDArray[Any] = self.classes_[best]
        return predicted


def _as_labels(y: Any, n_samples: int) -> NDArray[Any]:
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None")
    y = as_numpy(y)
    assert_all_finite(y, input_name="y")
    check_classification_targets(y)
    several = y.ndim == 2 and y.shape[1] > 1
    if several and type_of_target(y) != "multilabel-indicator":
        raise ValueError(f"y must be [n] labels, or [n, c] of 0 and 1, got {list(y.shape)} of other values")
    labels: NDArray[Any] = y.astype(np.int64) if several else column_or_1d(y, warn=True)
    if len(labels) != n_samples:
        raise ValueError(f"X and y must have the same number of samples, got {n_samples} and {len(labels)}")
    return labels


def _like(features: Array, codes: NDArray[Any]) -> Array:
    """Codes of the classes as the kind, device and dtype of array that the features are."""
    if isinstance(features, Tensor):
        return torch.from_numpy(codes).to(features.device, features.dtype if features.is_floating_point() else None)
    return codes.astype(features.dtype if features.dtype.kind == "f" else np.float64)
