"""`gradkern data check` and `gradkern data save`: look at a data set, and write the recording of a subject."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gradkern.cli._arguments import add_command
from gradkern.cli._readers import ReaderParser, add_reader_arguments, named_recording

_CHECK = """\
Read a data set and print what the recording of one subject holds, what is odd about it, and its
noise ceiling."""
_SAVE = """\
Read a data set and write the recording of one subject to a file that `gradkern encode`, `similarity`
and `verdict` read. What is asked for is done in this order: pictures with several ids get one,
presentations and targets are chosen, responses are z-scored, repeats are averaged. Responses go
through memory 1 GiB at a time; the file appears when it is complete. Images are not in it."""


def add(commands: Any) -> None:
    """Add `gradkern data` and its actions."""
    data = commands.add_parser("data", help="look at a data set, and save the recording of a subject")
    actions = data.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=ReaderParser)
    check = add_command(
        actions,
        "check",
        "show what a recording holds, what is odd about it, and its noise ceiling",
        _CHECK,
        "gradkern data check nsd path/to/nsd --subject 2\ngradkern data check saved subject-1.h5",
    )
    add_reader_arguments(check)
    check.set_defaults(run=run)
    save = add_command(
        actions,
        "save",
        "write the recording of a subject to one file",
        _SAVE,
        "gradkern data save nsd path/to/nsd --subject 2 --atlas streams --regions early ventral --zscore --average "
        "--out subject-2.h5\n"
        "gradkern data save things-meg path/to/things-meg --subject 1 --window 0 0.5 --average --out meg-1.h5",
    )
    add_reader_arguments(save)
    _add_choices(save)
    save.set_defaults(run=run_save, kept=_kept)


def _add_choices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", "--output", dest="output", type=Path, required=True, metavar="FILE", help="file to write, NAME.h5"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier file")
    parser.add_argument("--regions", nargs="+", metavar="ROI", help="only targets in these regions")
    parser.add_argument(
        "--window",
        nargs=2,
        type=float,
        metavar=("FROM", "TO"),
        help="only targets at these times in s after onset, both included",
    )
    parser.add_argument(
        "--where",
        nargs="+",
        default=[],
        metavar="COLUMN=VALUE",
        help="only presentations with these values, such as split=test or session=1",
    )
    parser.add_argument(
        "--merge-pictures", action="store_true", help="one id for pictures that are the same pixel by pixel"
    )
    parser.add_argument("--zscore", action="store_true", help="z-score every target within each session")
    parser.add_argument(
        "--average",
        action="store_true",
        help="one row an image, the mean of its presentations; the noise ceiling is estimated first if it is not known",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print what a recording holds."""
    from gradkern.recordings import describe

    for name, value in describe(named_recording(arguments)):
        _print(f"{name:<14} {value}")
    return 0


def run_save(arguments: argparse.Namespace) -> int:
    """Write a recording, as it is asked for, to a file."""
    from gradkern.recordings import save_recording

    if arguments.output.exists() and not arguments.overwrite:
        raise FileExistsError(
            f"--out must be a new file, got {arguments.output}, which exists (--overwrite replaces it)"
        )
    recording = _prepared(named_recording(arguments), arguments)
    save_recording(recording, arguments.output, overwrite=arguments.overwrite)
    n, v = recording.responses.shape
    for entry in recording.excluded:
        _print(f"left out: {entry.count} {entry.what}: {entry.reason}")
    for line in recording.history:
        _print(f"history: {line}")
    _print(f"subject {recording.subject}: {n} rows x {v} targets, {recording.units}: all in {arguments.output}")
    return 0


def _prepared(recording: Any, arguments: argparse.Namespace) -> Any:
    from gradkern.recordings import merge_pictures

    if arguments.merge_pictures:
        recording = merge_pictures(recording)
    for word in arguments.where:
        column, value = _column(word, recording.presentations.columns)
        chosen = recording.presentations[column].astype(str).to_numpy() == value
        recording = recording.select_presentations(np.flatnonzero(chosen), f"with {column} {value}")
    if arguments.regions:
        recording = recording.roi(*arguments.regions)
    if arguments.window:
        recording = recording.window(*arguments.window)
    if arguments.zscore:
        recording = recording.zscore()
    return recording.average_repeats() if arguments.average else recording


def _column(word: str, columns: Sequence[str]) -> tuple[str, str]:
    column, equals, value = word.partition("=")
    if not equals or column not in list(columns):
        raise ValueError(f"--where must be COLUMN=VALUE with one of {', '.join(map(str, columns))}, got {word!r}")
    return column, value


def _kept(arguments: argparse.Namespace) -> str:
    is_there = arguments.output.exists()
    return f"{arguments.output} is as it was before" if is_there else f"{arguments.output} was not written"


def _print(line: str) -> None:
    print(line.encode("utf-8", "backslashreplace").decode())  # names of files that are not in Unicode
