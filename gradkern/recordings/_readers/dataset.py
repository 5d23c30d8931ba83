"""What the readers share: the subject check, the provenance, targets without data."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern.recordings._formats.files import Folder
from gradkern.recordings._responses.lazy import ChosenTargets, Responses

THINGS_DATA = "Hebart et al. (2023), eLife 12:e82580"
GLMSINGLE = "Prince et al. (2022), eLife 11:e77599"
PUBLIC_DATA = "CC0 (data); images by their own terms"
NSD_AGREEMENT = "NSD Data Access Agreement; not to be passed on"


@dataclass(frozen=True)
class DataSet:
    """A published data set.

    Parameters
    ----------
    name, citation, license : words for `Recording.provenance`
    source : where its files can be downloaded
    subjects : numbers of its subjects
    """

    name: str
    citation: str
    license: str
    source: str
    subjects: Sequence[int]

    def open(self, folder: Any, subject: int) -> Folder:
        """The folder that the files of a subject are read from.

        Raises
        ------
        ValueError : the data set has no such subject
        FileNotFoundError : the folder is missing
        """
        if subject not in self.subjects:
            first, last = min(self.subjects), max(self.subjects)
            gaps = len(self.subjects) < last - first + 1
            known = f"one of {tuple(self.subjects)}" if gaps else f"{first} to {last}"
            raise ValueError(f"subject must be {known}, got {subject!r}")
        return Folder(folder, self.source)

    def provenance(self, folder: Folder, **details: Any) -> dict[str, Any]:
        """`Recording.provenance` of what was read from the folder."""
        about = {"dataset": self.name, "citation": self.citation, "licence": self.license}
        return {**about, **details, "files": folder.hashes()}


def check_choice(name: str, value: Any, choices: Collection[Any]) -> None:
    """Raise a ValueError unless the argument is one of the choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {tuple(choices)}, got {value!r}")


def sorted_sessions(sessions: Sequence[int], last: int | None = None) -> list[int]:
    """The requested sessions in order: different whole numbers, from 1 to `last` if there is a last one.

    Raises
    ------
    ValueError : other numbers
    """
    chosen = np.asarray(sessions)
    if chosen.ndim != 1 or not len(chosen) or chosen.dtype.kind not in "iu" or len(set(chosen.tolist())) < len(chosen):
        raise ValueError(f"sessions must be different whole numbers, got {sessions!r}")
    if last is not None and (chosen.min() < 1 or chosen.max() > last):
        raise ValueError(f"sessions must lie in 1..{last}, got {sessions!r}")
    return sorted(chosen.tolist())


def measured_targets(
    responses: Responses,
    targets: pd.DataFrame,
    measured: NDArray[np.bool_],
    ncsnr: NDArray[Any] | None = None,
    reason: str = "without data in some session",
) -> dict[str, Any]:
    """Arguments of `Recording`: only targets that were measured, bool [v]; the others are counted in `excluded`."""
    count = int((~measured).sum())
    return {
        "responses": ChosenTargets(responses, np.flatnonzero(measured)) if count else responses,
        "targets": targets[measured],
        "ncsnr": None if ncsnr is None else ncsnr[measured],
        "excluded": (Excluded("targets", count, reason),) if count else (),
    }


def ncsnr_of_percent(name: Any, percent: Any, repeats: int = 1) -> NDArray[np.float64]:
    """`ncsnr` [v] of a noise ceiling in percent of the variance of a mean over `repeats` presentations.

    `name` is that of the file or column, for the message.

    Raises
    ------
    ValueError : a number below 0 or not below 100
    """
    share = np.asarray(percent).astype(np.float64) / 100
    low, high = np.nanmin(share), np.nanmax(share)
    if high >= 1 or low < 0:
        raise ValueError(f"{name} must be percent, 0 to 100, got {100 * low:g} to {100 * high:g}")
    ncsnr: NDArray[np.float64] = np.sqrt(share / (1 - share) / repeats)
    return ncsnr
