"""Arguments of `gradkern encode` and `gradkern similarity`; what the commands need is imported when they run."""

import argparse
from pathlib import Path
from typing import Any


def add_encode(commands: Any) -> None:
    """`gradkern encode`: held-out scores, a file for each recording."""
    encode = commands.add_parser(
        "encode",
        help="held-out scores of captured features against saved recordings",
        description="Writes OUTPUT/NAME.nc for every recording NAME.h5. Files that were made from the same request are "
        "kept, so that a second call continues where the first one stopped.",
    )
    _add_common(encode)
    encode.add_argument("--output", type=Path, default=Path("scores"), help="folder to write (default: %(default)s)")
    encode.add_argument(
        "--by", default="image", help="what is held out: image, concept, session, published or zero-shot"
    )
    encode.add_argument("--folds", type=int, default=5, help="outer folds (default: %(default)s)")
    encode.add_argument("--inner-folds", type=int, default=5, help="folds of a training set (default: %(default)s)")
    encode.add_argument("--gap", type=float, help="temporal buffer in s between training and test epochs")
    encode.add_argument("--alphas", type=float, nargs="+", help="penalties to choose from (default: 41 of 1e-10..1e10)")
    encode.add_argument(
        "--selection", default="auto", help="how alphas are chosen: auto, kfold, loo or gcv (default: %(default)s)"
    )
    encode.add_argument("--seed", type=int, default=0, help="seed of all random choices (default: %(default)s)")
    encode.add_argument(
        "--controls",
        nargs="+",
        default=[],
        help="controls of every gradient, scored as kinds of their own: residualized-same-layer, "
        "residualized-all-layers (on activations, within folds), image-permuted, layer-permuted, raw, unit-length",
    )
    encode.add_argument(
        "--unique",
        nargs="?",
        const="all-layers",
        help="partition R2 between each gradient and activations, of all-layers (the default) or of the same-layer, "
        "and test what the gradient adds",
    )
    encode.add_argument(
        "--components",
        "--axes",
        type=int,
        help="with --unique: the test removes this many principal components of the activations (default: all)",
    )
    encode.add_argument(
        "--permutations", type=int, default=1000, help="with --unique: permutations of its test (default: %(default)s)"
    )
    encode.add_argument("--match", type=int, metavar="K", help="also score all features sketched to K numbers")
    encode.add_argument("--seeds", type=int, nargs="+", help="with --match: seeds of the sketches (default: 1 2 3)")
    encode.set_defaults(run=_encode)


def add_similarity(commands: Any) -> None:
    """`gradkern similarity`: RSA and CKA, one file for all subjects."""
    similarity = commands.add_parser(
        "similarity",
        help="RSA and CKA of captured features with saved recordings, region by region or time by time",
        description="Compares representations of the images that all subjects saw, and writes one file.",
    )
    _add_common(similarity)
    similarity.add_argument(
        "--output", type=Path, default=Path("similarity.nc"), help="file to write (default: %(default)s)"
    )
    similarity.add_argument(
        "--by",
        choices=("roi", "time", "all"),
        help="what a comparison is of: a region, a time point, or all targets (default: by time, else by roi)",
    )
    similarity.add_argument(
        "--distance",
        default="correlation",
        help="distance of two images: correlation, euclidean or cosine (default: %(default)s)",
    )
    similarity.add_argument(
        "--comparison", default="Spearman", help="correlation of RDMs: Spearman or Pearson (default: %(default)s)"
    )
    similarity.add_argument(
        "--permutations", type=int, default=1000, help="permutations of the images (default: %(default)s)"
    )
    similarity.add_argument(
        "--images", type=int, default=1000, help="largest number of images, drawn at random (default: %(default)s)"
    )
    similarity.add_argument(
        "--seed", type=int, default=0, help="seed of the images and permutations (default: %(default)s)"
    )
    similarity.add_argument(
        "--scores", type=Path, help="folder of encode: print best layers by each measure side by side"
    )
    similarity.set_defaults(run=_similarity)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--features", nargs="+", required=True, help="folders that capture(..., out=) wrote: models, objectives"
    )
    parser.add_argument("--recordings", nargs="+", required=True, help="files that save_recording wrote: subjects")
    parser.add_argument("--models", nargs="+", help="what to call the model of each folder (default: as captured)")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.add_argument("--kinds", nargs="+", help="of features (default: all)")
    parser.add_argument("--layers", nargs="+", help="of the models (default: all)")
    parser.add_argument("--roi", nargs="+", help="regions (default: all targets)")
    parser.add_argument(
        "--raw-gradients", action="store_true", help="do not bring each image's gradient to unit length"
    )


def _encode(options: argparse.Namespace) -> int:
    from gradkern.study._encode import run

    return run(options)


def _similarity(options: argparse.Namespace) -> int:
    from gradkern.study._similarity import run

    return run(options)
