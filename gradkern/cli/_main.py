"""The command line: one file per command, each with `add` and `run`."""

import argparse
import sys
from collections.abc import Sequence

import gradkern
from gradkern._progress import progress_shown
from gradkern.cli import (
    _capture,
    _data,
    _demo,
    _doctor,
    _encode,
    _layers,
    _maps,
    _models,
    _run,
    _similarity,
    _store,
    _verdict,
)
from gradkern.cli._arguments import Parser, UsageError
from gradkern.cli._errors import BAD_INPUT, STOPPED, report

_COMMANDS = (_demo, _models, _layers, _capture, _encode, _maps, _similarity, _verdict, _run, _store, _data, _doctor)
_DESCRIPTION = (
    "Compare a vision model's activations and backpropagated gradients with brain responses. "
    "`gradkern COMMAND --help` explains a command and gives an example."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status.

    Bad input is one line on stderr and status 2. Any other error is one line that names the log with its traceback, and
    status 1. Ctrl-C is one line that says what is kept, and status 130.
    """
    parser = _parser()
    try:
        options = parser.parse_args(arguments)
    except UsageError as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    try:
        with progress_shown(not getattr(options, "json", False)):
            status: int = options.run(options)
    except KeyboardInterrupt:
        print(f"gradkern {options.command}: stopped{_kept(options)}", file=sys.stderr)
        return STOPPED
    except Exception as error:
        return report(error, options.command, options.debug)
    return status


def _kept(options: argparse.Namespace) -> str:
    """What a command that was stopped has left, if it says so."""
    return f"; {options.kept(options)}" if "kept" in options else ""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="gradkern", description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"gradkern {gradkern.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add(commands)
    return parser
