"""Ridge regression with an alpha per target, chosen by k-fold, leave-one-out or generalised
cross-validation."""

from contextlib import closing
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from gradkern.ridge._engine.blocks import Rows, TargetStream, is_stream
from gradkern.ridge._engine.folds import Folds, subset
from gradkern.ridge._engine.inputs import (
    Array,
    Targets,
    as_given,
    as_targets,
    check_choice,
    check_memory,
    check_sample_count,
    check_weights,
    load,
    place,
)
from gradkern.ridge._engine.precision import check_precision, multiplying
from gradkern.ridge._engine.solve import (
    COEFS,
    Choice,
    Fitting,
    Solver,
    Tally,
    factor,
    make_choice,
    selection_folds,
    solve,
)
from gradkern.ridge._linear_model import LinearModel

# Wide, because raw gradients may be 1e-5 in size; an alpha more costs next to nothing.
DEFAULT_ALPHAS: tuple[float, ...] = tuple(np.logspace(-10, 10, 41).tolist())


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
        An int is an unshuffled KFold, or GroupKFold where `fit` is given groups. Only for "kfold".
    selection : "kfold" (mean over folds of the score on held-out samples), "loo" (exact leave-one-out,
        1 - PRESS / SST or the correlation with leave-one-out predictions), or "gcv" (1 - n GCV / SST)
    scoring : "r2" (about the held-out samples' mean, as in scikit-learn) or "r" (Pearson; not with "gcv")
    alpha_per_target : False gives all targets the alpha with the best mean score
    fit_intercept : whether to centre X and Y
    standardise : whether to divide each feature by its standard deviation: inside every fold that of its training
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
    alpha_ : [v] chosen penalties, in float64
        Of equal scores the larger alpha wins; a target without a score gets the largest.
    coef_ : [v, d] coefficients, [d] if Y was 1-D; of "primal" only
    dual_coef_ : [v, n], or [n]; of "dual" only, with `X_fit_` [n, d], the centred features that they multiply: the
        coefficients of the features are dual_coef_ @ X_fit_
    intercept_ : [v] intercepts
    best_score_ : [v] score of the chosen alpha. A fold counts only where it is defined; NaN if it never is.
    scores_ : [a, v] scores of all alphas, in their order; if `store_scores`
    n_features_in_ : d

    Arrays are NumPy for NumPy input, and torch tensors on X's device for torch input. X that comes by DLPack (CuPy)
    gets arrays of its own package back, on its device.

    Notes
    -----
    Constant targets get a score of NaN and coefficients of 0, and a warning that counts them; a target that holds a
    NaN has NaN everywhere, and is counted as well. A weight of w counts as w samples, in the fit and in the scores.
    The method is that of section 5 of the design: Gram matrices of training folds by downdating, and divided
    differences.

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
        alpha_per_target: bool = True,
        fit_intercept: bool = True,
        standardise: bool = False,
        coef: str = "primal",
        store_scores: bool = False,
        device: Any = None,
        max_memory: int | None = None,
        precision: str = "float32",
    ) -> None:
        self.alphas = alphas
        self.cv = cv
        self.selection = selection
        self.scoring = scoring
        self.alpha_per_target = alpha_per_target
        self.fit_intercept = fit_intercept
        self.standardise = standardise
        self.coef = coef
        self.store_scores = store_scores
        self.device = device
        self.max_memory = max_memory
        self.precision = precision

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
        op = type(self).__name__
        choice = self._choice(op)
        features = self._features(X, reset=True)
        n = features.shape[0]
        stream = TargetStream(op, y, n) if is_stream(y) else None
        responses, one_target = (stream.head, False) if stream else as_targets(op, y, n)
        if stream and not stream.twice and not self.alpha_per_target:
            raise ValueError(
                f"{op}: alpha_per_target=False reads Y twice; it must be an array, a memory map or an iterable that "
                f"starts anew, got an iterator ({type(y).__name__})"
            )
        placement = place(op, self.device, X, X=features, Y=responses)
        check_precision(op, self.precision, placement)
        weights = check_weights(op, sample_weight, n)
        folds = self._folds(n, groups)
        kept = None
        if weights is not None:
            kept = np.flatnonzero(weights)
            folds, weights = folds and subset(op, folds, kept), weights[kept]
        self._check_values(op, features)
        scale = None if weights is None else torch.from_numpy(weights).to(placement.device)
        with torch.no_grad(), multiplying("float32"):
            fitting = Fitting(bool(self.fit_intercept), bool(self.standardise), scale, self.coef)
            given = load(features, placement, kept)
            targets: Targets | TargetStream = Targets(responses, placement, kept, op)
            if stream:
                stream.placement, stream.rows, targets = placement, kept, stream
            solver = factor(given, replace(choice, folds=folds), fitting)
            with multiplying(self.precision):
                self._collect(solver, given, targets, one_target)
        return self

    def _choice(self, op: str) -> Choice:
        choice = make_choice(op, self.alphas, self.selection, self.scoring)
        check_choice(op, "coef", self.coef, COEFS)
        check_memory(op, self.max_memory)
        if self.standardise and self.selection != "kfold":
            raise ValueError(f"{op}: standardise needs selection='kfold', got selection={self.selection!r}")
        return replace(choice, shared=not self.alpha_per_target)

    def predict(self, X: Any) -> Array:
        """Predict responses [n, v] (or [n] if Y was 1-D) of features X [n, d].

        Raises
        ------
        ValueError : NaN or inf in X, another number of features, X on another device than the coefficients, no
            coefficients
        """
        check_is_fitted(self)
        op = f"{type(self).__name__}.predict"
        if self.coef == "none":
            raise ValueError(f"{op}: needs the coefficients, got coef='none'")
        if self.coef == "dual":
            return self._predicted(op, X, self.dual_coef_, self.X_fit_)
        return self._predicted(op, X, self.coef_)

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

    def _collect(self, solver: Solver, X: Tensor, targets: Targets | TargetStream, one_target: bool) -> None:
        """Solve block after block into the fitted attributes."""
        placement = targets.placement
        v = targets.n_targets if isinstance(targets, Targets) else 0
        samples = solver.design.samples(X) if self.coef == "dual" else None
        width = {"primal": X.shape[1], "dual": X.shape[0], "none": 0}[self.coef]
        at_zero = solver.design.offset.double() if samples is None else samples.double() @ solver.design.offset.double()
        coef, intercept, score = Rows(placement.empty(v, width)), Rows(placement.empty(v)), Rows(placement.empty(v))
        # alpha keeps float64, so that it is one of the alphas to the bit
        alpha = Rows(placement.empty(v).double())
        scores = Rows(placement.empty(v, len(solver.alphas) if self.store_scores else 0))
        tally = Tally()
        with closing(solve(solver, targets, self.max_memory, not self.alpha_per_target)) as solutions:
            for block in solutions:
                part = block.columns
                coef.put(part, block.coefficients.T)
                bias = block.at_offset - at_zero @ block.coefficients.double() if width else block.at_offset
                intercept.put(part, bias)
                alpha.put(part, block.alpha)
                score.put(part, block.score)
                if self.store_scores:
                    scores.put(part, block.scores.T)
                tally.add(block.score, block.undefined, block.constant, block.missing)
        if tally.missing == tally.n_targets:
            raise ValueError(
                f"{type(self).__name__}: Y must have a target without NaN, got none among {tally.n_targets}"
            )
        hand_back, v = placement.hand_back, tally.n_targets
        found = [each.whole(v) for each in (coef, intercept, alpha, score)]
        results = [hand_back(each[0] if one_target else each) for each in found]
        fitted, self.intercept_, self.alpha_, self.best_score_ = results
        for name in ("coef_", "dual_coef_", "X_fit_", "scores_"):
            self.__dict__.pop(name, None)
        if self.coef == "primal":
            self.coef_ = fitted
        elif samples is not None:
            self.dual_coef_, self.X_fit_ = fitted, hand_back(samples)
        if self.store_scores:
            order = as_given(self.alphas, scores.whole(v).T)
            self.scores_ = hand_back(order[:, 0] if one_target else order)
        tally.warn(type(self).__name__, stacklevel=4)
