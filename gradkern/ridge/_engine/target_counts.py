"""Warnings about targets, each said once with a count, at the line that called gradkern."""

import sys
import warnings

from torch import Tensor

_NOT_THE_CALLER = ("gradkern", "contextlib", "torch")


def warn(verb: str, sentence: str) -> None:
    """Warn with the name of the public verb, at the innermost line outside gradkern and its decorators."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _NOT_THE_CALLER:
        frame, level = frame.f_back, level + 1
    warnings.warn(f"{verb}: {sentence}", stacklevel=level)


class TargetCounts:
    """Counts the targets that have no score, or a score from some folds only."""

    def __init__(self) -> None:
        self.n_targets = self.constant = self.unscored = self.partly = self.missing = 0

    def add(self, score: Tensor, undefined: Tensor, constant: Tensor, missing: Tensor) -> None:
        """Count a block of targets; all arguments are [b], as in `Solution`."""
        unscored = score.isnan()
        self.n_targets += len(unscored)
        self.missing += int(missing.sum())
        self.constant += int(constant.sum())
        self.unscored += int((unscored & ~constant & ~missing).sum())
        self.partly += int((~unscored & (undefined > 0)).sum())

    def check_any_complete(self) -> None:
        """ValueError where every target holds a NaN."""
        if self.missing == self.n_targets:
            raise ValueError(f"Y must have a target without NaN, got none among {self.n_targets}")

    def sentences(self) -> list[str]:
        """One sentence for each kind of target that was counted."""
        return [
            f"{count} of {self.n_targets} targets {predicate}"
            for count, predicate in (
                (self.missing, "hold NaN; their scores, alphas and coefficients are NaN"),
                (self.constant, "are constant; their scores are NaN and their coefficients 0"),
                (
                    self.unscored,
                    "vary but have no defined score; their scores are NaN and their alpha is the largest",
                ),
                (
                    self.partly,
                    "have no defined score in some folds, where responses or predictions do not vary; "
                    "their scores are means over the other folds",
                ),
            )
            if count
        ]
