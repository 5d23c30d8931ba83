"""`gradkern models`: the models that `load_model` knows by name."""

import argparse
from typing import Any

from gradkern.cli._arguments import add_command

_DESCRIPTION = """\
List the models that load_model knows by name: parameters, input resolution, heads, licence, and
whether the weights are behind a form ("gated")."""


def add(commands: Any) -> None:
    parser = add_command(commands, "models", "list the models that load_model knows", _DESCRIPTION, "gradkern models")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from gradkern.models._catalogue import CATALOGUE

    table = [("name", "parameters", "resolution", "heads", "licence", "gated")]
    for name, row in CATALOGUE.items():
        gated = "yes" if row.source.gated else "no"
        size = f"{row.parameters:.1f} M"
        table.append((name, size, str(row.resolution), row.heads or "none", row.source.licence, gated))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        print("  ".join(f"{word:<{width}}" for word, width in zip(line, widths, strict=True)).rstrip())
    return 0
