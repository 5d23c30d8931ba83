"""Classification by ridge regression on classes coded as -1 and 1."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from gradkern.encoding.inputs import check_weights
from gradkern.encoding.ridge import DEFAULT_ALPHAS, RidgeCV


class RidgeClassifierCV(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classify by `RidgeCV` on one target a class, 1 for its samples and -1 for others (two classes: one target).

    Parameters
    ----------
    alphas, selection, scoring, alpha_per_target, fit_intercept, standardise, device : as in `RidgeCV`; the score is
        that of the codes, and one alpha serves all classes unless `alpha_per_target`
    cv : int (stratified folds), scikit-learn splitter, or iterable of (train, test) indices
    class_weight : None; "balanced", so that each class weighs the same; or a dict of weights by class

    Attributes
    ----------
    classes_ : [c] labels
    ridge_ : the fitted `RidgeCV`, with `alpha_`, `best_score_`
    coef_ : [c, d], or [1, d] for two classes
    intercept_ : [c], or [1]
    n_features_in_ : d

    Notes
    -----
    As scikit-learn's RidgeClassifierCV, whose only exact cross-validation is leave-one-out.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 8))
    >>> labels = np.array(["face", "house", "word"])[X[:, :3].argmax(1)]
    >>> RidgeClassifierCV().fit(X, labels).predict(X).shape
    (60,)
    """

    def __init__(
        self,
        alphas: Any = DEFAULT_ALPHAS,
        *,
        cv: Any = 5,
        selection: str = "kfold",
        scoring: str = "r2",
        alpha_per_target: bool = False,
        fit_intercept: bool = True,
        standardise: bool = False,
        class_weight: Any = None,
        device: Any = None,
    ) -> None:
        self.alphas = alphas
        self.cv = cv
        self.selection = selection
        self.scoring = scoring
        self.alpha_per_target = alpha_per_target
        self.fit_intercept = fit_intercept
        self.standardise = standardise
        self.class_weight = class_weight
        self.device = device

    def fit(self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None) -> Self:
        """Code the classes and fit.

        Parameters
        ----------
        X : [n, d] features, NumPy
        y : [n] labels
        groups : [n] labels that no fold may split between train and test
        sample_weight : [n] weights, not negative

        Raises
        ------
        ValueError : as `RidgeCV.fit`; fewer than two classes; labels that are not classes
        """
        op = type(self).__name__
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        check_classification_targets(y)
        labels = column_or_1d(y, warn=True)
        coder = LabelBinarizer(pos_label=1, neg_label=-1).fit(labels)
        self.classes_ = coder.classes_
        weights = check_weights(op, sample_weight, len(labels))
        there = np.unique(labels if weights is None else labels[weights > 0])
        if len(there) < 2:
            raise ValueError(f"{op}: y must have at least 2 classes (with weight), got 1 class, {there[0]}")
        if self.class_weight is not None:
            weights = self._balanced(labels, np.ones(len(labels)) if weights is None else weights)
        self.ridge_ = RidgeCV(
            self.alphas,
            cv=self._splits(X, labels, groups),
            selection=self.selection,
            scoring=self.scoring,
            alpha_per_target=self.alpha_per_target,
            fit_intercept=self.fit_intercept,
            standardise=self.standardise,
            device=self.device,
        ).fit(X, coder.transform(labels).astype(X.dtype), sample_weight=weights)
        self.coef_, self.intercept_ = self.ridge_.coef_, self.ridge_.intercept_
        return self

    def _balanced(self, labels: NDArray[Any], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.class_weight != "balanced":
            scaled: NDArray[np.float64] = weights * compute_sample_weight(self.class_weight, labels)
            return scaled
        place = np.searchsorted(self.classes_, labels)
        of_class = np.bincount(place, weights, len(self.classes_))
        share = weights.sum() / (np.count_nonzero(of_class) * np.where(of_class > 0, of_class, 1.0))
        balanced: NDArray[np.float64] = weights * share[place]
        return balanced

    def _splits(self, X: NDArray[Any], labels: NDArray[Any], groups: Any) -> Any:
        if self.selection != "kfold":
            return 5
        if isinstance(self.cv, int | np.integer) and not isinstance(self.cv, bool):
            splitter = StratifiedKFold(self.cv) if groups is None else StratifiedGroupKFold(self.cv)
            return list(splitter.split(X, labels, groups))
        if hasattr(self.cv, "split"):
            return list(self.cv.split(X, labels, groups))
        return self.cv

    def decision_function(self, X: Any) -> NDArray[Any]:
        """Predicted codes [n, c], or [n] of the second class of two."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        codes = np.asarray(self.ridge_.predict(X))
        return codes[:, 0] if len(self.classes_) == 2 else codes

    def predict(self, X: Any) -> NDArray[Any]:
        """The class [n] with the largest code."""
        codes = self.decision_function(X)
        best = (codes > 0).astype(int) if codes.ndim == 1 else codes.argmax(1)
        predicted: NDArray[Any] = self.classes_[best]
        return predicted
