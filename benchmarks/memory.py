"""The most memory that a call takes at once: of torch, or of the process."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


def peak_bytes(call: Callable[[], Any], device: str) -> int:
    """Above what there was before the call. Exact: counted by torch's allocators, not by the operating system."""
    if device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
        call()
    assert run.profiler is not None
    events = [event for event in run.profiler.kineto_results.events() if event.name() == "[memory]"]
    peak = now = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def peak_resident(call: Callable[[], Any]) -> int:
    """Bytes of the process above what it held before the call, as Linux counts them; NumPy's are among them."""
    status = Path("/proc/self/status")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _kilobytes(status, "VmRSS")
    call()
    return 1024 * (_kilobytes(status, "VmHWM") - before)


def _kilobytes(status: Path, name: str) -> int:
    found = re.search(rf"{name}:\s*(\d+) kB", status.read_text())
    if found is None:
        raise RuntimeError(f"{status} does not tell {name}")
    return int(found.group(1))
