"""The CUDA kernels on a CPU: compiles tests/emulate/kernels.cpp with g++ and calls it."""

import ctypes
import subprocess
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).parents[2]
_DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
GUARD = 256  # elements of NaN before and behind every array
Spec = tuple[int, int, int, int]  # k, seed, nnz, first_segment


def compile_kernels(folder: Path, root: Path = ROOT, warnings: bool = True) -> Path:
    """A library in folder, of the sources under root; broken sources are compiled without warnings."""
    library = folder / "libemulated.so"
    warn = ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"] if warnings else ["-w"]
    hooks = ["-fsanitize=thread", "--param=tsan-instrument-func-entry-exit=0"]  # called in races.cpp
    hooks += ["-fsanitize=bounds", "-fsanitize-undefined-trap-on-error"]
    objects = []
    for name, flags in (("kernels", hooks), ("fibers", []), ("races", [])):
        objects.append(str(folder / f"{name}.o"))
        source = ["-c", str(root / f"tests/emulate/{name}.cpp"), f"-I{root / 'tests/emulate'}"]
        command = ["g++", "-std=c++17", "-O2", "-fPIC", *warn, *flags, *source, "-o", objects[-1]]
        subprocess.run(command, check=True, stderr=None if warnings else subprocess.DEVNULL)
    subprocess.run(["g++", "-shared", *objects, "-o", str(library)], check=True)
    return library


def load(library: Path) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(library))
    loaded.emulated_sketch.restype = ctypes.c_char_p
    loaded.emulated_sketch_workspace.restype = ctypes.c_int64
    return loaded


class Guarded:
    """A tensor inside NaN: reading outside poisons the result, writing outside is found by `check`.

    It begins at a multiple of 64 bytes, or `offset` elements behind one. Arrays of one call have NaN of different
    payloads, so that what was read outside one and written outside another is found as well.
    """

    def __init__(self, values: Tensor, payload: int, offset: int = 0):
        self.integers = torch.int16 if values.element_size() == 2 else torch.int32
        self.poison = torch.tensor([float("nan")], dtype=values.dtype).view(self.integers) + payload
        front, behind = (self.poison.repeat(size).view(values.dtype) for size in (GUARD + offset, GUARD))
        self.memory = torch.cat([front[: GUARD + offset], values.reshape(-1), behind[:GUARD]])
        self.values = self.memory[GUARD + offset : -GUARD].view(values.shape)
        self.outside = [self.memory[: GUARD + offset], self.memory[-GUARD:]]

    def check(self) -> None:
        found = torch.cat(self.outside).view(self.integers).view(-1, len(self.poison))
        if not (found == self.poison).all():
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
        Guarded(x, 1, offset),
        Guarded(torch.full((workspace_floats(library, x, spec[0]),), float("nan")), 2),
        Guarded(torch.full((len(x), spec[0]), float("nan")), 3),
    ]
    _sketch(library, *(array.values for array in arrays), spec, schedule)
    for array in arrays:
        array.check()
    return arrays[2].values


def block_of_sketch(library: ctypes.CDLL, x: Tensor, spec: Spec, block: int) -> Tensor:
    """The sums [k] that one block leaves: of its slice, or of its sample if that is one slice."""
    workspace = torch.empty(workspace_floats(library, x, spec[0]))
    out = torch.empty(len(x), spec[0])
    only = ctypes.c_int64.in_dll(library, "emulated_only_block")
    only.value = block
    try:
        _sketch(library, x, workspace, out, spec)
    finally:
        only.value = -1
    return (workspace if len(workspace) else out).view(-1, spec[0])[block]


def wide_loads(library: ctypes.CDLL) -> int:
    """How many 16-byte loads the threads have made so far."""
    return ctypes.c_uint64.in_dll(library, "emulated_wide_loads").value
