"""Ridge regression with an alpha per target, chosen by k-fold, leave-one-out or generalised cross-validation."""

from contextlib import closing
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from gradkern.ridge._alphas import DEFAULT_ALPHAS
from gradkern.ridge._engine.blocks import GrowingRows, StreamedTargets
from gradkern.ridge._engine.folds import Folds
from gradkern.ridge._engine.inputs import (
    Array,
    Targets,
    check_choice,
    check_memory,
    check_sample_count,
    in_callers_order,
)
from gradkern.ridge._engine.precision import check_precision, multiplying
from gradkern.ridge._engine.solve import COEFS, AlphaSelection, FitOptions, Solver, alpha_selection, factor, solve
from gradkern.ridge._engine.target_counts import TargetCounts
from gradkern.ridge._estimators import LinearModel, TrainingSet, naming_class


@dataclass(eq=False, repr=False)
class RidgeCV(LinearModel):
    """Ridge regression that chooses a penalty alpha for every target by cross-validation.

    Per target, minimises ``||y - X w - b||^2 + alpha ||w||^2`` (the intercept b is not penalised). The scores
    of all alphas come from one eigendecomposition per fold and one d x d product (see
    `gradkern.ridge._engine.kfold`), so a fine grid costs next to nothing. Features are handled as they are (n > d)
    or in the at most n - 1 coordinates their samples span (n <= d). All d x d work is float64; what has v
    targets is float32, or float64 if X or Y is. Targets are read in blocks, so Y may be a memory map or an
    iterator of blocks. The same call gives the same bits.

    Parameters
    ----------
    alphas : [a] positive penalties, ascending or descending, none twice
    cv : int, scikit-learn splitter, or iterable of (train, test) indices
        An int is an unshuffled KFold, or GroupKFold where `fit` is given groups. Only for "kfold". Of a
        `CrossValidation` the outer folds are taken.
    selection : "kfold" (mean over folds of the score on held-out samples), "loo" (exact leave-one-out,
        1 - PRESS / SST or the correlation with leave-one-out predictions), or "gcv" (1 - n GCV / SST)
    scoring : "r2" (about the held-out samples' mean, as in scikit-learn) or "r" (Pearson; not with "gcv")
    alpha_per_target : False gives all targets the alpha with the best mean score
    fit_intercept : whether to centre X and Y
    standardize : whether to divide each feature by its standard deviation: inside every fold that of its training
        samples. Only for "kfold". Coefficients are those of the features as given.
    coef : "primal"; "dual", coefficients of the samples, smaller where there are fewer of them than features; or "none"
    store_scores : whether to keep the scores of all alphas
    device : where to compute; by default where X lives. Results go back to where X lives.
    max_memory : bytes that a block of targets may take beside X, Y and the results; by default 256 MiB, 4 GiB on a GPU
    precision : how float32 is multiplied by what has v targets; all d x d work stays float64
        "float32", whatever the process was told elsewhere; or less on request, for float32 X and Y. "tf32", on a GPU
        of compute capability 8.0, rounds factors to 11 bits: R2 at the best alpha moved by up to 1e-4 (7e-4 where they
        are truncated), alphas of 0.4% (1.4%) of the targets. "bfloat16", on a CPU, lets oneDNN round them to 8 bits:
        1e-3 (6e-3), 0.8% (6%). Measured by emulation on six designs (docs/ridge.md), not run on a GPU; a processor
        with AVX512-BF16 but without AMX did not round at all. Predictions are always float32.

    Attributes
    ----------
    alpha_ : [v] chosen penalties, in float64; of 1-D Y a float for NumPy input
        Of equal scores the larger alpha wins; a target without a score gets the largest.
    coef_ : [v, d] coefficients, [d] if Y was 1-D; of "primal" only
    dual_coef_ : [v, n], or [n]; of "dual" only, with `X_fit_` [n, d], the centred features that they multiply: the
        coefficients of the features are dual_coef_ @ X_fit_
    intercept_ : [v] intercepts
    best_score_ : [v] score of the chosen alpha; of 1-D Y a float for NumPy input
        A fold counts only where it is defined; NaN if it never is.
    alphas_at_edge_ : `EdgeCount`, how many targets chose the smallest and the largest alpha
    scores_ : [a, v] scores of all alphas, in their order; if `store_scores`
    n_features_in_ : d

    Arrays are NumPy for NumPy input, and torch tensors on X's device for torch input. X that comes by DLPack (CuPy)
    gets arrays of its own package back, on its device.

    Notes
    -----
    Constant targets get a score of NaN and coefficients of 0, and a warning that counts them; a target that holds a
    NaN has NaN everywhere, and is counted as well. A weight of w counts as w samples, in the fit and in the scores.
    A warning counts targets that chose the smallest alpha, and targets that chose the largest one and still have an R2
    above 0: another grid may predict them better. The method is described in ``docs/ridge.md``: Gram matrices of
    training folds by subtraction, and divided differences of their eigenvalues.

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

    _takes_blocks: ClassVar[bool] = True

    alphas: Any = DEFAULT_ALPHAS
    _: KW_ONLY
    selection: str = "kfold"
    alpha_per_target: bool = True
    coef: str = "primal"
    store_scores: bool = False
    max_memory: int | None = None
    precision: str = "float32"

    @naming_class
    def fit(self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None) -> Self:
        """Choose alpha and fit the coefficients of every target.

        Parameters
        ----------
        X : [n, d] features
        y : Y [n, v] or [n], responses; may be a memory map, or whatever reads `Y[:, a:b]` (HDF5, Zarr), block by block;
            or an iterator of blocks [n, b] of one dtype, whose number need not be known, and which is read once (twice,
            and so an iterable that starts anew, for ``alpha_per_target=False``).
        groups : [n] labels that no fold may split between train and test; only for ``selection="kfold"``
        sample_weight : [n] weights, not negative; a sample of weight 0 is not there

        Raises
        ------
        ValueError : NaN or inf in X, inf in Y, wrong shapes, penalties or options, impossible folds, arrays on
            different devices and no `device`; of an iterator the block is named
        """
        selection = self._selection()
        training = self._training_set(X, y, groups, sample_weight)
        targets = training.targets
        if isinstance(targets, StreamedTargets) and not (targets.blocks.restarts or self.alpha_per_target):
            raise ValueError(
                "alpha_per_target=False reads Y twice; it must be an array, a memory map or an iterable that starts "
                f"anew, got an iterator ({type(y).__name__})"
            )
        check_precision(self.precision, training.plan)
        with torch.no_grad(), multiplying("float32"):
            options = FitOptions(bool(self.fit_intercept), bool(self.standardize), training.weights, self.coef)
            features = training.load_features()
            solver = factor(features, replace(selection, folds=training.folds), options)
            with multiplying(self.precision):
                self._solve(solver, features, training)
        return self

    def _selection(self) -> AlphaSelection:
        selection = alpha_selection(self.alphas, self.selection, self.scoring)
        check_choice("coef", self.coef, COEFS)
        check_memory(self.max_memory)
        if self.standardize and self.selection != "kfold":
            raise ValueError(f"standardize needs selection='kfold', got selection={self.selection!r}")
        return replace(selection, shared=not self.alpha_per_target)

    @naming_class
    def predict(self, X: Any) -> Array:
        """Predict responses [n, v] (or [n] if Y was 1-D) of features X [n, d].

        Raises
        ------
        ValueError : NaN or inf in X, another number of features, X on another device than the coefficients, no
            coefficients
        """
        check_is_fitted(self)
        if self.coef == "none":
            raise ValueError("needs the coefficients, got coef='none'")
        if self.coef == "dual":
            return self._predicted(X, self.dual_coef_, self.X_fit_)
        return self._predicted(X, self.coef_)

    def _folds(self, n_samples: int, groups: Any) -> Folds | None:
        if self.selection == "kfold":
            return super()._folds(n_samples, groups)
        if groups is not None:
            raise ValueError(f"groups need selection='kfold', got selection={self.selection!r}, which ignores them")
        check_sample_count(n_samples)
        return None

    def _solve(self, solver: Solver, X: Tensor, training: TrainingSet) -> None:
        """Solve block after block, and set the fitted attributes."""
        plan, targets = training.plan, training.targets
        v = targets.n_targets if isinstance(targets, Targets) else 0
        samples = solver.principal.samples(X) if self.coef == "dual" else None
        width = {"primal": X.shape[1], "dual": X.shape[0], "none": 0}[self.coef]
        at_zero = (
            solver.principal.offset.double() if samples is None else samples.double() @ solver.principal.offset.double()
        )
        coef, intercept, score = (GrowingRows(plan.empty(v, *shape)) for shape in ((width,), (), ()))
        # alpha keeps float64, so that it is one of the alphas to the bit
        alpha = GrowingRows(plan.empty(v).double())
        scores = GrowingRows(plan.empty(v, len(solver.alphas) if self.store_scores else 0))
        counts = TargetCounts()
        with closing(solve(solver, targets, self.max_memory, not self.alpha_per_target)) as solutions:
            for block in solutions:
                columns = block.columns
                coef.put(columns, block.coefficients.T)
                bias = block.at_offset - at_zero @ block.coefficients.double() if width else block.at_offset
                intercept.put(columns, bias)
                alpha.put(columns, block.alpha)
                score.put(columns, block.score)
                if self.store_scores:
                    scores.put(columns, block.scores.T)
                counts.add(block.score, block.undefined, block.constant, block.missing)
        counts.check_any_complete()
        results = tuple(rows.whole(counts.n_targets) for rows in (coef, intercept, alpha, score))
        self._set_fitted(results, training, samples)
        if self.store_scores:
            by_alpha = in_callers_order(self.alphas, scores.whole(counts.n_targets).T)
            self.scores_ = plan.to_caller(by_alpha[:, 0] if training.one_target else by_alpha)
        self._report(counts, results[2], results[3])

    def _set_fitted(self, results: tuple[Tensor, ...], training: TrainingSet, samples: Tensor | None) -> None:
        """Set coefficients [v, d] or [v, n], intercepts, alphas and scores [v]; drop those of an earlier fit."""
        to_caller = training.plan.to_caller
        fitted, self.intercept_, self.alpha_, self.best_score_ = (
            to_caller(result[0] if training.one_target else result) for result in results
        )
        if training.one_target and isinstance(self.alpha_, np.ndarray):  # as scikit-learn has them
            numbers: Any = self
            numbers.alpha_, numbers.best_score_ = float(self.alpha_), float(self.best_score_)
        for name in ("coef_", "dual_coef_", "X_fit_", "scores_"):
            self.__dict__.pop(name, None)
        if self.coef == "primal":
            self.coef_ = fitted
        elif samples is not None:
            self.dual_coef_, self.X_fit_ = fitted, to_caller(samples)
