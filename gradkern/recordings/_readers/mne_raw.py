"""Epochs of raw MEG or EEG: filtered, cut around onsets, z-scored, decimated, and written for `load_epochs`.

Runs are processed one at a time, and their epochs are written at once, so that memory holds one run.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._files import written_whole
from gradkern.errors import Refused, naming
from gradkern.recordings._readers.mne_epochs import EpochProvenance, continued

_UNITS = {"mag": "T", "grad": "T/m", "eeg": "V"}
_DROPPED = {"TOO_SHORT": "epochs reach beyond the run", "NO_DATA": "epochs reach beyond the run"}  # reasons of mne


@dataclass(frozen=True)
class Epoching:
    """How epochs are made from raw data; the defaults are those of the authors of THINGS-MEG.

    Parameters
    ----------
    low, high : limits of the band-pass in Hz (FIR of linear phase, without delay); None for no such limit
    start, stop : limits of the epoch in s relative to the onset, both included
    rate : sampling rate of the epochs in Hz, which must divide the raw rate; the sample at the onset is kept. None for
        the raw rate
    baseline : limits in s relative to the onset, both included: each epoch and channel is z-scored by its mean and
        standard deviation there, at the raw rate. None for no z-scoring
    anti_alias : decimation needs signals without frequencies above a third of the new rate. If the band-pass leaves
        some, True lowers its upper limit to .4 of the rate, falling to zero at half the rate; False is an error

    Raises
    ------
    ValueError : limits are out of order
    """

    low: float | None = 0.1
    high: float | None = 40.0
    start: float = -0.1
    stop: float = 1.3
    rate: float | None = 200.0
    baseline: tuple[float, float] | None = (-0.1, 0.0)
    anti_alias: bool = False

    @naming("Epoching")
    def __post_init__(self) -> None:
        limits = [limit for limit in (0.0, self.low, self.high) if limit is not None]
        if any(after <= before for before, after in pairwise(limits)):
            raise ValueError(f"Epoching: 0 < low < high must hold, got {self.low!r} and {self.high!r} Hz")
        if not self.start < self.stop:
            raise ValueError(f"start must be before stop, got {self.start!r} and {self.stop!r} s")
        if self.rate is not None and not self.rate > 0:
            raise ValueError(f"rate must be above 0 Hz, got {self.rate!r}")
        if self.baseline is not None and not self.start <= self.baseline[0] < self.baseline[1] <= self.stop:
            raise ValueError(f"baseline must be two times within {self.start:g}..{self.stop:g} s, got {self.baseline}")


# Raugel et al. (2025), arXiv 2508.18226; 30 Hz cannot represent what their band-pass leaves above 15 Hz
RAUGEL2025 = Epoching(high=20.0, start=-0.5, stop=3.0, rate=30.0, baseline=None, anti_alias=True)


@dataclass(frozen=True)
class _Decimation:
    """Every `step`-th sample, after a low-pass at `high` Hz with a transition of `width` Hz (None: mne's choice)."""

    step: int
    high: float | None
    width: float | None = None


@naming("epoch_raw")
def epoch_raw(
    raw: Any,
    events: pd.DataFrame,
    settings: Epoching = Epoching(),
    *,
    channels: str = "mag",
    onset: str = "samples of the table of events",
    done: Sequence[str] = (),
) -> Any:
    """Epochs of one run of any recording that mne reads.

    Parameters
    ----------
    raw : raw data of mne, which are not changed; projectors are not applied
    events : one row per presentation, with an increasing "sample", 0-based within the run; all columns become metadata
    settings : filter, window, rate and baseline
    channels : whatever mne can pick: a type, a name or a list
    onset : what the samples were measured by, in words
    done : earlier steps of the preprocessing, in words

    Returns
    -------
    mne.EpochsArray : float64; metadata have "onset" in s within the run. Epochs that reach beyond the run, or into bad
        annotations, are left out and counted. `info["description"]` tells all this to `load_epochs`

    Raises
    ------
    ValueError : samples are not in the run, the rate does not divide the raw rate, frequencies would alias, or a
        channel does not vary over the run or a baseline
    Refused : no epoch is left
    """
    decimation = _decimation(settings, raw.info)
    table = _table(events, raw)
    picked = raw.copy().pick(channels, verbose="error").load_data(verbose="error")
    for name in picked.ch_names:
        if np.ptp(picked.get_data(name)) == 0:  # filtering would turn it into rounding errors, which look like data
            raise ValueError(f"channels must vary, got {name!r} the same all along")
    if settings.low is not None or decimation.high is not None:
        width = {} if decimation.width is None else {"h_trans_bandwidth": decimation.width}
        picked.filter(settings.low, decimation.high, picks="all", verbose="warning", **width)
    return _cut(picked, table, settings, decimation, (onset, done))


def _decimation(settings: Epoching, info: Any) -> _Decimation:
    sfreq, limit = float(info["sfreq"]), settings.high
    if settings.rate is None:
        return _Decimation(1, limit)
    step = round(sfreq / settings.rate)
    if step < 1 or abs(step * settings.rate - sfreq) > 1e-6 * sfreq:
        raise ValueError(f"rate must divide the raw rate of {sfreq:g} Hz, got {settings.rate:g}")
    highest = float(info["lowpass"]) if limit is None else limit
    if step == 1 or highest <= settings.rate / 3:
        return _Decimation(step, limit)
    if not settings.anti_alias:
        raise ValueError(
            f"high must be at most a third of the rate, {settings.rate / 3:.3g} Hz, else frequencies alias; got "
            f"{highest:g} (anti_alias=True lowers it)"
        )
    lowered = min(highest, 0.4 * settings.rate)
    return _Decimation(step, lowered, 0.5 * settings.rate - lowered)


def _table(events: pd.DataFrame, raw: Any) -> pd.DataFrame:
    """The events with an "onset" in s."""
    if "sample" not in events or not len(events):
        raise ValueError(f"events must have rows and the column 'sample', got {list(events.columns)}")
    sample = events["sample"].to_numpy()
    if sample.dtype.kind not in "iu":
        raise ValueError(f"'sample' of events must be whole numbers, got {sample.dtype}")
    if sample[0] < 0 or sample[-1] >= len(raw.times) or (np.diff(sample) <= 0).any():
        raise ValueError(
            f"'sample' of events must increase within 0..{len(raw.times) - 1}, got {sample[0]}.."
            f"{sample[-1]}, {(np.diff(sample) <= 0).sum()} not after the one before"
        )
    return events.reset_index(drop=True).assign(onset=sample / float(raw.info["sfreq"]))


def _cut(
    picked: Any, table: pd.DataFrame, settings: Epoching, decimation: _Decimation, words: tuple[str, Sequence[str]]
) -> Any:
    """Epochs of filtered data, decimated; `words` are for their provenance: onset and earlier steps."""
    import mne

    codes = np.ones(len(table), dtype=np.int64)
    events = np.stack([table["sample"].to_numpy() + picked.first_samp, 0 * codes, codes], 1)
    window = {"tmin": settings.start, "tmax": settings.stop, "baseline": None, "proj": False, "verbose": "error"}
    fine = mne.Epochs(picked, events, 1, metadata=table, **window).drop_bad(verbose="error")
    reasons = Counter(reason for log in fine.drop_log for reason in log[:1])
    if not len(fine):
        raise Refused(f"no epoch is left of {len(table)}: {dict(reasons)}")
    first = round(fine.times[0] * picked.info["sfreq"])
    kept = slice(-first % decimation.step, None, decimation.step)  # includes the sample at the onset
    inside = np.zeros(len(fine.times), dtype=bool)
    if settings.baseline is not None:
        inside = (fine.times >= settings.baseline[0] - 1e-9) & (fine.times <= settings.baseline[1] + 1e-9)
    values = np.empty((len(fine), len(fine.ch_names), len(fine.times[kept])))
    for number, epoch in enumerate(fine):
        samples = _z_scored(epoch, inside, number, fine.ch_names) if settings.baseline else epoch
        values[number] = samples[:, kept]
    info = mne.Epochs(picked, events, 1, decim=decimation.step, **window).info
    info["description"] = _provenance(picked, settings, decimation, words, reasons).to_description()
    return mne.EpochsArray(
        values, info, fine.events, fine.times[kept][0], event_id=1, proj=False, metadata=fine.metadata, verbose="error"
    )


def _z_scored(epoch: NDArray[Any], inside: NDArray[np.bool_], number: int, names: Sequence[str]) -> NDArray[Any]:
    mean, deviation = epoch[:, inside].mean(1, keepdims=True), epoch[:, inside].std(1, keepdims=True)
    flat = np.flatnonzero(np.ptp(epoch[:, inside], axis=1) == 0)
    if len(flat):
        raise ValueError(f"channels must vary over the baseline, got {names[flat[0]]!r} in epoch {number}")
    z_scored: NDArray[Any] = (epoch - mean) / deviation
    return z_scored


def _provenance(
    picked: Any, settings: Epoching, decimation: _Decimation, words: tuple[str, Sequence[str]], reasons: Counter[str]
) -> EpochProvenance:
    import mne

    onset, done = words
    units = "standard deviations of the baseline"
    if settings.baseline is None:
        units = ", ".join(_UNITS.get(kind, "as mne has them") for kind in picked.get_channel_types(unique=True))
    steps = [*done, f"onsets: {onset}"]
    if settings.low is not None or decimation.high is not None:
        low = "0" if settings.low is None else f"{settings.low:g}"
        high = "the recording's" if decimation.high is None else f"{decimation.high:g}"
        steps.append(f"band-pass {low} to {high} Hz (FIR, zero phase, mne {mne.__version__})")
    if decimation.width is not None:
        steps.append(f"no more than {high} Hz against aliasing: nothing is left at half the rate")
    steps.append(f"cut from {settings.start:g} to {settings.stop:g} s")
    if settings.baseline is not None:
        steps.append(f"z-scored by epoch and channel over {settings.baseline[0]:g} to {settings.baseline[1]:g} s")
    if decimation.step > 1:
        steps.append(f"one of {decimation.step} samples at {picked.info['sfreq']:g} Hz kept, counted from the onset")
    excluded = Counter[str]()
    for reason, count in reasons.items():
        excluded[_DROPPED.get(reason, f"annotated as {reason}")] += count
    return EpochProvenance(onset, units, tuple(steps), tuple((count, reason) for reason, count in excluded.items()))


@naming("save_epochs")
def save_epochs(parts: Iterable[Any], path: Any, *, overwrite: bool = False, split_size: str = "500MB") -> Path:
    """Write epochs of `epoch_raw`, run after run, as one -epo.fif, which mne splits into several files.

    No file has its final name before all are written. Until then the folder needs room for the samples twice more,
    since mne writes them from float64.

    Parameters
    ----------
    parts : epochs of each run; a generator keeps one run in memory. The `info` of the first run is written
    path : ends in -epo.fif
    overwrite : whether to replace an existing file
    split_size : largest size of a file; mne needs twice as much memory to write it

    Raises
    ------
    FileExistsError : the file exists, and `overwrite` is False
    ValueError : the path has another ending, there are no parts, or they differ in channels, times, units or onsets
    """
    target = Path(path).expanduser()
    if not target.name.endswith("-epo.fif"):
        raise ValueError(f"path must end in -epo.fif, got {str(path)!r}")
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} is there already; overwrite=True replaces it")
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(target) as first:
        concatenated(parts, first.with_name("samples")).save(
            first, split_size=split_size, fmt="single", verbose="error"
        )
        # the first file means that all are there: the old one goes first, and the new one gets its name last
        for old in (target, *continued(target)):
            old.unlink(missing_ok=True)
        for further in continued(first):
            further.replace(target.with_name(further.name))
    return target


def concatenated(parts: Iterable[Any], samples: Path) -> Any:
    """One mne.EpochsArray of all parts, whose values are a memory map of the file `samples`."""
    import mne

    events: list[NDArray[Any]] = []
    tables: list[pd.DataFrame] = []
    origins: list[EpochProvenance] = []
    first, tmin, names, times = None, 0.0, [], np.empty(0)
    with samples.open("wb") as file:
        for part in parts:
            origin = EpochProvenance.from_description(part.info["description"])
            if origin is None:
                raise ValueError("parts must be epochs of epoch_raw, got others")
            if first is None:
                first, tmin, names, times = part.info.copy(), part.tmin, part.ch_names, part.times
            if part.ch_names != names or not np.array_equal(part.times, times):
                raise ValueError(
                    f"parts must have the same channels and times, got {len(names)} and {len(times)}, "
                    f"then others in part {len(origins)}: {len(part.ch_names)} and {len(part.times)}"
                )
            np.ascontiguousarray(part.get_data(copy=False)).tofile(file)
            # mne's events must have different numbers; their runs are in the metadata
            start = events[-1][-1, 0] + 1 if events else 0
            events.append(part.events + np.array([start, 0, 0]))
            tables.append(part.metadata)
            origins.append(origin)
    if first is None:
        raise ValueError("parts must be some, got none")
    first["description"] = _joint_provenance(origins).to_description()
    shape = (sum(map(len, tables)), len(names), len(times))
    values = np.memmap(samples, np.float64, "r+", shape=shape)
    metadata = pd.concat(tables, ignore_index=True)
    return mne.EpochsArray(
        values, first, np.concatenate(events), tmin, event_id=1, proj=False, metadata=metadata, verbose="error"
    )


def _joint_provenance(origins: list[EpochProvenance]) -> EpochProvenance:
    counts = Counter[str]()
    for origin in origins:
        if (origin.onset, origin.units) != (origins[0].onset, origins[0].units):
            raise ValueError(f"parts must have the same onsets and units, got {origins[0]} and {origin}")
        for count, reason in origin.excluded:
            counts[reason] += count
    history = dict.fromkeys(line for origin in origins for line in origin.history)
    if len(origins) > 1:
        history[f"{len(origins)} runs one after another, sensors placed as in the first"] = None
    excluded = tuple((count, reason) for reason, count in counts.items())
    files = {name: value for origin in origins for name, value in origin.files.items()}
    return replace(origins[0], history=tuple(history), excluded=excluded, files=files)
