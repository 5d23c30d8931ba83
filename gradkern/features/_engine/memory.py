"""How much memory a batch takes, estimated from what autograd keeps for one image."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

_LARGEST_BATCH = {"cpu": 16, "cuda": 128}  # more is no faster
_DEFAULT_LARGEST = 16
SHARE_OF_FREE = 0.6  # kernels and temporary tensors take the rest
_CGROUP = Path("/sys/fs/cgroup")


class Meter:
    """Measures what a pass of one image takes: the bytes kept for the backward pass, and those of the largest step."""

    def __init__(self) -> None:
        self._saved = self._largest_step = 0
        self._seen: set[int] = set()

    @property
    def needed(self) -> int:
        return self._saved + self._largest_step

    @contextmanager
    def counting(self, model: nn.Module) -> Iterator[None]:
        """Count what runs inside; parameters and buffers do not count, as they are there anyway."""
        self._seen = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
        with ExitStack() as handles:
            for module in model.modules():
                handles.callback(module.register_forward_hook(self._step).remove)
            with torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor):
                yield

    def _step(self, module: nn.Module, args: tuple[object, ...], output: object) -> None:
        with torch._C.DisableTorchFunction():  # these are not calls of the model
            values = (output, *args) if not isinstance(output, tuple) else (*output, *args)
            size = sum(value.nbytes for value in values if isinstance(value, Tensor))
            self._largest_step = max(self._largest_step, size)

    def _pack(self, tensor: Tensor) -> Tensor:
        with torch._C.DisableTorchFunction():
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self._seen:
                self._seen.add(storage.data_ptr())
                self._saved += storage.nbytes()
        return tensor


def choose_batch_size(wanted: int | None, per_image: int, device: torch.device) -> int:
    """The wanted batch size, or as many images as fit into memory and make a capture faster.

    Raises
    ------
    MemoryError : not even one image fits, or not `wanted`
    """
    free = free_bytes(device)
    if free is None or per_image == 0:
        return wanted if wanted is not None else _LARGEST_BATCH.get(device.type, _DEFAULT_LARGEST)
    most = int(SHARE_OF_FREE * free // per_image)
    if most < 1 or (wanted is not None and wanted * per_image > free):
        raise MemoryError(
            f"batch_size {wanted or 1} needs about {(wanted or 1) * per_image / 1e9:.1f} GB on {device}, "
            f"{free / 1e9:.1f} GB are free; about {most} images fit"
        )
    return wanted if wanted is not None else min(most, _LARGEST_BATCH.get(device.type, _DEFAULT_LARGEST))


def free_bytes(device: torch.device) -> int | None:
    """Memory that is available on a device, in bytes; None where that is unknown."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + unused)
    if device.type != "cpu":
        return None
    limits = [_free_of_machine(), _free_of_cgroup()]
    return min((limit for limit in limits if limit is not None), default=None)


def _free_of_machine() -> int | None:
    path = Path("/proc/meminfo")
    if path.is_file():
        rows = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        return int(rows["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None


def _free_of_cgroup() -> int | None:
    """Memory that a container or a batch job may still take, in bytes."""
    limit, used, detail = (_CGROUP / f"memory.{name}" for name in ("max", "current", "stat"))
    if not limit.is_file() or not used.is_file() or limit.read_text().strip() == "max":
        return None
    rows = dict(line.split() for line in detail.read_text().splitlines()) if detail.is_file() else {}
    cached = int(rows.get("inactive_file", 0))  # files that were read: given back when memory runs short
    return max(0, int(limit.read_text()) - int(used.read_text()) + cached)
