"""`gradkern similarity`: RSA and CKA of captured features with recordings, one file for all subjects."""

import argparse
from pathlib import Path
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

_DESCRIPTION = """\
Compare captured features with recordings by representational similarity analysis (RSA) and centered
kernel alignment (CKA), region by region or time by time, on the images that all subjects saw. Writes
one file."""
_EXAMPLE = """\
gradkern similarity --features captures/dinov2 --recordings subject-1.h5 subject-2.h5 --by roi
gradkern similarity --features captures/dinov2 --recordings meg-1.h5 meg-2.h5 --by time --scores scores"""
_MODULE = "gradkern.encoding._rsa_scores"


def add(commands: Any) -> None:
    parser = add_command(
        commands, "similarity", "compare captured features with recordings by RSA and CKA", _DESCRIPTION, _EXAMPLE
    )
    add_feature_options(parser)
    add_output(parser, "similarity.nc", "file")
    parser.add_argument(
        "--by",
        choices=Registry(_MODULE, "BY"),
        metavar="GROUPING",
        help="which targets form one response pattern: %(choices)s (default: roi or time, as the recordings have)",
    )
    parser.add_argument(
        "--distance",
        default="correlation",
        choices=Registry("gradkern.encoding._rsa", "DISTANCES"),
        metavar="DISTANCE",
        help="dissimilarity of two images: %(choices)s (default: %(default)s)",
    )
    parser.add_argument(
        "--comparison",
        default="Spearman",
        choices=Registry(_MODULE, "_COMPARISONS"),
        metavar="CORRELATION",
        help="correlation of two dissimilarity matrices: %(choices)s (default: %(default)s)",
    )
    parser.add_argument(
        "--permutations", type=int, default=1000, help="permutations of the images (default: %(default)s)"
    )
    parser.add_argument(
        "--images", type=int, default=1000, help="compare at most this many images, drawn at random; 0: all "
        "(default: %(default)s)"
    )  # fmt: skip
    add_seed(parser)
    parser.add_argument(
        "--scores",
        type=Path,
        metavar="PATH",
        help="file or folder that encode wrote; the best layer by every measure is then printed side by side",
    )
    add_computing(parser)
    parser.set_defaults(run=run, kept=kept)


def run(options: argparse.Namespace) -> int:
    from gradkern.study._similarity import run as similarity

    return reported(options, similarity)


def kept(options: argparse.Namespace) -> str:
    from gradkern.study._similarity import kept as in_words

    return in_words(options)
