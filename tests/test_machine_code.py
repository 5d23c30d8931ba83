"""What the compilers made of the kernels: symbols of every instruction set, registers of every GPU architecture."""

import json
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks import machine_code
from gradkern import _native

ROOT = Path(__file__).parents[1]
CMAKE = (ROOT / "CMakeLists.txt").read_text()
ISA_FLAGS = re.search(r"target_compile_options\(isa_\S+ PRIVATE (.*?) \$\{ARGN\}\)", CMAKE)
ISAS = {isa: (lanes, flags) for isa, lanes, flags in re.findall(r"gradkern_isa\((\w+) (\d+) ?(.*?)\)", CMAKE)}
ARCHITECTURES = ("80", "90", "90a", "100")


def test_instruction_sets_are_found_in_the_build_file() -> None:
    assert ISA_FLAGS is not None
    assert list(ISAS) == ["portable", "avx2", "avx512", "avx512bf16"]
    assert set(_native.isas()) <= set(ISAS)


def symbols(source: Path, isa: str, built: Path) -> list[tuple[str, str]]:
    """Kind and name of every symbol of a file compiled for an instruction set, as nm has them."""
    lanes, flags = ISAS[isa]
    common = ["-std=c++17", "-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden", "-DNDEBUG"]
    isa_flags = [*ISA_FLAGS.group(1).split(), *flags.split(), f"-DGK_ISA={isa}", f"-DGK_LANES={lanes}"]
    compiler = os.environ.get("CXX", "c++").split()
    subprocess.run([*compiler, *common, *isa_flags, "-c", str(source), "-o", str(built)], check=True)
    table = subprocess.run(["nm", "-C", str(built)], capture_output=True, text=True, check=True).stdout
    return re.findall(r"^[0-9a-f ]{16} (\w) (.*)$", table, re.MULTILINE)


@pytest.mark.parametrize("isa", ISAS)
def test_instruction_set_objects_define_only_their_own_symbols(isa: str, tmp_path: Path) -> None:
    """A weak symbol compiled for AVX-512 could be the copy that the linker keeps for everybody."""
    if ISAS[isa][1] and platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip(f"{isa} is an instruction set of x86")
    offenders = []
    for source in sorted((ROOT / "csrc/cpu/isa").glob("*.cpp")):
        defined = symbols(source, isa, tmp_path / "unit.o")
        own = [symbol for kind, symbol in defined if kind in "TDR" and symbol.startswith(f"gradkern::{isa}::")]
        assert own, source.name
        # lower case: local to the object; U: taken from elsewhere
        others = [symbol for kind, symbol in defined if symbol not in own and kind not in "tbdrU"]
        offenders += [f"{source.name}: {symbol}" for symbol in others]
    assert offenders == []


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="kernels were NOT compiled: there is no nvcc on the PATH")
@pytest.mark.parametrize("source", sorted((ROOT / "csrc/cuda").glob("*.cu")), ids=lambda path: path.name)
def test_kernels_keep_everything_in_registers(source: Path, tmp_path: Path) -> None:
    options = ["-std=c++17", "--expt-relaxed-constexpr", "-Xptxas=-v", '-DGK_CUDA_ARCHITECTURES="test"']
    targets = [f"-gencode=arch=compute_{each},code=sm_{each}" for each in ARCHITECTURES]
    command = ["nvcc", *options, *targets, "-fatbin", "-o", str(tmp_path / "kernels.fatbin"), str(source)]
    report = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout
    compiled = re.findall(r"Compiling entry function '\w+' for 'sm_(\w+)'", report)
    assert set(compiled) == set(ARCHITECTURES)
    spills = re.findall(r"properties for (\w+)\s+\d+ bytes stack frame, (\d+) bytes spill stores", report)
    assert len(spills) == len(compiled)
    offenders = {kernel: int(stored) for kernel, stored in spills if int(stored)}
    assert offenders == {}, report


def recorded() -> dict[str, object]:
    return json.loads((ROOT / "benchmarks/results/machine-code.json").read_text())


def test_costs_are_recorded_for_every_architecture_and_layer() -> None:
    rows = recorded()["rows"]
    assert {row["sm"] for row in rows if "kernel" in row} == set(machine_code.ARCHITECTURES)
    assert sum(row.get("op") == "sketch_conv" for row in rows) == len(machine_code.CONV_SHAPES)
    assert not any(row["local_memory_in_inner_loop"] for row in rows if "kernel" in row)


def test_a_worse_kernel_is_noticed() -> None:
    row = next(row for row in recorded()["rows"] if "instructions_a_segment" in row)
    assert machine_code.worse(row, row) == []
    slower = {**row, "instructions_a_segment": 1.1 * row["instructions_a_segment"], "registers": row["registers"] + 1}
    assert [sentence.split(" has ")[1].split()[0] for sentence in machine_code.worse(slower, row)] == [
        "registers",
        "instructions_a_segment",
    ]


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="costs were NOT compared: there is no nvcc on the PATH")
@pytest.mark.skipif(machine_code.cuobjdump() is None, reason="costs were NOT compared: there is no cuobjdump")
@pytest.mark.parametrize("architecture", ["80", "90"])
def test_no_kernel_costs_more_than_recorded(architecture: str) -> None:
    """After a change that is worth it: python -m benchmarks.machine_code"""
    record = recorded()
    if machine_code.compiler() != record["nvcc"]:
        pytest.skip(f"costs were NOT compared: they are of nvcc {record['nvcc']}, not {machine_code.compiler()}")
    before = {(row["kernel"], row["sm"]): row for row in record["rows"] if "kernel" in row}
    rows = machine_code.costs_of(architecture)
    assert {row["kernel"] for row in rows} == {kernel for kernel, sm in before if sm == architecture}
    assert [text for row in rows for text in machine_code.worse(row, before[row["kernel"], architecture])] == []
