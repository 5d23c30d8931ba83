"""Ops inside CUDA graphs and torch.compile, on a second stream, and on several devices."""

import ctypes
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

from gradkern import _native, sketch, sketch_conv, sketch_outer
from gradkern.kernels import ops
from tests.fake_capsule import cuda_tensor


def calls(device: str) -> dict[str, Callable[[], Any]]:
    """A call of every op on arrays of a device."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    a, g, x, y = draw(3, 40, 70), draw(3, 40, 33), draw(2, 6, 9, 9), draw(2, 8, 9, 9)
    B, E, S = draw(40, 50), draw(40, 50).double(), draw(5, 40).double()
    group, values = (torch.arange(40) % 3).int().to(device), draw(40).double()
    alpha = torch.ones(50, dtype=torch.float64, device=device)
    return {
        "sketch": lambda: sketch(a, 128),
        "sketch_outer": lambda: sketch_outer(a, g, 128, bias=True),
        "sketch_conv": lambda: sketch_conv(x, y, 128, kernel_size=3, padding=1),
        "column_moments": lambda: ops.column_moments(B, group, 3),
        "fold_scores": lambda: ops.fold_scores(B, B, E, B, S, S, S),
        "select_scale": lambda: ops.select_scale(B, values, alpha),
    }


NAMES = tuple(calls("cpu"))


def results(call: Callable[[], Any]) -> tuple[Tensor, ...]:
    result = call()
    return result if isinstance(result, tuple) else (result,)


def equal(some: tuple[Tensor, ...], others: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(one.cpu(), other.cpu()) for one, other in zip(some, others, strict=True))


def test_compiled_without_a_break_for_any_number_of_samples() -> None:
    def layer(a: Tensor, g: Tensor, x: Tensor, y: Tensor) -> Tensor:
        sketches = sketch(a.relu(), 64), sketch_outer(a, g, 64), sketch_conv(x, y, 64, kernel_size=3, padding=1)
        return torch.stack(sketches).sum(0)

    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend="aot_eager")
    for n in (3, 5):
        arrays = torch.randn(n, 4, 10), torch.randn(n, 4, 6), torch.randn(n, 2, 5, 5), torch.randn(n, 3, 5, 5)
        assert torch.equal(compiled(*arrays), layer(*arrays))


@pytest.mark.parametrize("name", NAMES)
def test_results_are_on_the_device_of_the_arrays(name: str) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert {str(result.device) for result in results(calls("cuda:1")[name])} == {"cuda:1"}


class _Api(ctypes.Structure):
    """The C functions by which a library says where an array is, and on which stream it works there."""

    _fields_ = (
        ("version", ctypes.c_uint32 * 2),
        ("others", ctypes.c_void_p * 4),
        ("tensor", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)),
        ("stream", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int32, ctypes.c_int32, ctypes.POINTER(ctypes.c_void_p))),
    )


@pytest.mark.parametrize("device", [0, 3])
def test_an_op_runs_on_the_stream_that_the_library_works_on_there(device: int) -> None:
    asked = []

    def tensor(_: int, out: int) -> int:
        filled = cuda_tensor((1, 1, 64), device)
        ctypes.memmove(out, ctypes.addressof(filled), ctypes.sizeof(filled))
        return 0

    def stream(kind: int, index: int, out: Any) -> int:
        asked.append((kind, index))
        return 0

    fields = dict(_Api._fields_)
    api = _Api((1, 3), (None,) * 4, fields["tensor"](tensor), fields["stream"](stream))
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    kind = type("Foreign", (), {"__dlpack_c_exchange_api__": new(ctypes.addressof(api), b"dlpack_exchange_api", None)})
    with pytest.raises(ValueError, match="k must be at least 64, got 1"):
        _native.sketch(kind(), kind(), kind(), (1, 0, 1, 0), (1, False))
    assert asked == [(2, device)]


def test_what_is_no_array_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"x must be .*, got list"):
        _native.sketch([1.0], torch.empty(0), torch.empty(1, 64), (64, 0, 1, 0), (1, False))


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
class TestOnADevice:
    def test_a_graph_replays_the_bits(self, name: str) -> None:
        call = calls("cuda")[name]
        expected, graph = results(call), torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            captured = results(call)
        for result in captured:
            result.zero_()
        for _ in range(2):
            graph.replay()
        torch.cuda.synchronize()
        assert equal(captured, expected)

    def test_on_a_second_stream(self, name: str) -> None:
        call, stream = calls("cuda")[name], torch.cuda.Stream()
        expected = results(call)
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            torch.cuda._sleep(10_000_000)  # what ran on another stream would be done by now
            beside = results(call)
        assert not stream.query()
        stream.synchronize()
        assert equal(beside, expected)

    def test_on_a_device_that_is_not_the_current_one(self, name: str) -> None:
        if torch.cuda.device_count() < 2:
            pytest.skip("needs two GPUs")
        expected, other = results(calls("cuda:0")[name]), results(calls("cuda:1")[name])
        assert {str(result.device) for result in other} == {"cuda:1"}
        assert torch.cuda.current_device() == 0
        assert equal(other, expected)

    def test_it_waits_for_nothing(self, name: str) -> None:
        call = calls("cuda")[name]
        call()
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_compiled_on_a_device() -> None:
    x = torch.randn(3, 5, 70, device="cuda")
    compiled = torch.compile(lambda x: sketch(x.relu(), 64).sum(1), fullgraph=True)
    torch.testing.assert_close(compiled(x), sketch(x.relu(), 64).sum(1))
