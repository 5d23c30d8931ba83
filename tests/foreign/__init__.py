"""Runs the CPU kernels of another processor, and their tests, under QEMU's user emulation: `python -m tests.foreign`.

g++ for that processor compiles csrc/ with server.cpp to one static program. `Native` stands in for `gradkern._native`:
it sends every call to that program and takes its results. So the tests of the kernels run as they are, with torch and
Python of this machine, on kernels of the other.
"""

import ctypes
import os
import struct
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.fake_capsule import DLTensor

ROOT = Path(__file__).parents[2]
MACHINE = "aarch64"
COMPILER, EMULATOR = f"{MACHINE}-linux-gnu-g++", f"qemu-{MACHINE}"
LANES = 4  # CMakeLists.txt: gradkern_isa(portable 4)
DTYPES = {(2, 32): 0, (2, 64): 1, (4, 16): 2, (2, 16): 3, (0, 32): 4}  # code and bits of DLPack -> Dtype, and int32
ERRORS = {1: ValueError, 2: RuntimeError}
OPS = (
    "sketch", "sketch_outer", "sketch_conv", "column_moments", "fold_scores", "select_scale",
    "sketch_workspace", "sketch_outer_workspace", "sketch_conv_workspace", "check_sketch",
)  # fmt: skip


def compile_server(compiler: str, program: Path) -> None:
    """Compile the ops and server.cpp with the flags of CMakeLists.txt, a source for each core at a time.

    Raises
    ------
    subprocess.CalledProcessError : a source does not compile
    """
    kernels = sorted((ROOT / "csrc/cpu/isa").glob("*.cpp"))
    host = [*(ROOT / "csrc").glob("*.cpp"), *(ROOT / "csrc/cpu").glob("*.cpp"), ROOT / "csrc/cuda/no_cuda.cpp"]
    portable = ["-DGK_ISA=portable", f"-DGK_LANES={LANES}", "-ffp-contract=off"]
    jobs = [(source, []) for source in [ROOT / "tests/foreign/server.cpp", *host, *kernels]]
    jobs += [(source, [*portable, *options(source)]) for source in kernels]
    objects = [str(program.parent / f"{i}.o") for i in range(len(jobs))]

    def compile_one(job: tuple[Path, list[str]], target: str) -> None:
        flags = ["-std=c++17", "-O3", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", *job[1]]
        subprocess.run([compiler, *flags, "-c", str(job[0]), "-o", target], check=True)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_one, jobs, objects))
    subprocess.run([compiler, "-static", "-pthread", *objects, "-o", str(program)], check=True)


def options(source: Path) -> list[str]:
    """The options of a line `// compile: ...`."""
    return next((line.split()[2:] for line in source.read_text().split("\n") if line.startswith("// compile: ")), [])


class Native(ModuleType):
    """`gradkern._native`, with the ops of another process that `command` starts."""

    def __init__(self, command: list[str]):
        super().__init__("gradkern._native")
        self._lock = threading.Lock()
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        if name not in OPS:
            raise AttributeError(name)
        return lambda *values: self._call(name, values)

    def isas(self) -> list[str]:
        return self._ask("isas", b"").decode().split()

    def current_isa(self) -> str:
        return self._ask("current_isa", b"").decode()

    def cuda_architectures(self) -> str:
        return ""

    def close(self) -> None:
        self._process.communicate()

    def _call(self, name: str, values: tuple[Any, ...]) -> int:
        arrays: list[Array] = []
        answer = self._ask(name, b"".join(encoded(values, arrays)))
        result, at = struct.unpack_from("q", answer)[0], 8
        for array in arrays:
            array.receive(answer[at + array.off : (at := at + array.off + array.size)])
        if at != len(answer):
            raise RuntimeError(f"{name}: {len(answer)} bytes of results, expected {at}")
        self.calls += 1
        return int(result)

    def _ask(self, name: str, arguments: bytes) -> bytes:
        words = [name.encode(), os.environ.get("GRADKERN_ISA", "").encode()]
        request = b"".join(struct.pack("q", len(word)) + word for word in words) + arguments
        pipes = self._process
        with self._lock:
            pipes.stdin.write(struct.pack("q", len(request)) + request)
            pipes.stdin.flush()
            answer = pipes.stdout.read(*struct.unpack("q", self._exactly(8)))
        (status,) = struct.unpack_from("q", answer)
        if status:
            raise ERRORS[status](answer[8:].decode())
        return answer[8:]

    def _exactly(self, size: int) -> bytes:
        header = self._process.stdout.read(size)
        if len(header) != size:
            raise RuntimeError(f"the process of the kernels ended with {self._process.wait()}")
        return header


class Array:
    """The memory of a torch tensor or of a DLPack capsule."""

    def __init__(self, array: Any):
        capsule = array.__dlpack__() if hasattr(array, "__dlpack__") else array
        self.kept = array, capsule
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        tensor = DLTensor.from_address(pointer(capsule, b"dltensor"))
        if tensor.device_type != 1:
            raise NotImplementedError("arrays of a GPU")
        shape, strides = tensor.shape[: tensor.ndim], tensor.strides[: tensor.ndim]
        elements = 1 + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) if all(shape) else 0
        self.address = (tensor.data or 0) + tensor.byte_offset
        self.off, self.size = self.address % 64, elements * tensor.dtype_bits // 8
        dtype = DTYPES.get((tensor.dtype_code, tensor.dtype_bits))
        if dtype is None:
            raise ValueError(f"an array must be float32, float64, bfloat16 or float16, got {tensor.dtype_bits} bits")
        self.header = [dtype, tensor.ndim, *shape, *strides, self.off, self.size]

    def send(self) -> bytes:
        return bytes(self.off) + ctypes.string_at(self.address, self.size)

    def receive(self, values: bytes) -> None:
        ctypes.memmove(self.address, values, len(values))


def encoded(value: Any, arrays: list[Array]) -> Iterator[bytes]:
    """Numbers as int64, tuples by their parts, arrays as layout and bytes."""
    if isinstance(value, bool | int):
        yield struct.pack("q", value)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from encoded(part, arrays)
    else:
        arrays.append(array := Array(value))
        yield struct.pack(f"{len(array.header)}q", *array.header)
        yield array.send()
