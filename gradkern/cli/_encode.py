"""`gradkern encode`: held-out encoding scores, one file per recording."""

import argparse
from typing import Any

from gradkern.cli._arguments import (
    Registry,
    add_command,
    add_computing,
    add_feature_options,
    add_output,
    add_seed,
    reported,
)
from gradkern.cli._maps import add_stat

_DESCRIPTION = """\
Predict each recording from captured features by cross-validated ridge regression, and write the
scores of the recording NAME.h5 to OUTPUT/NAME.nc. Each file appears when it is complete. Files that
were made from the same inputs and settings are kept, so that a second call continues where the first
one stopped. With --maps, brain maps of the scores are written to OUTPUT/maps/NAME (see gradkern maps)."""
_EXAMPLE = """\
gradkern encode --features captures/dinov2 --recordings subject-1.h5 subject-2.h5 --output scores
gradkern encode --features captures/dinov2 --recordings subject-1.h5 --unique --controls image-permuted
gradkern encode --features captures/dinov2 --recordings subject-1.h5 --maps r best-layer preferred-depth"""
_CONTROLS = Registry("gradkern.encoding._control_spaces", "CONTROLS")


def add(commands: Any) -> None:
    parser = add_command(
        commands, "encode", "predict recordings from captured features: held-out scores", _DESCRIPTION, _EXAMPLE
    )
    add_feature_options(parser)
    add_output(parser, "scores", "folder")
    _add_cross_validation(parser)
    add_seed(parser)
    parser.add_argument(
        "--controls",
        nargs="+",
        default=[],
        type=_spelled,
        choices=_CONTROLS,
        metavar="CONTROL",
        help="score these controls of every gradient too: %(choices)s",
    )
    _add_unique(parser)
    parser.add_argument(
        "--match", type=int, metavar="K", help="score all features after a sketch to K numbers too, at equal dimension"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", metavar="SEED", help="with --match: seeds of the sketches (default: 1 2 3)"
    )
    add_stat(parser, "--maps", None)
    add_computing(parser)
    parser.set_defaults(run=run, kept=kept)


def _add_cross_validation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--by",
        default="image",
        choices=Registry("gradkern.ridge._cross_validation", "SCHEMES"),
        metavar="SCHEME",
        help="what is held out: %(choices)s (default: %(default)s)",
    )
    parser.add_argument("--folds", type=int, default=5, help="number of outer folds (default: %(default)s)")
    parser.add_argument(
        "--inner-folds",
        type=_inner_folds,
        default=5,
        help="number of folds of each training set; outer: the other outer folds, faster (default: %(default)s)",
    )
    parser.add_argument(
        "--gap", type=float, metavar="SECONDS", help="minimum time between training and test epochs (default: none)"
    )
    parser.add_argument(
        "--alphas",
        type=float,
        nargs="+",
        metavar="ALPHA",
        help="penalties to choose from (default: 41 from 1e-10 to 1e10)",
    )
    parser.add_argument(
        "--selection",
        default="auto",
        choices=Registry("gradkern.ridge._cross_validation", "SELECTIONS"),
        metavar="CRITERION",
        help="how the penalty of each target is chosen: %(choices)s (default: %(default)s)",
    )


def _add_unique(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--unique",
        nargs="?",
        const="all-layers",
        choices=Registry("gradkern.encoding._control_spaces", "COVARIATES"),
        metavar="ACTIVATIONS",
        help="split the explained variance (R2) into what only gradients, only activations, and both explain, and test "
        "the gradients' part, with these activations: %(choices)s (default if no value is given: all-layers)",
    )
    parser.add_argument(
        "--components",
        "--axes",
        type=int,
        metavar="N",
        help="with --unique: remove only the first N principal components of the activations (default: all)",
    )
    parser.add_argument(
        "--permutations", type=int, default=1000, help="with --unique: permutations of the test (default: %(default)s)"
    )


def _inner_folds(word: str) -> int | str:
    return word if word == "outer" else int(word)


def _spelled(word: str) -> str:
    """A control in the spelling of the package: residualised and residualized are the same."""
    other = word.replace("residualised", "residualized")
    return other if other in _CONTROLS else word.replace("residualized", "residualised")


def run(options: argparse.Namespace) -> int:
    from gradkern.study._encode import run as encode

    return reported(options, encode)


def kept(options: argparse.Namespace) -> str:
    from gradkern.study._encode import kept as in_words

    return in_words(options)
