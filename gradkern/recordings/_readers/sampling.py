"""Time series of runs sampled at a delay after each onset, for all readers of time series."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern.errors import Refused
from gradkern.recordings._formats.agreement import Agreements, within
from gradkern.recordings._formats.bids_names import confounds_of, number_in, sidecar
from gradkern.recordings._formats.tables import read_table
from gradkern.recordings._formats.timeseries import (
    TIME_TOLERANCE,
    Mask,
    Series,
    open_series,
    same_targets,
    seconds,
    voxels,
)
from gradkern.recordings._formats.volumes import agree_on_grid
from gradkern.recordings._maps.geometry import Geometry
from gradkern.recordings._maps.known import volume_grid
from gradkern.recordings._targets import with_positions

_SHORTEST, _LONGEST = 0.05, 60  # s: a repetition time beyond these means that the header's units are wrong
_DUMMY = ("non_steady_state_outlier", "NonSteadyStateOutlier")  # beginnings of fMRIPrep's columns, new and old


@dataclass(frozen=True)
class Run:
    """A time series and its presentations ("name", "onset" in s).

    Parameters
    ----------
    source : a path, or a pair of paths
    presentations, events : the table, and the file that it is from
    session, number : labels of session and run
    left_out : rows of the events that are no presentations
    stated : repetition times in s that further sources state, by source
    root : of the derivatives, where sidecars of all runs may lie
    """

    source: Any
    presentations: pd.DataFrame
    events: Path
    session: Any
    number: Any
    left_out: tuple[Excluded, ...] = ()
    stated: Mapping[str, float] = field(default_factory=dict)
    root: Path | None = None


@dataclass(frozen=True)
class Sampling:
    """How time series are sampled: see `load_bold`."""

    delay: float = 5.5
    repetition_time: float | None = None
    start_time: float | None = None
    dummy_scans: int | None = None
    confounds: Sequence[str] = ()
    affine: str | None = None


class Sampled(NamedTuple):
    """Responses [presentations, targets] of all runs, their tables, the files, and what is told about them."""

    responses: NDArray[np.float32]
    presentations: pd.DataFrame
    targets: pd.DataFrame
    files: list[Path]
    excluded: tuple[Excluded, ...]
    history: tuple[str, ...]
    agreements: Agreements
    geometry: Geometry | None = None


def sample_runs(runs: Sequence[Run], mask: Any, settings: Sampling) -> Sampled:
    """Time series of runs sampled at a delay after each onset: see `load_bold`."""
    agreements = Agreements()
    inside = None if mask is None else voxels(mask, agreements, settings.affine)
    sampler = _Sampler(settings, inside, agreements)
    for run in runs:
        sampler.add(run)
    return sampler.done(len(runs))


class _Sampler:
    """Collects the responses of one run after another."""

    def __init__(self, settings: Sampling, mask: Mask | None, agreements: Agreements) -> None:
        self.settings, self.mask, self.agreements = settings, mask, agreements
        self.targets: pd.DataFrame | None = None if mask is None else mask.targets
        self.geometry: Geometry | None = None if mask is None else volume_grid(mask.grid)
        self.parts: list[NDArray[np.float32]] = []
        self.rows: list[pd.DataFrame] = []
        self.files: list[Path] = []
        self.counts: dict[tuple[str, str], int] = {}  # by what was left out, and why
        self.regressed: dict[str, None] = {}

    def add(self, run: Run) -> None:
        series = open_series(run.source, self.mask, self.agreements)
        self._check_place(series)
        facts = [sidecar(path, run.root) for path in series.paths]
        step = self._step(run, series, facts)
        at = (run.presentations["onset"].to_numpy() + self.settings.delay - self._start(series, facts)) / step
        count = len(series.values)
        if count < 3:
            raise ValueError(f"{series.paths[0]} must have at least 3 times, got {count}")
        steady, nuisance = self._confounds(series.paths[0], count)
        inside = (at >= 0) & (at <= count - 1)
        usable = inside & _steady_around(steady, at)
        self._count("volumes", "not in steady state: neither in the mean nor in the trend", int((~steady).sum()))
        self._count("presentations", "outside the run", int((~inside).sum()))
        self._count("presentations", "sampled before the steady state", int((inside & ~usable).sum()))
        for entry in run.left_out:
            self._count(entry.what, entry.reason, entry.count)
        self.parts.append(_between(_percent(series.values, steady, nuisance), at[usable]))
        self.rows.append(run.presentations[usable].assign(session=run.session, run=run.number))
        self.files += [*series.paths, run.events]

    def done(self, runs: int) -> Sampled:
        if self.targets is None or not sum(map(len, self.parts)):
            outside = sum(count for (what, _), count in self.counts.items() if what == "presentations")
            raise ValueError(f"presentations must lie inside the runs, got {outside} outside and none inside")
        excluded = tuple(Excluded(what, count, reason) for (what, reason), count in self.counts.items())
        regressed = f"confounds regressed out: {', '.join(self.regressed)}" if self.regressed else ""
        notes = () if self.mask is None else self.mask.notes
        history = (f"{runs} runs, {self.settings.delay:g} s after onset", regressed, *notes)
        presentations = pd.concat(self.rows)
        return Sampled(
            np.concatenate(self.parts),
            presentations,
            self.targets,
            self.files,
            excluded,
            tuple(line for line in history if line),
            self.agreements,
            self.geometry,
        )

    def _count(self, what: str, reason: str, count: int) -> None:
        if count:
            self.counts[what, reason] = self.counts.get((what, reason), 0) + count

    def _check_place(self, series: Series) -> None:
        """That the run lies where the mask and the first run lie."""
        if self.mask is not None and series.grid is not None:
            grids = {self.mask.source: self.mask.grid, f"data of {series.paths[0]}": series.grid}
            agreed = agree_on_grid(self.agreements, grids, self.settings.affine)
            self.geometry = volume_grid(agreed)
            if agreed.affine is not None:
                self.targets = with_positions(self.mask.targets, agreed.affine)
            return
        if self.targets is None:
            self.targets, self.geometry = series.targets, series.geometry
        labels = series.targets["label"].tolist() if "label" in series.targets else []
        same_targets(self.targets["label"].tolist(), labels, series.paths[0])

    def _step(self, run: Run, series: Series, facts: list[Any]) -> float:
        """The repetition time in s, which header and sidecars must agree on, or which the caller decides."""
        path, step = series.paths[0], self.settings.repetition_time
        uneven = next((stated["VolumeTiming"] for stated in facts if "VolumeTiming" in stated), None)
        if uneven is not None:
            raise ValueError(f"{path} must have a volume at every repetition time, got VolumeTiming in {uneven[1]}")
        if step is None:
            sidecars = [number_in(stated, "RepetitionTime") for stated in facts]
            stated = {f"sidecar of {path} ({number[1]})": number[0] for number in sidecars if number is not None}
            step = self.agreements.same(
                "repetition time",
                {**run.stated, **stated, f"header of {path}": series.step},
                equal=within(TIME_TOLERANCE),
                show=seconds,
                option="repetition_time",
            )
        else:
            self.agreements.decided("repetition time", seconds(step), "repetition_time")
        if step is None or not _SHORTEST < step < _LONGEST:
            raise ValueError(f"{path} says that a volume takes {step} s; give repetition_time in s")
        return float(step)

    def _start(self, series: Series, facts: list[Any]) -> float:
        """The time in s that the first volume stands for; 0 if no sidecar says it."""
        if self.settings.start_time is not None:
            return self.settings.start_time
        numbers = [number_in(stated, "StartTime") for stated in facts]
        stated = {f"sidecar of {path}": number[0] for path, number in zip(series.paths, numbers, strict=True) if number}
        start = self.agreements.same(
            "start time of a run", stated, equal=within(TIME_TOLERANCE), show=seconds, option="start_time"
        )
        return 0.0 if start is None else float(start)

    def _confounds(self, path: Path, count: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Which times are in steady state, [times], and the confounds to regress out, [times, confounds]."""
        settings, steady = self.settings, np.ones(count, bool)
        file = confounds_of(path)
        table = pd.DataFrame(index=range(count)) if file is None else read_table(file, (), "\t")
        if len(table) != count:
            raise ValueError(f"{file} must have a row for each of {count} times of {path.name}, got {len(table)}")
        if file is not None:
            self.files.append(file)
        if settings.dummy_scans is None:
            for name in (name for name in table.columns if str(name).startswith(_DUMMY)):
                steady &= table[name].to_numpy() == 0
        else:
            if not 0 <= settings.dummy_scans <= count - 3:
                raise ValueError(f"dummy_scans must lie in 0..{count - 3}, got {settings.dummy_scans}")
            steady[: settings.dummy_scans] = False
            self.agreements.decided("dummy scans", f"{settings.dummy_scans} a run", "dummy_scans")
        if steady.sum() < 3:
            raise Refused(f"{path} must have 3 times in steady state, got {steady.sum()} (dummy_scans=0 takes all)")
        if settings.confounds and file is None:
            raise FileNotFoundError(f"confounds of {path.name} are missing in {path.parent}; fMRIPrep writes them")
        columns = _chosen(table, settings.confounds, file)
        self.regressed |= dict.fromkeys(columns)
        return steady, _filled(table[columns], steady, file)


def _chosen(table: pd.DataFrame, patterns: Sequence[str], file: Path | None) -> list[str]:
    """The columns that names or patterns such as "cosine*" name, in the order of the table."""
    if isinstance(patterns, str):
        raise ValueError(f"confounds must be a list of names or patterns, got {patterns!r}")
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in table):
            some = ", ".join(map(str, table.columns[:8]))
            raise ValueError(f"confounds must be columns of {file} or patterns of them, got {pattern!r} ({some}, ...)")
    return [name for name in table if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _filled(table: pd.DataFrame, steady: NDArray[np.bool_], file: Path | None) -> NDArray[np.float64]:
    """Confounds as numbers; the first time has no derivative, and takes the mean of the others."""
    wrong = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    if wrong:
        raise ValueError(f"confounds in {file} must be numbers, got words in {wrong[0]!r}")
    values = np.array(table, dtype=np.float64)
    unknown = ~np.isfinite(values)
    if (unknown[1:] & steady[1:, None]).any():
        name = table.columns[(unknown[1:] & steady[1:, None]).any(0)][0]
        raise ValueError(f"confounds in {file} must be known after the first time, got gaps in {name!r}")
    values[unknown] = 0
    known = (~unknown & steady[:, None]).sum(0)
    values[0] = np.where(unknown[0], (values * steady[:, None]).sum(0) / np.maximum(known, 1), values[0])
    return values


def _steady_around(steady: NDArray[np.bool_], at: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether the times that a sample lies between are in steady state."""
    before = np.clip(np.floor(at), 0, len(steady) - 1).astype(int)
    after = np.clip(np.ceil(at), 0, len(steady) - 1).astype(int)
    both: NDArray[np.bool_] = steady[before] & steady[after]
    return both


def _percent(
    series: NDArray[np.float32], steady: NDArray[np.bool_], nuisance: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Percent of the mean over the run, about the linear trend and the confounds; NaN where the mean is NaN or not
    positive.

    Mean, trend and confounds are those of the times in steady state; other times are NaN.
    """
    mean = series[steady].mean(0, dtype=np.float64)
    defined = np.isfinite(mean) & (mean > 0)  # medial walls are NaN
    design = np.column_stack([np.ones(steady.sum()), np.flatnonzero(steady), nuisance[steady]])
    design[:, 1:] -= design[:, 1:].mean(0)
    sizes = np.linalg.norm(design, axis=0)
    left, values, _ = np.linalg.svd(design / np.where(sizes > 0, sizes, 1), full_matrices=False)
    basis = left[:, values > 1e-10 * values[0]]
    if basis.shape[1] >= len(basis):
        raise Refused(f"confounds must leave something of {len(basis)} times, got {basis.shape[1]} independent ones")
    kept = series[np.ix_(steady, defined)].astype(np.float64)
    percent = np.full(series.shape, np.nan, np.float32)
    percent[np.ix_(steady, defined)] = 100 * (kept - basis @ (basis.T @ kept)) / mean[defined]
    return percent


def _between(series: NDArray[np.float32], at: NDArray[np.float64]) -> NDArray[np.float32]:
    """A series [times, targets] interpolated linearly at fractional row numbers."""
    before = np.floor(at).astype(int)
    after = np.minimum(before + 1, len(series) - 1)
    share = (at - before)[:, None].astype(np.float32)
    whole = share[:, 0] == 0  # else NaN of a neighbor that has no part in the sample
    after[whole] = before[whole]
    between: NDArray[np.float32] = (1 - share) * series[before] + share * series[after]
    return between
