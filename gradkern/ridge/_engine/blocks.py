"""Blocks of targets: read ahead for a GPU, drawn from an iterator, shared out among the cores."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradkern.ridge._engine.inputs import Array, DevicePlan, Targets, as_array

_Item = TypeVar("_Item")
_Read = TypeVar("_Read")
_Result = TypeVar("_Result")


def on_all_cores(call: Callable[[_Item], _Result], items: Sequence[_Item], most: int | None = None) -> list[_Result]:
    """Call for every item, on as many cores at once as torch may use, or on `most` of them.

    For calls that hardly gain from a second core themselves. An error of a call is raised in the caller's thread.
    """
    threads = torch.get_num_threads()
    workers = min(threads, len(items), threads if most is None else most)
    if workers <= 1:
        return [call(item) for item in items]
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,)) as pool:
            return list(pool.map(call, items))
    finally:
        torch.set_num_threads(threads)  # what was set last is what the process's next threads begin with


def read_ahead(items: Iterable[_Item], read: Callable[[_Item], _Read]) -> Generator[_Read, None, None]:
    """read(item) of every item in turn: that of the next in another thread, while the caller works with this one.

    Items are drawn in the caller's thread, and errors of `read` are raised there, at their item. Close the iterator to
    stop early: it then waits for at most one read.
    """
    reader = ThreadPoolExecutor(1, "gradkern-read-ahead")
    try:
        before: Future[_Read] | None = None
        for item in items:
            coming = reader.submit(read, item)
            if before is not None:
                yield before.result()
            before = coming
        if before is not None:
            yield before.result()
    finally:
        reader.shutdown(cancel_futures=True)


class Copy(Protocol):
    """A copy to a device that is under way."""

    def wait(self) -> None:
        """Block until the memory that is copied may be written again."""

    def take(self) -> Tensor:
        """The block, for what is computed from now on."""


class Device(Protocol):
    """Memory and copies of a device."""

    def memory(self, count: int, dtype: torch.dtype) -> Tensor:
        """Memory of the CPU that is copied from, [count]."""

    def copy(self, host: Tensor) -> Copy:
        """Start a copy, beside what is computed."""


class Gpu:
    """Copies from pinned memory on a stream of their own. Not run on a GPU yet."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def memory(self, count: int, dtype: torch.dtype) -> Tensor:
        """Pinned memory, [count]."""
        return torch.empty(count, dtype=dtype, pin_memory=True)

    def copy(self, host: Tensor) -> "GpuCopy":
        """Start a copy."""
        with torch.cuda.stream(self._stream):
            arriving = host.to(self._device, non_blocking=True)
            return GpuCopy(arriving, self._stream.record_event())


@dataclass(frozen=True)
class GpuCopy:
    """A copy that is complete at an event of its stream."""

    arriving: Tensor
    complete: torch.cuda.Event

    def wait(self) -> None:
        """Block until the copy is complete."""
        self.complete.synchronize()

    def take(self) -> Tensor:
        """The block: the current stream waits for it, and the allocator for the current stream."""
        current = torch.cuda.current_stream(self.arriving.device)
        current.wait_event(self.complete)
        self.arriving.record_stream(current)
        return self.arriving


def sent_back(part: Tensor, stream: torch.cuda.Stream) -> GpuCopy:
    """Start a copy of a result on a GPU into pinned memory, on a stream that waits for what computes it."""
    stream.wait_stream(torch.cuda.current_stream(part.device))
    with torch.cuda.stream(stream):
        host = part.contiguous().to("cpu", non_blocking=True)
        part.record_stream(stream)
        return GpuCopy(host, stream.record_event())


class Staging:
    """Sends blocks to a device through two pieces of memory in turn."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._memory: list[Tensor] = [torch.empty(0), torch.empty(0)]
        self._copies: list[Copy | None] = [None, None]

    def send(self, targets: Targets, columns: slice) -> Copy:
        """Read a block and start its copy; the memory's last copy is waited for first."""
        last = self._copies.pop(0)
        if last is not None:
            last.wait()
        memory, (n, b) = self._memory.pop(0), targets.shape_of(columns)
        if memory.numel() < n * b or memory.dtype != targets.plan.dtype:
            memory = self._device.memory(n * b, targets.plan.dtype)
        host = memory[: n * b].view(n, b)
        targets.read_into(host, columns)
        copy = self._device.copy(host)
        self._memory.append(memory)
        self._copies.append(copy)
        return copy


@dataclass(frozen=True)
class TargetBlock:
    """A block to be read: targets `columns` of all, which are `within` of a part."""

    columns: slice
    part: Targets
    within: slice


def blocks_of(pieces: Iterable[TargetBlock], device: Device | None) -> Generator[tuple[slice, Tensor], None, None]:
    """Blocks [n, b] to compute with, and which targets they are: read ahead for a device, else when they are wanted."""
    if device is None:
        for piece in pieces:
            yield piece.columns, piece.part.block(piece.within)
        return
    staging = Staging(device)

    def send(piece: TargetBlock) -> tuple[TargetBlock, Copy]:
        return piece, staging.send(piece.part, piece.within)

    with closing(read_ahead(pieces, send)) as sent:
        for piece, copy in sent:
            yield piece.columns, piece.part.checked(copy.take(), piece.within)


def is_stream(values: Any) -> bool:
    """Whether these are an iterator, generator or other iterable of blocks, and not an array."""
    of_arrays = ("__len__", "__array__", "__array_interface__", "__dlpack__", "shape")
    return hasattr(values, "__iter__") and not any(hasattr(values, name) for name in of_arrays)


class BlockIterator:
    """Blocks of targets [n, b] from an iterable, all of the kind of the first, `head`.

    `restarts` says whether the iterable starts anew when it is asked again.

    Raises
    ------
    ValueError : no blocks at all; later, as they come, a block of another shape or dtype
    """

    def __init__(self, blocks: Iterable[Any], n_samples: int) -> None:
        self._blocks, self._n = blocks, n_samples
        opened = iter(blocks)
        self.restarts = opened is not blocks
        head = list(islice(opened, 1))
        if not head:
            raise ValueError("Y must have at least 1 target, got an iterator without blocks")
        self.head = self._checked(0, head[0])
        self._opened: Iterator[Any] | None = chain(head, opened)
        self._total: int | None = None

    def __iter__(self) -> Iterator[Array]:
        blocks, self._opened, total = self._opened, None, 0
        for number, block in enumerate(iter(self._blocks) if blocks is None else blocks):
            values = self._checked(number, block)
            if _kind(values) != _kind(self.head):
                raise ValueError(f"block {number} of Y must be like block 0, {_kind(self.head)}, got {_kind(values)}")
            total += int(values.shape[1])
            yield values
        if self._total not in (None, total):
            raise ValueError(f"Y must give the same targets every time, got {self._total}, then {total}")
        self._total = total

    def _checked(self, number: int, block: Any) -> Array:
        values = as_array(f"block {number} of Y", block)
        if values.ndim != 2 or values.shape[0] != self._n or values.shape[1] == 0:
            raise ValueError(
                f"block {number} of Y must have shape [{self._n}, b] with b of at least 1, got {tuple(values.shape)}"
            )
        return values


@dataclass(frozen=True)
class StreamedTargets:
    """Responses that come in blocks, of some rows; the counterpart of `Targets`, whose number is not known."""

    blocks: BlockIterator
    plan: DevicePlan
    rows: NDArray[np.int64] | None = None

    @property
    def on_host(self) -> bool:
        """Whether the blocks have to be copied to a GPU to compute with them."""
        return Targets(self.blocks.head, self.plan).on_host

    def parts(self) -> Iterator[tuple[int, Targets]]:
        """Each block, with the number of its first target."""
        start = 0
        for values in self.blocks:
            part = Targets(values, self.plan, self.rows, start)
            yield start, part
            start += part.n_targets


def _kind(values: Array) -> str:
    dtype = str(values.dtype).removeprefix("torch.")
    return f"{dtype} on {values.device}" if isinstance(values, Tensor) else dtype


class GrowingRows:
    """Results of targets, one a row, in room that grows where more come than was thought.

    Results on a GPU are copied to room on the CPU while the next ones are computed.
    """

    def __init__(self, room: Tensor) -> None:
        self._room = room
        self._stream: torch.cuda.Stream | None = None
        self._coming: tuple[slice, GpuCopy] | None = None

    def put(self, which: slice, part: Tensor) -> None:
        """Keep the results of these targets, which follow those that came before."""
        self._take_what_comes()
        if part.is_cuda and not self._room.is_cuda:
            if self._stream is None:
                self._stream = torch.cuda.Stream(part.device)  # type: ignore[no-untyped-call]
            self._coming = which, sent_back(part, self._stream)
        else:
            self._keep(which, part)

    def _take_what_comes(self) -> None:
        if self._coming is not None:
            (which, copy), self._coming = self._coming, None
            copy.wait()
            self._keep(which, copy.arriving)

    def _keep(self, which: slice, part: Tensor) -> None:
        if which.stop > len(self._room):
            room = self._room.new_empty((max(which.stop, 2 * len(self._room)), *self._room.shape[1:]))
            room[: which.start] = self._room[: which.start]
            self._room = room
        self._room[which] = part

    def whole(self, count: int) -> Tensor:
        """The results of all `count` targets."""
        self._take_what_comes()
        return self._room if len(self._room) == count else self._room[:count].clone()
