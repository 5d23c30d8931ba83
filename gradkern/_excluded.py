"""What was left out of data, and why."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Excluded:
    """So many `what` ("targets", "presentations") left out, and why."""

    what: str
    count: int
    reason: str
