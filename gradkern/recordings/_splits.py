"""Training and test presentations: no image is ever in both."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from gradkern.errors import Refused, naming
from gradkern.recordings._recording import SLACK, Recording, number_runs

Split = tuple[NDArray[np.int64], NDArray[np.int64]]
FOLD_GROUPS = ("image", "concept", "session")


@naming("folds")
def folds(
    recording: Recording, by: str = "image", n_folds: int = 5, seed: int = 0, gap: float | None = None
) -> list[Split]:
    """Random folds (train, test) that keep all presentations of an image, concept or session together.

    With sessions (leave-session-out), images of a tested session that were shown in other sessions too are left out of
    training.

    Parameters
    ----------
    by : "image", "concept" or "session"
    gap : temporal buffer in seconds: training epochs that begin or end less than this from a tested epoch of their run
        are left out. 0 leaves out those that overlap with a tested epoch; use more if noise lasts longer, as below a
        high-pass of 0.1 Hz. None keeps all

    Raises
    ------
    ValueError : `by`, `n_folds` or `gap` is not allowed
    Refused : there are fewer images, concepts or sessions than folds, no training data are left, or the groups, or for
        a gap the onsets, runs or times, are unknown

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from gradkern.recordings import Recording, folds
    >>> table, label = pd.DataFrame({"image": [0, 1, 2, 3, 0, 1, 2, 3]}), pd.DataFrame({"label": ["v", "w"]})
    >>> recording = Recording(np.random.default_rng(0).random((8, 2)), table, label, "s", "u")
    >>> [test.shape for _, test in folds(recording, n_folds=2)]
    [(4,), (4,)]
    """
    if by not in FOLD_GROUPS:
        raise ValueError(f"by must be one of {FOLD_GROUPS}, got {by!r}")
    _check_columns(recording.presentations, (by,))
    groups = recording.presentations[by].to_numpy()
    count = len(np.unique(groups))
    if not 2 <= n_folds <= count:
        kind = ValueError if n_folds < 2 else Refused
        raise kind(f"n_folds must lie in 2..{count}, the number of {by}s, got {n_folds}")
    splitter = GroupKFold(n_folds, shuffle=True, random_state=seed)
    rows = np.zeros(len(groups))
    return [_separated(recording, train, test, gap) for train, test in splitter.split(rows, groups=groups)]


@naming("published")
def published(recording: Recording, zero_shot: bool = False, gap: float | None = None) -> Split:
    """The authors' split of the images, as (train, test); the test images of NSD are the shared 1,000.

    Parameters
    ----------
    zero_shot : whether to leave the concepts of the test images out of training
    gap : temporal buffer in seconds: see `folds`

    Raises
    ------
    Refused : "split" (or "concept") is unknown, an image is in both parts, or a part is empty

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from gradkern.recordings import Recording, published
    >>> table = pd.DataFrame({"image": [0, 1, 2], "split": ["train", "train", "test"]})
    >>> train, test = published(Recording(np.ones((3, 1)), table, pd.DataFrame({"label": ["v"]}), "s", "u"))
    >>> train.shape, test.shape
    ((2,), (1,))
    """
    table = recording.presentations
    _check_columns(table, ("split", "concept") if zero_shot else ("split",))
    train, test = (np.flatnonzero(table["split"] == name) for name in ("train", "test"))
    both = np.intersect1d(recording.image_ids[train], recording.image_ids[test])
    if len(both):
        raise Refused(f"an image must be in training or test, got {len(both)} in both")
    if zero_shot:
        tested = set(table["concept"].iloc[test])
        train = train[~table["concept"].iloc[train].isin(tested).to_numpy()]
    return _separated(recording, train, test, gap)


def _check_columns(table: pd.DataFrame, names: tuple[str, ...], purpose: str = "") -> None:
    for name in names:
        if name not in table:
            raise Refused(f"{name!r} must be known{purpose}, got only {list(table.columns)}")


def _separated(recording: Recording, train: NDArray[Any], test: NDArray[Any], gap: float | None) -> Split:
    """The split without training presentations of tested images, or inside the temporal buffer."""
    train = train[~np.isin(recording.image_ids[train], recording.image_ids[test])]
    if gap is not None:
        train = train[~_near(recording.presentations, train, test, _epoch_length(recording, gap) + gap)]
    if not len(train) or not len(test):
        raise Refused(f"presentations must be left to train and to test, got {len(train)} and {len(test)}")
    return train, test


def _epoch_length(recording: Recording, gap: float) -> float:
    """Length of an epoch in s, once it is known that a gap can be kept."""
    if not (np.isfinite(gap) and gap >= 0):
        raise ValueError(f"gap must be seconds, 0 or more, or None, got {gap!r}")
    presentations = recording.presentations
    _check_columns(presentations, ("onset", "run"), " for a gap")
    _check_columns(recording.targets, ("time",), " for a gap")
    if not np.isfinite(presentations["onset"]).all():
        unknown = presentations["onset"].isna().sum()
        raise Refused(f"every 'onset' must be known for a gap, got none for {unknown}")
    return float(np.ptp(recording.targets["time"]))


def _near(
    presentations: pd.DataFrame, rows: NDArray[np.int64], others: NDArray[np.int64], distance: float
) -> NDArray[np.bool_]:
    """Whether the onset of each of `rows` lies within `distance` s of an onset of `others` in the same run."""
    if not len(others):
        return np.zeros(len(rows), dtype=bool)
    onset = presentations["onset"].to_numpy(dtype=np.float64)
    # all runs on one time axis, too far apart to meet
    time = onset - onset.min() + number_runs(presentations) * (np.ptp(onset) + distance + 1)
    sorted_times = np.sort(time[others])
    following = np.searchsorted(sorted_times, time[rows])
    before = np.abs(time[rows] - sorted_times[np.maximum(following - 1, 0)])
    after = np.abs(time[rows] - sorted_times[np.minimum(following, len(sorted_times) - 1)])
    near: NDArray[np.bool_] = np.minimum(before, after) <= distance + SLACK
    return near
