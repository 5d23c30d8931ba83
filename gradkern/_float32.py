"""How the process multiplies float32 matrices and convolves: torch's switches, read and set without their traps.

torch refuses to read a switch of its older interface (`torch.get_float32_matmul_precision`,
`torch.backends.cudnn.allow_tf32`) where one of its newer interface (`fp32_precision`) contradicts it, and keeps all of
them per process: other threads compute as the latest request says, meanwhile.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, Generic, TypeVar

import torch

_State = TypeVar("_State")
_Request = TypeVar("_Request")


def products_use_tf32() -> bool:
    """Whether torch's own products of float32 matrices on a GPU use TF32, whichever interface said so."""
    return bool(torch.backends.cuda.matmul.fp32_precision == "tf32")


# torch.compiler.assume_constant_result, which would import torch's compiler: seconds for whoever never compiles
products_use_tf32._dynamo_marked_constant = True  # type: ignore[attr-defined]


def convolutions_use_tf32() -> bool:
    """Whether torch's own float32 convolutions on a GPU use TF32; torch's default is that they do."""
    convolution: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    return bool(convolution.fp32_precision == "tf32")


class _SharedSwitch(Generic[_State, _Request]):
    """A setting of the process, saved by the first of several threads and restored by the last."""

    def __init__(
        self, save: Callable[[], _State], switch: Callable[[_Request], None], restore: Callable[[_State], None]
    ) -> None:
        self._save, self._switch, self._restore = save, switch, restore
        self._lock = Lock()
        self._inside: list[list[_Request]] = []  # a list a request, which only `is` tells from an equal one
        self._states: list[_State] = []

    @contextmanager
    def __call__(self, request: _Request) -> Iterator[None]:
        """Switch to the request, then to the latest of those that others are still inside, or to what was before."""
        entry = [request]
        with self._lock:
            if not self._inside:
                self._states = [self._save()]
            self._inside.append(entry)
            self._switch(request)
        try:
            yield
        finally:
            with self._lock:
                self._inside = [inner for inner in self._inside if inner is not entry]
                if self._inside:
                    self._switch(self._inside[-1][0])
                else:
                    self._restore(self._states.pop())


def _own(backend: Any, parent: Any) -> str:
    """Value that a switch was set to; "none" where it inherits, which torch reads as the inherited value."""
    value: str = backend.fp32_precision
    return "none" if value == parent.fp32_precision else value


def _set_products(values: tuple[str, str]) -> None:
    backends: tuple[Any, Any] = torch.backends.cuda, torch.backends.mkldnn
    for backend, value in zip(backends, values, strict=True):
        backend.matmul.fp32_precision = value


def _save_products() -> tuple[str, tuple[str, str]]:
    backends: Any = torch.backends
    own = _own(backends.cuda.matmul, backends.cudnn), _own(backends.mkldnn.matmul, backends.mkldnn)
    _set_products(("ieee", "ieee"))  # torch refuses to tell the name where a switch contradicts it
    return torch.get_float32_matmul_precision(), own


def _restore_products(state: tuple[str, tuple[str, str]]) -> None:
    name, own = state
    torch.set_float32_matmul_precision(name)
    _set_products(own)


_Convolutions = tuple[bool, str, str, str]  # the older switch; cuDNN's, its convolutions' and its recurrences'


def _save_convolutions() -> _Convolutions:
    backends: Any = torch.backends
    cudnn = backends.cudnn
    own = _own(cudnn, backends), _own(cudnn.conv, cudnn), _own(cudnn.rnn, cudnn)
    try:
        return cudnn.allow_tf32, *own
    except RuntimeError:  # the newer interface contradicts the older one, whose default is True
        return True, *own


def _switch_convolutions(tf32: bool) -> None:
    cudnn: Any = torch.backends.cudnn
    cudnn.allow_tf32 = tf32  # sets both interfaces, so that a model may still read and set either
    if convolutions_use_tf32() != tf32:  # as they inherit
        cudnn.fp32_precision = "tf32" if tf32 else "ieee"


def _restore_convolutions(state: _Convolutions) -> None:
    cudnn: Any = torch.backends.cudnn
    cudnn.allow_tf32, cudnn.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = state


multiplying_at: _SharedSwitch[tuple[str, tuple[str, str]], str] = _SharedSwitch(
    _save_products, torch.set_float32_matmul_precision, _restore_products
)  # a context manager, by torch's name for the precision: "highest", "high" or "medium"
convolving_in_tf32: _SharedSwitch[_Convolutions, bool] = _SharedSwitch(
    _save_convolutions, _switch_convolutions, _restore_convolutions
)  # a context manager
