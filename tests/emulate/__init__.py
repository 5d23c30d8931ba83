"""Runs the CUDA kernels on a CPU: compiles the .cpp of this folder with g++ and calls them."""

import ctypes
import mmap
import subprocess
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).parents[2]
DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
GUARD = 256  # elements of NaN before and behind every array
OPS = (  # and this folder's files
    "sketch", "sketch_outer", "sketch_conv", "column_moments", "fold_scores", "select_scale",
)  # fmt: skip
Spec = tuple[int, int, int, int]  # k, seed, nnz, first_segment

_WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
# -fsanitize=thread calls functions of races.cpp
_HOOKS = [
    "-fsanitize=thread", "--param=tsan-instrument-func-entry-exit=0",
    "-fsanitize=bounds-strict", "-fsanitize-undefined-trap-on-error",
]  # fmt: skip


def compile_kernels(folder: Path, root: Path = ROOT, warnings: bool = True, ops: Collection[str] = OPS) -> Path:
    """Compile the sources under root to a library in folder; broken sources are compiled without warnings.

    Raises
    ------
    RuntimeError : a source does not compile
    """
    compilers = []
    for name in [*ops, "fibers", "races"]:
        source = ["-c", str(root / f"tests/emulate/{name}.cpp"), f"-I{root / 'tests/emulate'}"]
        flags = [*(_WARNINGS if warnings else ["-w"]), *(_HOOKS if name in ops else [])]
        command = ["g++", "-std=c++17", "-O2", "-fPIC", *flags, *source, "-o", str(folder / f"{name}.o")]
        compilers.append(subprocess.Popen(command, stderr=None if warnings else subprocess.DEVNULL))
    if failed := [compiler.args for compiler in compilers if compiler.wait() != 0]:
        raise RuntimeError(f"the emulation does not compile: {failed}")
    library = folder / "libemulated.so"
    subprocess.run(["g++", "-shared", "-o", str(library), *map(str, sorted(folder.glob("*.o")))], check=True)
    return library


def load(library: Path) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(library))
    for op in OPS:
        if hasattr(loaded, f"emulated_{op}"):  # a broken library may hold the broken op alone
            getattr(loaded, f"emulated_{op}").restype = ctypes.c_char_p
        if hasattr(loaded, f"emulated_{op}_workspace"):
            getattr(loaded, f"emulated_{op}_workspace").restype = ctypes.c_int64
    if hasattr(loaded, "emulated_multiply_add"):
        loaded.emulated_multiply_add.restype = loaded.emulated_load_matrices.restype = ctypes.c_char_p
        loaded.emulated_to_tf32.restype = ctypes.c_uint32
    return loaded


class Guarded:
    """A tensor inside NaN: reading outside it poisons the result, writing outside it is detected by `check`.

    It begins `offset` elements behind a multiple of 64 bytes. The arrays of a call have NaN of different payloads, so
    that copying from outside one array to outside another is detected as well.
    """

    def __init__(self, values: Tensor, payload: int, offset: int = 0):
        self.integers = torch.int16 if values.element_size() == 2 else torch.int32
        self.poison = torch.tensor([float("nan")], dtype=values.dtype).view(self.integers) + payload
        front, behind = (self.poison.repeat(size).view(values.dtype) for size in (GUARD + offset, GUARD))
        self.memory = torch.cat([front[: GUARD + offset], values.reshape(-1), behind[:GUARD]])
        self.values = self.memory[GUARD + offset : -GUARD].view(values.shape)
        self.outside = [self.memory[: GUARD + offset], self.memory[-GUARD:]]

    def check(self) -> None:
        guards = torch.cat(self.outside).view(self.integers).view(-1, len(self.poison))
        if not (guards == self.poison).all():
            raise AssertionError("a kernel wrote outside its array")


def fenced(values: Tensor, shift: int = 0) -> Tensor:
    """Copy a tensor to `shift` elements before memory that cannot be read, where reading ends the process.

    The elements in between are NaN. The copy begins at an aligned address if its size, with them, is a multiple of 16
    bytes.
    """
    data = values.reshape(-1)
    if shift:
        data = torch.cat([data, values.new_full((shift,), float("nan"))])
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
    """A workspace and a result, both NaN."""
    return Guarded(torch.full((floats,), float("nan")), 2), Guarded(torch.full((n, k), float("nan")), 3)


@contextmanager
def setting(library: ctypes.CDLL, name: str, kind: Any, value: int) -> Iterator[Any]:
    """Set a variable of the emulation for the duration of a `with` block."""
    variable = kind.in_dll(library, f"emulated_{name}")
    before, variable.value = variable.value, value
    try:
        yield variable
    finally:
        variable.value = before


def only_block(library: ctypes.CDLL, block: int) -> AbstractContextManager[None]:
    """Make launches run one block, or their last block if they have fewer: for arrays too large to run whole."""
    return setting(library, "only_block", ctypes.c_int64, block)


def multiprocessors(library: ctypes.CDLL, count: int) -> AbstractContextManager[None]:
    """Make the device as large: on a small one, two samples share a block of the sketch, on a large one they do not."""
    return setting(library, "multiprocessors", ctypes.c_int, count)


def workspace_floats(library: ctypes.CDLL, x: Tensor, k: int) -> int:
    floats: int = library.emulated_sketch_workspace(*integers(*x.shape, k))
    return floats


def _sketch(library: ctypes.CDLL, x: Tensor, workspace: Tensor, out: Tensor, spec: Spec, schedule: int = 0) -> None:
    arrays, rest = (pointer(workspace), pointer(out)), (*integers(*spec), ctypes.c_uint64(schedule))
    raise_error(library.emulated_sketch(pointer(x), DTYPES[x.dtype], *integers(*x.shape), *arrays, *rest))


def sketch(library: ctypes.CDLL, x: Tensor, spec: Spec, schedule: int = 0, offset: int = 0) -> Tensor:
    """Emulate the CUDA sketch of x [n, rows, cols], with threads in the order that `schedule` draws.

    x begins `offset` elements behind an aligned address.
    """
    arrays = [Guarded(x, 1, offset), *results(len(x), spec[0], workspace_floats(library, x, spec[0]))]
    _sketch(library, *(array.values for array in arrays), spec, schedule)
    for array in arrays:
        array.check()
    return arrays[2].values


def block_of_sketch(library: ctypes.CDLL, x: Tensor, spec: Spec, block: int) -> Tensor:
    """The sums [k] that one block writes: those of its slice, or of its sample if the sample is one slice."""
    workspace = torch.empty(workspace_floats(library, x, spec[0]))
    out = torch.empty(len(x), spec[0])
    with only_block(library, block), multiprocessors(library, 2**30):
        _sketch(library, x, workspace, out, spec)
    return (workspace if len(workspace) else out).view(-1, spec[0])[block]


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
    """Emulate the CUDA sketch_outer of a [n, t, p] and g [n, t, o], which end `shift` elements before their page."""
    sizes = integers(*a.shape, g.shape[2])
    floats = library.emulated_sketch_outer_workspace(*sizes, ctypes.c_int64(spec[0]), bias)
    a, g = fenced(a, shift), fenced(g, shift)
    arrays = results(len(a), spec[0], floats)
    workspace, out = (pointer(array.values) for array in arrays)
    rest = [*integers(*spec), bias, allow_tf32, ctypes.c_uint64(schedule)]
    call = library.emulated_sketch_outer
    raise_error(call(pointer(a), pointer(g), DTYPES[a.dtype], *sizes, workspace, out, *rest))
    for array in arrays:
        array.check()
    return arrays[-1].values


def conv_shape(x: Tensor, g: Tensor, window: Sequence[int]) -> ctypes.Array[ctypes.c_int64]:
    """The ConvShape of csrc/conv.h; `window` has kernel, stride, padding and dilation, two of each, then groups."""
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
    """Emulate the CUDA sketch_conv of x [n, c, h, w] and g [n, o, out_h, out_w]."""
    shape = conv_shape(x, g, window)
    floats = library.emulated_sketch_conv_workspace(shape, ctypes.c_int64(spec[0]), bias)
    x, g = fenced(x, shift), fenced(g, shift)
    arrays = results(len(x), spec[0], floats)
    workspace, out = (pointer(array.values) for array in arrays)
    rest = [*integers(*spec), bias, allow_tf32, ctypes.c_uint64(schedule)]
    raise_error(
        library.emulated_sketch_conv(pointer(x), pointer(g), DTYPES[x.dtype], shape, workspace, out, *rest),
    )
    for array in arrays:
        array.check()
    return arrays[-1].values


def last_sample(library: ctypes.CDLL, op: str, inputs: tuple[Tensor, Tensor], sizes: list[object], k: int) -> Tensor:
    """The result of the last sample of arrays too large to copy, from the blocks of that sample alone."""
    n = len(inputs[0])
    floats = getattr(library, f"emulated_{op}_workspace")(*sizes, ctypes.c_int64(k), False)
    out, workspace, slices = torch.empty(n, k), torch.empty(floats), max(1, floats // (n * k))
    rest = [*integers(k, 0, 1, 0), False, False, ctypes.c_uint64(0)]
    call, arrays = getattr(library, f"emulated_{op}"), [*map(pointer, inputs), DTYPES[inputs[0].dtype]]
    for block in range((n - 1) * slices, n * slices):  # each call adds up what there is, the last one all of it
        with only_block(library, block):
            raise_error(call(*arrays, *sizes, pointer(workspace), pointer(out), *rest))
    return out[-1]


def unwritten(payload: int, *shape: int, dtype: torch.dtype = torch.float64) -> Guarded:
    """A result that is NaN until it is written."""
    return Guarded(torch.full(shape, float("nan"), dtype=dtype), payload)


def checked(results: Sequence[Guarded]) -> tuple[Tensor, ...]:
    for result in results:
        result.check()
    return tuple(result.values for result in results)


def column_moments(
    library: ctypes.CDLL, y: Tensor, group: Tensor, f: int, *, schedule: int = 0, apart: int = 0
) -> tuple[Tensor, ...]:
    """Emulate the CUDA column_moments of y [n, b], whose rows lie `apart` elements of NaN from each other."""
    n, b = y.shape
    spaced = torch.nn.functional.pad(y, (0, apart), value=float("nan")).flatten()
    y_fenced, group_fenced = fenced(spaced[: max(0, spaced.numel() - apart)]), fenced(group)
    arrays = [unwritten(i, f, b, dtype=y.dtype if i > 2 else torch.float64) for i in range(1, 5)]
    rest = [*(pointer(array.values) for array in arrays), ctypes.c_uint64(schedule)]
    sizes = integers(n, b, b + apart)
    call = library.emulated_column_moments
    raise_error(
        call(pointer(y_fenced), DTYPES[y.dtype], *sizes, pointer(group_fenced), ctypes.c_int64(f), *rest),
    )
    return checked(arrays)


def fold_scores(library: ctypes.CDLL, *inputs: Tensor, schedule: int = 0) -> tuple[Tensor, ...]:
    """Emulate the CUDA fold_scores of B, D, E, F [r, b] and S, U, W [a, r]."""
    (r, b), a = inputs[0].shape, len(inputs[-1])
    arrays = [unwritten(i, a, b) for i in (1, 2)]
    tensors = [*map(fenced, inputs), *(array.values for array in arrays)]
    addresses = (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))
    dtype = DTYPES[inputs[0].dtype]
    raise_error(library.emulated_fold_scores(addresses, dtype, *integers(a, r, b), ctypes.c_uint64(schedule)))
    return checked(arrays)


def select_scale(library: ctypes.CDLL, C: Tensor, values: Tensor, alpha: Tensor, schedule: int = 0) -> Tensor:
    """Emulate the CUDA select_scale of C [q, b]."""
    out = unwritten(1, *C.shape, dtype=C.dtype)
    tensors = [fenced(values), fenced(alpha), out.values]
    C_fenced = fenced(C)
    rest = [*map(pointer, tensors), ctypes.c_uint64(schedule)]
    raise_error(library.emulated_select_scale(pointer(C_fenced), DTYPES[C.dtype], *integers(*C.shape), *rest))
    return checked([out])[0]
