"""Devices, the emulated kernels, and the loud count of GPU tests that did not run."""

import ctypes

import pytest
import torch

from tests import emulate

HAS_GPU = torch.cuda.is_available()


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return emulate.compile_kernels(tmp_path_factory.mktemp("emulated"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("gpu") and not HAS_GPU:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    missed = [r for r in terminalreporter.stats.get("skipped", []) if "needs a CUDA device" in str(r.longrepr)]
    if missed:
        terminalreporter.write_line(f"{len(missed)} GPU tests did NOT run: this machine has no CUDA device", red=True)
