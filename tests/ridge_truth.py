"""Ground truth for ridge: explicit predictions of every alpha, in float64, through the SVD of every training set; and
designs that are numerically hard."""

import numpy as np

ALPHAS = np.logspace(-2, 6, 9)
EPS32, EPS64 = np.finfo(np.float32).eps, np.finfo(np.float64).eps


def fit_by_svd(X, Y, alphas, intercept=True):
    """Coefficients [a, d, v] and intercepts [a, v]."""
    x0, y0 = (X.mean(0), Y.mean(0)) if intercept else (np.zeros(X.shape[1]), np.zeros(Y.shape[1]))
    U, s, Vt = np.linalg.svd(X - x0, full_matrices=False)
    kept = s > s[0] * max(X.shape) * np.finfo(s.dtype).eps
    U, s, Vt = U[:, kept], s[kept], Vt[kept]
    projected = U.T @ (Y - y0)
    coef = np.stack([Vt.T @ ((s / (s**2 + alpha))[:, None] * projected) for alpha in alphas])
    return coef, y0 - np.einsum("d,adv->av", x0, coef)


def score_columns(y, yhat, scoring, weights=None):
    w = np.ones(len(y)) if weights is None else weights
    yc = y - w @ y / w.sum()
    if scoring == "r2":
        return 1 - w @ (y - yhat) ** 2 / (w @ yc**2)
    pc = yhat - w @ yhat / w.sum()
    return w @ (yc * pc) / np.sqrt((w @ yc**2) * (w @ pc**2))


def scores_by_svd(X, Y, alphas, folds, scoring="r2", intercept=True, weights=None, dtype=np.float64):
    """Mean scores [a, v] over folds of explicit held-out predictions, which `dtype` computes.

    Means over samples are float64's, and so are the scores of the predictions.
    """
    X, Y = X.astype(np.float64), Y.astype(np.float64)
    weights = np.ones(len(X)) if weights is None else weights
    total = np.zeros((len(alphas), Y.shape[1]))
    for train, test in folds:
        # the held-out rows are taken about the training mean, which an offset would otherwise round off
        w = weights[train] * (1 / weights[train].sum() if intercept else 0)
        centre, level, root = w @ X[train], w @ Y[train], np.sqrt(weights[train])[:, None]
        fitted, held_out, targets = (
            values.astype(dtype) for values in (root * (X[train] - centre), X[test] - centre, root * (Y[train] - level))
        )
        coef, _ = fit_by_svd(fitted, targets, np.asarray(alphas, dtype), intercept=False)
        for number in range(len(alphas)):
            predicted = (held_out @ coef[number]).astype(np.float64)
            if scoring == "r2":  # beside it, r would lose what a large alpha leaves of a prediction
                predicted += level
            total[number] += score_columns(Y[test], predicted, scoring, weights[test]) / len(folds)
    return total


def scores_of(model, X, Y, alphas, grid=60, **fit):
    """Scores [a, v] of these alphas among about `grid` others: a long grid is not scored by predicting."""
    alphas = np.asarray(alphas, np.float64)
    others = np.geomspace(alphas.min(), alphas.max(), grid)[1:-1] * 1.01 if grid > 1 else alphas[:0]
    long = np.unique(np.concatenate([alphas, others]))
    fitted = model.set_params(alphas=long, store_scores=True).fit(X, Y, **fit)
    return np.asarray(fitted.scores_)[np.searchsorted(long, alphas)]


def decided(scores, gap=1e-5):
    """Targets whose best two scores differ by more than `gap`."""
    ordered = np.sort(scores, 0)
    return ordered[-1] - ordered[-2] > gap


def responses(rng, X, v=12, noise=1.0):
    signal = (X - X.mean(0)) @ rng.standard_normal((X.shape[1], v))
    return signal / signal.std(0) * np.linspace(0, 1, v) + noise * rng.standard_normal((len(X), v))


def well_posed(rng):
    return rng.standard_normal((150, 20))


def wider_than_tall(rng):
    return rng.standard_normal((60, 110))


def training_folds_wider_than_tall(rng):
    return rng.standard_normal((70, 64))


def duplicated_columns(rng):
    X = rng.standard_normal((120, 15))
    return np.concatenate([X, X[:, :10]], 1)


def offset_of_100_sd(rng):
    return rng.standard_normal((150, 20)) + 100


def power_law_of_condition_1e8(rng):
    U, _ = np.linalg.qr(rng.standard_normal((140, 30)))
    V, _ = np.linalg.qr(rng.standard_normal((30, 30)))
    return 100 * (U * np.logspace(0, -4, 30)) @ V.T  # of the Gram matrix


def constant_columns(rng):
    X = rng.standard_normal((100, 20))
    X[:, 3], X[:, 7] = 5.0, 0.0
    return X


def close_eigenvalues(rng):
    """Pairs of eigenvalues at every distance around where gaps stop being divided by."""
    U, _ = np.linalg.qr(rng.standard_normal((200, 24)))
    values = 50 * (1 + np.cumsum(np.logspace(-9, -1, 24)))
    return U * np.sqrt(values)


DESIGNS = [
    well_posed,
    wider_than_tall,
    training_folds_wider_than_tall,
    duplicated_columns,
    offset_of_100_sd,
    power_law_of_condition_1e8,
    constant_columns,
    close_eigenvalues,
]


class Stored:
    """Stand-in for HDF5 and Zarr arrays, whose values are read when a range of them is indexed."""

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.ndim, self.reads = values, values.shape, values.dtype, values.ndim, 0

    def __getitem__(self, index):
        assert all(isinstance(part, slice) for part in (index if isinstance(index, tuple) else (index,)))
        self.reads += 1
        return self.values[index]
