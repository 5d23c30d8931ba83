"""Ridge regression with an alpha per target, chosen by k-fold, leave-one-out or generalised
cross-validation."""

from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from gradkern.encoding.folds import Folds
from gradkern.encoding.inputs import (
    Array,
    Targets,
    as_targets,
    check_block_size,
    check_finite,
    check_matrix,
    check_sample_count,
    load,
    place,
)
from gradkern.encoding.metrics import r_squared
from gradkern.encoding.solve import Solver, Tally, factor, make_choice, selection_folds, solve

# Wide, because raw gradients may be 1e-5 in size; an alpha more costs next to nothing.
DEFAULT_ALPHAS: tuple[float, ...] = tuple(np.logspace(-10, 10, 41).tolist())


class RidgeCV(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Ridge regression that chooses a penalty alpha for every target by cross-validation.

    Per target, minimises ``||y - X w - b||^2 + alpha ||w||^2`` (the intercept b is not penalised). The scores
    of all alphas come from one eigendecomposition per fold and one d x d product (see
    `gradkern.encoding.kfold`), so a fine grid costs next to nothing. Features are handled as they are (n > d)
    or in the at most n - 1 coordinates their samples span (n <= d). All d x d work is float64; what has v
    targets is float32, or float64 if X or Y is. Targets are read in blocks, so Y may be a memory map. The
    same call gives the same bits.

    Parameters
    ----------
    alphas : [a] positive penalties, in any order
    cv : int, scikit-learn splitter, or iterable of (train, test) indices
        An int is an unshuffled KFold, or GroupKFold where `fit` is given groups. Only for "kfold".
    selection : "kfold" (mean over folds of the score on held-out samples), "loo" (exact leave-one-out,
        1 - PRESS / SST or the correlation with leave-one-out predictions), or "gcv" (1 - n GCV / SST)
    scoring : "r2" (about the held-out samples' mean, as in scikit-learn) or "r" (Pearson; not with "gcv")
    fit_intercept : whether to centre X and Y
    device : where to compute; by default where X lives. Results go back to where X lives.
    block_size : number of targets per block; by default what fits a working set of 256 MiB

    Attributes
    ----------
    alpha_ : [v] chosen penalties, in float64
        Of equal scores the larger alpha wins; a target without a score gets the largest.
    coef_ : [v, d] coefficients, [d] if Y was 1-D
    intercept_ : [v] intercepts
    best_score_ : [v] score of the chosen alpha. A fold counts only where it is defined; NaN if it never is.
    n_features_in_ : d

    Arrays are NumPy for NumPy input, and torch tensors on X's device for torch input.

    Notes
    -----
    Constant targets get a score of NaN and coefficients of 0, and a warning that counts them. The method is
    that of section 5 of the design: Gram matrices of training folds by downdating, and divided differences.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 8))
    >>> Y = X @ rng.standard_normal((8, 3)) + rng.standard_normal((60, 3))
    >>> model = RidgeCV(cv=4).fit(X, Y)
    >>> model.coef_.shape, model.alpha_.shape, model.predict(X).shape
    ((3, 8), (3,), (60, 3))
    """

    def __init__(
        self,
        alphas: Any = DEFAULT_ALPHAS,
        *,
        cv: Any = 5,
        selection: str = "kfold",
        scoring: str = "r2",
        fit_intercept: bool = True,
        device: Any = None,
        block_size: int | None = None,
    ) -> None:
        self.alphas = alphas
        self.cv = cv
        self.selection = selection
        self.scoring = scoring
        self.fit_intercept = fit_intercept
        self.device = device
        self.block_size = block_size

    def fit(self, X: Any, Y: Any, groups: Any = None) -> Self:
        """Choose alpha and fit the coefficients of every target.

        Parameters
        ----------
        X : [n, d] features
        Y : [n, v] or [n] responses; may be a memory map, which is read block by block (once to check it, once
        to fit)
        groups : [n] labels that no fold may split between train and test; only for ``selection="kfold"``

        Raises
        ------
        ValueError : NaN or inf in X or Y, wrong shapes, penalties or options, impossible folds, arrays on
            different devices and no `device`
        """
        op = type(self).__name__
        choice = make_choice(op, self.alphas, self.selection, self.scoring)
        check_block_size(op, self.block_size)
        features = self._features(X, reset=True)
        responses, one_target = as_targets(op, Y, features.shape[0])
        placement = place(op, self.device, X=features, Y=responses)
        choice = replace(choice, folds=self._folds(features.shape[0], groups))
        check_finite(op, "X", features)
        check_finite(op, "Y", responses)
        with torch.no_grad():
            solver = factor(load(features, placement), bool(self.fit_intercept), choice)
            self._collect(solver, Targets(responses, placement), one_target)
        return self

    def predict(self, X: Any) -> Array:
        """Predict responses [n, v] (or [n] if Y was 1-D) of features X [n, d].

        Raises
        ------
        ValueError : NaN or inf in X, another number of features, X on another device than the coefficients
        """
        check_is_fitted(self)
        op = f"{type(self).__name__}.predict"
        features = self._features(X, reset=False)
        one_target = self.coef_.ndim == 1
        coef = self.coef_[None] if one_target else self.coef_
        intercept = self.intercept_.reshape(1, -1)
        placement = place(op, self.device, X=features, coef_=coef)
        check_finite(op, "X", features)
        predicted = load(features, placement) @ load(coef, placement).T + load(intercept, placement)
        return placement.hand_back(predicted[:, 0] if one_target else predicted)

    def score(self, X: Any, y: Any) -> float:
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
        r2 = r_squared(ours, theirs)
        return float(torch.where(r2.isnan(), (ours == theirs).all(0).double(), r2).mean())

    def _features(self, X: Any, *, reset: bool) -> Array:
        """X as a 2-D array, checked as scikit-learn checks it, but for the values."""
        if not isinstance(X, Tensor):
            array: Array = validate_data(self, X, reset=reset, ensure_all_finite=False, ensure_min_samples=1)
            return array
        op = type(self).__name__
        check_matrix(op, "X", X)
        if reset:
            self.n_features_in_ = X.shape[1]
        elif X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} features, but {op} is expecting {self.n_features_in_} features as input"
            )
        return X

    def _folds(self, n_samples: int, groups: Any) -> Folds | None:
        op = type(self).__name__
        if self.selection == "kfold":
            return selection_folds(op, self.cv, n_samples, groups)
        if groups is not None:
            raise ValueError(
                f"{op}: groups need selection='kfold', got selection={self.selection!r}, which ignores them"
            )
        check_sample_count(op, n_samples)
        return None

    def _collect(self, solver: Solver, targets: Targets, one_target: bool) -> None:
        """Solve block after block into the fitted attributes."""
        placement, v, d = targets.placement, targets.n_targets, solver.design.offset.shape[0]
        coef, intercept, score = placement.empty(v, d), placement.empty(v), placement.empty(v)
        # alpha keeps float64, so that it is one of the alphas to the bit
        alpha = placement.empty(v).double()
        tally = Tally(v)
        for block in solve(solver, targets, self.block_size):
            part = block.columns
            coef[part] = block.coefficients.T
            intercept[part] = block.at_offset - solver.design.offset.double() @ block.coefficients.double()
            alpha[part], score[part] = block.alpha, block.score
            tally.add(block)
        results = [placement.hand_back(each[0] if one_target else each) for each in (coef, intercept, alpha, score)]
        self.coef_, self.intercept_, self.alpha_, self.best_score_ = results
        tally.warn(type(self).__name__, stacklevel=4)
