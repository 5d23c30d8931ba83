"""Epochs of raw MEG or EEG: filtered, cut around onsets, z-scored, thinned out, and written for `load_epochs`.

Runs are treated one at a time, and epochs are written as they come, so memory holds one run.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.recordings._readers.making import Making
from gradkern.recordings._readers.mne_epochs import continued

_UNITS = {"mag": "T", "grad": "T/m", "eeg": "V"}


@dataclass(frozen=True)
class Epoching:
    """How raw data become epochs; by default as the authors of THINGS-MEG did it.

    Parameters
    ----------
    low, high : Hz; of the band-pass (FIR of linear phase, applied so that nothing is delayed); None: no such limit
    start, stop : s about the onset, both included
    rate : Hz; every so many-th sample is kept, counted from the onset. None: all
    baseline : s about the onset, both included: each epoch and channel is z-scored by its mean and standard deviation
        there, at the raw rate, before it is thinned out; None: not z-scored
    anti_alias : to thin out, frequencies above a third of the rate must be gone. Where the band-pass leaves some, this
        lowers its upper limit to .4 of the rate, where it falls to nothing at half the rate; else they are refused

    Raises
    ------
    ValueError : limits out of order
    """

    low: float | None = 0.1
    high: float | None = 40.0
    start: float = -0.1
    stop: float = 1.3
    rate: float | None = 200.0
    baseline: tuple[float, float] | None = (-0.1, 0.0)
    anti_alias: bool = False

    def __post_init__(self) -> None:
        limits = [limit for limit in (0.0, self.low, self.high) if limit is not None]
        if any(after <= before for before, after in pairwise(limits)):
            raise ValueError(f"Epoching: 0 < low < high must hold, got {self.low!r} and {self.high!r} Hz")
        if not self.start < self.stop:
            raise ValueError(f"Epoching: start must be before stop, got {self.start!r} and {self.stop!r} s")
        if self.rate is not None and not self.rate > 0:
            raise ValueError(f"Epoching: rate must be above 0 Hz, got {self.rate!r}")
        if self.baseline is not None and not self.start <= self.baseline[0] < self.baseline[1] <= self.stop:
            raise ValueError(
                f"Epoching: baseline must be two times within {self.start:g}..{self.stop:g} s, got {self.baseline}"
            )


# of Raugel et al. (2025), arXiv 2508.18226: 30 Hz hold nothing above 15 Hz, whatever the band-pass says
PREDECESSOR = Epoching(high=20.0, start=-0.5, stop=3.0, rate=30.0, baseline=None, anti_alias=True)


@dataclass(frozen=True)
class _Thinning:
    """Every `step`-th sample, after a low-pass at `high` that is gone `fall` above (None: mne's choice)."""

    step: int
    high: float | None
    fall: float | None = None


def epoch_raw(
    raw: Any,
    events: pd.DataFrame,
    how: Epoching = Epoching(),
    *,
    channels: str = "mag",
    onset: str = "samples of the table of events",
    done: Sequence[str] = (),
) -> Any:
    """Epochs of one run of any recording that mne reads.

    Parameters
    ----------
    raw : of mne; it is not changed. Projectors in it are not applied
    events : a row a presentation; "sample", 0-based from the run's first, increasing; all columns become metadata
    channels : what mne can pick: a type, a name, a list
    onset : where the samples come from, in words
    done : what was done to `raw` before, in words

    Returns
    -------
    mne.EpochsArray, float64 : metadata have "onset" in s within the run; `info["description"]` holds a `Making`.
        Epochs that reach beyond the run, or over what is annotated as bad, are left out and counted there.

    Raises
    ------
    ValueError : samples that are not in the run, a rate that the raw rate is no multiple of, frequencies that would
        alias, channels that do not vary over the run or a baseline, no epoch left
    """
    thin = _thinning(how, raw.info)
    table = _table(events, raw)
    picked = raw.copy().pick(channels, verbose="error").load_data(verbose="error")
    for name in picked.ch_names:
        if np.ptp(picked.get_data(name)) == 0:  # a filter would leave rounding errors of it, which look like data
            raise ValueError(f"epoch_raw: channels must vary, got {name!r} the same all along")
    if how.low is not None or thin.high is not None:
        fall = {} if thin.fall is None else {"h_trans_bandwidth": thin.fall}
        picked.filter(how.low, thin.high, picks="all", verbose="warning", **fall)
    return _cut(picked, table, how, thin, (onset, done))


def _thinning(how: Epoching, info: Any) -> _Thinning:
    sfreq, limit = float(info["sfreq"]), how.high
    if how.rate is None:
        return _Thinning(1, limit)
    step = round(sfreq / how.rate)
    if step < 1 or abs(step * how.rate - sfreq) > 1e-6 * sfreq:
        raise ValueError(f"epoch_raw: rate must divide the raw rate of {sfreq:g} Hz, got {how.rate:g}")
    highest = float(info["lowpass"]) if limit is None else limit
    if step == 1 or highest <= how.rate / 3:
        return _Thinning(step, limit)
    if not how.anti_alias:
        raise ValueError(
            f"epoch_raw: high must be at most a third of the rate, {how.rate / 3:.3g} Hz, else frequencies alias; got "
            f"{highest:g} (anti_alias=True lowers it)"
        )
    lowered = min(highest, 0.4 * how.rate)
    return _Thinning(step, lowered, 0.5 * how.rate - lowered)


def _table(events: pd.DataFrame, raw: Any) -> pd.DataFrame:
    """The events with "onset" in s."""
    if "sample" not in events or not len(events):
        raise ValueError(f"epoch_raw: events must have rows and the column 'sample', got {list(events.columns)}")
    sample = events["sample"].to_numpy()
    if sample.dtype.kind not in "iu":
        raise ValueError(f"epoch_raw: 'sample' of events must be whole numbers, got {sample.dtype}")
    if sample[0] < 0 or sample[-1] >= len(raw.times) or (np.diff(sample) <= 0).any():
        raise ValueError(
            f"epoch_raw: 'sample' of events must increase within 0..{len(raw.times) - 1}, got {sample[0]}.."
            f"{sample[-1]}, {(np.diff(sample) <= 0).sum()} not after the one before"
        )
    return events.reset_index(drop=True).assign(onset=sample / float(raw.info["sfreq"]))


def _cut(picked: Any, table: pd.DataFrame, how: Epoching, thin: _Thinning, told: tuple[str, Sequence[str]]) -> Any:
    import mne

    codes = np.ones(len(table), dtype=np.int64)
    events = np.stack([table["sample"].to_numpy() + picked.first_samp, 0 * codes, codes], 1)
    window = {"tmin": how.start, "tmax": how.stop, "baseline": None, "proj": False, "verbose": "error"}
    fine = mne.Epochs(picked, events, 1, metadata=table, **window).drop_bad(verbose="error")
    reasons = Counter(reason for log in fine.drop_log for reason in log[:1])
    if not len(fine):
        raise ValueError(f"epoch_raw: no epoch is left of {len(table)}: {dict(reasons)}")
    first = round(fine.times[0] * picked.info["sfreq"])
    kept = slice(-first % thin.step, None, thin.step)  # the onset's own sample among them
    inside = np.zeros(len(fine.times), dtype=bool)
    if how.baseline is not None:
        inside = (fine.times >= how.baseline[0] - 1e-9) & (fine.times <= how.baseline[1] + 1e-9)
    values = np.empty((len(fine), len(fine.ch_names), len(fine.times[kept])))
    for number, epoch in enumerate(fine):
        values[number] = _scored(epoch, inside, number, fine.ch_names)[:, kept] if how.baseline else epoch[:, kept]
    info = mne.Epochs(picked, events, 1, decim=thin.step, **window).info
    info["description"] = _making(picked, how, thin, told, reasons).written()
    return mne.EpochsArray(
        values, info, fine.events, fine.times[kept][0], event_id=1, proj=False, metadata=fine.metadata, verbose="error"
    )


def _scored(epoch: NDArray[Any], inside: NDArray[np.bool_], number: int, names: Sequence[str]) -> NDArray[Any]:
    mean, deviation = epoch[:, inside].mean(1, keepdims=True), epoch[:, inside].std(1, keepdims=True)
    flat = np.flatnonzero(np.ptp(epoch[:, inside], axis=1) == 0)
    if len(flat):
        raise ValueError(f"epoch_raw: channels must vary over the baseline, got {names[flat[0]]!r} in epoch {number}")
    scored: NDArray[Any] = (epoch - mean) / deviation
    return scored


def _making(
    picked: Any, how: Epoching, thin: _Thinning, told: tuple[str, Sequence[str]], reasons: Counter[str]
) -> Making:
    import mne

    onset, done = told
    units = "standard deviations of the baseline"
    if how.baseline is None:
        units = ", ".join(_UNITS.get(kind, "as mne has them") for kind in picked.get_channel_types(unique=True))
    steps = [*done, f"onsets: {onset}"]
    if how.low is not None or thin.high is not None:
        low = "0" if how.low is None else f"{how.low:g}"
        high = "the recording's" if thin.high is None else f"{thin.high:g}"
        steps.append(f"band-pass {low} to {high} Hz (FIR, zero phase, mne {mne.__version__})")
    if thin.fall is not None:
        steps.append(f"no more than {high} Hz against aliasing: nothing is left at half the rate")
    steps.append(f"cut from {how.start:g} to {how.stop:g} s")
    if how.baseline is not None:
        steps.append(f"z-scored by epoch and channel over {how.baseline[0]:g} to {how.baseline[1]:g} s")
    if thin.step > 1:
        steps.append(f"one of {thin.step} samples at {picked.info['sfreq']:g} Hz kept, counted from the onset")
    said = {"TOO_SHORT": "epochs reach beyond the run", "NO_DATA": "epochs reach beyond the run"}
    left = Counter[str]()
    for reason, count in reasons.items():
        left[said.get(reason, f"annotated as {reason}")] += count
    return Making(onset, units, tuple(steps), tuple((count, reason) for reason, count in left.items()))


def save_epochs(parts: Iterable[Any], path: Any, *, overwrite: bool = False, split_size: str = "500MB") -> Path:
    """Write epochs of `epoch_raw`, a run after another, as one -epo.fif, which mne splits into several files.

    Nothing is there under the final names before all is written. Meanwhile the folder holds the samples twice more,
    as mne writes from float64.

    Parameters
    ----------
    parts : asked for one at a time, so that a generator keeps one run in memory; the first one's `info` is written
    path : ends in -epo.fif
    overwrite : whether to replace such a file
    split_size : of a file, at most; mne holds twice as much in memory to write it

    Raises
    ------
    FileExistsError : the file is there
    ValueError : another ending, no parts, or parts that differ in channels, times, units or onsets
    """
    target = Path(path).expanduser()
    if not target.name.endswith("-epo.fif"):
        raise ValueError(f"save_epochs: path must end in -epo.fif, got {str(path)!r}")
    if target.exists() and not overwrite:
        raise FileExistsError(f"save_epochs: {target} is there already; overwrite=True replaces it")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as place:
        samples, written = Path(place) / "samples", Path(place) / target.name
        _gathered(parts, samples).save(written, split_size=split_size, fmt="single", verbose="error")
        # a first file says that all are there: it goes first and comes last
        for old in (target, *continued(target)):
            old.unlink(missing_ok=True)
        for new in reversed([written, *continued(written)]):
            new.replace(target.with_name(new.name))
    return target


def _gathered(parts: Iterable[Any], samples: Path) -> Any:
    """One mne.EpochsArray of all, mapped on the file `samples`."""
    import mne

    events: list[NDArray[Any]] = []
    tables: list[pd.DataFrame] = []
    makings: list[Making] = []
    first, tmin, names, times = None, 0.0, [], np.empty(0)
    with samples.open("wb") as file:
        for part in parts:
            made = Making.read(part.info["description"])
            if made is None:
                raise ValueError("save_epochs: parts must be epochs of epoch_raw, got others")
            if first is None:
                first, tmin, names, times = part.info.copy(), part.tmin, part.ch_names, part.times
            if part.ch_names != names or not np.array_equal(part.times, times):
                raise ValueError(
                    f"save_epochs: parts must have the same channels and times, got {len(names)} and {len(times)}, "
                    f"then others in part {len(makings)}: {len(part.ch_names)} and {len(part.times)}"
                )
            np.ascontiguousarray(part.get_data(copy=False)).tofile(file)
            # numbers of mne's events must differ; in which run they were is in the metadata
            start = events[-1][-1, 0] + 1 if events else 0
            events.append(part.events + np.array([start, 0, 0]))
            tables.append(part.metadata)
            makings.append(made)
    if first is None:
        raise ValueError("save_epochs: parts must be some, got none")
    first["description"] = _together(makings).written()
    shape = (sum(map(len, tables)), len(names), len(times))
    values = np.memmap(samples, np.float64, "r+", shape=shape)
    metadata = pd.concat(tables, ignore_index=True)
    return mne.EpochsArray(
        values, first, np.concatenate(events), tmin, event_id=1, proj=False, metadata=metadata, verbose="error"
    )


def _together(makings: list[Making]) -> Making:
    for made in makings:
        if (made.onset, made.units) != (makings[0].onset, makings[0].units):
            raise ValueError(f"save_epochs: parts must have the same onsets and units, got {makings[0]} and {made}")
    left = Counter[str]()
    for made in makings:
        for count, reason in made.excluded:
            left[reason] += count
    history = dict.fromkeys(line for made in makings for line in made.history)
    if len(makings) > 1:
        history[f"{len(makings)} runs one after another, sensors placed as in the first"] = None
    excluded = tuple((count, reason) for reason, count in left.items())
    files = {name: value for made in makings for name, value in made.files.items()}
    return replace(makings[0], history=tuple(history), excluded=excluded, files=files)
