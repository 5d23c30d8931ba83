"""Features without what a ridge regression predicts of them from covariates, fitted on training rows alone."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from gradkern.encoding._checks import check_matrix
from gradkern.encoding._scale import unit_size
from gradkern.errors import naming
from gradkern.ridge._alphas import DEFAULT_ALPHAS
from gradkern.ridge._ridge_cv import RidgeCV


class Residualizer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Residuals G - (A W + b) of features G after a ridge regression on covariates A, fitted on the rows of `fit`.

    It transforms X = [A | G], so that it nests in cross-validation: in a pipeline each training set fits its own W and
    b. Each column of G has its own alpha, chosen by k-fold cross-validation inside the rows of `fit`. In these rows the
    residuals have no linear relation to A but for the shrinkage: A'(G - A W - b) = alpha W, A centered.

    Parameters
    ----------
    covariates : number of the first columns of X that are covariates
    alphas, cv : as in `RidgeCV`

    Attributes
    ----------
    ridge_ : the fitted RidgeCV
    """

    def __init__(self, covariates: int, *, alphas: Any = DEFAULT_ALPHAS, cv: Any = 5) -> None:
        self.covariates = covariates
        self.alphas = alphas
        self.cv = cv

    @naming("Residualizer")
    def fit(self, X: Any, y: Any = None, groups: Any = None) -> Self:
        """Fit on X [n, covariates + d]; rows with one label of `groups` [n] stay together when alphas are chosen.

        `y` is ignored.
        """
        X = validate_data(self, X, dtype=[np.float64, np.float32])
        columns, is_integer = X.shape[1], isinstance(self.covariates, int) and not isinstance(self.covariates, bool)
        if not is_integer or not 0 < self.covariates < columns:
            raise ValueError(f"covariates must be in 1..{columns - 1}, columns of X, got {self.covariates!r}")
        ridge = RidgeCV(self.alphas, cv=self.cv)
        self.ridge_ = ridge.fit(X[:, : self.covariates], X[:, self.covariates :], groups=groups)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Residuals [n, d] of X [n, covariates + d]."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        residuals: np.ndarray = X[:, self.covariates :] - self.ridge_.predict(X[:, : self.covariates])
        return residuals


@naming("residualize")
def residualize(
    G: np.ndarray, A: np.ndarray | Sequence[np.ndarray], train: Any, *, alphas: Any = DEFAULT_ALPHAS, groups: Any = None
) -> np.ndarray:
    """Residuals of gradients after a ridge regression on activations, fitted on training rows alone.

    Parameters
    ----------
    G : [n, d]
    A : [n, a], activations of the same layer; or a list of such matrices, of all layers. Those of a list are put side
        by side, each divided by the root mean square norm of its centered training rows, so that none is penalized
        more than another.
    train : bool [n], or indices of the training rows
    alphas : as in `RidgeCV`
    groups : [n] labels that are kept together when alphas are chosen (images, where they repeat)

    Returns
    -------
    [n, d], residuals of all rows

    Raises
    ------
    ValueError : wrong shapes, NaN or inf, rows that do not exist

    See Also
    --------
    Residualizer : the same as a transformer

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> residualize(rng.standard_normal((30, 4)), rng.standard_normal((30, 3)), range(20)).shape
    (30, 4)
    """
    G = check_matrix("G", G)
    several = isinstance(A, list | tuple)
    matrices = [check_matrix("A", matrix) for matrix in (A if several else [A])]
    for matrix in matrices:
        if len(matrix) != len(G):
            raise ValueError(f"A must have the {len(G)} rows of G, got {len(matrix)}")
    if not matrices:
        raise ValueError("A must hold at least one matrix, got none")
    rows = _rows(train, len(G))
    if several:
        matrices = [matrix / unit_size(matrix[rows]) for matrix in matrices]
    X = np.column_stack([*matrices, G])
    residualizer = Residualizer(X.shape[1] - G.shape[1], alphas=alphas)
    labels = None if groups is None else np.asarray(groups)
    if labels is not None and labels.shape != (len(G),):
        raise ValueError(f"groups must be [{len(G)}], got {list(labels.shape)}")
    residuals: np.ndarray = residualizer.fit(X[rows], groups=None if labels is None else labels[rows]).transform(X)
    return residuals


@dataclass(frozen=True, eq=False)
class Residualized:
    """Features [images, d] to be residualized on covariates anew in every fold: without a fold they have no values.

    Parameters
    ----------
    values : [images, d]
    covariates : [images, a], or a list of such matrices, as A of `residualize`
    transform : function of the residuals [n, d], such as a sketch; None: none
    columns : number of columns that `transform` gives; None: d
    """

    values: Any
    covariates: Any
    transform: Callable[[np.ndarray], np.ndarray] | None = None
    columns: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """[images, columns]."""
        shape = tuple(self.values.shape)
        return shape if self.columns is None else (shape[0], self.columns)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        count = len(self.covariates) if isinstance(self.covariates, list) else 1
        return f"Residualized({list(self.shape)} on {count} feature space{'s' * (count > 1)})"


def residualize_spaces(
    spaces: Mapping[str, Residualized], images: NDArray[np.int64], train: NDArray[np.int64], groups: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    """Residuals [n, d] of several feature spaces, fitted on some of the images that were shown.

    Parameters
    ----------
    images : [n], rows of the features, each image once
    train : indices into `images`
    groups : [n], labels that are kept together when alphas are chosen
    """
    by_covariates: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for name, space in spaces.items():
        matrices = space.covariates if isinstance(space.covariates, list) else [space.covariates]
        by_covariates[tuple(map(id, matrices))].append(name)
    result: dict[str, NDArray[Any]] = {}
    for names in by_covariates.values():  # side by side: their covariates are factored once
        covariates = spaces[names[0]].covariates
        if isinstance(covariates, list):
            A: Any = [np.asarray(matrix)[images] for matrix in covariates]
        else:
            A = np.asarray(covariates)[images]
        G = {id(space.values): np.asarray(space.values)[images] for space in map(spaces.__getitem__, names)}
        residuals = residualize(np.hstack(list(G.values())), A, train, groups=groups)
        edges = np.cumsum([matrix.shape[1] for matrix in G.values()])[:-1]
        by_values = dict(zip(G, np.split(residuals, edges, axis=1), strict=True))
        for name in names:
            values, transform = by_values[id(spaces[name].values)], spaces[name].transform
            result[name] = values if transform is None else transform(values)
    return result


def _rows(train: Any, n: int) -> np.ndarray:
    chosen = np.asarray(train)
    if chosen.dtype == bool and chosen.shape == (n,):
        return np.flatnonzero(chosen)
    is_index = chosen.ndim == 1 and np.issubdtype(chosen.dtype, np.integer)
    if not is_index or len(np.unique(chosen)) < len(chosen) or not np.isin(chosen, np.arange(n)).all():
        raise ValueError(
            f"train must be bool [{n}] or distinct indices in 0..{n - 1}, got {chosen.dtype} {list(chosen.shape)}"
        )
    return chosen
