"""`gradkern run`, `status`, `estimate` and `report`: a whole study from one file."""

import argparse
from pathlib import Path
from typing import Any

from gradkern.cli._arguments import Registry, add_command

_RUN = """\
Capture, encode and judge what a study file says: models x objectives, recordings, claims. The study is
cut into tasks; a task whose result is there and was made from the same is kept. Results lie in a folder
named as the file. docs/studies.md describes the file."""
_RUN_EXAMPLE = """\
gradkern run study.toml --dry-run
gradkern run study.toml --debug
gradkern run study.toml --executor processes --set encode.folds=3
gradkern run study.toml --only 'fit/*/sub-01/*'
gradkern run study.toml --shard 3/8"""
_STATUS = "Print how many tasks of a study are done, which are being computed and which failed last."
_ESTIMATE = """\
Say the time, memory and disk that the tasks of a study will take, before any of them runs. Disk and
memory follow from shapes; time from a calibration of some seconds on this machine."""
_REPORT = """\
Write the tables of a study (scores, tests, claims) and the folders of maps, figures and verdicts, from all
results that are done."""
DEBUG = "8 images, the first and the last layer and 100 targets, in a folder of its own; print tracebacks"
_EXECUTORS = Registry("gradkern.study.runner._executor_entry", "EXECUTORS")


def add(commands: Any) -> None:
    parser = add_command(commands, "run", "run a whole study from its file", _RUN, _RUN_EXAMPLE, DEBUG)
    add_study(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the tasks, and why each is needed; run none")
    parser.add_argument(
        "--executor", choices=_EXECUTORS, metavar="KIND", help="%(choices)s (default: as the file says)"
    )
    parser.add_argument(
        "--only", metavar="PATTERN", help="run tasks of such names, such as 'fit/*', and what they need"
    )
    parser.add_argument(
        "--shard", type=_shard, default=(0, 1), metavar="I/N", help="be the I-th of N processes that do the study"
    )
    parser.add_argument("--device", help="that captures run on (default: as the file says, or cpu)")
    parser.add_argument(
        "--memory", metavar="SIZE", help="that each process may take, such as 16G (default: what is granted)"
    )
    parser.add_argument("--stages", nargs="+", default=[], metavar="KIND", help=argparse.SUPPRESS)
    parser.add_argument("--stored", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--outcome", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    parser.set_defaults(run=run, kept=kept)
    for name, summary, description, action in (
        ("status", "how far a study has come", _STATUS, status),
        ("estimate", "what a study will take, before it runs", _ESTIMATE, estimate),
        ("report", "tables of a study that has run", _REPORT, report),
    ):
        command = add_command(commands, name, summary, description, f"gradkern {name} study.toml", DEBUG)
        add_study(command)
        command.set_defaults(run=action)


def add_study(parser: argparse.ArgumentParser) -> None:
    """The study file, and what changes it."""
    parser.add_argument("study", type=Path, help="the study file")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=C", help="change a value of the file")
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="of the study (default: named as the file)")


def _shard(word: str) -> tuple[int, int]:
    number, _, of = word.partition("/")
    if not (number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
        raise argparse.ArgumentTypeError(f"must be I/N with I from 1 to N, got {word!r}")
    return int(number) - 1, int(of)


def run(options: argparse.Namespace) -> int:
    from gradkern.study.runner._commands import run as run_study

    return run_study(options)


def kept(options: argparse.Namespace) -> str:
    return "results of finished tasks are kept; the same command goes on from there"


def status(options: argparse.Namespace) -> int:
    from gradkern.study.runner._commands import status as status_of

    return status_of(options)


def estimate(options: argparse.Namespace) -> int:
    from gradkern.study.runner._commands import estimate as estimate_of

    return estimate_of(options)


def report(options: argparse.Namespace) -> int:
    from gradkern.study.runner._commands import report as report_of

    return report_of(options)
