"""Devices, the emulated kernels, and the loud count of GPU tests that did not run."""

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from threadpoolctl import threadpool_limits

from tests import emulate

HAS_GPU = torch.cuda.is_available()


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    given = os.environ.get("GRADKERN_EMULATED")  # by tests/mutate_kernels.py: broken kernels
    return emulate.load(Path(given) if given else emulate.compile_kernels(tmp_path_factory.mktemp("emulated")))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Two thread pools (NumPy's and torch's) that spin for each other are slower than none on these sizes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(threads)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("gpu") and not HAS_GPU:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
        elif "emulated" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.emulated)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    missed = [r for r in terminalreporter.stats.get("skipped", []) if "needs a CUDA device" in str(r.longrepr)]
    if missed:
        terminalreporter.write_line(f"{len(missed)} GPU tests did NOT run: this machine has no CUDA device", red=True)
