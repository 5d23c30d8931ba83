"""`gradkern maps`: scores as brain maps."""

import argparse
from pathlib import Path
from typing import Any

from gradkern.cli._arguments import add_command, add_json, reported

_DESCRIPTION = """\
Write statistics of the scores of `gradkern encode` as files that other programs show on the brain:
NIfTI for volumes, GIFTI for surfaces, CIFTI for grayordinates and parcels, -ave.fif for MEG and EEG,
by what each recording is. Files have BIDS names, and a JSON file beside each says what it holds.
Targets that were left out of the recording are NaN."""
_EXAMPLE = """\
gradkern maps scores/subject-1.nc --like subject-1.h5 --stat r best-layer --out maps
gradkern maps scores --like subject-1.h5 subject-2.h5 --stat preferred-depth --kinds gradient --out maps
gradkern maps scores/subject-1.nc --like subject-1.h5 --geometry brainmask.nii.gz --out maps"""


def add(commands: Any) -> None:
    parser = add_command(
        commands, "maps", "write scores as brain maps: NIfTI, GIFTI, CIFTI, Evoked", _DESCRIPTION, _EXAMPLE
    )
    parser.add_argument("scores", help="a file or the folder that `gradkern encode` wrote")
    parser.add_argument(
        "--like",
        nargs="+",
        required=True,
        metavar="RECORDING",
        help="files of save_recording, whose targets the scores are of, by the names of the scores",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder to write maps to")
    add_stat(parser, "--stat", ["r"])
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="only these kinds of features (default: all)")
    parser.add_argument("--layers", nargs="+", metavar="LAYER", help="only these layers (default: all)")
    parser.add_argument(
        "--geometry",
        nargs="+",
        metavar="FILE",
        help="a file on the grid of the targets, such as their mask, or a pair of surfaces, left and right, for "
        "recordings that have no geometry",
    )
    parser.add_argument("--claim", help="what the maps are shown for, in words, for the JSON files")
    parser.add_argument(
        "--fill",
        type=float,
        default=float("nan"),
        metavar="NUMBER",
        help="value of places without a target (default: NaN)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace earlier maps")
    add_json(parser)
    parser.set_defaults(run=run, kept=kept)


def add_stat(parser: argparse.ArgumentParser, flag: str, default: list[str] | None) -> None:
    """An option for statistics of scores."""
    shown = "r" if default else "none; r if no value is given"
    parser.add_argument(
        flag,
        nargs="+" if default else "*",
        default=default,
        metavar="STATISTIC",
        help="what to map of every target: r, best-r, best-layer, preferred-depth, ceiling, r2, r_normalised, "
        f"unique_r2, beyond_r, beyond_p, or another variable of the scores (default: {shown})",
    )


def run(options: argparse.Namespace) -> int:
    from gradkern.study._maps import run as write

    return reported(options, write)


def kept(options: argparse.Namespace) -> str:
    from gradkern.study._maps import kept as in_words

    return in_words(options)
