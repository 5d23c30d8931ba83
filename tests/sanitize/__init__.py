"""Runs the kernels for CPUs under AddressSanitizer and UndefinedBehaviorSanitizer, over the case table, without torch.

`python -m tests.sanitize [--compiler clang++]` does so for every instruction set of this processor.
"""

import os
import subprocess
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests import cases
from tests.native_sources import ROOT, compile_all, units

DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3, torch.int32: 4}
OPS = ("sketch", "sketch_outer", "sketch_conv", "column_moments", "fold_scores", "select_scale")
THREADS = 2
# -O1 keeps the vectors in registers, as users have them; what is found ends the process
OPTIONS = ("-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-Wall", "-Wextra", "-Werror")


@dataclass(frozen=True)
class Call:
    """A call of an op: `results` are the arrays that it writes, NaN until then."""

    name: str
    op: str
    parameters: tuple[int, ...]
    inputs: tuple[Tensor, ...]
    results: tuple[Tensor, ...]
    truth: tuple[Tensor, ...]
    tolerance: float  # of the largest number
    shift: int = 0  # elements that the inputs lie off an aligned address


def calls(threads: int = THREADS) -> list[Call]:
    """The case table of every op, in every dtype, with the truth in float64."""
    return [*_sketches(threads), *_weight_sketches(threads), *_moments(threads), *_scores(threads), *_scales(threads)]


def _unwritten(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.full(shape, float("nan"), dtype=dtype)


def _sketches(threads: int) -> Iterable[Call]:
    for case in cases.SKETCH:
        for dtype in cases.DTYPES:
            x = case.inputs(dtype)
            truth = cases.reference.sketch(x, *case.spec)
            out = _unwritten(len(x), case.k, dtype=torch.float32)
            inputs = x, torch.empty(0)
            yield Call(f"{case}-{dtype}", "sketch", (threads, *case.spec), inputs, (out,), (truth,), 1e-5)


def _weight_sketches(threads: int) -> Iterable[Call]:
    for case in (*cases.OUTER, *cases.CONV):
        for dtype in cases.MODEL_DTYPES:
            a, g = case.inputs(dtype)
            parameters = (threads, *case.spec, int(case.bias))
            if isinstance(case, cases.ConvCase):
                parameters += (*case.kernel, *case.stride, *case.padding, *case.dilation, case.groups)
            op = "sketch_conv" if isinstance(case, cases.ConvCase) else "sketch_outer"
            out = _unwritten(len(a), case.k, dtype=torch.float32)
            inputs = a, g, torch.empty(0)
            truth = case.truth(a, g)
            yield Call(f"{case}-{dtype}", op, parameters, inputs, (out,), (truth,), 1e-4, case.shift)


def _moments(threads: int) -> Iterable[Call]:
    for case in cases.MOMENTS:
        for dtype in cases.RIDGE_DTYPES:
            y, group = case.inputs(dtype)
            results = tuple(
                _unwritten(case.f, case.b, dtype=kind) for kind in (torch.float64, torch.float64, dtype, dtype)
            )
            truth = cases.reference.column_moments(y, group, case.f)
            yield Call(f"{case}-{dtype}", "column_moments", (threads,), (y, group), results, truth, 1e-6)


def _scores(threads: int) -> Iterable[Call]:
    for case in cases.SCORES:
        for dtype in cases.RIDGE_DTYPES:
            inputs = case.inputs(dtype)
            results = tuple(_unwritten(case.a, case.b, dtype=torch.float64) for _ in range(2))
            truth = cases.reference.fold_scores(*inputs)
            yield Call(f"{case}-{dtype}", "fold_scores", (threads,), inputs, results, truth, 1e-6)


def _scales(threads: int) -> Iterable[Call]:
    for case in cases.SCALE:
        for dtype in cases.RIDGE_DTYPES:
            inputs = case.inputs(dtype)
            out = _unwritten(case.q, case.b, dtype=dtype)
            truth = cases.reference.select_scale(*inputs)
            yield Call(f"{case}-{dtype}", "select_scale", (threads,), inputs, (out,), (truth,), 1e-6)


def _bytes_of(tensor: Tensor) -> bytes:
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _array(tensor: Tensor, shift: int) -> bytes:
    size = 1 + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True))
    memory = tensor.as_strided((size,), (1,)) if tensor.numel() else tensor.flatten()
    head = DTYPES[tensor.dtype], tensor.dim(), *tensor.shape, *tensor.stride(), shift, len(memory)
    return np.array(head, np.int64).tobytes() + _bytes_of(memory)


def _encoded(call: Call) -> bytes:
    head = OPS.index(call.op), len(call.parameters), *call.parameters, len(call.inputs) + len(call.results)
    arrays = [_array(tensor, call.shift) for tensor in call.inputs] + [_array(tensor, 0) for tensor in call.results]
    return np.array(head, np.int64).tobytes() + b"".join(arrays)


def build(folder: Path, names: Collection[str], compiler: str = "g++") -> Path:
    """The driver with the kernels of these instruction sets.

    Raises
    ------
    RuntimeError : a source does not compile
    """
    return link(folder / "driver", compile_all(compiler, units(names), OPTIONS, folder), compiler)


def link(driver: Path, objects: Sequence[Path], compiler: str = "g++") -> Path:
    """Link objects with the driver; what they lack of other instruction sets is never called."""
    command = [compiler, "-std=c++17", *OPTIONS, str(ROOT / "tests/sanitize/driver.cpp"), *map(str, objects)]
    rest = ["-Wl,--unresolved-symbols=ignore-in-object-files", "-ldl", "-lpthread", "-o", str(driver)]
    linked = subprocess.run([*command, *rest], capture_output=True, text=True)
    if linked.returncode != 0:
        raise RuntimeError(linked.stderr)
    return driver


def run(driver: Path, isa: str, called: Sequence[Call]) -> list[tuple[Tensor, ...]]:
    """The results of calls by the kernels of one instruction set.

    Raises
    ------
    RuntimeError : a sanitizer has found something, which the message quotes
    """
    asked, answered = driver.with_name("calls"), driver.with_name("results")
    asked.write_bytes(np.array([len(called)], np.int64).tobytes() + b"".join(map(_encoded, called)))
    environment = {**os.environ, "GRADKERN_ISA": isa, "UBSAN_OPTIONS": "print_stacktrace=1"}
    ended = subprocess.run([driver, asked, answered], env=environment, capture_output=True, text=True)
    if ended.returncode != 0:
        raise RuntimeError(f"{isa}: {ended.stderr}")
    memory = answered.read_bytes()
    results, begin = [], 0
    for call in called:
        arrays = []
        for result in call.results:
            end = begin + result.numel() * result.element_size()
            flat = torch.frombuffer(bytearray(memory[begin:end]), dtype=result.dtype) if end > begin else result
            arrays.append(flat.reshape(result.shape))
            begin = end
        results.append(tuple(arrays))
    if begin != len(memory):
        raise RuntimeError(f"{isa}: {len(memory)} bytes of results, {begin} expected")
    return results


def wrong(called: Sequence[Call], results: Sequence[tuple[Tensor, ...]]) -> list[str]:
    """The calls whose results are further from the truth than rounding is."""
    names = []
    for call, arrays in zip(called, results, strict=True):
        for result, truth in zip(arrays, call.truth, strict=True):
            scale = truth.abs()[truth.isfinite()].max() if truth.isfinite().any() else 1.0
            if not torch.allclose(result.double(), truth.double(), rtol=0, atol=call.tolerance * float(scale)):
                names.append(call.name)
    return names
