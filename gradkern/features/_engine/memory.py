"""How much memory a batch will take, from what one image makes autograd keep."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

_LARGEST = {"cpu": 16, "cuda": 128}  # more is no faster
_SHARE = 0.6  # of what is free: kernels and temporary tensors take the rest
_CGROUP = Path("/sys/fs/cgroup")


class Meter:
    """What a pass of one image takes: the bytes that forward keeps for backward, and those of its largest step."""

    def __init__(self) -> None:
        self._kept = self._largest = 0
        self._seen: set[int] = set()

    @property
    def needed(self) -> int:
        return self._kept + self._largest

    @contextmanager
    def counting(self, model: nn.Module) -> Iterator[None]:
        """Count while open; parameters and buffers are there anyway."""
        self._seen = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
        handles = [module.register_forward_hook(self._step) for module in model.modules()]
        try:
            with torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _step(self, module: nn.Module, args: tuple[object, ...], output: object) -> None:
        with torch._C.DisableTorchFunction():  # not a call of the model's
            there = (output, *args) if not isinstance(output, tuple) else (*output, *args)
            size = sum(value.nbytes for value in there if isinstance(value, Tensor))
            self._largest = max(self._largest, size)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self._kept += storage.nbytes()
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
    limit, used, detail = (_CGROUP / f"memory.{name}" for name in ("max", "current", "stat"))
    if not limit.is_file() or not used.is_file() or limit.read_text().strip() == "max":
        return None
    rows = dict(line.split() for line in detail.read_text().splitlines()) if detail.is_file() else {}
    cached = int(rows.get("inactive_file", 0))  # files that were read: given back when memory is asked for
    return max(0, int(limit.read_text()) - int(used.read_text()) + cached)
