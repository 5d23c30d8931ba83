"""Which presentations train and which test: no image is ever in both."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from gradkern.recordings._overlap import near
from gradkern.recordings._recording import Recording

Split = tuple[NDArray[np.int64], NDArray[np.int64]]
KINDS = ("image", "concept", "session")


def folds(
    recording: Recording, by: str = "image", n_folds: int = 5, seed: int = 0, gap: float | None = None
) -> list[Split]:
    """Random folds (train, test) that keep all presentations of an image, concept or session together.

    Images seen again in other sessions are left out of training where a session of theirs is tested.

    Parameters
    ----------
    gap : leave out of training every epoch with less than so many seconds between it and a tested epoch of its run. At
        0 those go that have samples in common with one; more where noise lasts, as below a high-pass of 0.1 Hz. By
        default none goes: neighbours of tested epochs train

    Raises
    ------
    ValueError : fewer images, concepts or sessions than folds; nothing left to train on; a gap where onsets in their
        runs or times are not known
    """
    if by not in KINDS:
        raise ValueError(f"folds: by must be one of {KINDS}, got {by!r}")
    if by not in recording.presentations:
        raise ValueError(f"folds: {by!r} must be known, got only {list(recording.presentations.columns)}")
    groups = recording.presentations[by].to_numpy()
    count = len(np.unique(groups))
    if not 2 <= n_folds <= count:
        raise ValueError(f"folds: n_folds must lie in 2..{count}, the number of {by}s, got {n_folds}")
    splitter = GroupKFold(n_folds, shuffle=True, random_state=seed)
    rows = np.zeros(len(groups))
    return [_apart(recording, train, test, "folds", gap) for train, test in splitter.split(rows, groups=groups)]


def published(recording: Recording, zero_shot: bool = False, gap: float | None = None) -> Split:
    """(train, test) as the data set's authors split its images: of NSD, the shared 1,000 are the test set.

    Parameters
    ----------
    zero_shot : whether to leave the test images' concepts out of training
    gap : see `folds`

    Raises
    ------
    ValueError : the recording does not tell "split", or an image is in both; nothing left
    """
    table = recording.presentations
    needed = ("split", "concept") if zero_shot else ("split",)
    for name in needed:
        if name not in table:
            raise ValueError(f"published: {name!r} must be known, got only {list(table.columns)}")
    train, test = (np.flatnonzero(table["split"] == name) for name in ("train", "test"))
    both = np.intersect1d(recording.image_ids[train], recording.image_ids[test])
    if len(both):
        raise ValueError(f"published: an image must be in training or test, got {len(both)} in both")
    if zero_shot:
        tested = set(table["concept"].iloc[test])
        train = train[~table["concept"].iloc[train].isin(tested).to_numpy()]
    return _apart(recording, train, test, "published", gap)


def _apart(recording: Recording, train: NDArray[Any], test: NDArray[Any], op: str, gap: float | None) -> Split:
    train = train[~np.isin(recording.image_ids[train], recording.image_ids[test])]
    if gap is not None:
        train = train[~near(recording.presentations, train, test, _length(recording, op, gap) + gap)]
    if not len(train) or not len(test):
        raise ValueError(f"{op}: presentations must be left to train and to test, got {len(train)} and {len(test)}")
    return train, test


def _length(recording: Recording, op: str, gap: float) -> float:
    """Of an epoch, in s."""
    if not (np.isfinite(gap) and gap >= 0):
        raise ValueError(f"{op}: gap must be seconds, 0 or more, or None, got {gap!r}")
    shown, targets = recording.presentations, recording.targets
    for name, table in (("onset", shown), ("run", shown), ("time", targets)):
        if name not in table:
            raise ValueError(f"{op}: {name!r} must be known for a gap, got only {list(table.columns)}")
    if not np.isfinite(shown["onset"]).all():
        raise ValueError(f"{op}: every 'onset' must be known for a gap, got none for {shown['onset'].isna().sum()}")
    return float(np.ptp(targets["time"]))
