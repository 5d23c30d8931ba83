"""Devices, the emulated kernels, which tests are slow, and the loud count of GPU tests that did not run."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
import torch
from threadpoolctl import threadpool_limits

from tests import emulate
from tests.bare_device import holds_gpu_tests, stand_in_for_hypothesis
from tests.slow import SLOW

stand_in_for_hypothesis()

HAS_GPU = torch.cuda.is_available()


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The library of emulated kernels, compiled by the first worker of a run that needs it."""
    broken = os.environ.get("GRADKERN_EMULATED")  # by tests/mutate_kernels.py
    if broken:
        return emulate.load(Path(broken))
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "emulated"
    with _locked(folder):
        library = folder / "libemulated.so"
        if not library.exists():
            folder.mkdir(exist_ok=True)
            emulate.compile_kernels(folder)
    return emulate.load(library)


def _locked(folder: Path) -> AbstractContextManager[object]:
    """No other worker compiles meanwhile; a run without workers needs no lock."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return nullcontext()
    from filelock import FileLock

    return FileLock(f"{folder}.lock")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`-m gpu` imports no file without such tests: a machine with a GPU may lack what those need."""
    is_test = collection_path.suffix == ".py" and collection_path.name.startswith("test_")
    return True if config.option.markexpr == "gpu" and is_test and not holds_gpu_tests(collection_path) else None


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Two thread pools (NumPy's and torch's) that spin for each other are slower than none on these sizes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(threads)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests; bring files with slow tests to the front, so that no worker begins one when the others are done."""
    order: dict[str, int] = {}
    for item in items:
        file, name = item.nodeid.partition("::")[0], item.nodeid.partition("[")[0]
        ranks = [rank for rank, slow in enumerate(SLOW) if f"{name}::".startswith(f"{slow}::")]
        if ranks:
            item.add_marker(pytest.mark.slow)
            order.setdefault(file, ranks[0])
        if item.get_closest_marker("gpu") and not HAS_GPU:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
        elif "emulated" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.emulated)
            item.add_marker(pytest.mark.slow)  # compiling the kernels takes 12 s
    items.sort(key=lambda item: order.get(item.nodeid.partition("::")[0], len(SLOW)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    missed = [r for r in terminalreporter.stats.get("skipped", []) if "needs a CUDA device" in str(r.longrepr)]
    if missed:
        terminalreporter.write_line(f"{len(missed)} GPU tests did NOT run: this machine has no CUDA device", red=True)
