"""`gradkern capture`: a model's activations and gradients for a folder or file of images, into a folder."""

import argparse
from pathlib import Path
from typing import Any

from gradkern.cli._arguments import Registry, add_command, add_device, add_json, add_seed, reported

_DESCRIPTION = """\
Run a model on images, and write its activations and the gradients of an objective, layer by layer, to a
folder that `gradkern encode`, `similarity` and `verdict` read. Weights are those of the local cache, of the
hub, or of a file. The same command goes on where an earlier one stopped; one that asks for something else
is refused. docs/capture.md has more."""
_EXAMPLE = """\
gradkern capture efficientnet-lite0 --images photographs --objective entropy --out captures/entropy
gradkern capture efficientnet-lite0 --images photographs --objective cross-entropy --labels labels.csv \
--controls target-shuffled --layers blocks.4 blocks.8 --out captures/labelled
gradkern capture efficientnet-lite0 --images photographs --untrained 1 --out captures/untrained"""
_DTYPES = ("float32", "bfloat16", "float16")


class _Kinds(Registry):
    """The kinds that are no controls."""

    def __iter__(self) -> Any:
        return (name for name in super().__iter__() if "/" not in name)


class _Controls(Registry):
    """The controls without "gradient/" before each."""

    def __iter__(self) -> Any:
        return (name.partition("/")[2] for name in super().__iter__())


def add(commands: Any) -> None:
    parser = add_command(
        commands, "capture", "a model's activations and gradients, for a folder of images", _DESCRIPTION, _EXAMPLE
    )
    parser.add_argument(
        "model", metavar="MODEL", help="a name from `gradkern models`, or a folder of transformers that holds one"
    )
    parser.add_argument(
        "--images",
        required=True,
        metavar="PLACE",
        help="a folder; FILE.h5 with one dataset of images, or FILE.h5:DATASET; or a data set in the package, kay2017",
    )
    parser.add_argument(
        "--shown-in", nargs="+", metavar="FILE", help="capture only images that these saved recordings show, by name"
    )
    parser.add_argument(
        "--out", "--output", dest="output", type=Path, required=True, metavar="FOLDER", help="folder to write"
    )
    _add_model(parser)
    _add_objective(parser)
    _add_features(parser)
    add_device(parser, "device that the model runs on")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images at a time (default: what fits into memory)")
    parser.add_argument(
        "--dtype", choices=_DTYPES, help="type that the model computes in; half types are autocast (default: float32)"
    )
    parser.add_argument("--allow-tf32", action="store_true", help="let a GPU round float32 products to 11 bits")
    add_json(parser)
    parser.set_defaults(run=run, kept=kept)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights", metavar="PATH", help="a .pth or .safetensors file, or a folder, with weights of MODEL"
    )
    parser.add_argument("--untrained", type=int, metavar="SEED", help="random weights of this seed, as before training")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="JSON file of fields of MODEL's configuration that differ"
    )
    parser.add_argument(
        "--whole", action="store_true", help="resize whole images to a square where the authors cut out the center"
    )


def _add_objective(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--objective",
        nargs="+",
        default=["none"],
        metavar=("NAME", "KEY=VALUE"),
        help="the loss whose gradient is captured, such as entropy or feature-norm, and its settings: views=3; "
        "text=FILE.npy (default: none, activations alone)",
    )
    parser.add_argument(
        "--labels", metavar="FILE", help=".csv or .tsv with a row for each image, for objectives that need labels"
    )
    parser.add_argument(
        "--label-column",
        nargs="+",
        metavar="COLUMN",
        help="column of class numbers, or one for each class with its probability (default: label, class, ...)",
    )
    parser.add_argument(
        "--image-column",
        metavar="COLUMN",
        help="column of images' names or 0-based numbers (default: image, name, ...)",
    )


def _add_features(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=_Kinds("gradkern.features", "KINDS"),
        metavar="KIND",
        help="some of %(choices)s (default: activation gradient)",
    )
    parser.add_argument(
        "--controls",
        nargs="+",
        default=[],
        choices=_Controls("gradkern.features", "CONTROLS"),
        metavar="CONTROL",
        help="capture these controls of gradients too: %(choices)s",
    )
    parser.add_argument(
        "--layers", nargs="+", metavar="LAYER", help="names from `gradkern layers` (default: all blocks)"
    )
    parser.add_argument(
        "--tokens",
        nargs="+",
        default=["all"],
        choices=Registry("gradkern.features._engine.tokens", "TOKENS"),
        metavar="TOKENS",
        help="part of a layer's output that is taken: %(choices)s (default: all)",
    )
    parser.add_argument(
        "--sketch",
        default="1024",
        metavar="K",
        help="numbers that each feature space is sketched to, or raw for pooled tokens as they are "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--leave-out-uncovered",
        action="store_true",
        help="leave parameters out of weight gradients whose use no rule covers, instead of an error",
    )
    add_seed(parser)


def run(options: argparse.Namespace) -> int:
    from gradkern.study._capture import run as capture

    return reported(options, capture)


def kept(options: argparse.Namespace) -> str:
    from gradkern.study._capture import kept as in_words

    return in_words(options)
