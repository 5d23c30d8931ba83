"""`gradkern doctor`: what this installation can do."""

import argparse
import platform
from typing import Any

import gradkern
from gradkern.cli._arguments import add_command
from gradkern.cli._demo import missing

_DESCRIPTION = """\
Print versions, the instruction sets and GPU architectures that the kernels were built for, and which
of them this machine uses."""


def add(commands: Any) -> None:
    parser = add_command(commands, "doctor", "show what this installation can do", _DESCRIPTION, "gradkern doctor")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    import torch

    from gradkern.kernels import ops

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "none that torch can use"
    rows = {
        "gradkern": gradkern.__version__,
        "python": platform.python_version(),
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads",
        "CPU kernels": f"{', '.join(ops.isas())}; in use: {ops.current_isa()}",
        "CUDA kernels": ops.cuda_architectures() or "none, built without nvcc; CUDA arrays run by plain torch, slower",
        "CUDA device": device,
        "demo": "pip install 'gradkern[demo]'" if missing() else "ready",
    }
    for name, value in rows.items():
        print(f"{name:<13} {value}")
    return 0
