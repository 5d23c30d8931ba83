"""How much memory a batch will take, from what one image makes autograd keep."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

_LARGEST = {"cpu": 16, "cuda": 128}  # more is no faster
_SHARE = 0.6  # of what is free: kernels and temporary tensors take the rest
_CGROUP = Path("/sys/fs/cgroup")


class Meter:
    """Bytes that the forward pass keeps for the backward pass."""

    def __init__(self) -> None:
        self.kept = 0
        self._seen: set[int] = set()

    @contextmanager
    def counting(self, without: Iterator[Tensor]) -> Iterator[None]:
        """Count while open; `without` are tensors that are there anyway."""
        self._seen = {tensor.untyped_storage().data_ptr() for tensor in without}
        with torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor):
            yield

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.kept += storage.nbytes()
        return tensor


def choose_batch_size(wanted: int | None, per_image: int, place: torch.device) -> int:
    """As many images as fit and help; a batch that is asked for and cannot fit is refused.

    Raises
    ------
    MemoryError : not even one image fits, or not `wanted`
    """
    free = free_bytes(place)
    if free is None or per_image == 0:
        return wanted if wanted is not None else _LARGEST.get(place.type, 16)
    most = int(_SHARE * free // per_image)
    if most < 1 or (wanted is not None and wanted * per_image > free):
        raise MemoryError(
            f"capture: batch_size {wanted or 1} needs about {(wanted or 1) * per_image / 1e9:.1f} GB on {place}, "
            f"{free / 1e9:.1f} GB are free; about {most} images fit"
        )
    return wanted if wanted is not None else min(most, _LARGEST.get(place.type, 16))


def free_bytes(place: torch.device) -> int | None:
    """Memory that can still be had on a device; None where nothing says."""
    if place.type == "cuda":
        unused = torch.cuda.memory_reserved(place) - torch.cuda.memory_allocated(place)
        return int(torch.cuda.mem_get_info(place)[0] + unused)
    if place.type != "cpu":
        return None
    known = [_meminfo(), _cgroup()]
    return min((value for value in known if value is not None), default=None)


def _meminfo() -> int | None:
    path = Path("/proc/meminfo")
    if path.is_file():
        rows = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        return int(rows["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None


def _cgroup() -> int | None:
    """What a container or a batch job may still take."""
    limit, used = _CGROUP / "memory.max", _CGROUP / "memory.current"
    if not limit.is_file() or not used.is_file() or limit.read_text().strip() == "max":
        return None
    return max(0, int(limit.read_text()) - int(used.read_text()))
