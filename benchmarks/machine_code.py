"""What the CUDA kernels cost before any GPU has run them: python -m benchmarks.machine_code

Compiles csrc/cuda/*.cu for each architecture, reads the machine code, and writes results/machine-code.json: a row per
kernel with what nvcc and cuobjdump say exactly (registers, spills, widths of loads, instructions of every loop), and a
row per shape with the blocks of a launch and a predicted time. The prediction is a model, whose assumptions stand in
the file and which nobody has compared with a device yet. Needed: nvcc, c++filt, and cuobjdump (nvidia-cuda-cuobjdump).
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

from benchmarks.conftest import commit, write
from gradkern.kernels import formed, ops
from gradkern.kernels.reference import Window

CUDA = Path(__file__).parents[1] / "csrc/cuda"
ARCHITECTURES = ("80", "90", "90a", "100")
OPTIONS = ("-std=c++17", "-O3", "-DNDEBUG", "--expt-relaxed-constexpr", "-Xptxas=-v", '-DGK_CUDA_ARCHITECTURES="x"')
SEGMENT, WARP = 64, 32
ELEMENT_BYTES = {"float": 4, "double": 8, "__nv_bfloat16": 2, "__half": 2}
DTYPES = {"float": "float32", "__nv_bfloat16": "bfloat16"}

# Of an H200, and of how a multiprocessor keeps its schedulers busy: how often a scheduler and a warp issue was fitted
# to simulations that were good to a third. What gradkern.kernels.formed assumes of the library stands there.
ASSUMPTIONS = {
    "multiprocessors": 132,
    "clock_GHz": 1.98,
    "schedulers": 4,
    "copy_TBs": 4.3,
    "bf16_TFLOPs": 790,
    "instructions_a_clock_and_scheduler_at_most": 0.6,
    "clocks_between_instructions_of_a_warp": 9,
    "shared_bytes_of_a_multiprocessor": 228 * 1024,
    "cache_bytes": 50 * 2**20,
    "cache_TBs": 5.5,
    "clocks_of_a_load": 800,
    "share_of_time_adding_lists": 0.5,  # of a block; in the rest it hashes, sorts, and waits for its slowest warp
    "launch_us": 2.0,  # of the kernel that adds slices
}

Instruction = tuple[int, str]  # address, text


def cuobjdump() -> str | None:
    """The disassembler on the PATH, else the one that the test requirement brought."""
    if path := shutil.which("cuobjdump"):
        return path
    try:
        brought = [file.locate() for file in files("nvidia-cuda-cuobjdump") or [] if file.name == "cuobjdump"]
    except PackageNotFoundError:
        return None
    return str(brought[0]) if brought else None


def compiler() -> str:
    """The release of nvcc: another one gives other machine code."""
    printed = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"V([\d.]+)", printed)[1]


def short_names(mangled: list[str]) -> dict[str, str]:
    """Name and template arguments of each kernel, without its namespaces and parameters."""
    printed = subprocess.run(["c++filt"], input="\n".join(mangled), capture_output=True, text=True, check=True).stdout
    return {
        name: re.sub(r"\(anonymous namespace\)::|gradkern::cuda::|^void ", "", line).split("(")[0]
        for name, line in zip(mangled, printed.splitlines(), strict=True)
    }


def compile_kernels(source: Path, architecture: str, folder: Path) -> tuple[Path, dict[str, dict[str, int]]]:
    """The cubin of a file, and registers and spilled bytes of each kernel by its mangled name."""
    cubin = folder / f"{source.stem}.{architecture}.cubin"
    target = f"-gencode=arch=compute_{architecture},code=sm_{architecture}"
    done = subprocess.run(
        ["nvcc", *OPTIONS, target, "-cubin", "-o", str(cubin), str(source)], capture_output=True, text=True, check=True
    )
    found = re.findall(
        r"properties for (\w+)\s+\d+ bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads\s+"
        r"ptxas info\s*: Used (\d+) registers",
        done.stdout + done.stderr,
    )
    return cubin, {
        kernel: {"registers": int(registers), "spilled_bytes": int(stored) + int(loaded)}
        for kernel, stored, loaded, registers in found
    }


def machine_code(cubin: Path) -> dict[str, list[Instruction]]:
    """Instructions of each kernel by its mangled name."""
    tool = cuobjdump()
    assert tool is not None
    # it calls nvdisasm, which its own package does not bring: the requirement beside it does, into the same folder
    path = {"PATH": f"{Path(tool).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [tool, "--dump-sass", str(cubin)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | path).stdout
    code: dict[str, list[Instruction]] = {}
    for line in printed.splitlines():
        if match := re.search(r"Function : (\S+)", line):
            code[match[1]] = []
        elif match := re.match(r"\s+/\*([0-9a-f]{4,})\*/\s+(.*?)\s*;", line):
            code[list(code)[-1]].append((int(match[1], 16), match[2]))
    return code


def operation(text: str) -> str:
    words = text.split()
    return words[1] if words[0].startswith("@") else words[0]


def loops_of(code: list[Instruction]) -> list[list[Instruction]]:
    """The instructions of every loop: from the target of a branch backwards to the branch."""
    spans = set()
    for address, text in code:
        target = re.search(r"\bBRA(?:\.\w+)*\s+(?:!?U?P\d+,\s*)*(?:`\()?0x([0-9a-f]+)", text)
        if target and int(target[1], 16) < address:
            spans.add((int(target[1], 16), address))
    return [[one for one in code if start <= one[0] <= stop] for start, stop in sorted(spans)]


def count(code: list[Instruction], pattern: str) -> int:
    return sum(re.match(pattern, operation(text)) is not None for _, text in code)


def innermost(loops: list[list[Instruction]], pattern: str) -> list[Instruction]:
    """The shortest loop that has most of a kind of instruction; empty if none has any."""
    best = max((count(loop, pattern) for loop in loops), default=0)
    return min((loop for loop in loops if best and count(loop, pattern) == best), key=len, default=[])


def warp_bytes(code: list[Instruction]) -> int:
    """Bytes that a warp loads from global memory when it runs through this code once."""
    loads = [operation(text) for _, text in code if operation(text).startswith("LDG")]
    widths = [re.search(r"\.(U?8|U?16|S16|64|128)\b", load) for load in loads]
    return WARP * sum({"8": 1, "16": 2, "64": 8, "128": 16}[m[1].strip("US")] if m else 4 for m in widths)


def sketch_costs(kernel: str, loops: list[list[Instruction]]) -> dict[str, float]:
    """Instructions a segment of 64 columns of a sample: those that add it, and with them those that hash and sort it.

    A warp sorts a batch of 512 segments with 15 others, then adds its share of them by whole rounds of the inner loop.
    """
    element, samples = re.search(r"<(\w+), (\d)", kernel).groups()
    adding = innermost(loops, r"LDG")
    added = warp_bytes(adding) / (SEGMENT * ELEMENT_BYTES[element])  # in a round, of all samples
    containing = sorted((loop for loop in loops if len(loop) > len(adding) and adding[0] in loop), key=len)
    batch = containing[1]  # the shortest is of the repeats of a batch
    at_once = added / int(samples)
    rounds = (WARP + (at_once - 1) / 2) / at_once
    return {
        "instructions_to_add_a_segment": round(len(adding) / added, 1),
        "instructions_a_segment": round((len(batch) - len(adding) + rounds * len(adding)) / (WARP * int(samples)), 1),
    }


def product_costs(loops: list[list[Instruction]]) -> dict[str, float]:
    """Instructions of a warp for each instruction of the tensor cores, and to add two segments to its buckets."""
    multiplying = innermost(loops, r"HMMA")
    finding = [loop for loop in loops if count(loop, "FLO|BREV")]  # the next segment that meets the warp's buckets
    adding = min((loop for loop in finding if not count(loop, "HMMA")), key=len)
    return {
        "mma_instructions": count(multiplying, r"HMMA"),
        "instructions_a_mma": round(len(multiplying) / max(1, count(multiplying, r"HMMA")), 2),
        "instructions_to_add_two_segments": len(adding),
    }


def costs_of(architecture: str) -> list[dict[str, Any]]:
    """A row for every kernel, as it is compiled for an architecture."""
    rows = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        sources = sorted(CUDA.glob("*.cu"))
        built = list(pool.map(lambda source: compile_kernels(source, architecture, Path(folder)), sources))
        for source, (cubin, report) in zip(sources, built, strict=True):
            code, names = machine_code(cubin), short_names(list(report))
            for mangled, name in names.items():
                loops = loops_of(code[mangled])
                widths = Counter(operation(text) for _, text in code[mangled] if operation(text)[:3] == "LDG")
                row: dict[str, Any] = {"kernel": name, "file": source.name, "sm": architecture, **report[mangled]}
                row |= {
                    "instructions": len(code[mangled]),
                    "loops": sorted(len(loop) for loop in loops if len(loop) > 1),
                    "local_memory_in_inner_loop": count(innermost(loops, "HMMA") or innermost(loops, "LDG"), "LDL|STL"),
                    "global_loads": dict(sorted(widths.items())),
                }
                if name.startswith("sketch_slices"):
                    row |= sketch_costs(name, loops)
                elif count(code[mangled], "HMMA"):
                    row |= product_costs(loops)
                rows.append(row)
    return rows


def worse(row: dict[str, Any], recorded: dict[str, Any], tolerance: float = 1.02) -> list[str]:
    """What is worse in a kernel than it was recorded: each a sentence."""
    limits = {
        "registers": 1.0, "spilled_bytes": 1.0, "local_memory_in_inner_loop": 1.0,
        "instructions_to_add_a_segment": tolerance, "instructions_a_segment": tolerance,
        "instructions_a_mma": tolerance, "instructions_to_add_two_segments": tolerance,
    }  # fmt: skip
    return [
        f"{row['kernel']} for sm_{row['sm']} has {key} {row[key]}, recorded {recorded[key]}"
        for key, factor in limits.items()
        if key in row and row[key] > recorded[key] * factor
    ]


SKETCH_SHAPES = [(n, 201, 768, k) for n in (64, 704, 1408) for k in (1024, 4096, 16384)]
OUTER_SHAPES = [(16, 197, 768, 3072), (16, 197, 1024, 4096), (16, 257, 1280, 5120)]
CONV_SHAPES = [  # c, h, o, kernel, stride, padding, groups: layers of ResNet-50, ConvNeXt-L and EfficientNet
    (3, 224, 64, 7, 2, 3, 1), (64, 56, 64, 3, 1, 1, 1), (128, 28, 128, 3, 1, 1, 1), (256, 14, 256, 3, 1, 1, 1),
    (512, 7, 512, 3, 1, 1, 1), (256, 56, 64, 1, 1, 0, 1), (192, 56, 192, 7, 1, 3, 192), (384, 28, 384, 7, 1, 3, 384),
    (768, 14, 768, 7, 1, 3, 768), (96, 56, 96, 3, 1, 1, 96), (672, 14, 672, 5, 1, 2, 672),
]  # fmt: skip


def slices(floats: int, n: int, k: int) -> int:
    """Blocks of a sample, from the workspace that they write."""
    return max(1, floats // (n * k))


def microseconds(instructions: float, warps: float, blocks: int, slots: int) -> float:
    """Of a launch: rounds of blocks, each as long as a multiprocessor takes to issue what its warps need."""
    sms, clock = ASSUMPTIONS["multiprocessors"], ASSUMPTIONS["clock_GHz"]
    most = ASSUMPTIONS["schedulers"] * ASSUMPTIONS["instructions_a_clock_and_scheduler_at_most"]
    resident = max(1, min(slots, -(-blocks // sms)))
    rate = min(most, resident * warps / ASSUMPTIONS["clocks_between_instructions_of_a_warp"])
    rounds = blocks / (resident * sms) if blocks > 8 * resident * sms else -(-blocks // (resident * sms))
    return rounds * resident * instructions / blocks / (rate * clock * 1e3)


def shape_rows(kernels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Blocks of the launches of real layers, and the predicted time of sketches; on a build with kernels."""
    if not ops.cuda_architectures():
        return []
    native, rows = ops._native, []
    cost = {row["kernel"]: row for row in kernels if row["sm"] == "90"}
    for n, t, p, k in SKETCH_SHAPES:
        for element in DTYPES:
            rows.append(sketch_row(cost, element, (n, t, p), k, slices(native.sketch_workspace(n, t, p, k), n, k)))
    for n, t, p, o in OUTER_SHAPES:
        blocks = n * slices(native.sketch_outer_workspace(n, t, p, o, 1024, False), n, 1024)
        rows.append(outer_row(cost["sketch_outer_slices<__nv_bfloat16, 1>"], (n, t, p, o), blocks))
        rows.append(formed_row((n, t, p, o)))
    for c, h, o, kernel, stride, padding, groups in CONV_SHAPES:
        out = (h + 2 * padding - kernel) // stride + 1
        window = Window((kernel, kernel), (stride, stride), (padding, padding), (1, 1), groups)
        geometry = [list(value) if isinstance(value, tuple) else value for value in window._asdict().values()]
        floats = native.sketch_conv_workspace(((16, c, h, h), (16, o, out, out), geometry), 1024, False)
        rows.append({"op": "sketch_conv", "x": [16, c, h, h], "outputs": o, "window": kernel, "stride": stride,
                     "groups": groups, "blocks": 16 * slices(floats, 16, 1024)})  # fmt: skip
    return rows


Shape = tuple[int, int, int]


def sketch_row(cost: dict[str, Any], element: str, shape: Shape, k: int, cut: int) -> dict[str, Any]:
    """Bound by reading x, by issuing instructions, or by the loads that a multiprocessor has in flight."""
    n, t, p = shape
    sms = ASSUMPTIONS["multiprocessors"]
    samples = 2 if k < 16384 + SEGMENT and n * cut >= 4 * sms else 1
    blocks, warps = -(-n // samples) * cut, 16
    held = min(k, 16384 + SEGMENT - 1)
    shared = warps * (-(-held // warps) + 2 * SEGMENT) * samples * 4 + (512 + 7 * warps) * 20 + warps * warps
    slots = min(2, int(ASSUMPTIONS["shared_bytes_of_a_multiprocessor"] // (shared + 1024)))
    size = n * t * p * ELEMENT_BYTES[element]
    floor = size / ASSUMPTIONS["copy_TBs"] / 1e6
    kernel = cost[f"sketch_slices<{element}, {samples}, false>"]
    instructions = n * t * (p // SEGMENT) * kernel["instructions_a_segment"]
    resident = min(slots, -(-blocks // sms))
    flying = resident * warps * 8 * SEGMENT * ELEMENT_BYTES[element]  # bytes, while lists are added
    waiting = size / (sms * flying * ASSUMPTIONS["share_of_time_adding_lists"]) * ASSUMPTIONS["clocks_of_a_load"]
    reading = max(floor, microseconds(instructions, warps, blocks, slots), waiting / ASSUMPTIONS["clock_GHz"] / 1e3)
    summing = 2 * n * cut * k * 4 / ASSUMPTIONS["cache_TBs"] / 1e6 + ASSUMPTIONS["launch_us"] if cut > 1 else 0.0
    head = {"op": "sketch", "shape": list(shape), "k": k, "dtype": DTYPES[element], "samples_a_block": samples}
    return {**head, "blocks": blocks, "shared_bytes": shared, **prediction(reading + summing, floor)}


def formed_row(shape: tuple[int, int, int, int]) -> dict[str, Any]:
    """The library's product of a few samples at a time and their sketch, as gradkern chooses by the same numbers."""
    n, t, p, o = shape
    product = formed.Product(n, 1, o, p, t)
    us = formed.formed_us(product, formed.BFLOAT16, 2, ASSUMPTIONS["cache_bytes"])
    floor = 2 * n * t * p * o / ASSUMPTIONS["bf16_TFLOPs"] / 1e6
    head = {"op": "sketch_outer", "way": "formed", "shape": list(shape), "k": 1024, "dtype": "bfloat16"}
    chunk = product.chunk(2, ASSUMPTIONS["cache_bytes"])
    return {**head, "samples_at_a_time": chunk, "TFLOPs": round(2e-6 * n * t * p * o / us), **prediction(us, floor)}


def outer_row(cost: dict[str, Any], shape: tuple[int, int, int, int], blocks: int) -> dict[str, Any]:
    """A tile of 128 x 64 is multiplied 16 positions at a time by 8 warps of 8 instructions, then its segments added."""
    n, t, p, o = shape
    tiles = n * -(-o // 128) * -(-p // SEGMENT)
    multiplying = 8 * -(-t // 16) * 8 * cost["instructions_a_mma"]
    adding = 1.2 * 64 * cost["instructions_to_add_two_segments"]  # a segment meets 1.2 to 1.5 of the warps' buckets
    us = microseconds(tiles * (multiplying + adding), 8, blocks, slots=2)
    floor = 2 * n * t * p * o / ASSUMPTIONS["bf16_TFLOPs"] / 1e6
    head = {
        "op": "sketch_outer",
        "way": "fused",
        "shape": list(shape),
        "k": 1024,
        "dtype": "bfloat16",
        "blocks": blocks,
    }
    head["shared_bytes"] = 128 * (72 * 4 + 16) + 4 * 1024  # the staged tile, its segments, and the buckets
    return {**head, **prediction(us, floor)}


def prediction(us: float, floor: float) -> dict[str, float]:
    return {"predicted_us": round(us, 1), "floor_us": round(floor, 1), "share": round(floor / us, 2)}


def main() -> None:
    if shutil.which("nvcc") is None or cuobjdump() is None:
        sys.exit("machine_code: nvcc and cuobjdump are needed; pip install nvidia-cuda-cuobjdump")
    kernels = [row for architecture in ARCHITECTURES for row in costs_of(architecture)]
    head = {"nvcc": compiler(), "commit": commit(), "assumptions": ASSUMPTIONS}
    write("machine-code", head, kernels + shape_rows(kernels))


if __name__ == "__main__":
    main()
