"""EEG of a BIDS data set (Pernet et al. 2019, Scientific Data 6:103): raw runs cut into epochs of the images shown."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern.errors import naming
from gradkern.recordings._formats.agreement import Agreements, within
from gradkern.recordings._formats.bids_names import entities, inherited, levels, number_in, run_of, sidecar
from gradkern.recordings._formats.eeg_files import check_size
from gradkern.recordings._formats.files import Folder, existing_file, fingerprint
from gradkern.recordings._formats.mat5 import check_mat
from gradkern.recordings._formats.names import natural
from gradkern.recordings._formats.tables import read_table
from gradkern.recordings._readers.fmri import read_events
from gradkern.recordings._readers.mne_epochs import EpochProvenance, from_epochs
from gradkern.recordings._readers.mne_raw import Epoching, concatenated, epoch_raw
from gradkern.recordings._recording import Recording

_SOURCE = "the data set"
_ENDINGS = (".vhdr", ".edf", ".bdf", ".set")  # the four formats of EEG in BIDS
_BESIDE = {".vhdr": (".vmrk", ".eeg"), ".set": (".fdt",)}
_MM = {"m": 1000.0, "cm": 10.0, "mm": 1.0}
_VOLTS = {"v": 1.0, "mv": 1e-3, "uv": 1e-6, "nv": 1e-9}
_BAD = ("good", "bad")
_EEG_RATE = Epoching(rate=None)


@dataclass(frozen=True)
class _Run:
    """A raw file of EEG, with the tables that apply to it."""

    data: Folder
    path: Path
    events: Path
    channels: Path | None

    def beside(self) -> list[Path]:
        """All files of the run."""
        more = [self.path.with_suffix(ending) for ending in _BESIDE.get(self.path.suffix, ())]
        tables = [self.events, *([self.channels] if self.channels else [])]
        return [self.path, *(path for path in more if path.is_file()), *tables]


@naming("load_bids_eeg")
def load_bids_eeg(
    folder: Any,
    subject: str,
    task: str,
    image: str,
    *,
    settings: Epoching = _EEG_RATE,
    keep_bad: bool = False,
    images: Any = None,
) -> Recording:
    """Epochs of all runs of a task: BrainVision, EDF, BDF or EEGLAB files, which mne reads.

    Each run is filtered and cut by `epoch_raw`, at the onsets of its table of events. Epochs are held in memory;
    `epoch_raw` and `save_epochs` are for more than fit.

    Parameters
    ----------
    folder : the data set
    subject, task : labels, without "sub-" and "task-"
    image : column of the events that names the image, such as "stim_file"; rows without one are counted
    settings : filter, window, rate and baseline; by default those of `Epoching` at the raw rate
    keep_bad : keep channels whose "status" is bad in some run; by default they are left out of all
    images : the image source, in the order of the names

    Returns
    -------
    Recording : presentations have "session" and "run" as BIDS labels them, and "onset" in s within the run; targets
        have "x", "y", "z" in mm where electrodes.tsv and coordsystem.json state them, of the first session that does.
        `provenance["agreed"]` has what header, sidecar and tables say alike

    Raises
    ------
    FileNotFoundError : no runs, a run without events, or a file that a header names is missing
    ValueError : several files of one run; a sampling frequency, duration, unit, channel or sample that two files state
        differently; damaged files; what `epoch_raw` raises
    """
    data = Folder(folder, _SOURCE)
    runs = _runs(data, subject, task)
    agreements = Agreements()
    raws = [_read(run) for run in runs]
    kept, dropped = _channels(runs, raws, agreements, keep_bad)
    parts, excluded = [], []
    for run, raw in zip(runs, raws, strict=True):
        table, left_out = _events(run, raw, image, agreements)
        excluded += list(left_out)
        _check_sidecar(run, raw, agreements)
        parts.append(_epochs(run, raw, table, settings, kept))
    with TemporaryDirectory() as scratch:
        epochs = concatenated(parts, Path(scratch) / "samples")
        recording = from_epochs(epochs, "image_name", subject=f"sub-{subject}", units=_units(parts[0]), images=images)
    positions = _positions(runs, kept)
    targets = recording.targets if positions is None else recording.targets.merge(positions, on="sensor", how="left")
    bad = (Excluded("channels", len(dropped), f"bad by channels.tsv: {', '.join(dropped)}"),) if dropped else ()
    return replace(
        recording,
        targets=targets,
        excluded=(*bad, *_summed(excluded), *recording.excluded),
        provenance={**recording.provenance, "agreed": agreements.provenance(), "files": data.hashes()},
    )


def _runs(data: Folder, subject: str, task: str) -> list[_Run]:
    """All runs of the task in the order of their labels."""
    files: dict[Any, list[Path]] = {}
    for path in sorted((data.root / f"sub-{subject}").glob("**/eeg/*_eeg.*")):
        pairs = entities(path.name)
        if path.suffix in _ENDINGS and (pairs.get("sub"), pairs.get("task")) == (subject, task):
            files.setdefault(run_of(path.name), []).append(path)
    if not files:
        tasks = sorted({entities(path.name).get("task", "") for path in data.root.glob("sub-*/**/eeg/*_eeg.*")})
        raise FileNotFoundError(
            f"sub-{subject}/[ses-*/]eeg/sub-{subject}_*task-{task}_*eeg with {', '.join(_ENDINGS)} is missing in "
            f"{data.root}, which has the tasks {', '.join(tasks) or 'none'}; get it from {_SOURCE}"
        )
    runs = []
    for key in sorted(files, key=lambda key: [natural(label or "") for label in key]):
        if len(files[key]) > 1:
            raise ValueError(f"a run must have one file, got {' and '.join(path.name for path in files[key])}")
        path = existing_file(files[key][0])
        events, channels = (_nearest(path, data.root, ending) for ending in ("_events.tsv", "_channels.tsv"))
        if events is None:
            raise FileNotFoundError(f"{_stem(path)}_events.tsv is missing beside {path}; get it from {_SOURCE}")
        runs.append(_Run(data, path, events, channels))
        data.used += runs[-1].beside()
    return runs


def _stem(path: Path) -> str:
    return path.name.partition(".")[0].removesuffix("_eeg")


def _nearest(path: Path, root: Path, ending: str) -> Path | None:
    tables = inherited(f"{_stem(path)}{ending}", levels(path.parent, root), (ending,))
    return existing_file(tables[0]) if tables else None


def _read(run: _Run) -> Any:
    import mne

    readers = {".vhdr": "brainvision", ".edf": "edf", ".bdf": "bdf", ".set": "eeglab"}
    try:
        if run.path.suffix == ".set":
            check_mat(run.path)
        check_size(run.path)
        raw = getattr(mne.io, f"read_raw_{readers[run.path.suffix]}")(run.path, preload=False, verbose="error")
        raw.load_data(verbose="error")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{run.path} names a file that is missing: {error}") from error
    except Exception as error:  # of any kind: parsers of headers raise what they find
        reason = " ".join(f"{type(error).__name__} {error}".split())
        raise ValueError(f"{run.path} cannot be read: {reason} (is it damaged or cut short?)") from error
    if not np.isfinite(raw.get_data()).all():
        raise ValueError(f"{run.path} must have finite samples, got others")
    return raw


def _check_sidecar(run: _Run, raw: Any, agreements: Agreements) -> None:
    """Sampling frequency and duration of header and sidecar."""
    facts = sidecar(run.path, run.data.root)
    for key, value, slack in (
        ("SamplingFrequency", float(raw.info["sfreq"]), 1e-3),
        ("RecordingDuration", len(raw.times) / float(raw.info["sfreq"]), 1.0),
    ):
        number = number_in({key: facts[key]} if _is_number(facts.get(key)) else {}, key)
        sources = {f"header of {run.path}": value}
        if number is not None:
            sources[f"sidecar of {number[1]}"] = number[0]
        Agreements().same(key, sources, equal=within(slack), show=lambda value: f"{value:g}")
        if number is not None and key == "SamplingFrequency":
            agreements.same(key, sources, equal=within(slack), show=lambda value: f"{value:g} Hz")


def _is_number(fact: Any) -> bool:
    return fact is not None and fact[0] not in ("n/a", None)


def _channels(runs: list[_Run], raws: list[Any], agreements: Agreements, keep_bad: bool) -> tuple[list[str], list[str]]:
    """Names of the EEG channels that are kept in every run, in the order of the first, and of those that are bad."""
    listed = [_eeg_of(run, raw, agreements) for run, raw in zip(runs, raws, strict=True)]
    first = list(listed[0])
    for run, statuses in zip(runs[1:], listed[1:], strict=True):
        if set(statuses) != set(first):
            odd = sorted(set(statuses) ^ set(first))
            raise ValueError(f"channels must be the same in every run, got {', '.join(odd)} in {run.path.name} or not")
    bad = [name for name in first if any(statuses[name] == "bad" for statuses in listed)]
    dropped = [] if keep_bad else bad
    kept = [name for name in first if name not in dropped]
    if not kept:
        raise ValueError(f"channels must be good for some, got {len(bad)} that are bad")
    return kept, dropped


def _eeg_of(run: _Run, raw: Any, agreements: Agreements) -> dict[str, str]:
    """The status of every EEG channel of a run, "good" where none is stated."""
    if run.channels is None:
        kinds = raw.get_channel_types()
        return {name: "good" for name, kind in zip(raw.ch_names, kinds, strict=True) if kind == "eeg"}
    table = read_table(run.channels, ("name", "type"), "\t", names=("name", "type", "units", "status"))
    names = table["name"].tolist()
    if len(set(names)) < len(names) or set(names) != set(raw.ch_names):
        only = sorted(map(str, set(names) ^ set(raw.ch_names))) or ["a name twice"]
        raise ValueError(
            f"channels must be the same everywhere, got {len(raw.ch_names)} in the header of {run.path} and "
            f"{len(names)} in the table of {run.channels}, which differ in {', '.join(only[:4])}"
        )
    agreements.same("channels", {f"header of {run.path}": len(raw.ch_names), f"table of {run.channels}": len(names)})
    table = table.set_index("name", drop=False).loc[raw.ch_names]  # whose order may be another
    if "units" in table:
        _check_voltages(run, raw, table)
    status = table["status"] if "status" in table else pd.Series(["good"] * len(table))
    words = ["good" if word is None else str(word).lower() for word in status]
    odd = next((word for word in words if word not in _BAD), None)
    if odd is not None:
        raise ValueError(f"'status' in {run.channels} must be good or bad, got {odd!r}")
    kinds = [str(kind).upper() for kind in table["type"]]
    return {name: word for name, word, kind in zip(table["name"], words, kinds, strict=True) if kind == "EEG"}


def _check_voltages(run: _Run, raw: Any, table: pd.DataFrame) -> None:
    """Units of header and table, where both state one."""
    stored = getattr(raw, "_orig_units", {})
    for name, unit in zip(table["name"], table["units"], strict=True):
        sources = {f"header of {run.path} for {name}": stored.get(name), f"table of {run.channels}": unit}
        known = {source: value for source, word in sources.items() if (value := _volts(word)) is not None}
        Agreements().same("unit", known, show=lambda value: f"{value:g} V")


def _volts(word: Any) -> float | None:
    return _VOLTS.get(str(word).replace("µ", "u").replace("μ", "u").lower()) if word is not None else None


def _events(run: _Run, raw: Any, image: str, agreements: Agreements) -> tuple[pd.DataFrame, tuple[Excluded, ...]]:
    """The presentations with "sample", "image_name", "session" and "run"; samples are those of the onsets."""
    table, path, left_out = read_events(run.events, image)
    sfreq = float(raw.info["sfreq"])
    table = table.sort_values("onset", ignore_index=True)
    samples = np.round(table["onset"].to_numpy() * sfreq).astype(np.int64)
    _check_samples(path, image, samples, table["onset"].to_numpy(), sfreq, agreements)
    pairs = entities(run.path.name)
    labels = {"session": pairs.get("ses", "1"), "run": pairs.get("run", "1")}
    events = pd.DataFrame({"sample": samples, "image_name": table["name"], **labels})
    return events, left_out


def _check_samples(
    path: Path, image: str, samples: NDArray[np.int64], onsets: Any, sfreq: float, agreements: Agreements
) -> None:
    """A "sample" of the events is that of their onset, counted from 0 or from 1."""
    table = read_table(path, ("onset", image), "\t", names=(image,))
    name = next((name for name in ("sample", "samples") if name in table), None)
    if name is None or table[name].dtype.kind not in "iuf":
        return
    shown = table[table[image].notna() & table[name].notna()].drop_duplicates("onset").set_index("onset")[name]
    for onset, sample in zip(onsets, samples, strict=True):
        if onset in shown.index:
            sources = {f"onset in {path}": float(sample), f"{name!r} in {path}": float(shown[onset])}
            Agreements().same("sample", sources, equal=within(1.5), show=lambda value: f"{value:g}")
    agreements.same("samples of onsets", {f"onset of {path}": sfreq, f"sample of {path}": sfreq})


def _epochs(run: _Run, raw: Any, table: pd.DataFrame, settings: Epoching, kept: list[str]) -> Any:
    raw.set_channel_types(dict.fromkeys(kept, "eeg"), verbose="error")
    raw.info["bads"] = []
    with _of_run(run.path):
        epochs = epoch_raw(raw.reorder_channels(kept), table, settings, channels="all", onset="events.tsv")
    origin = EpochProvenance.from_description(epochs.info["description"])
    files = {path.name: fingerprint(path) for path in run.beside()}
    epochs.info["description"] = replace(origin, files=files).to_description() if origin else None
    return epochs


@contextlib.contextmanager
def _of_run(path: Path) -> Iterator[None]:
    """Errors name the run."""
    try:
        yield
    except ValueError as error:
        error.args = (f"{path.name}: {error}",)
        raise


def _units(epochs: Any) -> str:
    origin = EpochProvenance.from_description(epochs.info["description"])
    return origin.units if origin else "V"


def _positions(runs: list[_Run], kept: list[str]) -> pd.DataFrame | None:
    """Places of the electrodes in mm, by the first table that has units; None if no table does."""
    for run in runs:
        folder, pairs = run.path.parent, entities(run.path.name)
        for path in sorted(folder.glob("*_electrodes.tsv")):
            own = entities(path.name)
            if any(own.get(key, pairs.get(key)) != pairs.get(key) for key in ("sub", "ses", "task", "run")):
                continue
            system = path.with_name(path.name.replace("_electrodes.tsv", "_coordsystem.json"))
            facts = sidecar(system) if system.is_file() else {}
            unit = str(facts.get("EEGCoordinateUnits", ("n/a", system))[0])
            table = read_table(path, ("name", "x", "y", "z"), "\t", names=("name",))
            if unit in _MM and all(table[axis].dtype.kind in "iuf" for axis in "xyz"):
                run.data.used += [path, system]
                places = table[table["name"].isin(kept)]
                scaled = {axis: places[axis].to_numpy(dtype=np.float64) * _MM[unit] for axis in "xyz"}
                return pd.DataFrame({"sensor": places["name"].to_numpy(), **scaled})
    return None


def _summed(entries: list[Excluded]) -> tuple[Excluded, ...]:
    counts: dict[tuple[str, str], int] = {}
    for entry in entries:
        counts[entry.what, entry.reason] = counts.get((entry.what, entry.reason), 0) + entry.count
    return tuple(Excluded(what, count, reason) for (what, reason), count in counts.items())
