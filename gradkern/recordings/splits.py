"""Which presentations train and which test: no image is ever in both."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from gradkern.recordings.recording import Recording

Split = tuple[NDArray[np.int64], NDArray[np.int64]]
KINDS = ("image", "concept", "session")


def folds(recording: Recording, by: str = "image", n_folds: int = 5, seed: int = 0) -> list[Split]:
    """Random folds (train, test) that keep all presentations of an image, concept or session together.

    Images seen again in other sessions are left out of training where a session of theirs is tested.

    Raises
    ------
    ValueError : fewer images, concepts or sessions than folds; nothing left to train on
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
    return [_apart(recording, train, test, "folds") for train, test in splitter.split(rows, groups=groups)]


def published(recording: Recording, zero_shot: bool = False) -> Split:
    """(train, test) as the data set's authors split its images: of NSD, the shared 1,000 are the test set.

    Parameters
    ----------
    zero_shot : whether to leave the test images' concepts out of training

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
    return _apart(recording, train, test, "published")


def _apart(recording: Recording, train: NDArray[Any], test: NDArray[Any], op: str) -> Split:
    seen = np.isin(recording.image_ids[train], recording.image_ids[test])
    train = train[~seen]
    if not len(train) or not len(test):
        raise ValueError(f"{op}: presentations must be left to train and to test, got {len(train)} and {len(test)}")
    return train, test
