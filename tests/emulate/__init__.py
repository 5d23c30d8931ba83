"""The CUDA kernels on a CPU: compiles tests/emulate/kernels.cpp with g++ and calls it."""

import ctypes
import subprocess
from pathlib import Path

import torch
from torch import Tensor

HERE = Path(__file__).parent
_DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
GUARD = 256  # floats of NaN before and behind every array


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
    """A tensor inside NaN: reading outside poisons the result, writing outside is found by `check`."""

    def __init__(self, values: Tensor):
        pad = values.new_full((GUARD,), float("nan"))
        self.memory = torch.cat([pad, values.reshape(-1), pad])
        self.values = self.memory[GUARD : GUARD + values.numel()].view(values.shape)

    @property
    def pointer(self) -> ctypes.c_void_p:
        return ctypes.c_void_p(self.values.data_ptr())

    def check(self) -> None:
        outside = torch.cat([self.memory[:GUARD], self.memory[-GUARD:]])
        if not outside.isnan().all():
            raise AssertionError("a kernel wrote outside its array")


def sketch(library: ctypes.CDLL, x: Tensor, spec: tuple[int, int, int, int], schedule: int = 0) -> Tensor:
    """The CUDA sketch of x [n, rows, cols], emulated with fibers in the order that `schedule` draws."""
    sizes = [ctypes.c_int64(size) for size in x.shape]
    k = spec[0]
    floats = library.emulated_sketch_workspace(*sizes, ctypes.c_int64(k))
    arrays = [
        Guarded(x),
        Guarded(torch.full((floats,), float("nan"))),
        Guarded(torch.full((len(x), k), float("nan"))),
    ]
    x_pointer, workspace, out = (array.pointer for array in arrays)
    rest = [ctypes.c_int64(value) for value in spec] + [ctypes.c_uint64(schedule)]
    error = library.emulated_sketch(x_pointer, _DTYPES[x.dtype], *sizes, workspace, out, *rest)
    if error is not None:
        raise RuntimeError(error.decode())
    for array in arrays:
        array.check()
    return arrays[2].values
