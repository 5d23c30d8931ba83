"""How epochs were made of raw data, as their own file tells it."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Self

_OPENS = '{"gradkern epochs": '


@dataclass(frozen=True)
class Making:
    """Goes into `info["description"]` of mne's epochs, as JSON.

    Parameters
    ----------
    onset : where onsets come from
    units : of the samples
    history : what was done to the raw data, in words
    excluded : how many presentations have no epoch, and why
    files : fingerprints of the raw files, by their paths in the data set
    """

    onset: str
    units: str
    history: tuple[str, ...]
    excluded: tuple[tuple[int, str], ...] = ()
    files: dict[str, str] = field(default_factory=dict)

    def written(self) -> str:
        return f"{_OPENS}{json.dumps(asdict(self))}}}"

    @classmethod
    def read(cls, description: Any) -> Self | None:
        """None of what others wrote."""
        if not isinstance(description, str) or not description.startswith(_OPENS):
            return None
        found = json.loads(description)["gradkern epochs"]
        excluded = tuple((count, reason) for count, reason in found["excluded"])
        return cls(found["onset"], found["units"], tuple(found["history"]), excluded, found["files"])
