"""The CUDA kernels on a CPU: compiles this folder's .cpp with g++ and calls them."""

import ctypes
import mmap
import subprocess
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

HERE = Path(__file__).parent
DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
GUARD = 256  # elements of NaN before and behind every array
Spec = tuple[int, int, int, int]  # k, seed, nnz, first_segment


def compile_kernels(folder: Path) -> ctypes.CDLL:
    library = folder / "libemulated.so"
    flags = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-fPIC", f"-I{HERE}"]
    objects = {path: folder / f"{path.stem}.o" for path in sorted(HERE.glob("*.cpp"))}
    compilers = [subprocess.Popen(["g++", *flags, "-c", "-o", str(o), str(path)]) for path, o in objects.items()]
    failed = [compiler.args for compiler in compilers if compiler.wait() != 0]
    if failed:
        raise RuntimeError(f"the emulation does not compile: {failed}")
    subprocess.run(["g++", "-shared", "-o", str(library), *map(str, objects.values())], check=True)
    loaded = ctypes.CDLL(str(library))
    for op in ("sketch", "sketch_outer", "sketch_conv"):
        getattr(loaded, f"emulated_{op}").restype = ctypes.c_char_p
        getattr(loaded, f"emulated_{op}_workspace").restype = ctypes.c_int64
    for name in ("multiply_add", "load_matrices"):
        getattr(loaded, f"emulated_{name}").restype = ctypes.c_char_p
    loaded.emulated_to_tf32.restype = ctypes.c_uint32
    return loaded


class Guarded:
    """A tensor inside NaN: reading outside poisons the result, writing outside is found by `check`."""

    def __init__(self, values: Tensor):
        pad = values.new_full((GUARD,), float("nan"))
        self.memory = torch.cat([pad, values.reshape(-1), pad])
        self.values = self.memory[GUARD : GUARD + values.numel()].view(values.shape)

    @property
    def pointer(self) -> ctypes.c_void_p:
        return pointer(self.values)

    def check(self) -> None:
        outside = torch.cat([self.memory[:GUARD], self.memory[-GUARD:]])
        if not outside.isnan().all():
            raise AssertionError("a kernel wrote outside its array")


def fenced(values: Tensor, shift: int = 0) -> Tensor:
    """A copy that ends `shift` NaN before memory that cannot be read: reading it ends the process, loudly.

    It begins at an aligned address if its size, with these NaN, is a multiple of 16 bytes.
    """
    data = torch.cat([values.reshape(-1), values.new_full((shift,), float("nan"))])
    size = data.numel() * data.element_size()
    usable = -(-max(size, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, usable + mmap.PAGESIZE)
    fence = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + usable
    if ctypes.CDLL(None).mprotect(ctypes.c_void_p(fence), ctypes.c_size_t(mmap.PAGESIZE), 0) != 0:
        raise OSError("mprotect failed")
    if size == 0:
        return values
    inside = torch.frombuffer(memory, dtype=values.dtype, offset=usable - size, count=data.numel())
    return inside.copy_(data)[: values.numel()].view(values.shape)


def pointer(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


def integers(*values: int) -> list[ctypes.c_int64]:
    return [ctypes.c_int64(value) for value in values]


def raise_error(message: bytes | None) -> None:
    if message is not None:
        raise RuntimeError(message.decode())


def results(n: int, k: int, floats: int) -> tuple[Guarded, Guarded]:
    """A workspace and a result."""
    return Guarded(torch.full((floats,), float("nan"))), Guarded(torch.full((n, k), float("nan")))


def sketch(library: ctypes.CDLL, x: Tensor, spec: Spec, schedule: int = 0) -> Tensor:
    """The CUDA sketch of x [n, rows, cols], emulated with fibers in the order that `schedule` draws."""
    sizes = integers(*x.shape)
    floats = library.emulated_sketch_workspace(*sizes, ctypes.c_int64(spec[0]))
    arrays = (Guarded(x), *results(len(x), spec[0], floats))
    x_pointer, workspace, out = (array.pointer for array in arrays)
    rest = [*integers(*spec), ctypes.c_uint64(schedule)]
    raise_error(library.emulated_sketch(x_pointer, DTYPES[x.dtype], *sizes, workspace, out, *rest))
    for array in arrays:
        array.check()
    return arrays[-1].values


def sketch_outer(
    library: ctypes.CDLL,
    a: Tensor,
    g: Tensor,
    spec: Spec,
    *,
    bias: bool = False,
    allow_tf32: bool = False,
    schedule: int = 0,
    shift: int = 0,
) -> Tensor:
    """The CUDA sketch_outer of a [n, t, p] and g [n, t, o], which end `shift` elements before a page does."""
    sizes = integers(*a.shape, g.shape[2])
    floats = library.emulated_sketch_outer_workspace(*sizes, ctypes.c_int64(spec[0]), bias)
    a, g = fenced(a, shift), fenced(g, shift)
    arrays = results(len(a), spec[0], floats)
    workspace, out = (array.pointer for array in arrays)
    rest = [*integers(*spec), bias, allow_tf32, ctypes.c_uint64(schedule), 0]
    call = library.emulated_sketch_outer
    raise_error(call(pointer(a), pointer(g), DTYPES[a.dtype], *sizes, workspace, out, *rest))
    for array in arrays:
        array.check()
    return arrays[-1].values


def conv_shape(x: Tensor, g: Tensor, window: Sequence[int]) -> ctypes.Array[ctypes.c_int64]:
    """csrc/conv.h's ConvShape. `window`: kernel, stride, padding, dilation, two of each, then groups."""
    return (ctypes.c_int64 * 16)(*x.shape, *g.shape[1:], *window)


def sketch_conv(
    library: ctypes.CDLL,
    x: Tensor,
    g: Tensor,
    window: Sequence[int],
    spec: Spec,
    *,
    bias: bool = False,
    allow_tf32: bool = False,
    schedule: int = 0,
    shift: int = 0,
) -> Tensor:
    """The CUDA sketch_conv of x [n, c, h, w] and g [n, o, out_h, out_w]."""
    shape = conv_shape(x, g, window)
    floats = library.emulated_sketch_conv_workspace(shape, ctypes.c_int64(spec[0]), bias)
    x, g = fenced(x, shift), fenced(g, shift)
    arrays = results(len(x), spec[0], floats)
    workspace, out = (array.pointer for array in arrays)
    rest = [*integers(*spec), bias, allow_tf32, ctypes.c_uint64(schedule), 0]
    raise_error(
        library.emulated_sketch_conv(pointer(x), pointer(g), DTYPES[x.dtype], shape, workspace, out, *rest),
    )
    for array in arrays:
        array.check()
    return arrays[-1].values


def last_sample(library: ctypes.CDLL, op: str, inputs: tuple[Tensor, Tensor], sizes: list[object], k: int) -> Tensor:
    """The last sample's result of arrays too large to copy; the kernel must need one block a sample and no slices."""
    n = len(inputs[0])
    out = torch.empty(n, k)
    rest = [*integers(k, 0, 1, 0), False, False, ctypes.c_uint64(0), n - 1]
    call = getattr(library, f"emulated_{op}")
    raise_error(call(*map(pointer, inputs), DTYPES[inputs[0].dtype], *sizes, None, pointer(out), *rest))
    return out[-1]
