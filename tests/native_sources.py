"""How CMakeLists.txt compiles the sources for CPUs, for tests that compile them in another way."""

import os
import re
import subprocess
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_CMAKE = (ROOT / "CMakeLists.txt").read_text()


@dataclass(frozen=True)
class Unit:
    """A source, and the options with which it is compiled for one instruction set, or for all."""

    source: Path
    options: tuple[str, ...]
    isa: str | None

    def __str__(self) -> str:
        return f"{self.source.stem}-{self.isa or 'host'}"


def isas() -> dict[str, tuple[str, ...]]:
    """The instruction sets of CMakeLists.txt, and the options of each."""
    (common,) = re.findall(r"target_compile_options\(isa_\$\{name\} PRIVATE (.*) \$\{ARGN\}\)", _CMAKE)
    rows = re.findall(r"^ *gradkern_isa\((\w+) (\d+) ?(.*)\)$", _CMAKE, re.MULTILINE)
    return {
        name: (*common.split(), *options.split(), f"-DGK_ISA={name}", f"-DGK_LANES={lanes}")
        for name, lanes, options in rows
    }


def units(names: Collection[str]) -> list[Unit]:
    """What a build without CUDA compiles, of these instruction sets."""
    folder = ROOT / "csrc"
    by_isa = sorted((folder / "cpu/isa").glob("*.cpp"))
    found = []
    for name, options in isas().items():
        for source in by_isa if name in names else []:
            own = re.findall(r"^// compile: (.*)$", source.read_text(), re.MULTILINE)
            found.append(Unit(source, (*options, *(option for line in own for option in line.split())), name))
    host = [*sorted(folder.glob("*.cpp")), *sorted((folder / "cpu").glob("*.cpp")), *by_isa]
    host.append(folder / "cuda/no_cuda.cpp")
    return found + [Unit(source, ("-DGK_X86",), None) for source in host]


def compile_all(compiler: str, compiled: Sequence[Unit], options: Sequence[str], folder: Path) -> list[Path]:
    """Compile units to objects in a folder, as many at once as there are cores.

    Raises
    ------
    RuntimeError : a unit does not compile; the message has what the compiler says
    """

    def compile_one(unit: Unit) -> Path:
        target = folder / f"{unit}.o"
        command = [compiler, "-std=c++17", *unit.options, *options, "-c", str(unit.source), "-o", str(target)]
        ended = subprocess.run(command, capture_output=True, text=True)
        if ended.returncode != 0:
            raise RuntimeError(f"{unit} does not compile by {compiler}:\n{ended.stderr}")
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compile_one, compiled))
