"""`gradkern layers`: a model's layers and their relative depth."""

import argparse
from typing import Any

from gradkern.cli._arguments import add_command

_DESCRIPTION = """\
List a model's layers, by the names that capture(layers=) takes, with their relative depth from 0 to 1.
No weights are downloaded."""
_EXAMPLE = "gradkern layers dinov2-base --branches"


def add(commands: Any) -> None:
    parser = add_command(commands, "layers", "list a model's layers and their depth", _DESCRIPTION, _EXAMPLE)
    parser.add_argument("model", help="a name from `gradkern models`")
    parser.add_argument("--branches", action="store_true", help="list the attention and MLP branches too")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from gradkern.models._load import architecture

    spec = architecture(options.model).spec
    names = [*spec.layers, *(spec.branches if options.branches else ())]
    width = max(map(len, names))
    # a block after its branches, in the order in which they run
    for layer in sorted(names, key=lambda name: (int(name.split(".")[1]), name in spec.layers)):
        print(f"{layer:<{width}}  {spec.depth(layer):.3f}")
    return 0
