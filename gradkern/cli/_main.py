"""The command line: one file per command, each with `add` and `run`."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import gradkern
from gradkern.cli import _data, _demo, _doctor, _encode, _layers, _models, _run, _similarity, _store, _verdict
from gradkern.cli._arguments import Parser, UsageError, add_command
from gradkern.cli._errors import BAD_INPUT, report

_COMMANDS = (_demo, _models, _layers, _encode, _similarity, _verdict, _run, _store, _doctor)
_DESCRIPTION = (
    "Compare a vision model's activations and backpropagated gradients with brain responses. "
    "`gradkern COMMAND --help` explains a command and gives an example."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status.

    Bad input is one line on stderr and status 2. Any other error is one line that names the log with its traceback, and
    status 1.
    """
    parser = _parser()
    try:
        options = parser.parse_args(arguments)
    except UsageError as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    try:
        status: int = options.run(options)
    except Exception as error:
        return report(error, options.command, options.debug)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="gradkern", description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"gradkern {gradkern.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add(commands)
    _add_data(commands)
    return parser


def _add_data(commands: Any) -> None:
    data = commands.add_parser("data", help="look at a data set before computing with it")
    actions = data.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = add_command(
        actions,
        "check",
        "show what a recording holds, what is odd about it, and its noise ceiling",
        "Read a data set and print what the recording of one subject holds, what is odd about it, and its\n"
        "noise ceiling.",
        "gradkern data check nsd path/to/nsd --subject 1\ngradkern data check saved subject-1.h5",
    )
    _data.add_arguments(check)
    check.set_defaults(run=_data.run)
