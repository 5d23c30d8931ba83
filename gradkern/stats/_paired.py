"""Do gradients predict more than a control, and do they add something that it lacks? These are two questions.

`encoding.partial_permutation_test` answers the second one: everything that a linear readout of the control predicts is
taken out first. It does not say which of the two is better. Two features that carry the same signal under noise of
their own each add something to the other, and a control that predicts twice as well may still lack a part.
`paired_test` answers the first one, and does not see what is shared: of two features that predict equally well neither
predicts more, whatever else they carry. Gradients that are worth more than their control pass both tests.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradkern.errors import Refused, naming
from gradkern.stats._bootstrap import Floats, Scores
from gradkern.stats._intervals import Interval, cross, crossed_interval, interval, interval_p
from gradkern.stats._summary import Summary


@dataclass(frozen=True, eq=False, repr=False)
class PairedTest(Summary):
    """By how much one feature space predicts more than another.

    Attributes
    ----------
    value : mean over targets and subjects of the difference in held-out r
    by_subject : [s], the difference of every subject
    interval : over images, and over subjects where there are several
    p : one-sided, of the null hypothesis that the first predicts no more in the mean of these subjects, over images; it
        says nothing about other subjects. NaN where more than 5 % of the resamplings have no value
    smallest_p : the smallest attainable p
    """

    value: float
    by_subject: Floats
    interval: Interval
    p: float
    smallest_p: float


@naming("paired_test")
def paired_test(
    first: Sequence[Scores], second: Sequence[Scores], folds: int, *, confidence: float = 0.95, seed: int = 0
) -> PairedTest:
    """Test whether one feature space predicts more than another.

    Images of all subjects are resampled together: what is particular to an image in the features is the same for all
    subjects, so that their p values are not independent and cannot be combined as such.

    Resamplings keep the fitted predictions, so they know nothing of what other training images would have done. Their
    deviations are therefore stretched by sqrt(1 + f / (f - 1)), 1.5 for 5 folds (Nadeau and Bengio). Of two feature
    spaces with the same information (40 and 100 features, 100 and 300 images), the first predicted more at a level of
    5 % in 11 to 13 % of the cases without that, and in at most 5 % with it.

    Parameters
    ----------
    first, second : of each subject, r [1, v] and its resamplings [b, 1, v], both of the same targets and resamplings;
        for subjects who saw the same images, drawn by one `resample_images`
    folds : number of folds that the images were cut into
    confidence : of the interval
    seed : of the resampling of subjects

    Raises
    ------
    Refused : a target without a score
    ValueError : no subjects, different ones, several layers, different targets or resamplings

    Notes
    -----
    Nadeau and Bengio (2003), Machine Learning 52:239.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> scores = [Scores(rng.random((1, 5)), rng.random((20, 1, 5)), 60) for _ in range(2)]
    >>> paired_test(scores[:1], scores[1:], 5).by_subject.shape
    (1,)
    """
    _check(first, second, folds)
    pairs = list(zip(first, second, strict=True))
    own = np.array([float((one.r - other.r).mean()) for one, other in pairs])
    resampled = np.stack([(one.resampled - other.resampled).mean((1, 2)) for one, other in pairs])
    resampled = own[:, None] + np.sqrt(1 + folds / (folds - 1)) * (resampled - own[:, None])
    value, (s, b), over = float(own.mean()), resampled.shape, f"{first[0].images} images"
    table = np.column_stack([own, resampled])
    drawn = cross(lambda chosen, i: table[chosen, i].mean(), s, b, seed)
    around = interval(value, drawn.images, over, bound=2, confidence=confidence)
    p = interval_p(value, around, drawn.images)
    if s > 1:
        around = crossed_interval(value, drawn, s, f"{over} and {s} subjects", bound=2, confidence=confidence)
    return PairedTest(value, own, around, p, 1 / (2 * (1 + b)))


def _check(first: Sequence[Scores], second: Sequence[Scores], folds: int) -> None:
    if not first or len(first) != len(second):
        raise ValueError(
            f"first and second must be of the same subjects, at least one, got {len(first)} and {len(second)}"
        )
    if folds < 2:
        raise ValueError(f"folds must be at least 2, got {folds}")
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        sizes = [(scores.resampled.shape, scores.images, scores.kind) for scores in (one, other)]
        if sizes[0] != sizes[1] or one.kind != "bootstrap" or one.r.shape[0] != 1:
            raise ValueError(
                f"first and second must be of one layer, the same targets and bootstrap, got {sizes[0]} and {sizes[1]} "
                f"of subject {number}"
            )
        missing = int((np.isnan(one.r) | np.isnan(other.r)).sum())
        if missing:
            raise Refused(f"every target must have a score, got none of {missing} of subject {number}")
    resamplings = {(len(scores.resampled), scores.images) for scores in first}
    if len(resamplings) > 1:
        raise ValueError(f"subjects must have the same resamplings and images, got {resamplings}")
