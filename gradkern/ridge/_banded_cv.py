"""Ridge regression on bands of features, with a penalty for each band, chosen for every target by cross-validation."""

from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from gradkern.ridge._alphas import DEFAULT_ALPHAS
from gradkern.ridge._engine.band_weights import resolve_band_weights
from gradkern.ridge._engine.banded import BandedChoice, Bands, make_bands, refit, search
from gradkern.ridge._engine.inputs import (
    Array,
    Targets,
    as_array,
    check_memory,
    device_plan,
    in_callers_order,
    load,
)
from gradkern.ridge._engine.precision import multiplying
from gradkern.ridge._engine.solve import FitOptions, alpha_selection
from gradkern.ridge._engine.target_counts import TargetCounts
from gradkern.ridge._estimators import LinearModel, naming_class


@dataclass(eq=False, repr=False)
class BandedRidgeCV(LinearModel):
    """Ridge regression with a penalty for each band of features, chosen for every target by cross-validation.

    Per target, minimises ``||y - sum_b X_b w_b - c||^2 + alpha sum_b ||w_b||^2 / gamma_b`` (the intercept c is not
    penalised), which is ridge on ``sqrt(gamma_b) X_b``. Among all given pairs of band weights gamma (they add up
    to 1) and an alpha, each target gets the one with the best mean score over folds, exactly as if every fold had
    been predicted. One gamma costs one eigendecomposition per fold and products of the size of the Gram matrix,
    however many samples and alphas there are (see ``docs/banded.md``). Bands that are wider than there are
    samples are handled in the at most n - 1 coordinates their samples span. All d x d work is float64; what has v
    targets is float32, or float64 if X or Y is. Targets are read in blocks, so Y may be a memory map. The same call
    gives the same bits.

    Parameters
    ----------
    bands : widths of the bands, which are consecutive columns of X and add up to d
        By default all columns are one band, and the model is that of `RidgeCV`.
    alphas : [a] positive penalties, ascending or descending, none twice
    band_weights : int m, or weights [m, bands], non-negative
        The candidates for gamma. Each row of an array is divided by its sum; a zero leaves that band out. An integer
        draws as many candidates by `sampling`.
    cv : int, scikit-learn splitter, or iterable of (train, test) indices
        An int is an unshuffled KFold, or GroupKFold where `fit` is given groups. Of a `CrossValidation` the outer folds
        are taken.
    scoring : "r2" (about the held-out samples' mean, as in scikit-learn) or "r" (Pearson)
    fit_intercept : whether to centre X and Y
    standardize : whether to divide each feature by its standard deviation before its band is scaled
        Inside every fold it is that of the fold's training samples. Coefficients are those of the features as given.
        The candidate band weights then share no products with the targets, and cost more with more samples.
    store_scores : whether to keep the scores of all band weights and alphas
    sampling : "random" or "grid", how an integer m lays out the band weights
        "random": the equal weights, then for every band the point with 0.99 of it, then random ones, drawn from
        Dirichlet distributions of concentration 1 and 0.1 in turn; the first m of these. "grid": all weights that are
        multiples of 1/s, for the largest s that makes at most m of them; its corners are single bands.
    seed : of the random band weights
    device : where to compute; by default where X lives. Results go back to where X lives.
    max_memory : bytes that a block of targets may take beside X, Y and the results; by default 256 MiB, 4 GiB on a
        GPU. The eigenvectors of several candidates take up to 512 MiB besides, and decomposing them on several cores
        as much; a single candidate takes what it needs.

    Attributes
    ----------
    alpha_ : [v] chosen penalties, in float64
    band_weights_ : [v, bands] chosen weights gamma, in float64; [bands] if Y was 1-D
        Of equal scores the earlier candidate wins, and for one candidate the larger alpha; a target without a score
        gets the first candidate and the largest alpha.
    coef_ : [v, d] coefficients of X as given, [d] if Y was 1-D
    intercept_ : [v] intercepts
    best_score_ : [v] score of the chosen pair. A fold counts only where it is defined; NaN if it never is.
    alphas_at_edge_ : `EdgeCount`, how many targets chose the smallest and the largest alpha
    candidate_weights_ : [m, bands] the weights gamma that were compared, in float64
    scores_ : [m, a, v] scores of all pairs, alphas in their order; if `store_scores`. [m, a] if Y was 1-D
    n_features_in_ : d

    Arrays are NumPy for NumPy input, and torch tensors on X's device for torch input.

    Notes
    -----
    Constant targets get a score of NaN and coefficients of 0, and a warning that counts them; a target that holds a
    NaN has NaN everywhere, and is counted as well. A weight of w counts as w samples, in the fit and in the scores.
    A warning counts targets that chose the smallest alpha, and targets that chose the largest one and still have an R2
    above 0: another grid may predict them better. Banded ridge is that of Nunez-Elizalde, Huth & Gallant (2019),
    NeuroImage 197, and the search over band weights that of Dupré la Tour et al. (2022), NeuroImage 264.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 12))
    >>> Y = X[:, :4] @ rng.standard_normal((4, 3)) + rng.standard_normal((60, 3))
    >>> model = BandedRidgeCV([4, 8], band_weights=6, cv=4).fit(X, Y)
    >>> model.coef_.shape, model.band_weights_.shape, model.predict(X, split=True).shape
    ((3, 12), (3, 2), (2, 60, 3))
    """

    bands: Any = None
    alphas: Any = DEFAULT_ALPHAS
    _: KW_ONLY
    band_weights: Any = 20
    store_scores: bool = False
    sampling: str = "random"
    seed: Any = 0
    max_memory: int | None = None

    @naming_class
    def fit(self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None) -> Self:
        """Choose band weights and an alpha, and fit the coefficients, of every target.

        Parameters
        ----------
        X : [n, d] features, the bands side by side
        y : Y [n, v] or [n], responses; may be a memory map, or whatever reads `Y[:, a:b]` (HDF5, Zarr), block by block
        groups : [n] labels that no fold may split between train and test
        sample_weight : [n] weights, not negative; a sample of weight 0 is not there

        Raises
        ------
        ValueError : NaN or inf in X, inf in Y, wrong shapes, bands, penalties, band weights or options, impossible
            folds, arrays on different devices and no `device`
        """
        selection = alpha_selection(self.alphas, "kfold", self.scoring)
        check_memory(self.max_memory)
        training = self._training_set(X, y, groups, sample_weight)
        targets, plan, folds = training.targets, training.plan, training.folds
        if not isinstance(targets, Targets) or folds is None:
            raise TypeError("y must be an array of targets, and cv must give folds")
        widths = check_bands(self.bands, self.n_features_in_)
        weights = resolve_band_weights(self.band_weights, len(widths), self.seed, self.sampling)
        with torch.no_grad(), multiplying("float32"):
            options = FitOptions(bool(self.fit_intercept), bool(self.standardize), training.weights)
            bands = make_bands(torch.split(training.load_features(), widths, 1), options, folds)
            gammas = torch.from_numpy(weights).to(plan.device)
            v = targets.n_targets
            scores = plan.empty(v, len(gammas), len(selection.alphas)) if self.store_scores else None
            choice = search(bands, gammas, replace(selection, folds=folds), targets, self.max_memory, scores)
            self._set_fitted(bands, gammas, choice, targets, training.one_target)
        self.__dict__.pop("scores_", None)
        if scores is not None:
            by_weights = in_callers_order(self.alphas, scores.permute(2, 1, 0)).transpose(0, 1)
            self.scores_ = plan.to_caller(by_weights[..., 0] if training.one_target else by_weights)
        self.candidate_weights_ = plan.to_caller(gammas)
        self._widths = widths
        return self

    @naming_class
    def predict(self, X: Any, *, split: bool = False) -> Array:
        """Predict responses of features X [n, d].

        Parameters
        ----------
        X : [n, d]
        split : whether to give what each band adds to the prediction instead, without the intercept

        Returns
        -------
        predictions : [n, v], or [n] if Y was 1-D
            With `split`, [bands, n, v] or [bands, n], whose sum over bands is the prediction less `intercept_`.

        Raises
        ------
        ValueError : NaN or inf in X, another number of features, X on another device than the coefficients
        """
        if not split:
            return super().predict(X)
        check_is_fitted(self)
        features = self._features(X, reset=False)
        one_target = self.coef_.ndim == 1
        coef = as_array("coef_", self.coef_[None] if one_target else self.coef_)
        plan = device_plan(self.device, X, X=features, coef_=coef)
        self._check_values(features)
        parts = plan.empty(len(self._widths), features.shape[0], coef.shape[0])
        start = 0
        for part, width in zip(parts, self._widths, strict=True):
            columns = slice(start, start + width)
            with multiplying("float32"):
                part[:] = load(features, plan, columns=columns) @ load(coef, plan, columns=columns).T
            start += width
        return plan.to_caller(parts[..., 0] if one_target else parts)

    def _set_fitted(
        self, bands: Bands, gammas: Tensor, choice: BandedChoice, targets: Targets, one_target: bool
    ) -> None:
        """Refit, and set the fitted attributes."""
        plan, v, offset = targets.plan, targets.n_targets, bands.whole.offset
        score = torch.where(choice.score.isneginf(), torch.nan, choice.score).to(plan.dtype)
        counts = TargetCounts()
        counts.add(score, choice.undefined, choice.constant, choice.missing)
        counts.check_any_complete()
        coef, intercept = plan.empty(v, len(offset)), plan.empty(v)
        for part in refit(bands, gammas, choice, targets, self.max_memory):
            columns = (part.columns.start + part.chosen).to(coef.device)
            coef[columns] = part.coefficients.T.to(coef.device)
            at_zero = part.at_offset - offset.double() @ part.coefficients.double()
            intercept[columns] = at_zero.to(intercept)
        alpha, weights = choice.alpha.clone(), gammas[choice.candidate]
        for chosen in (alpha, weights):
            chosen[choice.missing] = torch.nan
        results = (coef, intercept, alpha, weights, score)
        self.coef_, self.intercept_, self.alpha_, self.band_weights_, self.best_score_ = (
            plan.to_caller(result[0] if one_target else result) for result in results
        )
        if one_target and isinstance(self.alpha_, np.ndarray):  # as scikit-learn has them
            numbers: Any = self
            numbers.alpha_, numbers.best_score_ = float(self.alpha_), float(self.best_score_)
        self._report(counts, alpha, score)


def check_bands(bands: Any, n_features: int) -> list[int]:
    """Widths of the bands; ValueError unless they are positive integers that add up to d."""
    if bands is None:
        return [n_features]
    widths: NDArray[Any] = np.asarray(bands)
    if widths.ndim != 1 or len(widths) == 0 or widths.dtype.kind not in "iu" or (widths < 1).any():
        raise ValueError(f"bands must be None or positive integers, one width a band, got {bands!r}")
    if widths.sum() != n_features:
        raise ValueError(
            f"bands must add up to the {n_features} columns of X, got {tuple(int(width) for width in widths)}"
        )
    return [int(width) for width in widths]
