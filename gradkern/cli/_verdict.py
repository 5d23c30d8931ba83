"""`gradkern verdict`: the claims of a study file, with tables, figures and a report."""

import argparse
from pathlib import Path
from typing import Any

from gradkern.cli._arguments import add_command, add_computing, add_output, reported

_DESCRIPTION = """\
Test the claims of Raugel et al. (2026) on a study, and write tables, figures and a report. The study
file (TOML) names captured features, saved recordings and the settings of the tests; docs/study.md
describes it. The output folder appears when everything is written."""
_EXAMPLE = """\
gradkern verdict study.toml --output verdict
gradkern verdict study.toml --output verdict --multiverse --overwrite"""


def add(commands: Any) -> None:
    parser = add_command(commands, "verdict", "test the claims of a study, and write a report", _DESCRIPTION, _EXAMPLE)
    parser.add_argument("study", type=Path, help="the study file")
    add_output(parser, "verdict", "folder")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier verdict in the folder")
    parser.add_argument(
        "--multiverse",
        action="store_true",
        help="repeat the analysis with alternative choices, one at a time, and report which conclusions survive",
    )
    parser.add_argument(
        "--together", action="store_true", help="with --multiverse: run every combination of the alternative choices"
    )
    add_computing(parser)
    parser.set_defaults(run=run, kept=kept)


def run(options: argparse.Namespace) -> int:
    from gradkern.study._run_verdict import run as verdict

    return reported(options, verdict)


def kept(options: argparse.Namespace) -> str:
    from gradkern.study._run_verdict import kept as in_words

    return in_words(options)
