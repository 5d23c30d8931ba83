"""The CUDA kernels on a CPU: compiles tests/emulate/kernels.cpp with g++ and calls it."""

import ctypes
import subprocess
from pathlib import Path

import torch
from torch import Tensor

HERE = Path(__file__).parent
_DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
GUARD = 256  # elements of NaN before and behind every array
Spec = tuple[int, int, int, int]  # k, seed, nnz, first_segment


def compile_kernels(folder: Path) -> ctypes.CDLL:
    library = folder / "libemulated.so"
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-shared", "-fPIC"]
    command = ["g++", *flags, f"-I{HERE}", "-o", str(library), str(HERE / "kernels.cpp")]
    subprocess.run(command, check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.emulated_sketch.restype = ctypes.c_char_p
    loaded.emulated_sketch_workspace.restype = ctypes.c_int64
    return loaded


class Guarded:
    """A tensor inside NaN: reading outside poisons the result, writing outside is found by `check`.

    It begins at a multiple of 64 bytes, or `offset` elements behind one.
    """

    def __init__(self, values: Tensor, offset: int = 0):
        front, behind = (values.new_full((size,), float("nan")) for size in (GUARD + offset, GUARD))
        self.memory = torch.cat([front, values.reshape(-1), behind])
        self.values = self.memory[GUARD + offset : -GUARD].view(values.shape)
        self.outside = [self.memory[: GUARD + offset], self.memory[-GUARD:]]

    def check(self) -> None:
        if not torch.cat(self.outside).isnan().all():
            raise AssertionError("a kernel wrote outside its array")


def workspace_floats(library: ctypes.CDLL, x: Tensor, k: int) -> int:
    return library.emulated_sketch_workspace(*map(ctypes.c_int64, (*x.shape, k)))


def _sketch(library: ctypes.CDLL, x: Tensor, workspace: Tensor, out: Tensor, spec: Spec, schedule: int = 0) -> None:
    pointers = [ctypes.c_void_p(array.data_ptr()) for array in (x, workspace, out)]
    sizes, values = ([ctypes.c_int64(each) for each in group] for group in (x.shape, spec))
    error = library.emulated_sketch(
        pointers[0], _DTYPES[x.dtype], *sizes, *pointers[1:], *values, ctypes.c_uint64(schedule)
    )
    if error is not None:
        raise RuntimeError(error.decode())


def sketch(library: ctypes.CDLL, x: Tensor, spec: Spec, schedule: int = 0, offset: int = 0) -> Tensor:
    """The CUDA sketch of x [n, rows, cols], emulated with fibers in the order that `schedule` draws; x begins
    `offset` elements behind an aligned address."""
    arrays = [
        Guarded(x, offset),
        Guarded(torch.full((workspace_floats(library, x, spec[0]),), float("nan"))),
        Guarded(torch.full((len(x), spec[0]), float("nan"))),
    ]
    _sketch(library, *(array.values for array in arrays), spec, schedule)
    for array in arrays:
        array.check()
    return arrays[2].values


def last_block_of_sketch(library: ctypes.CDLL, x: Tensor, spec: Spec, blocks: int) -> Tensor:
    """The sums [k] that the last of so many blocks leaves: of its slice, or of its sample if that is one slice."""
    workspace = torch.empty(workspace_floats(library, x, spec[0]))
    out = torch.empty(len(x), spec[0])
    first_block = ctypes.c_uint.in_dll(library, "emulated_first_block")
    first_block.value = blocks - 1
    try:
        _sketch(library, x, workspace, out, spec)
    finally:
        first_block.value = 0
    return (workspace if len(workspace) else out).view(-1)[-spec[0] :]


def wide_loads(library: ctypes.CDLL) -> int:
    """How many 16-byte loads the threads have made so far."""
    return ctypes.c_uint64.in_dll(library, "emulated_wide_loads").value
