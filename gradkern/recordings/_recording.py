"""Responses of one subject to images, with tables of the presentations and of the targets."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._display import Rows, as_html, as_text
from gradkern._excluded import Excluded
from gradkern._places import hemispheres
from gradkern.errors import Refused, naming
from gradkern.recordings._formats.names import different_names, other_names
from gradkern.recordings._maps.geometry import Geometry
from gradkern.recordings._responses.lazy import Averaged, ChosenPresentations, ChosenTargets, Responses, ZScored
from gradkern.recordings._responses.out_of_core import as_responses

SLACK = 1e-9  # s, since times are rounded
_BYTES_AT_ONCE = 2**30  # a row of such a block is 36 KB in an NSD subject; disks read shorter pieces slowly


@dataclass(frozen=True, eq=False, repr=False)
class Recording:
    """Responses [presentations, targets] of one subject, read when they are needed.

    Selecting, z-scoring and averaging return a new recording and add a line to its `history`; none of them reads a
    response, except that averaging estimates an unknown ncsnr first.

    Parameters
    ----------
    responses : float [n, v], `Responses`, or an array, a memory map, or a dataset of HDF5 or Zarr
    presentations : one row per presentation (trial). "image" is the 0-based id of the image in the image source.
        Optional columns: "session", "run", "concept", "split" ("train" or "test") and "onset" in s within the run;
        "repeats", the number of presentations that the row is the mean of (default 1); "until_next", the time in s from
        this onset to that of the run's next presentation (NaN after the last), which is computed from "run" and "onset"
        if targets have times
    targets : one row per target, with different "label"s. Optional columns: "roi"; "i", "j", "k" (voxel) and "x", "y",
        "z" in mm; "vertex"; "hemisphere", "left" or "right", which lh, rh, L, R and the like become; "sensor" and
        "time" in s after onset
    subject, units : words
    space : the space that targets lie in, in words
    images : the image source, indexed by image id; each image is uint8 [h, w] or [h, w, 3]. None if it is elsewhere
    image_names : names of the images by id; None if they have only numbers
    ncsnr : [v], standard deviation of the signal divided by that of the noise of one presentation; NaN where unknown
    excluded : what was left out of the data, and why
    history : what was done to the responses, in words
    provenance : source, citation, licence, files and their hashes
    geometry : the grid, the mesh, the grayordinates or the sensors that targets are some of, for `save_maps`; None if
        it is not known

    Raises
    ------
    ValueError : shapes do not fit together or are empty, labels or names of images are not unique, image ids lie
        outside the images, there are names for other images, a hemisphere is neither left nor right, onsets are not
        numbers, or targets lie outside the geometry

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from gradkern import Recording
    >>> presentations = pd.DataFrame({"image": [0, 1, 0, 1], "session": [1, 1, 2, 2]})
    >>> targets = pd.DataFrame({"label": ["a", "b", "c"]})
    >>> recording = Recording(np.eye(4, 3), presentations, targets, subject="1", units="percent")
    >>> recording.zscore().average_repeats().responses.shape
    (2, 3)
    """

    responses: Responses
    presentations: pd.DataFrame
    targets: pd.DataFrame
    subject: str
    units: str
    space: str = ""
    images: Any = None
    image_names: tuple[str, ...] | None = None
    ncsnr: NDArray[Any] | None = None
    excluded: tuple[Excluded, ...] = ()
    history: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    geometry: Geometry | None = None

    @naming("Recording")
    def __post_init__(self) -> None:
        if not isinstance(self.responses, Responses):
            object.__setattr__(self, "responses", as_responses(self.responses))
        shape, dtype = tuple(self.responses.shape), self.responses.dtype
        if len(shape) != 2 or dtype.kind != "f":
            raise ValueError(f"responses must be float [presentations, targets], got {dtype} {list(shape)}")
        if not all(shape):
            raise ValueError(f"responses must have presentations and targets, got {list(shape)}")
        n, v = shape
        if "label" not in self.targets or len(self.targets) != v or not self.targets["label"].is_unique:
            different = self.targets["label"].nunique() if "label" in self.targets else "no column 'label'"
            raise ValueError(f"targets must be {v} different labels, got {different}")
        targets = self.targets.reset_index(drop=True)
        if "hemisphere" in targets:
            targets = targets.assign(hemisphere=hemispheres(targets["hemisphere"]))
        object.__setattr__(self, "targets", targets)
        if self.geometry is not None:
            if not isinstance(self.geometry, Geometry):
                raise TypeError(f"geometry must be a Geometry or None, got {type(self.geometry).__name__}")
            self.geometry.check(targets)
        self._check_presentations(n)
        if self.ncsnr is not None:
            self._check_ncsnr(v)
        if self.image_names is not None:
            self._check_names()
        for source in (self.images, self.image_names):
            if source is not None:
                self.check_images(len(source))
        if self.images is not None and self.image_names is not None and len(self.images) != len(self.image_names):
            raise ValueError(
                f"images must be those of image_names, in their order: {len(self.image_names)}, got {len(self.images)}"
            )

    def _check_names(self) -> None:
        """One name for one image, in one spelling, and that of its file where the image source has names."""
        names = different_names(tuple(map(str, self.image_names or ())))
        object.__setattr__(self, "image_names", names)
        sources = getattr(self.images, "names", None)
        if sources is None or len(sources) != len(names):
            return
        wrong = other_names(names, tuple(sources))
        if wrong:
            raise ValueError(
                f"images must be those of image_names, in their order, got {sources[wrong[0]]!r} for "
                f"{names[wrong[0]]!r}, and {len(wrong)} of {len(names)} in all"
            )

    def _check_ncsnr(self, v: int) -> None:
        ncsnr = np.array(self.ncsnr, dtype=np.float64)  # a copy, since the caller may change the array
        if ncsnr.shape != (v,):
            raise ValueError(f"ncsnr must be [{v}], got {list(ncsnr.shape)}")
        if (ncsnr < 0).any():
            raise ValueError(f"ncsnr must not be negative, got {np.nanmin(ncsnr):g}")
        object.__setattr__(self, "ncsnr", ncsnr)

    def _check_presentations(self, n: int) -> None:
        table = self.presentations.reset_index(drop=True)
        if "image" not in table or len(table) != n:
            got = f"{len(table)} rows" if "image" in table else f"columns {list(table.columns)}"
            raise ValueError(f"presentations must have {n} rows and a column 'image', got {got}")
        if "repeats" not in table:
            table["repeats"] = 1
        for name in ("image", "repeats"):
            if table[name].dtype.kind not in "iu":
                raise ValueError(f"{name!r} of presentations must be whole numbers, got {table[name].dtype}")
        if (table["repeats"] < 1).any():
            raise ValueError(f"'repeats' of presentations must be at least 1, got {table['repeats'].min()}")
        # computed before any presentation is left out, since those were shown too
        if "until_next" not in table and {"onset", "run"} <= set(table) and "time" in self.targets:
            if table["onset"].dtype.kind not in "iuf":
                raise ValueError(f"'onset' of presentations must be seconds, got {table['onset'].dtype}")
            table["until_next"] = _until_next(table)
        object.__setattr__(self, "presentations", table)

    def __repr__(self) -> str:
        return as_text(*self._summary())

    def _repr_html_(self) -> str:
        return as_html(*self._summary())

    def _summary(self) -> tuple[str, Rows]:
        n, v = self.responses.shape
        shown = f"{len(np.unique(self.image_ids))} shown"
        source = "" if self.images is None else f", {len(self.images)} in the image source"
        rows: Rows = [
            ("responses", f"{n} presentations x {v} targets, {self.responses.dtype}"),
            ("units", self.units),
            ("space", self.space or "unknown"),
            *([] if self.geometry is None else [("geometry", self.geometry.words)]),
            ("images", f"{shown}{source}"),
            ("presentations", ", ".join(map(str, self.presentations.columns))),
            ("targets", ", ".join(map(str, self.targets.columns))),
            *(("left out", f"{entry.count} {entry.what}: {entry.reason}") for entry in self.excluded),
            *(("history", line) for line in self.history),
        ]
        return f"Recording of subject {self.subject!r}", rows

    @property
    def image_ids(self) -> NDArray[np.int64]:
        """0-based ids in the image source, [n]."""
        ids: NDArray[np.int64] = self.presentations["image"].to_numpy()
        return ids

    @property
    def repeats(self) -> NDArray[np.int64]:
        """The number of presentations that each row is the mean of, [n]."""
        repeats: NDArray[np.int64] = self.presentations["repeats"].to_numpy()
        return repeats

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the targets."""
        return tuple(str(label) for label in self.targets["label"])

    @naming("Recording")
    def check_images(self, count: int) -> None:
        """Raise a ValueError if an image id lies outside an image source of `count` images."""
        low, high = (int(self.image_ids.min()), int(self.image_ids.max())) if len(self.image_ids) else (0, -1)
        if low < 0 or high >= count:
            raise ValueError(
                f"image_ids must lie in 0..{count - 1} for {count} images, got {low}..{high} "
                "(are they 1-based, or of another set of images?)"
            )

    def blocks(self, bytes_at_once: int = _BYTES_AT_ONCE) -> Iterator[tuple[slice, NDArray[Any]]]:
        """All responses in blocks of this size: a slice of the targets, and the block [n, b]."""
        n, v = self.responses.shape
        step = max(1, bytes_at_once // max(1, n * self.responses.dtype.itemsize))
        for start in range(0, v, step):
            columns = slice(start, min(start + step, v))
            yield columns, self.responses.columns(columns)

    def leave_out(self, excluded: Excluded) -> Self:
        """The recording with a note of what was left out of the data."""
        return replace(self, excluded=(*self.excluded, excluded))

    @naming("Recording")
    def select_targets(self, where: Any, reason: str) -> Self:
        """The targets of a mask, bool [v], or of a list of row numbers; `reason` goes into the history.

        Raises
        ------
        ValueError : the mask has another length, or a number is out of range
        Refused : no target is left
        """
        chosen = self._row_numbers("targets", where, len(self.targets))
        return replace(
            self._noted("targets", len(self.targets), len(chosen), reason),
            responses=ChosenTargets(self.responses, chosen),
            targets=self.targets.iloc[chosen],
            ncsnr=None if self.ncsnr is None else self.ncsnr[chosen],
        )

    @naming("Recording")
    def roi(self, *names: str) -> Self:
        """The targets of these regions.

        Raises
        ------
        ValueError : no target is in one of the regions
        Refused : targets have no "roi"
        """
        regions = set(self._column("roi", self.targets))
        for name in names:
            if name not in regions:
                raise ValueError(f"roi must be one of {sorted(map(str, regions))}, got {name!r}")
        return self.select_targets(self.targets["roi"].isin(names).to_numpy(), f"in {', '.join(names)}")

    @naming("Recording")
    def window(self, start: float, stop: float) -> Self:
        """The targets from `start` to `stop`, both included, in seconds after onset.

        Raises
        ------
        Refused : targets have no "time", or none lies in the window
        """
        time = self._column("time", self.targets)
        inside = (time >= start - SLACK) & (time <= stop + SLACK)
        return self.select_targets(inside, f"from {start:g} to {stop:g} s")

    @naming("Recording")
    def select_presentations(self, where: Any, reason: str) -> Self:
        """The presentations of a mask, bool [n], or of a list of row numbers; `reason` goes into the history.

        Raises
        ------
        ValueError : the mask has another length, or a number is out of range
        Refused : no presentation is left
        """
        chosen = self._row_numbers("presentations", where, len(self.presentations))
        return replace(
            self._noted("presentations", len(self.presentations), len(chosen), reason),
            responses=ChosenPresentations(self.responses, chosen),
            presentations=self.presentations.iloc[chosen],
        )

    @naming("Recording")
    def zscore(self) -> Self:
        """Every target z-scored within each session (ddof 0); NaN in a session where a target does not vary.

        Raises
        ------
        ValueError : repeats were averaged before
        Refused : the session of a presentation is unknown
        """
        sessions = self._column("session", self.presentations)
        if (self.repeats > 1).any():
            raise ValueError("zscore must come before repeats are averaged")
        if (unknown := pd.isna(sessions)).any():
            raise Refused(f"zscore must know every 'session', got none for {unknown.sum()} presentations")
        return replace(
            self,
            responses=ZScored(self.responses, sessions),
            units=f"standard deviations within a session, of {self.units}",
            history=(*self.history, f"z-scored within {_counted(len(np.unique(sessions)), 'session')}"),
        )

    @naming("Recording")
    def average_repeats(self, *, estimate: bool = True) -> Self:
        """One row per image, in the order of the ids: the mean of its presentations.

        Columns of `presentations` that differ between the presentations of an image are dropped.

        Parameters
        ----------
        estimate : estimate the ncsnr from the repeats first, as `estimate_ncsnr` does, if it is not known and an image
            was shown twice: means alone have no noise ceiling. This reads every response once.

        Raises
        ------
        ValueError : repeats were averaged before
        """
        if (self.repeats > 1).any():
            raise ValueError("average_repeats was done before")
        images, groups = np.unique(self.image_ids, return_inverse=True)
        counts = np.bincount(groups)
        low, high = int(counts.min()), int(counts.max())
        if estimate and high > 1 and self.ncsnr is None:
            from gradkern.recordings._noise_ceiling import estimate_ncsnr  # which imports this module

            known = replace(self, ncsnr=estimate_ncsnr(self), history=(*self.history, "ncsnr estimated from repeats"))
            return known.average_repeats()
        by_image = self.presentations.groupby("image")
        same = by_image.nunique(dropna=False).max() <= 1
        return replace(
            self,
            responses=Averaged(self.responses, groups),
            presentations=by_image.first()[list(same[same].index)].reset_index().assign(repeats=counts),
            history=(*self.history, _averaged(low, high, len(images))),
        )

    @naming("Recording")
    def overlaps(self) -> NDArray[np.bool_]:
        """Whether an epoch overlaps in time with the epoch of the run's next presentation, [n].

        Presentations that were left out later, such as catch trials, count too. `window` shortens epochs.

        Raises
        ------
        Refused : "until_next" or the times of targets are unknown
        """
        wait, time = self._column("until_next", self.presentations), self._column("time", self.targets)
        overlapping: NDArray[np.bool_] = wait <= np.ptp(time) + SLACK  # False for NaN, at the end of a run
        return overlapping

    @naming("Recording")
    def check(self) -> tuple[str, ...]:
        """Sentences about what looks wrong in the first targets; they do not prove that the rest is right.

        Raises
        ------
        ValueError : a response is infinite
        """
        n, v = self.responses.shape
        oddities = []
        block = self.responses.columns(slice(0, min(v, max(1, 2**22 // n))))
        if np.isinf(block).any():
            row, column = np.argwhere(np.isinf(block))[0]
            raise ValueError(f"responses must be finite, got inf at presentation {row}, target {self.labels[column]!r}")
        missing = int(np.isnan(block).any(0).sum())
        if missing:
            oddities.append(f"{missing} of the first {block.shape[1]} targets have NaN")
        constant = int((np.ptp(block, axis=0) == 0).sum())
        if constant:
            oddities.append(f"{constant} of the first {block.shape[1]} targets are constant")
        typical = float(np.nanmedian(np.abs(block))) if missing < block.shape[1] else np.nan
        if "percent" in self.units and typical > 50:
            oddities.append(
                f"responses are {typical:.0f} {self.units} in the median: were they stored as integers, x 300?"
            )
        return (*oddities, *self._at_one_onset(), *self._overlap())

    def _at_one_onset(self) -> tuple[str, ...]:
        table = self.presentations
        if not {"onset", "run"} <= set(table) or table["onset"].dtype.kind not in "iuf":
            return ()
        timed = table["onset"].notna()
        twice = pd.DataFrame({"run": number_runs(table), "onset": table["onset"]})[timed].duplicated().sum()
        return (f"{twice} presentations share run and onset with another: were they listed twice?",) if twice else ()

    def _overlap(self) -> tuple[str, ...]:
        if "until_next" not in self.presentations or "time" not in self.targets or not self.overlaps().any():
            return ()
        wait, time = self.presentations["until_next"], self.targets["time"]
        apart = f"epoch {np.ptp(time):g} s, onsets {wait.min():.3g} to {wait.max():.3g} s apart"
        return (
            f"{self.overlaps().sum()} of {len(wait)} epochs reach into the next presentation's ({apart}), "
            f"{(wait <= time.max() + SLACK).sum()} to its onset",
        )

    def _noted(self, what: str, before: int, after: int, reason: str) -> Self:
        """The recording with notes about a selection, which the caller makes."""
        noted = self if after == before else self.leave_out(Excluded(what, before - after, f"not {reason}"))
        return replace(noted, history=(*self.history, f"{after} {what}: {reason}"))

    @staticmethod
    def _column(name: str, table: pd.DataFrame) -> NDArray[Any]:
        if name not in table:
            raise Refused(f"{name!r} must be known, got only {list(table.columns)}")
        values: NDArray[Any] = table[name].to_numpy()
        return values

    @staticmethod
    def _row_numbers(what: str, where: Any, count: int) -> NDArray[np.int64]:
        chosen = np.asarray(where)
        if chosen.dtype == bool:
            if chosen.shape != (count,):
                raise ValueError(f"a mask of {what} must be bool [{count}], got {list(chosen.shape)}")
            chosen = np.flatnonzero(chosen)
        if chosen.ndim != 1 or (chosen.dtype.kind not in "iu" and len(chosen)):
            raise ValueError(f"{what} must be a mask or row numbers, got {chosen.dtype} {list(chosen.shape)}")
        if not len(chosen):
            raise Refused(f"no {what} are left")
        if chosen.min() < 0 or chosen.max() >= count:
            raise ValueError(f"{what} must lie in 0..{count - 1}, got {chosen.min()}..{chosen.max()}")
        return chosen.astype(np.int64)


def _until_next(presentations: pd.DataFrame) -> NDArray[np.float64]:
    """Seconds from each "onset" to the next one in its run, [n]; NaN for the last of a run."""
    runs, onset = number_runs(presentations), presentations["onset"].to_numpy(dtype=np.float64)
    order = np.lexsort((onset, runs))
    current, following = order[:-1], order[1:]
    same = runs[current] == runs[following]
    wait = np.full(len(onset), np.nan)
    wait[current[same]] = onset[following[same]] - onset[current[same]]
    return wait


def number_runs(presentations: pd.DataFrame) -> NDArray[np.int64]:
    """A number for the run (and session, if known) of every presentation, [n]."""
    names = [name for name in ("session", "run") if name in presentations]
    runs: NDArray[np.int64] = presentations.groupby(names, sort=False, dropna=False).ngroup().to_numpy()
    return runs


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _averaged(low: int, high: int, images: int) -> str:
    presentations = _counted(high, "presentation") if low == high else f"{low} to {high} presentations"
    return f"averaged {presentations} of each of {_counted(images, 'image')}"
