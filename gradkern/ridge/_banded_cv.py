"""Ridge regression on bands of features, with a penalty for each band, chosen for every target by cross-validation."""

from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from gradkern.ridge._engine.band_weights import make_ratios
from gradkern.ridge._engine.banded import Bands, Found, make_bands, refit, search
from gradkern.ridge._engine.folds import subset
from gradkern.ridge._engine.inputs import (
    Array,
    Targets,
    as_array,
    as_given,
    as_targets,
    check_memory,
    check_weights,
    load,
    place,
)
from gradkern.ridge._engine.precision import multiplying
from gradkern.ridge._engine.solve import Fitting, Tally, make_choice, selection_folds
from gradkern.ridge._linear_model import LinearModel
from gradkern.ridge._ridge_cv import DEFAULT_ALPHAS


class BandedRidgeCV(LinearModel):
    """Ridge regression with a penalty for each band of features, chosen for every target by cross-validation.

    Per target, minimises ``||y - sum_b X_b w_b - c||^2 + alpha sum_b ||w_b||^2 / gamma_b`` (the intercept c is not
    penalised), which is ridge on ``sqrt(gamma_b) X_b``. Among all given pairs of a ratio gamma (weights that add up
    to 1) and an alpha, each target gets the one with the best mean score over folds, exactly as if every fold had
    been predicted. A ratio costs one eigendecomposition per fold and products of the size of the Gram matrix (see
    `gradkern.ridge._engine.banded`), however many samples and alphas there are. Bands that are wider than there are
    samples are handled in the at most n - 1 coordinates their samples span. All d x d work is float64; what has v
    targets is float32, or float64 if X or Y is. Targets are read in blocks, so Y may be a memory map. The same call
    gives the same bits.

    Parameters
    ----------
    bands : widths of the bands, which are consecutive columns of X and add up to d
        By default all columns are one band, and the model is that of `RidgeCV`.
    alphas : [a] positive penalties, ascending or descending, none twice
    ratios : int m, or weights [m, bands], non-negative
        Of an array each row is divided by its sum, and a zero leaves that band out. An integer gives ratios by
        `sampling`.
    cv : int, scikit-learn splitter, or iterable of (train, test) indices
        An int is an unshuffled KFold, or GroupKFold where `fit` is given groups.
    scoring : "r2" (about the held-out samples' mean, as in scikit-learn) or "r" (Pearson)
    fit_intercept : whether to centre X and Y
    standardise : whether to divide each feature by its standard deviation, before its band is scaled: inside every fold
        that of its training samples. Coefficients are those of the features as given. Ratios then share no products
        with the targets, and cost more the more samples there are.
    store_scores : whether to keep the scores of all ratios and alphas
    sampling : "random" or "grid", how an integer m lays out ratios
        "random": the equal weights, then for every band the point with 0.99 of it, then random ones, drawn from
        Dirichlet distributions of concentration 1 and 0.1 in turn; the first m of these. "grid": all weights that are
        multiples of 1/s, for the largest s that makes at most m of them; its corners are single bands.
    seed : of the random ratios
    device : where to compute; by default where X lives. Results go back to where X lives.
    max_memory : bytes that a block of targets may take beside X, Y and the results; by default 256 MiB, 4 GiB on a
        GPU. The eigenvectors of several ratios take up to 512 MiB besides, and decomposing them on several cores as
        much; a single ratio takes what it needs.

    Attributes
    ----------
    alpha_ : [v] chosen penalties, in float64
    ratio_ : [v, bands] chosen weights gamma, in float64; [bands] if Y was 1-D
        Of equal scores the earlier ratio wins, and of one ratio the larger alpha; a target without a score gets the
        first ratio and the largest alpha.
    coef_ : [v, d] coefficients of X as given, [d] if Y was 1-D
    intercept_ : [v] intercepts
    best_score_ : [v] score of the chosen pair. A fold counts only where it is defined; NaN if it never is.
    ratios_ : [m, bands] the weights gamma that were compared, in float64
    scores_ : [m, a, v] scores of all pairs, alphas in their order; if `store_scores`. [m, a] if Y was 1-D
    n_features_in_ : d

    Arrays are NumPy for NumPy input, and torch tensors on X's device for torch input.

    Notes
    -----
    Constant targets get a score of NaN and coefficients of 0, and a warning that counts them; a target that holds a
    NaN has NaN everywhere, and is counted as well. A weight of w counts as w samples, in the fit and in the scores.
    Banded ridge is that of Nunez-Elizalde, Huth & Gallant (2019), NeuroImage 197, and the search over ratios that of
    Dupré la Tour et al. (2022), NeuroImage 264.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 12))
    >>> Y = X[:, :4] @ rng.standard_normal((4, 3)) + rng.standard_normal((60, 3))
    >>> model = BandedRidgeCV([4, 8], ratios=6, cv=4).fit(X, Y)
    >>> model.coef_.shape, model.ratio_.shape, model.predict(X, split=True).shape
    ((3, 12), (3, 2), (2, 60, 3))
    """

    def __init__(
        self,
        bands: Any = None,
        alphas: Any = DEFAULT_ALPHAS,
        *,
        ratios: Any = 20,
        cv: Any = 5,
        scoring: str = "r2",
        fit_intercept: bool = True,
        standardise: bool = False,
        store_scores: bool = False,
        sampling: str = "random",
        seed: Any = 0,
        device: Any = None,
        max_memory: int | None = None,
    ) -> None:
        self.bands = bands
        self.alphas = alphas
        self.ratios = ratios
        self.cv = cv
        self.scoring = scoring
        self.fit_intercept = fit_intercept
        self.standardise = standardise
        self.store_scores = store_scores
        self.sampling = sampling
        self.seed = seed
        self.device = device
        self.max_memory = max_memory

    def fit(self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None) -> Self:
        """Choose a ratio and an alpha, and fit the coefficients, of every target.

        Parameters
        ----------
        X : [n, d] features, the bands side by side
        y : Y [n, v] or [n], responses; may be a memory map, or whatever reads `Y[:, a:b]` (HDF5, Zarr), block by block
        groups : [n] labels that no fold may split between train and test
        sample_weight : [n] weights, not negative; a sample of weight 0 is not there

        Raises
        ------
        ValueError : NaN or inf in X, inf in Y, wrong shapes, bands, penalties, ratios or options, impossible folds,
            arrays on different devices and no `device`
        """
        op = type(self).__name__
        choice = make_choice(op, self.alphas, "kfold", self.scoring)
        check_memory(op, self.max_memory)
        features = self._features(X, reset=True)
        n, d = features.shape
        widths = check_bands(op, self.bands, d)
        ratios = make_ratios(op, self.ratios, len(widths), self.seed, self.sampling)
        responses, one_target = as_targets(op, y, n)
        placement = place(op, self.device, X, X=features, Y=responses)
        weights = check_weights(op, sample_weight, n)
        folds = selection_folds(op, self.cv, n, groups)
        kept = None
        if weights is not None:
            kept = np.flatnonzero(weights)
            folds, weights = subset(op, folds, kept), weights[kept]
        self._check_values(op, features)
        share = None if weights is None else torch.from_numpy(weights).to(placement.device)
        with torch.no_grad(), multiplying("float32"):
            fitting = Fitting(bool(self.fit_intercept), bool(self.standardise), share)
            bands = make_bands(torch.split(load(features, placement, kept), widths, 1), fitting, folds)
            targets, gammas = Targets(responses, placement, kept, op), torch.from_numpy(ratios).to(placement.device)
            v = targets.n_targets
            scores = placement.empty(v, len(gammas), len(choice.alphas)) if self.store_scores else None
            found = search(bands, gammas, replace(choice, folds=folds), targets, self.max_memory, scores)
            self._keep(bands, gammas, found, targets, one_target)
        self.__dict__.pop("scores_", None)
        if scores is not None:
            order = as_given(self.alphas, scores.permute(2, 1, 0)).transpose(0, 1)
            self.scores_ = placement.hand_back(order[..., 0] if one_target else order)
        self.ratios_ = placement.hand_back(gammas)
        self._widths = widths
        return self

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
        op = f"{type(self).__name__}.predict"
        features = self._features(X, reset=False)
        one_target = self.coef_.ndim == 1
        coef = as_array(op, "coef_", self.coef_[None] if one_target else self.coef_)
        placement = place(op, self.device, X, X=features, coef_=coef)
        self._check_values(op, features)
        parts = placement.empty(len(self._widths), features.shape[0], coef.shape[0])
        start = 0
        for part, width in zip(parts, self._widths, strict=True):
            columns = slice(start, start + width)
            with multiplying("float32"):
                part[:] = load(features, placement, columns=columns) @ load(coef, placement, columns=columns).T
            start += width
        return placement.hand_back(parts[..., 0] if one_target else parts)

    def _keep(self, bands: Bands, gammas: Tensor, found: Found, targets: Targets, one_target: bool) -> None:
        """Refit, and set the fitted attributes."""
        placement, v, offset = targets.placement, targets.n_targets, bands.whole.offset
        score = torch.where(found.score.isneginf(), torch.nan, found.score).to(placement.dtype)
        tally = Tally()
        tally.add(score, found.undefined, found.constant, found.missing)
        if tally.missing == v:
            raise ValueError(f"{type(self).__name__}: Y must have a target without NaN, got none among {v}")
        coef, intercept = placement.empty(v, len(offset)), placement.empty(v)
        for part in refit(bands, gammas, found, targets, self.max_memory):
            columns = (part.columns.start + part.chosen).to(coef.device)
            coef[columns] = part.coefficients.T.to(coef.device)
            at_zero = part.at_offset - offset.double() @ part.coefficients.double()
            intercept[columns] = at_zero.to(intercept)
        alpha, ratio = found.alpha.clone(), gammas[found.ratio]
        for chosen in (alpha, ratio):
            chosen[found.missing] = torch.nan
        results = (coef, intercept, alpha, ratio, score)
        kept = [placement.hand_back(each[0] if one_target else each) for each in results]
        self.coef_, self.intercept_, self.alpha_, self.ratio_, self.best_score_ = kept
        tally.warn(type(self).__name__, stacklevel=4)


def check_bands(op: str, bands: Any, n_features: int) -> list[int]:
    """Widths of the bands; ValueError unless they are positive integers that add up to d."""
    if bands is None:
        return [n_features]
    widths: NDArray[Any] = np.asarray(bands)
    if widths.ndim != 1 or len(widths) == 0 or widths.dtype.kind not in "iu" or (widths < 1).any():
        raise ValueError(f"{op}: bands must be None or positive integers, one width a band, got {bands!r}")
    if widths.sum() != n_features:
        raise ValueError(
            f"{op}: bands must add up to the {n_features} columns of X, got {tuple(int(width) for width in widths)}"
        )
    return [int(width) for width in widths]
