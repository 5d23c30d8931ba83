"""Whether one subject carries a result: the mean over subjects without each of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.errors import Refused, naming
from gradkern.stats._arguments import check_confidence
from gradkern.stats._intervals import over_subjects
from gradkern.stats._summary import Summary

_LEAST_LEFT = 3  # subjects, of whom an interval can exclude 0


@dataclass(frozen=True, eq=False, repr=False)
class LeaveOneOut(Summary):
    """Means over subjects without each of them.

    Attributes
    ----------
    subjects : [s], their names
    mean : over all subjects
    without : [s], the mean without each subject
    low, high : [s], Student's interval of each of these means; NaN for 2 subjects, of whom one is left
    significant : whether the interval of all subjects excludes 0
    carries : bool [s], whether the result hangs on a subject: without it the mean has another sign or less than half
        its size, or is smaller and its interval contains 0, which that of all subjects excluded (where at least 3 are
        left)
    confidence : of the intervals
    """

    subjects: tuple[str, ...]
    mean: float
    without: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    significant: bool
    carries: NDArray[np.bool_]
    confidence: float = 0.95

    @property
    def brief(self) -> str:
        """In one line: the smallest and the largest mean, and the subjects that carry the result."""
        names = [name for name, carries in zip(self.subjects, self.carries, strict=True) if carries]
        hangs = f"; it hangs on {', '.join(names)}" if names else ""
        return f"without one subject {self.without.min():.3g} to {self.without.max():.3g}{hangs}"


@naming("leave_one_out")
def leave_one_out(values: Any, subjects: Any = None, *, confidence: float = 0.95) -> LeaveOneOut:
    """Compute the mean over subjects without each of them, and find the subjects that a result hangs on.

    Parameters
    ----------
    values : [s], a value per subject
    subjects : [s], their names; None: 0, 1, ...
    confidence : of the intervals, Student's over subjects (`over_subjects`)

    Raises
    ------
    Refused : fewer than 2 subjects
    ValueError : values that are not finite, as many names as there are no subjects, a confidence outside 0 to 1

    Examples
    --------
    >>> leave_one_out([0.1, 0.2, 0.3]).without.shape
    (3,)
    """
    check_confidence(confidence)
    own = np.asarray(values, dtype=np.float64)
    if own.ndim != 1 or not np.isfinite(own).all():
        raise ValueError(f"values must be finite [subjects], got {own.tolist()}")
    if len(own) < 2:
        raise Refused(f"values must be of at least 2 subjects, got {len(own)}")
    names = tuple(str(name) for name in (range(len(own)) if subjects is None else subjects))
    if len(names) != len(own):
        raise ValueError(f"subjects must be {len(own)} names, got {len(names)}")

    rest = [np.delete(own, left) for left in range(len(own))]
    without = np.array([kept.mean() for kept in rest])
    intervals = [over_subjects(kept, confidence=confidence) if len(kept) > 1 else None for kept in rest]
    low, high = (np.array([getattr(found, name, np.nan) for found in intervals]) for name in ("low", "high"))
    mean, significant = float(own.mean()), not over_subjects(own, confidence=confidence).contains_zero
    carries = without * np.sign(mean) < np.abs(mean) / 2
    if significant and len(own) > _LEAST_LEFT:
        smaller = without * np.sign(mean) < np.abs(mean)
        carries |= smaller & (low <= 0) & (high >= 0)
    return LeaveOneOut(names, mean, without, low, high, significant, carries, confidence)
