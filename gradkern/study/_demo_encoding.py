"""How well features predict a recording: held-out correlations with their uncertainty, in named arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from sklearn.model_selection import GroupKFold, KFold

from gradkern.encoding._scale import check_first, unit_scale
from gradkern.recordings._recording import Recording
from gradkern.ridge._cross_val import cross_val_predict
from gradkern.stats._correlation import weighted_correlation

_IN_WORDS = {
    "kfold": "5-fold cross-validation",
    "loo": "exact leave-one-out",
    "gcv": "generalised cross-validation",
}


@dataclass(frozen=True)
class Evaluation:
    """How features are judged.

    Parameters
    ----------
    folds : images are held out in this many parts
    repeats : random partitions of the images into folds
    selection : how alpha is chosen for each target inside each training part, as in `RidgeCV`
    alphas : penalties, for features of unit size (see `unit_scale`)
    bootstraps : resamplings of the images for the interval
    seed : of the partitions and the bootstrap
    """

    folds: int = 5
    repeats: int = 4
    selection: str = "loo"
    alphas: tuple[float, ...] = tuple(float(alpha) for alpha in np.logspace(-6, 4, 31))
    bootstraps: int = 1000
    seed: int = 0

    def provenance(self) -> dict[str, Any]:
        return {
            "outer_folds": self.folds,
            "repeats": self.repeats,
            "alpha_selection": _IN_WORDS[self.selection],
            "alphas": f"{len(self.alphas)}, {min(self.alphas):g} to {max(self.alphas):g}, for features of unit size",
            "seed": self.seed,
            "alphas_chosen": "inside each training part, for every target",
            "score": "Pearson r over the held-out images of a fold; mean over folds and repeats",
            "interval": f"95 %, bootstrap over images ({self.bootstraps} times), predictions as they are",
        }


@dataclass(frozen=True)
class HeldOut:
    """Predictions of every presentation by folds that did not hold its image.

    predictions [repeats, n, targets]; fold [repeats, n], the fold that held a presentation out
    """

    predictions: np.ndarray
    fold: np.ndarray


def predict(X: Any, recording: Recording, how: Evaluation) -> HeldOut:
    """Predict a recording from features.

    Parameters
    ----------
    X : [images, d]; row i belongs to image i of the recording's image source. Presentations of one image are never
        in training and test at once.

    Raises
    ------
    ValueError : the recording's image ids do not fit the rows of X; fewer images than folds; repeated images without
        selection="kfold", which alone keeps an image's presentations together when alpha is chosen
    """
    recording.check_images(len(X))
    check_first("encode", recording)
    rows = unit_scale(X)[recording.image_ids]
    repeated = len(np.unique(recording.image_ids)) < len(rows)
    if repeated and how.selection != "kfold":
        raise ValueError(
            f"encode: selection must be 'kfold' for repeated images, got {how.selection!r}: it leaves out one "
            "presentation while others of its image stay in"
        )
    splitter, groups = (GroupKFold, recording.image_ids) if repeated else (KFold, None)
    predictions = np.empty((how.repeats, *recording.responses.shape))
    fold = np.empty((how.repeats, len(rows)), dtype=np.int64)
    for repeat in range(how.repeats):
        cv = splitter(how.folds, shuffle=True, random_state=how.seed + repeat)
        splits = list(cv.split(rows, groups=groups))
        predictions[repeat] = cross_val_predict(
            rows, recording.responses, how.alphas, cv=splits, selection=how.selection, groups=groups
        )
        for number, (_, test) in enumerate(splits):
            fold[repeat, test] = number
    return HeldOut(predictions, fold)


def score(held_out: HeldOut, Y: np.ndarray, how: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """Mean over folds and repeats of r within a fold's held-out images, and its 95 % interval.

    r is taken within a fold because the mean of a training part runs against the mean of the images left out of it:
    pooled over folds, predictions of what cannot be predicted correlate negatively. A prediction that does not vary
    has no r: NaN.

    Parameters
    ----------
    Y : [n, targets], measured

    Returns
    -------
    r : [targets]
    interval : [targets, 2], 2.5 % and 97.5 % quantiles
    """
    n = len(Y)
    counts = np.random.default_rng(how.seed).multinomial(n, np.full(n, 1 / n), size=how.bootstraps).astype(np.float64)
    every, r, resampled = np.ones((1, n)), [], []
    for predictions, fold in zip(held_out.predictions, held_out.fold, strict=True):
        for number in range(how.folds):
            test = fold == number
            r.append(weighted_correlation(Y[test], predictions[test], every[:, test])[0])
            again = weighted_correlation(Y[test], predictions[test], counts[:, test])
            # a resampling of few images may hold one alone, which has no correlation
            resampled.append(np.where(np.isnan(again), 0.0, again))
    interval = np.quantile(np.mean(resampled, axis=0), [0.025, 0.975], axis=0).T
    return np.mean(r, axis=0), interval


def encode(features: Mapping[str, Any], recording: Recording, how: Evaluation | None = None) -> xr.Dataset:
    """Held-out scores of several feature spaces.

    Parameters
    ----------
    features : name -> [images, d]
    recording : responses, and the image that each belongs to

    Returns
    -------
    Dataset with r [feature, target] and interval [feature, target, bound]
    """
    how = how or Evaluation()
    Y = np.asarray(recording.responses, dtype=np.float64)
    scored = [score(predict(X, recording, how), Y, how) for X in features.values()]
    return xr.Dataset(
        {
            "r": (("feature", "target"), np.array([r for r, _ in scored])),
            "interval": (("feature", "target", "bound"), np.array([interval for _, interval in scored])),
        },
        coords={"feature": list(features), "target": list(recording.labels), "bound": ["low", "high"]},
    )
