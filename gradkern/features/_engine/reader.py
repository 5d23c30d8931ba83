"""A thread that loads images ahead of the model, and results of a batch on their way back to the CPU."""

import contextvars
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import torch
from torch import Tensor

_Key = TypeVar("_Key")


class Reader:
    """Makes one call at a time in a thread of its own, under the settings of torch that its caller has."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None

    def start(self, call: Callable[[], None]) -> None:
        """Begin a call, after the one before it. The call keeps its errors to itself."""
        self.wait()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "gradkern-images")
        self._pending = self._pool.submit(contextvars.copy_context().run, _under(_settings(), call))

    def wait(self) -> None:
        """Wait until the call has ended: from then on, what it has made may be used."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def stop(self) -> None:
        """Wait for the call, and end the thread; a later call begins another one."""
        self.wait()
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()


def _under(settings: Callable[[], ExitStack], call: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        with settings():
            call()

    return run


def _settings() -> Callable[[], ExitStack]:
    """The settings of torch that each thread has for itself, as they are in this one."""
    autocasts = [(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)) for kind in ("cpu", "cuda")]
    has_gradient, is_inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    device, here = torch.get_default_device(), torch.device("cpu")
    gpu = torch.cuda.current_device() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]

    def enter() -> ExitStack:
        stack = ExitStack()
        for kind, dtype, is_enabled in autocasts:
            stack.enter_context(torch.autocast(kind, dtype, is_enabled) if is_enabled else ExitStack())
        stack.enter_context(torch.inference_mode(is_inference))
        stack.enter_context(torch.set_grad_enabled(has_gradient))
        if device != here:
            stack.enter_context(device)
        if gpu is not None:
            stack.enter_context(torch.cuda.device(gpu))
        return stack

    return enter


@contextmanager
def ending(reader: Reader) -> Iterator[None]:
    """The reader's thread ends with this block."""
    try:
        yield
    finally:
        reader.stop()


def on_host(tensors: Mapping[_Key, Tensor]) -> dict[_Key, Tensor]:
    """The tensors on the CPU. Those of a GPU are all on their way, into pinned memory, before one wait for them."""
    copies = {key: tensor.to("cpu", non_blocking=True) for key, tensor in tensors.items()}
    for device in {tensor.device for tensor in tensors.values() if tensor.is_cuda}:
        torch.cuda.current_stream(device).synchronize()
    return copies
