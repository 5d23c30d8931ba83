"""What the commands share: how one is added, options that several take, and choices that are read when needed."""

import argparse
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

from gradkern._device import computing_on


class UsageError(ValueError):
    """An argument of the command line is wrong; the message names the command."""


class Registry:
    """The choices of an option, from a table of the package, which is imported when a choice is checked or shown."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __iter__(self) -> Iterator[str]:
        return iter(getattr(import_module(self._module), self._name))

    def __contains__(self, word: object) -> bool:
        return word in tuple(self)


class Parser(argparse.ArgumentParser):
    """A parser whose errors about choices from a `Registry` read as those of the functions do."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action.choices, Registry) and value not in action.choices:
            how_many = "some" if action.nargs == "+" else "one"
            words = ", ".join(action.choices)
            raise UsageError(f"{self.prog}: {action.option_strings[0]} must be {how_many} of {words}, got {value!r}")
        super()._check_value(action, value)


_DEBUG = "print the traceback of an error"


def add_command(commands: Any, name: str, summary: str, description: str, example: str, debug: str = _DEBUG) -> Parser:
    """Add a command with its help.

    Parameters
    ----------
    commands : the subparsers that it is one of
    summary : one line, for the list of commands
    description : what the command does, reads and writes
    example : command lines that a reader can adapt
    debug : help of its option --debug
    """
    lines = "\n".join(f"  {line}" for line in example.splitlines())
    parser: Parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"example:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help=debug)
    return parser


def add_feature_options(parser: argparse.ArgumentParser) -> None:
    """Options of commands that compare captured features with recordings."""
    parser.add_argument(
        "--features",
        nargs="+",
        required=True,
        metavar="PATH",
        help="folders that capture(..., out=) wrote, or files and folders of other packages that features.given reads",
    )
    parser.add_argument(
        "--recordings",
        nargs="+",
        required=True,
        metavar="FILE",
        help="files that save_recording wrote, one per subject",
    )
    parser.add_argument(
        "--models", nargs="+", metavar="NAME", help="a name for the model of each folder (default: as captured)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results")
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="use only these kinds of features (default: all)")
    parser.add_argument("--layers", nargs="+", metavar="LAYER", help="use only these layers (default: all)")
    parser.add_argument("--roi", nargs="+", metavar="ROI", help="use only targets in these regions (default: all)")
    parser.add_argument(
        "--raw-gradients",
        action="store_true",
        help="use gradients as they are; by default each image's gradient is scaled to unit length",
    )


def add_output(parser: argparse.ArgumentParser, default: str, what: str) -> None:
    parser.add_argument(
        "--output", type=Path, default=Path(default), metavar="PATH", help=f"{what} to write (default: %(default)s)"
    )


def add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="seed of all random choices (default: %(default)s)")


def add_device(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--device", default="cpu", metavar="DEVICE", help=f"{what}: cpu, cuda, cuda:1, ... (default: cpu)"
    )


def add_computing(parser: argparse.ArgumentParser) -> None:
    """Options of commands that compute with captures and recordings: the device, and how results are printed."""
    add_device(
        parser,
        "device for ridge regressions and permutations, whose results differ from those of another one by rounding",
    )
    add_json(parser)


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print what was done as JSON, and nothing else")


def reported(options: argparse.Namespace, run: Callable[[argparse.Namespace], Mapping[str, Any]]) -> int:
    """Run a command that returns what it did; with --json that is all of stdout."""
    with computing_on(getattr(options, "device", "cpu")):
        if not options.json:
            run(options)
            return 0
        with redirect_stdout(io.StringIO()):
            done = run(options)
    print(json.dumps(_plain(done), default=str, allow_nan=False))
    return 0


def _plain(value: Any) -> Any:
    """A value as JSON has it: what is not finite is null."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
