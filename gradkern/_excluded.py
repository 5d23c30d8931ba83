"""Data that were left out, and why."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Excluded:
    """A number of data that were left out.

    Parameters
    ----------
    what : "targets", "presentations" and the like
    count : how many were left out
    reason : why, in words
    """

    what: str
    count: int
    reason: str
