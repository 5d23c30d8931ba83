"""Responses of one subject to images, and what is known of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern.recordings._lazy import Averaged, ChosenPresentations, ChosenTargets, Responses, Standardised
from gradkern.recordings._out_of_core import as_responses
from gradkern.recordings._overlap import SLACK, until_next

_BYTES_AT_ONCE = 2**30  # of one row there are then 36 KB in an NSD subject; disks read shorter pieces slowly


@dataclass(frozen=True, eq=False)
class Recording:
    """Responses [presentations, targets] of one subject, read when they are needed.

    Selections, z-scores and averages give a new recording and are written into its `history`; none of them reads a
    response.

    Parameters
    ----------
    responses : float [n, v], `Responses`; an array, a memory map, a dataset of HDF5 or Zarr becomes one
    presentations : a row a presentation; "image" (0-based place in the image source that was shown) and what is known:
        "session", "run", "concept", "split" ("train" or "test"), "onset" in seconds within its run; "repeats", how many
        presentations the row is the mean of, is 1 if not given; "until_next", seconds from this onset to that of the
        run's next presentation (NaN after the last), is found from "run" and "onset" if targets have times
    targets : a row a target; "label" (all different), and what is known: "roi"; "i", "j", "k" (voxel) and "x", "y",
        "z" in mm; "vertex" and "hemisphere"; "sensor" and "time" in seconds after onset
    subject, units, space : words; `space` is where the targets lie
    images : the image source: so many images, each [h, w] or [h, w, 3] of uint8; None where it lies elsewhere
    image_names : what the source calls them, by id; None where they have numbers only
    ncsnr : [v], standard deviation of the signal over that of the noise of a presentation; NaN where it is not known
    excluded : what was left out of the data, and why
    history : what was done to the responses, in words
    provenance : where it came from: source, citation, licence, files and their hashes

    Raises
    ------
    ValueError : shapes that do not fit together, nothing in them, labels twice, ids that point outside the images,
        names of other images, onsets that are words
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

    def __post_init__(self) -> None:
        if not isinstance(self.responses, Responses):
            object.__setattr__(self, "responses", as_responses(self.responses))
        shape, dtype = tuple(self.responses.shape), self.responses.dtype
        if len(shape) != 2 or dtype.kind != "f":
            raise ValueError(f"Recording: responses must be float [presentations, targets], got {dtype} {list(shape)}")
        if not all(shape):
            raise ValueError(f"Recording: responses must have presentations and targets, got {list(shape)}")
        n, v = shape
        if "label" not in self.targets or len(self.targets) != v or not self.targets["label"].is_unique:
            different = self.targets["label"].nunique() if "label" in self.targets else "no column 'label'"
            raise ValueError(f"Recording: targets must be {v} different labels, got {different}")
        object.__setattr__(self, "targets", self.targets.reset_index(drop=True))
        self._check_presentations(n)
        if self.ncsnr is not None:
            self._check_ncsnr(v)
        for source in (self.images, self.image_names):
            if source is not None:
                self.check_images(len(source))
        if self.images is not None and self.image_names is not None and len(self.images) != len(self.image_names):
            raise ValueError(
                f"Recording: images must be those of image_names, in their order: {len(self.image_names)}, "
                f"got {len(self.images)}"
            )

    def _check_ncsnr(self, v: int) -> None:
        ncsnr = np.array(self.ncsnr, dtype=np.float64)  # the caller keeps the array that was given
        if ncsnr.shape != (v,):
            raise ValueError(f"Recording: ncsnr must be [{v}], got {list(ncsnr.shape)}")
        if (ncsnr < 0).any():
            raise ValueError(f"Recording: ncsnr must not be negative, got {np.nanmin(ncsnr):g}")
        object.__setattr__(self, "ncsnr", ncsnr)

    def _check_presentations(self, n: int) -> None:
        table = self.presentations.reset_index(drop=True)
        if "image" not in table or len(table) != n:
            got = f"{len(table)} rows" if "image" in table else f"columns {list(table.columns)}"
            raise ValueError(f"Recording: presentations must have {n} rows and a column 'image', got {got}")
        if "repeats" not in table:
            table["repeats"] = 1
        for name in ("image", "repeats"):
            if table[name].dtype.kind not in "iu":
                raise ValueError(f"Recording: {name!r} of presentations must be whole numbers, got {table[name].dtype}")
        if (table["repeats"] < 1).any():
            raise ValueError(f"Recording: 'repeats' of presentations must be at least 1, got {table['repeats'].min()}")
        # before any presentation is left out: what is left out was shown all the same
        if "until_next" not in table and {"onset", "run"} <= set(table) and "time" in self.targets:
            if table["onset"].dtype.kind not in "iuf":
                raise ValueError(f"Recording: 'onset' of presentations must be seconds, got {table['onset'].dtype}")
            table["until_next"] = until_next(table)
        object.__setattr__(self, "presentations", table)

    @property
    def image_ids(self) -> NDArray[np.int64]:
        """0-based places in the image source, [n]."""
        ids: NDArray[np.int64] = self.presentations["image"].to_numpy()
        return ids

    @property
    def repeats(self) -> NDArray[np.int64]:
        """How many presentations each row is the mean of, [n]."""
        repeats: NDArray[np.int64] = self.presentations["repeats"].to_numpy()
        return repeats

    @property
    def labels(self) -> tuple[str, ...]:
        """One a target."""
        return tuple(str(label) for label in self.targets["label"])

    def check_images(self, count: int) -> None:
        """Refuse an image source of `count` images that the ids do not fit."""
        low, high = (int(self.image_ids.min()), int(self.image_ids.max())) if len(self.image_ids) else (0, -1)
        if low < 0 or high >= count:
            raise ValueError(
                f"Recording: image_ids must lie in 0..{count - 1} for {count} images, got {low}..{high} "
                "(are they 1-based, or of another set of images?)"
            )

    def blocks(self, bytes_at_once: int = _BYTES_AT_ONCE) -> Iterator[tuple[slice, NDArray[Any]]]:
        """All responses, so many targets at a time as these bytes hold: where they are, and [n, b]."""
        n, v = self.responses.shape
        step = max(1, bytes_at_once // max(1, n * self.responses.dtype.itemsize))
        for start in range(0, v, step):
            columns = slice(start, min(start + step, v))
            yield columns, self.responses.columns(columns)

    def leave_out(self, excluded: Excluded) -> Self:
        """Write down what a reader has left out."""
        return replace(self, excluded=(*self.excluded, excluded))

    def select_targets(self, where: Any, reason: str) -> Self:
        """Some targets: bool [v], or their places.

        Raises
        ------
        ValueError : no target is left, or the mask has another length
        """
        chosen = self._places("targets", where, len(self.targets))
        return replace(
            self._chosen("targets", len(self.targets), len(chosen), reason),
            responses=ChosenTargets(self.responses, chosen),
            targets=self.targets.iloc[chosen],
            ncsnr=None if self.ncsnr is None else self.ncsnr[chosen],
        )

    def roi(self, *names: str) -> Self:
        """Targets of these regions."""
        self._column("roi", self.targets)
        known = set(self.targets["roi"])
        for name in names:
            if name not in known:
                raise ValueError(f"Recording: roi must be one of {sorted(map(str, known))}, got {name!r}")
        return self.select_targets(self.targets["roi"].isin(names).to_numpy(), f"in {', '.join(names)}")

    def window(self, start: float, stop: float) -> Self:
        """Targets whose time lies in start..stop, in seconds after onset, both included."""
        time = self._column("time", self.targets)
        inside = (time >= start - SLACK) & (time <= stop + SLACK)
        return self.select_targets(inside, f"from {start:g} to {stop:g} s")

    def select_presentations(self, where: Any, reason: str) -> Self:
        """Some presentations: bool [n], or their places.

        Raises
        ------
        ValueError : no presentation is left, or the mask has another length
        """
        chosen = self._places("presentations", where, len(self.presentations))
        return replace(
            self._chosen("presentations", len(self.presentations), len(chosen), reason),
            responses=ChosenPresentations(self.responses, chosen),
            presentations=self.presentations.iloc[chosen],
        )

    def standardise(self) -> Self:
        """Mean 0 and standard deviation 1 of every target within each session; NaN in one where it does not vary."""
        sessions = self._column("session", self.presentations)
        if (self.repeats > 1).any():
            raise ValueError("Recording: standardise must come before repeats are averaged")
        if (unknown := pd.isna(sessions)).any():
            raise ValueError(
                f"Recording: standardise must know every 'session', got none for {unknown.sum()} presentations"
            )
        return replace(
            self,
            responses=Standardised(self.responses, sessions),
            units=f"standard deviations within a session, of {self.units}",
            history=(*self.history, f"z-scored within {len(np.unique(sessions))} sessions"),
        )

    def average_repeats(self) -> Self:
        """One row an image, in the order of their ids: the mean of its presentations.

        Of the presentations' columns those remain that are the same whenever an image was shown.
        """
        if (self.repeats > 1).any():
            raise ValueError("Recording: average_repeats was done before")
        images, groups = np.unique(self.image_ids, return_inverse=True)
        counts = np.bincount(groups)
        low, high = int(counts.min()), int(counts.max())
        by_image = self.presentations.groupby("image")
        same = by_image.nunique(dropna=False).max() <= 1
        return replace(
            self,
            responses=Averaged(self.responses, groups),
            presentations=by_image.first()[list(same[same].index)].reset_index().assign(repeats=counts),
            history=(*self.history, f"averaged {low} to {high} presentations of each of {len(images)} images"),
        )

    def overlaps(self) -> NDArray[np.bool_]:
        """Whether an epoch has samples in common with that of the run's next presentation, [n].

        The next presentation counts though it was left out since, as catch trials are. `window` shortens epochs.

        Raises
        ------
        ValueError : "until_next" or times of targets are not known
        """
        wait, time = self._column("until_next", self.presentations), self._column("time", self.targets)
        shared: NDArray[np.bool_] = wait <= np.ptp(time) + SLACK  # NaN, at the end of a run, is not
        return shared

    def check(self) -> tuple[str, ...]:
        """Read a part of the responses and say what is odd; nothing said is no proof.

        Raises
        ------
        ValueError : infinite responses
        """
        n, v = self.responses.shape
        odd = []
        block = self.responses.columns(slice(0, min(v, max(1, 2**22 // n))))
        if np.isinf(block).any():
            row, column = np.argwhere(np.isinf(block))[0]
            raise ValueError(
                f"Recording: responses must be finite, got inf at presentation {row}, target {self.labels[column]!r}"
            )
        missing = int(np.isnan(block).any(0).sum())
        if missing:
            odd.append(f"{missing} of the first {block.shape[1]} targets have NaN")
        constant = int((np.ptp(block, axis=0) == 0).sum())
        if constant:
            odd.append(f"{constant} of the first {block.shape[1]} targets are constant")
        typical = float(np.nanmedian(np.abs(block))) if missing < block.shape[1] else np.nan
        if "percent" in self.units and typical > 50:
            odd.append(f"responses are {typical:.0f} {self.units} in the median: were they stored as integers, x 300?")
        return (*odd, *self._overlap())

    def _overlap(self) -> tuple[str, ...]:
        if "until_next" not in self.presentations or "time" not in self.targets or not self.overlaps().any():
            return ()
        wait, time = self.presentations["until_next"], self.targets["time"]
        apart = f"epoch {np.ptp(time):g} s, onsets {wait.min():.3g} to {wait.max():.3g} s apart"
        return (
            f"{self.overlaps().sum()} of {len(wait)} epochs reach into the next presentation's ({apart}), "
            f"{(wait <= time.max() + SLACK).sum()} to its onset",
        )

    def _chosen(self, what: str, count: int, kept: int, reason: str) -> Self:
        """Write down that so many are kept of `count`; the caller takes them."""
        noted = self if kept == count else self.leave_out(Excluded(what, count - kept, f"not {reason}"))
        return replace(noted, history=(*self.history, f"{kept} {what}: {reason}"))

    @staticmethod
    def _column(name: str, table: pd.DataFrame) -> NDArray[Any]:
        if name not in table:
            raise ValueError(f"Recording: {name!r} must be known, got only {list(table.columns)}")
        values: NDArray[Any] = table[name].to_numpy()
        return values

    @staticmethod
    def _places(what: str, where: Any, count: int) -> NDArray[np.int64]:
        chosen = np.asarray(where)
        if chosen.dtype == bool:
            if chosen.shape != (count,):
                raise ValueError(f"Recording: a mask of {what} must be bool [{count}], got {list(chosen.shape)}")
            chosen = np.flatnonzero(chosen)
        if chosen.ndim != 1 or (chosen.dtype.kind not in "iu" and len(chosen)):
            raise ValueError(f"Recording: {what} must be a mask or places, got {chosen.dtype} {list(chosen.shape)}")
        if not len(chosen):
            raise ValueError(f"Recording: no {what} are left")
        if chosen.min() < 0 or chosen.max() >= count:
            raise ValueError(f"Recording: {what} must lie in 0..{count - 1}, got {chosen.min()}..{chosen.max()}")
        return chosen.astype(np.int64)
