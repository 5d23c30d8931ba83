"""THINGS-MEG from its raw recordings: epochs as the authors made theirs, or made otherwise, for `load_things_meg`.

The authors' steps: MEG/step1_preprocessing.py of ViCCo-Group/THINGS-data. Data: OpenNeuro ds004212.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.recordings._formats.files import Folder, fingerprint, read_table
from gradkern.recordings._readers.making import Making
from gradkern.recordings._readers.mne_raw import Epoching, epoch_raw, save_epochs
from gradkern.recordings._readers.things_meg import EPOCHS, PARTICIPANTS, SOURCE

_OP = "epoch_things_meg"
PUBLISHED = Epoching()  # the defaults are the authors' choices
ONSETS = {
    "optical": "optical sensor (sample of the authors' events.tsv)",
    "trigger": "hardware trigger (rises of UPPT001 to 64)",
}
_TRIGGER, _VALUE = "UPPT001", 64
_BAD = "MRO11-1609"  # broken in all sessions, by the experimenters' notes
# participant, session, run: s, from which on 0.2 s have no signal. The authors' code counts runs from 0: 4 and 2 there
_DROPOUTS = {(1, 11, 5): 13.4, (2, 10, 3): 59.8}
_DROPOUT_LENGTH = 0.2


@dataclass(frozen=True)
class _Run:
    """One run: its place in the file names, its files, and the rows of the table of attributes."""

    place: tuple[int, int, int]
    recording: Path
    events: Path
    trials: pd.DataFrame
    files: dict[str, str]  # fingerprints, by their paths in the data set

    @property
    def name(self) -> str:
        return f"ses-{self.place[1]:02d} run-{self.place[2]:02d}"


def epoch_things_meg(
    folder: Any,
    participant: int,
    output: Any,
    how: Epoching = PUBLISHED,
    *,
    onset: str = "optical",
    sessions: Sequence[int] | None = None,
    overwrite: bool = False,
) -> Path:
    """Epochs of all presentations, catch trials too, as `preprocessed_P<n>-epo.fif` in a folder for `load_things_meg`.

    By default as the authors made theirs: magnetometers without MRO11-1609 (271), 0.1 to 40 Hz, -0.1 to 1.3 s, z-scored
    over the baseline, every sixth sample (200 Hz). In two runs 0.2 s without signal are filled with each channel's
    median, as they did, before filtering; the epochs that touch it are True in the column "filled".

    Parameters
    ----------
    folder : the data set's, with `sub-BIGMEG<n>` and `sourcedata`
    participant : 1 to 4
    output : folder to write; needs room for three times the epochs (8 GB by default) until all is written
    how : filter, window, rate, baseline; `PREDECESSOR` is another study's choice
    onset : "optical", when the image was on the screen; or "trigger", when the computer asked for it, some ms before
    sessions : by default all

    Returns
    -------
    Path : of the first file; the table of attributes is its metadata, with "sample" and "onset" (s) in the run

    Raises
    ------
    FileNotFoundError : a run, its events, or the table is missing; it is named
    FileExistsError : the epochs are there
    ValueError : onsets that are not as many as the run's presentations, or of other images; files cut short
    """
    if participant not in PARTICIPANTS:
        raise ValueError(f"{_OP}: participant must be one of {PARTICIPANTS}, got {participant!r}")
    if onset not in ONSETS:
        raise ValueError(f"{_OP}: onset must be one of {tuple(ONSETS)}, got {onset!r}")
    target = Path(output).expanduser() / EPOCHS.format(participant)
    runs = _runs(Folder(_OP, folder, SOURCE), participant, sessions)
    return save_epochs(_epochs(runs, how, onset), target, overwrite=overwrite)


def _runs(data: Folder, participant: int, sessions: Sequence[int] | None) -> list[_Run]:
    """All that are wanted, by session and run; none is read before all are known to be there."""
    path = data.file(f"sourcedata/sample_attributes_P{participant}.csv")
    table = read_table(_OP, path, ("trial_type", "session_nr", "run_nr", "image_path"))
    for name in ("session_nr", "run_nr"):
        if table[name].dtype.kind not in "iu":
            raise ValueError(f"{_OP}: {name!r} in {path} must be whole numbers, got {table[name].dtype}")
    known = table["session_nr"].unique().tolist()
    wanted = known if sessions is None else list(sessions)
    if not wanted or not set(wanted) <= set(known):
        raise ValueError(f"{_OP}: sessions must be some of {known}, got {wanted}")
    runs = []
    for (session, run), trials in table[table["session_nr"].isin(wanted)].groupby(["session_nr", "run_nr"]):
        home = f"sub-BIGMEG{participant}/ses-{session:02d}/meg"
        stem = f"sub-BIGMEG{participant}_ses-{session:02d}_task-main_run-{run:02d}"
        used = [data.file(f"{home}/{stem}_meg.ds/{stem}_meg.{ending}") for ending in ("res4", "meg4")]
        used.append(data.file(f"{home}/{stem}_events.tsv"))
        files = {str(path.relative_to(data.root)): fingerprint(path) for path in used}
        runs.append(_Run((participant, int(session), int(run)), used[0].parent, used[-1], trials, files))
    return runs


def _epochs(runs: list[_Run], how: Epoching, onset: str) -> Iterator[Any]:
    for run in runs:
        raw = _raw(run)
        samples = _optical(run) if onset == "optical" else _triggered(run, raw)
        if len(samples) != len(run.trials):
            raise ValueError(
                f"{_OP}: {run.name} must have {len(run.trials)} onsets, as the table of attributes has presentations, "
                f"got {len(samples)} by the {ONSETS[onset]}"
            )
        # what the script planned, s on its own clock, is no onset in the recording
        table = run.trials.rename(columns={"onset": "planned_onset"}).assign(sample=samples)
        done = [f"without {_BAD}"]
        raw = raw.drop_channels([_BAD]).pick("mag", verbose="error")
        filled = _DROPOUTS.get(run.place)
        sfreq = float(raw.info["sfreq"])
        if filled is not None:
            raw.load_data(verbose="error")
            _fill(raw, filled)
            done.append(f"{run.name}: {_DROPOUT_LENGTH:g} s without signal, from {filled:g} s on, filled with medians")
        at = np.inf if filled is None else filled
        touched = (samples / sfreq + how.start < at + _DROPOUT_LENGTH) & (samples / sfreq + how.stop >= at)
        try:
            epochs = epoch_raw(raw, table.assign(filled=touched), how, onset=ONSETS[onset], done=done)
        except ValueError as error:
            raise ValueError(f"{_OP}: {run.name}: {error}") from error
        made = Making.read(epochs.info["description"])
        epochs.info["description"] = replace(made, files=run.files).written() if made else None
        yield epochs


def _raw(run: _Run) -> Any:
    import mne

    try:
        raw = mne.io.read_raw_ctf(run.recording, verbose="error")
    except Exception as error:
        raise ValueError(f"{_OP}: {run.recording} cannot be read: {error}") from error
    for name in (_BAD, _TRIGGER):
        if name not in raw.ch_names:
            raise ValueError(f"{_OP}: {run.recording} must have the channel {name}, got {len(raw.ch_names)} others")
    return raw


def _optical(run: _Run) -> NDArray[np.int64]:
    """Onsets by the optical sensor, as the authors wrote them down."""
    table = read_table(_OP, run.events, (), "\t")
    if "sample" not in table:
        raise ValueError(
            f"{_OP}: {run.events} must have the column 'sample', got {list(table.columns)} (the first version of the "
            "data set had planned onsets only; get the current one)"
        )
    if table["sample"].dtype.kind not in "iu":
        raise ValueError(f"{_OP}: 'sample' in {run.events} must be whole numbers, got {table['sample'].dtype}")
    if len(table) == len(run.trials):
        _same_images(run, table)
    samples: NDArray[np.int64] = table["sample"].to_numpy()
    return samples


def _same_images(run: _Run, table: pd.DataFrame) -> None:
    """Catch trials have no number in either table."""
    shown = (run.trials["trial_type"] != "catch").to_numpy()
    for mine, theirs in (("trial_type", "trial_type"), ("value", "things_image_nr")):
        if mine in table and theirs in run.trials:
            other = table[mine].to_numpy()[shown] != run.trials[theirs].to_numpy()[shown]
            if other.any():
                raise ValueError(
                    f"{_OP}: {mine!r} in {run.events} must be {theirs!r} of the table of attributes, got another in "
                    f"{other.sum()} of {len(other)} presentations"
                )


def _triggered(run: _Run, raw: Any) -> NDArray[np.int64]:
    import mne

    try:
        found = mne.find_events(raw, stim_channel=_TRIGGER, verbose="error")
    except ValueError as error:
        raise ValueError(f"{_OP}: {run.name}: {_TRIGGER} cannot be read: {error}") from error
    samples: NDArray[np.int64] = found[found[:, 2] == _VALUE, 0] - raw.first_samp
    return samples


def _fill(raw: Any, start: float) -> None:
    """With the median of each channel over the run, as the authors did."""
    first = int(np.argmin(np.abs(raw.times - start)))
    stop = first + int(_DROPOUT_LENGTH * raw.info["sfreq"])
    if stop > len(raw.times):
        raise ValueError(f"{_OP}: the run must be longer than {start + _DROPOUT_LENGTH:g} s, got {raw.times[-1]:g} s")
    raw[:, first:stop] = np.repeat(np.median(raw.get_data(), axis=1)[:, None], stop - first, axis=1)
