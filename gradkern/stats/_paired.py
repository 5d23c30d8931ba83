"""Do gradients predict more than a control, and do they tell something that it does not? Two questions.

`unique.partial_permutation_test` answers the second: it is blind to all that a linear readout of the control knows. It
says nothing
of which is better: of two features that carry the same signal under noise of their own, each tells something beyond the
other, and a control that predicts twice as well may still lack a part. `paired_test` answers the first, and is blind to
what is shared: of features that predict alike neither predicts more, whatever else they tell. A gradient that is worth
more than its control does both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradkern.stats._bootstrap import Floats, Scores
from gradkern.stats._intervals import Interval, cross, crossed_interval, interval, one_sided


@dataclass(frozen=True, eq=False)
class PairedTest:
    """By how much one feature space predicts more than another.

    Attributes
    ----------
    value : mean over targets and subjects of the difference in held-out r
    each : [s], of every subject
    interval : of 95 %, over images, and over subjects where there are several
    p : one-sided, that in the mean of these subjects the first predicts no more, over images; of other subjects it says
        nothing; NaN where more than 5 % of the resamplings have no value
    smallest_p : under which it cannot go
    """

    value: float
    each: Floats
    interval: Interval
    p: float
    smallest_p: float


def paired_test(first: Sequence[Scores], second: Sequence[Scores], folds: int, *, seed: int = 0) -> PairedTest:
    """Test whether one feature space predicts more than another.

    Images of all subjects are resampled together: what an image has of its own in the features, all of them share, so
    that their p are not independent and cannot be combined as such.

    Resamplings keep the fitted predictions, so they know nothing of what other training images would have done. Their
    deviations are therefore stretched by sqrt(1 + f / (f - 1)), 1.5 for 5 folds (Nadeau and Bengio): of two feature
    spaces with the same information (40 and 100 features, 100 and 300 images) the first predicted more, at a level of
    5 %, in 11 to 13 % of the cases without that, and in at most 5 % with it.

    Parameters
    ----------
    first, second : of each subject, r [1, v] and its resamplings [b, 1, v], both of the same targets and resamplings;
        of subjects who saw the same images drawn by one `resample_images`
    folds : into which the images were cut
    seed : of the resampling of subjects

    Raises
    ------
    ValueError : no subjects, not the same ones, several layers, other targets or resamplings, a target without a score

    Notes
    -----
    Nadeau and Bengio (2003), Machine Learning 52:239.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> scores = [Scores(rng.random((1, 5)), rng.random((20, 1, 5)), 60) for _ in range(2)]
    >>> paired_test(scores[:1], scores[1:], 5).each.shape
    (1,)
    """
    _check(first, second, folds)
    each = np.array([float((one.r - other.r).mean()) for one, other in zip(first, second, strict=True)])
    at = np.stack([(one.resampled - other.resampled).mean((1, 2)) for one, other in zip(first, second, strict=True)])
    at = each[:, None] + np.sqrt(1 + folds / (folds - 1)) * (at - each[:, None])
    value, (s, b), over = float(each.mean()), at.shape, f"{first[0].images} images"
    table = np.column_stack([each, at])
    drawn = cross(lambda some, i: table[some, i].mean(), s, b, seed)
    found = interval(value, drawn.images, over, bound=2)
    p = one_sided(value, found, drawn.images, 1)
    if s > 1:
        found = crossed_interval(value, drawn, s, f"{over} and {s} subjects", bound=2)
    return PairedTest(value, each, found, p, 1 / (2 * (1 + b)))


def _check(first: Sequence[Scores], second: Sequence[Scores], folds: int) -> None:
    if not first or len(first) != len(second):
        raise ValueError(
            f"paired_test: first and second must be of the same subjects, at least one, got {len(first)} and "
            f"{len(second)}"
        )
    if folds < 2:
        raise ValueError(f"paired_test: folds must be at least 2, got {folds}")
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        made = [(scores.resampled.shape, scores.images, scores.kind) for scores in (one, other)]
        if made[0] != made[1] or one.kind != "bootstrap" or one.r.shape[0] != 1:
            raise ValueError(
                f"paired_test: first and second must be of one layer, the same targets and bootstrap, got {made[0]} "
                "and "
                f"{made[1]} of subject {number}"
            )
        missing = int((np.isnan(one.r) | np.isnan(other.r)).sum())
        if missing:
            raise ValueError(f"paired_test: every target must have a score, got none of {missing} of subject {number}")
    drawn = {(len(scores.resampled), scores.images) for scores in first}
    if len(drawn) > 1:
        raise ValueError(f"paired_test: subjects must have the same resamplings and images, got {drawn}")
