"""THINGS-MEG from its raw recordings: epochs preprocessed by the authors' or by other settings.

The authors' steps: MEG/step1_preprocessing.py of ViCCo-Group/THINGS-data. Data: OpenNeuro ds004212.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.errors import Refused, naming
from gradkern.recordings._formats.files import Folder, fingerprint
from gradkern.recordings._formats.tables import read_table
from gradkern.recordings._readers.dataset import check_choice
from gradkern.recordings._readers.mne_epochs import EpochProvenance
from gradkern.recordings._readers.mne_raw import Epoching, epoch_raw, save_epochs
from gradkern.recordings._readers.things_meg import EPOCHS, THINGS_MEG

_VERB = "epoch_things_meg"
_PUBLISHED = Epoching()  # the defaults are the authors' choices
_ONSETS = {
    "optical": "optical sensor (sample of the authors' events.tsv)",
    "trigger": "hardware trigger (rises of UPPT001 to 64)",
}
_TRIGGER, _VALUE = "UPPT001", 64
_BAD = "MRO11-1609"  # broken in all sessions, according to the experimenters' notes
# (subject, session, run): the time in s from which 0.2 s have no signal. The authors' code counts these runs from 0
_DROPOUTS = {(1, 11, 5): 13.4, (2, 10, 3): 59.8}
_DROPOUT_LENGTH = 0.2


@dataclass(frozen=True)
class _Run:
    """One run: subject, session and run number, files, and its rows of the table of attributes."""

    numbers: tuple[int, int, int]
    recording: Path
    events: Path
    trials: pd.DataFrame
    files: dict[str, str]  # fingerprints, by their paths in the data set

    @property
    def name(self) -> str:
        return f"ses-{self.numbers[1]:02d} run-{self.numbers[2]:02d}"


@naming(_VERB)
def epoch_things_meg(
    folder: Any,
    subject: int,
    output: Any,
    settings: Epoching = _PUBLISHED,
    *,
    onset: str = "optical",
    sessions: Sequence[int] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write epochs of all presentations, catch trials included, to a folder that `load_things_meg` reads.

    The file is named `preprocessed_P<n>-epo.fif`. By default epochs are made as the authors made theirs: magnetometers
    without MRO11-1609 (271), 0.1 to 40 Hz, -0.1 to 1.3 s, z-scored over the baseline, every sixth sample (200 Hz). In
    two runs, 0.2 s without signal are filled with each channel's median before filtering, as the authors did; epochs
    that overlap with them are True in the column "filled".

    Parameters
    ----------
    folder : the data set, with `sub-BIGMEG<n>` and `sourcedata`
    subject : 1 to 4
    output : folder to write; needs room for three times the epochs (8 GB by default) until all are written
    settings : filter, window, rate and baseline; `RAUGEL2025` are those of another study
    onset : "optical" for the time when the image was on the screen, or "trigger" for the computer's trigger some ms
        earlier
    sessions : all by default
    overwrite : whether to replace existing epochs

    Returns
    -------
    Path : of the first file; its metadata are the table of attributes, with "sample" and "onset" (s) within the run

    Raises
    ------
    FileNotFoundError : a run, its events or the table is missing; the message names it
    FileExistsError : the epochs exist, and `overwrite` is False
    ValueError : a run's onsets do not fit its presentations in number or image, or files are cut short
    """
    check_choice("onset", onset, _ONSETS)
    runs = _runs(THINGS_MEG.open(folder, subject), subject, sessions)
    target = Path(output).expanduser() / EPOCHS.format(subject)
    return save_epochs(_epochs(runs, settings, onset), target, overwrite=overwrite)


def _runs(data: Folder, subject: int, sessions: Sequence[int] | None) -> list[_Run]:
    """All requested runs by session and run, whose files are there."""
    path = data.file(f"sourcedata/sample_attributes_P{subject}.csv")
    columns = ("trial_type", "session_nr", "run_nr", "image_path")
    table = read_table(path, columns, names=("trial_type", "image_path"))
    for name in ("session_nr", "run_nr"):
        if table[name].dtype.kind not in "iu":
            raise ValueError(f"{name!r} in {path} must be whole numbers, got {table[name].dtype}")
    recorded = table["session_nr"].unique().tolist()
    chosen = recorded if sessions is None else list(sessions)
    if not chosen or not set(chosen) <= set(recorded):
        raise ValueError(f"sessions must be some of {recorded}, got {chosen}")
    runs = []
    for (session, run), trials in table[table["session_nr"].isin(chosen)].groupby(["session_nr", "run_nr"]):
        home = f"sub-BIGMEG{subject}/ses-{session:02d}/meg"
        stem = f"sub-BIGMEG{subject}_ses-{session:02d}_task-main_run-{run:02d}"
        used = [data.file(f"{home}/{stem}_meg.ds/{stem}_meg.{ending}") for ending in ("res4", "meg4")]
        used.append(data.file(f"{home}/{stem}_events.tsv"))
        files = {str(path.relative_to(data.root)): fingerprint(path) for path in used}
        runs.append(_Run((subject, int(session), int(run)), used[0].parent, used[-1], trials, files))
    return runs


def _epochs(runs: list[_Run], settings: Epoching, onset: str) -> Iterator[Any]:
    for run in runs:
        with naming(_VERB):  # else errors would have the name of `save_epochs`, which iterates
            epochs = _epochs_of_run(run, settings, onset)
        yield epochs


def _epochs_of_run(run: _Run, settings: Epoching, onset: str) -> Any:
    raw = _raw(run)
    samples = _optical(run) if onset == "optical" else _triggered(run, raw)
    if len(samples) != len(run.trials):
        raise ValueError(
            f"{run.name} must have {len(run.trials)} onsets, as the table of attributes has presentations, "
            f"got {len(samples)} by the {_ONSETS[onset]}"
        )
    # the script's planned onsets, by its own clock, are no onsets in the recording
    table = run.trials.rename(columns={"onset": "planned_onset"}).assign(sample=samples)
    done = [f"without {_BAD}"]
    raw = raw.drop_channels([_BAD]).pick("mag", verbose="error")
    dropout = _DROPOUTS.get(run.numbers)
    sfreq = float(raw.info["sfreq"])
    if dropout is not None:
        raw.load_data(verbose="error")
        _fill(raw, dropout)
        done.append(f"{run.name}: {_DROPOUT_LENGTH:g} s without signal, from {dropout:g} s on, filled with medians")
    start = np.inf if dropout is None else dropout
    filled = (samples / sfreq + settings.start < start + _DROPOUT_LENGTH) & (samples / sfreq + settings.stop >= start)
    try:
        epochs = epoch_raw(raw, table.assign(filled=filled), settings, onset=_ONSETS[onset], done=done)
    except ValueError as error:
        kind = Refused if isinstance(error, Refused) else ValueError
        raise kind(f"{run.name}: {error}") from error
    origin = EpochProvenance.from_description(epochs.info["description"])
    epochs.info["description"] = replace(origin, files=run.files).to_description() if origin else None
    return epochs


def _raw(run: _Run) -> Any:
    import mne

    try:
        raw = mne.io.read_raw_ctf(run.recording, verbose="error")
    except Exception as error:
        raise ValueError(f"{run.recording} cannot be read: {error}") from error
    for name in (_BAD, _TRIGGER):
        if name not in raw.ch_names:
            raise ValueError(f"{run.recording} must have the channel {name}, got {len(raw.ch_names)} others")
    return raw


def _optical(run: _Run) -> NDArray[np.int64]:
    """Onsets by the optical sensor, from the authors' table of events."""
    table = read_table(run.events, (), "\t")
    if "sample" not in table:
        raise ValueError(
            f"{run.events} must have the column 'sample', got {list(table.columns)} (the first version of the "
            "data set had planned onsets only; get the current one)"
        )
    if table["sample"].dtype.kind not in "iu":
        raise ValueError(f"'sample' in {run.events} must be whole numbers, got {table['sample'].dtype}")
    if len(table) == len(run.trials):
        _same_images(run, table)
    samples: NDArray[np.int64] = table["sample"].to_numpy()
    return samples


def _same_images(run: _Run, table: pd.DataFrame) -> None:
    """Raise a ValueError unless both tables name the same images; catch trials have no number in either."""
    shown = (run.trials["trial_type"] != "catch").to_numpy()
    for column, attribute in (("trial_type", "trial_type"), ("value", "things_image_nr")):
        if column in table and attribute in run.trials:
            wrong = table[column].to_numpy()[shown] != run.trials[attribute].to_numpy()[shown]
            if wrong.any():
                raise ValueError(
                    f"{column!r} in {run.events} must be {attribute!r} of the table of attributes, got another in "
                    f"{wrong.sum()} of {len(wrong)} presentations"
                )


def _triggered(run: _Run, raw: Any) -> NDArray[np.int64]:
    import mne

    try:
        events = mne.find_events(raw, stim_channel=_TRIGGER, verbose="error")
    except ValueError as error:
        raise ValueError(f"{run.name}: {_TRIGGER} cannot be read: {error}") from error
    samples: NDArray[np.int64] = events[events[:, 2] == _VALUE, 0] - raw.first_samp
    return samples


def _fill(raw: Any, start: float) -> None:
    """Fill a dropout with the median of each channel over the run, as the authors did."""
    first = int(np.argmin(np.abs(raw.times - start)))
    stop = first + int(_DROPOUT_LENGTH * raw.info["sfreq"])
    if stop > len(raw.times):
        raise ValueError(f"the run must be longer than {start + _DROPOUT_LENGTH:g} s, got {raw.times[-1]:g} s")
    raw[:, first:stop] = np.repeat(np.median(raw.get_data(), axis=1)[:, None], stop - first, axis=1)
