"""`gradkern store`: the results of a study: list, verify, remove what the study file asks for no more."""

import argparse
from typing import Any

from gradkern.cli._arguments import add_command
from gradkern.cli._run import DEBUG, add_study

_ACTIONS = {
    "ls": ("list the results of a study", "Print the results of a study: size, time, and the task that made each."),
    "verify": (
        "compare every byte with what was written",
        "Read every file of every result and compare its hash with the one that was taken when it was\n"
        "written. What is damaged is named, and made anew by the next run.",
    ),
    "prune": (
        "remove what the study file asks for no more",
        "Print the results that no task of the study file needs, what was damaged, and what stopped tasks\nleft; "
        "--yes removes them.",
    ),
}


def add(commands: Any) -> None:
    parser = commands.add_parser("store", help="list, verify and clean the results of a study")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (summary, description) in _ACTIONS.items():
        action = add_command(actions, name, summary, description, f"gradkern store {name} study.toml", DEBUG)
        add_study(action)
        if name == "prune":
            action.add_argument("--yes", action="store_true", help="remove them")
        action.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from gradkern.study.runner._commands import store

    return store(options)
