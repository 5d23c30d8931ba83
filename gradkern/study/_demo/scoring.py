"""How the demo scores features; nothing else uses this. Studies use `gradkern.encoding.score`.

The demo has 115 images, one row an image, and two targets. So few images are worth several random partitions into
folds, exact leave-one-out for the choice of alpha, and an interval over images beside every score. Its r is therefore
not the r of `gradkern.encoding.score` for the same features.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from gradkern.encoding._scale import check_first, unit_scale
from gradkern.errors import naming
from gradkern.recordings._recording import Recording
from gradkern.ridge._cross_val import cross_val_predict
from gradkern.ridge._cross_validation import CrossValidation
from gradkern.stats._correlation import weighted_correlation

_SELECTIONS = {
    "kfold": "5-fold cross-validation",
    "loo": "exact leave-one-out",
    "gcv": "generalised cross-validation",
}
_CROSS_VALIDATION = CrossValidation(selection="loo", alphas=tuple(float(alpha) for alpha in np.logspace(-6, 4, 31)))


@dataclass(frozen=True)
class DemoScoring:
    """How the demo scores features.

    Parameters
    ----------
    cv : folds of images, penalties and how they are chosen; partition number i has the seed `cv.seed + i`
    repeats : number of random partitions of the images into folds
    bootstraps : number of resamplings of the images for the interval
    """

    cv: CrossValidation = _CROSS_VALIDATION
    repeats: int = 4
    bootstraps: int = 1000

    def provenance(self) -> dict[str, Any]:
        """The settings in words, for the report and the file of scores."""
        alphas = self.cv.alphas
        return {
            "outer_folds": self.cv.folds,
            "repeats": self.repeats,
            "alpha_selection": _SELECTIONS[self.cv.selection],
            "alphas": f"{len(alphas)}, {min(alphas):g} to {max(alphas):g}, for features of unit size",
            "seed": self.cv.seed,
            "alphas_chosen": "inside each training part, for every target",
            "score": "Pearson r over the held-out images of a fold; mean over folds and repeats",
            "interval": f"95 %, bootstrap over images ({self.bootstraps} times), predictions as they are",
        }


@dataclass(frozen=True)
class HeldOut:
    """Predictions of every presentation by fits that did not see its image.

    Attributes
    ----------
    predictions : [repeats, n, targets]
    fold : [repeats, n], the fold that held a presentation out
    """

    predictions: np.ndarray
    fold: np.ndarray


@naming("demo")
def predict(X: Any, recording: Recording, scoring: DemoScoring) -> HeldOut:
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
    check_first("demo", recording)
    rows, images = unit_scale(X)[recording.image_ids], recording.image_ids
    repeated = len(np.unique(images)) < len(rows)
    if repeated and scoring.cv.selection != "kfold":
        raise ValueError(
            f"selection must be 'kfold' for repeated images, got {scoring.cv.selection!r}: it leaves out one "
            "presentation while others of its image stay in"
        )
    predictions = np.empty((scoring.repeats, *recording.responses.shape))
    fold = np.empty((scoring.repeats, len(rows)), dtype=np.int64)
    for repeat in range(scoring.repeats):
        cv = replace(scoring.cv, seed=scoring.cv.seed + repeat)
        predictions[repeat] = cross_val_predict(rows, recording.responses, cv=cv, groups=images)
        for number, (_, test) in enumerate(cv.split(rows, groups=images)):
            fold[repeat, test] = number
    return HeldOut(predictions, fold)


def r_with_interval(held_out: HeldOut, Y: np.ndarray, scoring: DemoScoring) -> tuple[np.ndarray, np.ndarray]:
    """Mean over folds and repeats of r within a fold's held-out images, and its 95 % interval.

    r is taken within a fold because the mean of a training set is high where that of the images left out is low:
    pooled over folds, predictions of what cannot be predicted correlate negatively. A prediction that does not vary
    predicts nothing: its r is 0.

    Parameters
    ----------
    Y : [n, targets], measured

    Returns
    -------
    r : [targets]
    interval : [targets, 2], 2.5 % and 97.5 % quantiles
    """
    n, bootstraps = len(Y), scoring.bootstraps
    drawn = np.random.default_rng(scoring.cv.seed).multinomial(n, np.full(n, 1 / n), size=bootstraps)
    counts, every, r, resampled = drawn.astype(np.float64), np.ones((1, n)), [], []
    for predictions, fold in zip(held_out.predictions, held_out.fold, strict=True):
        for number in range(scoring.cv.folds):
            test = fold == number
            r.append(weighted_correlation(Y[test], predictions[test], every[:, test])[0])
            again = weighted_correlation(Y[test], predictions[test], counts[:, test])
            # a resampling of few images may hold one alone, which has no correlation
            resampled.append(np.where(np.isnan(again), 0.0, again))
    interval = np.quantile(np.mean(resampled, axis=0), [0.025, 0.975], axis=0).T
    return np.mean(r, axis=0), interval


def score_features(features: Mapping[str, Any], recording: Recording, scoring: DemoScoring | None = None) -> xr.Dataset:
    """Score several feature spaces against a recording.

    Parameters
    ----------
    features : name -> [images, d]
    recording : responses, and the image that each belongs to

    Returns
    -------
    Dataset with r [feature, target] and interval [feature, target, bound]
    """
    scoring = scoring or DemoScoring()
    Y = np.asarray(recording.responses, dtype=np.float64)
    scored = [r_with_interval(predict(X, recording, scoring), Y, scoring) for X in features.values()]
    return xr.Dataset(
        {
            "r": (("feature", "target"), np.array([r for r, _ in scored])),
            "interval": (("feature", "target", "bound"), np.array([interval for _, interval in scored])),
        },
        coords={"feature": list(features), "target": list(recording.labels), "bound": ["low", "high"]},
    )
