"""Shows that the emulated tests can fail: breaks the CUDA kernels in one line at a time and runs the tests on each mutant.

    python -m tests.mutate_kernels [--sample N [--seed S]] [--file sketch.cu] [--list]

A mutant is killed if a test fails, crashes or hangs, and invalid if it does not compile. A mutant that survives must be
listed in EQUIVALENT, with the reason why no test can distinguish it from the original.
"""

import argparse
import hashlib
import multiprocessing
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests import emulate

ROOT = Path(__file__).parents[1]
CUDA = ROOT / "csrc/cuda"
# not launch.h, which runs on the host, nor mma.h and shared.h, whose instructions only a device can run
KERNELS = sorted(
    path
    for path in CUDA.iterdir()
    if path.suffix in (".cu", ".h") and path.name not in ("launch.h", "mma.h", "shared.h")
)
WORKERS = 2
PROCESSES = multiprocessing.get_context("forkserver")  # which imports torch once, not once a mutant
PROCESSES.set_forkserver_preload(["gradkern", "hypothesis", "pytest"])

OPERAND = r"[\w.]+(?:::\w+)*(?:\([^()]*\))?"
CLAMP = r"\bstd::(?:min|max)(?:<\w+>)?\(([^(),]+), ((?:[^()]|\([^()]*\))+)\)"
# kind, pattern, replacement; clang-format puts spaces around binary operators and none into template brackets
RULES = (
    ("barrier", r"\b(?:__sync(?:threads|warp)|\w*(?:cp_async|pipeline)\w*wait\w*(?:<\w+>)?)\([^;]*\);", ";"),
    ("bound", r" < ", " <= "),
    ("bound", r" <= ", " < "),
    ("bound", r" > ", " >= "),
    ("bound", r" >= ", " > "),
    ("clamp", CLAMP, r"(\1)"),
    ("clamp", CLAMP, r"(\2)"),
    ("choice", r" \? ", " || true ? "),
    ("choice", r" \? ", " && false ? "),
    ("arithmetic", r" \+ ", " - "),
    ("arithmetic", r" - ", " + "),
    ("arithmetic", r"^(?!\s*for )(.*) \+= ", r"\1 -= "),
    ("arithmetic", rf" % {OPERAND}", ""),
)


@dataclass(frozen=True)
class Mutant:
    file: str
    line: int
    kind: str
    before: str
    after: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.file, self.before.strip(), self.after.strip()


@dataclass(frozen=True)
class Outcome:
    mutant: Mutant
    status: str  # killed, invalid, survived
    by: str = ""


# (file, line, mutated line): why no test can tell
EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "column_moments.cu",
        "result.low = value < result.low ? value : result.low;",
        "result.low = value <= result.low ? value : result.low;",
    ): "the two are equal there",
    (
        "column_moments.cu",
        "result.high = value > result.high ? value : result.high;",
        "result.high = value >= result.high ? value : result.high;",
    ): "the two are equal there",
    (
        "column_moments.cu",
        "results.spread[at] = all.spread < 0.0 ? 0.0 : all.spread;  // negative by rounding",
        "results.spread[at] = all.spread <= 0.0 ? 0.0 : all.spread;  // negative by rounding",
    ): "the two are equal there",
    (
        "tile_schedule.h",
        "launch({(n * k + kThreads - 1) / kThreads, kThreads, 0, stream}, add_in_order, sums, out, n, slices, k, factor);",
        "launch({(n * k + kThreads + 1) / kThreads, kThreads, 0, stream}, add_in_order, sums, out, n, slices, k, factor);",
    ): "a block too many, whose threads all leave at once",
    (
        "epilogue.h",
        "const unsigned ahead = offset >= own.begin ? offset - own.begin : offset + own.k - own.begin;",
        "const unsigned ahead = offset > own.begin ? offset - own.begin : offset + own.k - own.begin;",
    ): "a warp walks over a segment of which it owns nothing",
    (
        "epilogue.h",
        "return ahead < own.count || own.k - ahead < kSegment;",
        "return ahead <= own.count || own.k - ahead < kSegment;",
    ): "a warp walks over a segment of which it owns nothing",
    (
        "epilogue.h",
        "return ahead < own.count || own.k - ahead < kSegment;",
        "return ahead < own.count || own.k - ahead <= kSegment;",
    ): "a warp walks over a segment of which it owns nothing",
    (
        "epilogue.h",
        "unsigned hits = __ballot_sync(kFullWarp, mine.width > 0 && meets(own, mine.offset));",
        "unsigned hits = __ballot_sync(kFullWarp, mine.width >= 0 && meets(own, mine.offset));",
    ): "no lane adds columns of a segment that has none",
    ("epilogue.h", "if (hits == 0) continue;", "if (false) continue;"): "what is read for no segment is not added",
    (
        "product.h",
        "GK_HOST_DEVICE int64_t row_tiles() const { return (rows + kTileRows - 1) / kTileRows; }",
        "GK_HOST_DEVICE int64_t row_tiles() const { return (rows + kTileRows + 1) / kTileRows; }",
    ): "a tile too many, of rows that do not exist",
    (
        "product.h",
        "return static_cast<int>(left < kSegment ? left : kSegment);",
        "return static_cast<int>(left <= kSegment ? left : kSegment);",
    ): "the two are equal there",
    (
        "product.h",
        "if (place.col() < gradient.cols) {",
        "if (place.col() <= gradient.cols) {",
    ): "a product of zeros under a bias alone in its segment",
    (
        "product.h",
        "if (place.col() < gradient.cols) {",
        "if (true) {",
    ): "a product of zeros under a bias alone in its segment",
    (
        "product.h",
        "return zero_buckets(cut.shared ? reinterpret_cast<float*>(stage.segments + kStaged) : result, k);",
        "return zero_buckets(cut.shared && false ? reinterpret_cast<float*>(stage.segments + kStaged) : result, k);",
    ): "the same additions, in the result instead of in shared memory",
    (
        "sketch_conv.cu",
        "for (int row = threadIdx.x / kLanes; row < kTileRows && place.row + row < gradient.rows; row += kWarps) {",
        "for (int row = threadIdx.x / kLanes; row <= kTileRows && place.row + row < gradient.rows; row += kWarps) {",
    ): "a sum too many goes where the segments are written next",
    (
        "sketch_conv.cu",
        "if (lane == 0 && j < count) to[j] = sum;",
        "if (lane == 0 && j <= count) to[j] = sum;",
    ): "a value too many lies behind the columns that are added",
    (
        "sketch_conv.cu",
        "for (int64_t piece = begin; piece < begin + cut.slice_pieces && piece < cut.pieces; ++piece) {",
        "for (int64_t piece = begin; piece < begin + cut.slice_pieces && piece <= cut.pieces; ++piece) {",
    ): "a piece too many, of segments without columns",
    (
        "sketch_conv.cu",
        "bool has_few_outputs(const ConvShape& shape) { return shape.group_outputs() < kFewOutputs; }",
        "bool has_few_outputs(const ConvShape& shape) { return shape.group_outputs() <= kFewOutputs; }",
    ): "both ways make the same gradient",
    (
        "mainloop.h",
        "static constexpr int kPitch = kByPosition ? kRows + 8 : kPositions + kChunk;",
        "static constexpr int kPitch = kByPosition || true ? kRows + 8 : kPositions + kChunk;",
    ): "a wider pitch: more shared memory, the same values",
    (
        "mainloop.h",
        "static constexpr int kBytes = (kByPosition ? kPositions : kRows) * kPitch * sizeof(T);",
        "static constexpr int kBytes = (kByPosition && false ? kPositions : kRows) * kPitch * sizeof(T);",
    ): "room for more rows than there are",
    (
        "mainloop.h",
        "for (int u = 0; u < kRowFragments; ++u) {",
        "for (int u = 0; u <= kRowFragments; ++u) {",
    ): "a fragment too many lies over those that are loaded next; a device would keep it out of registers",
    (
        "mainloop.h",
        "const bool more = t + Op::kPositions < positions;",
        "const bool more = t + Op::kPositions <= positions;",
    ): "a stage of zeros is fetched, and not multiplied",
    (
        "mainloop.h",
        "const bool more = t + Op::kPositions < positions;",
        "const bool more = t - Op::kPositions < positions;",
    ): "a stage of zeros is fetched, and not multiplied",
    (
        "column_moments.cu",
        "for (int64_t first = warp * kLanes; first < rows.n; first += kThreads) {",
        "for (int64_t first = warp * kLanes; first <= rows.n; first += kThreads) {",
    ): "32 rows behind the last, which have no group",
    (
        "column_moments.cu",
        "all.low = more.low < all.low ? more.low : all.low;",
        "all.low = more.low <= all.low ? more.low : all.low;",
    ): "the two are equal there",
    (
        "column_moments.cu",
        "all.high = more.high > all.high ? more.high : all.high;",
        "all.high = more.high >= all.high ? more.high : all.high;",
    ): "the two are equal there",
    (
        "fold_scores.cu",
        "for (int at = threadIdx.x; at < kSteps * kAlphas; at += kThreads) {",
        "for (int at = threadIdx.x; at <= kSteps * kAlphas; at += kThreads) {",
    ): "a weight more, in the padding",
    (
        "fold_scores.cu",
        "for (int64_t first = 0; first < weights.r; first += kSteps) {",
        "for (int64_t first = 0; first <= weights.r; first += kSteps) {",
    ): "weights of no row, none of which is multiplied",
    (
        "fold_scores.cu",
        "const int64_t blocks = (a + kAlphas - 1) / kAlphas * ((b + kThreads - 1) / kThreads);",
        "const int64_t blocks = (a + kAlphas - 1) / kAlphas * ((b + kThreads + 1) / kThreads);",
    ): "blocks too many, whose threads have no column",
    ("mainloop.h", "if (more) {", "if (true) {"): "a stage of zeros is fetched or stored, and not multiplied",
    (
        "sketch.cu",
        "constexpr int kEntries = kThreads + kWarps * (kLoads - 1);",
        "constexpr int kEntries = kThreads + kWarps * (kLoads + 1);",
    ): "room for more padding than there is",
    (
        "sketch.cu",
        "constexpr int kBlocks = sizeof(T) == 8 ? 1 : 2;  // that a multiprocessor has registers for",
        "constexpr int kBlocks = sizeof(T) == 8 || true ? 1 : 2;  // that a multiprocessor has registers for",
    ): "how many registers a device may use",
    (
        "sketch.cu",
        "constexpr int kBlocks = sizeof(T) == 8 ? 1 : 2;  // that a multiprocessor has registers for",
        "constexpr int kBlocks = sizeof(T) == 8 && false ? 1 : 2;  // that a multiprocessor has registers for",
    ): "how many registers a device may use",
    (
        "sketch.cu",
        "plan.slices = std::max<int64_t>(1, (plan.segments + most - 1) / most);",
        "plan.slices = std::max<int64_t>(1, (plan.segments + most + 1) / most);",
    ): "another cut of the same sum",
    (
        "sketch.cu",
        "plan.slice_segments = (plan.segments + plan.slices - 1) / plan.slices;",
        "plan.slice_segments = (plan.segments + plan.slices + 1) / plan.slices;",
    ): "another cut of the same sum",
    (
        "sketch.cu",
        "plan.span = static_cast<int>(std::min<int64_t>(k, kSpan + kSegment - 1));",
        "plan.span = static_cast<int>((kSpan + kSegment - 1));",
    ): "another cut of the same sum: ranges longer than needed",
    (
        "sketch.cu",
        "plan.span = static_cast<int>(std::min<int64_t>(k, kSpan + kSegment - 1));",
        "plan.span = static_cast<int>(std::min<int64_t>(k, kSpan + kSegment + 1));",
    ): "another cut of the same sum: ranges longer than needed",
    (
        "sketch.cu",
        "plan.range = (plan.span + kWarps - 1) / kWarps;",
        "plan.range = (plan.span + kWarps + 1) / kWarps;",
    ): "another cut of the same sum: ranges longer than needed",
    (
        "sketch.cu",
        "plan.range_inverse = static_cast<unsigned>((uint64_t{1} << 32) / plan.range + 1);",
        "plan.range_inverse = static_cast<unsigned>((uint64_t{1} << 32) / plan.range - 1);",
    ): "a segment that begins a range goes to the range before it, which reaches as far",
    (
        "sketch.cu",
        "return ahead <= 0 ? 0u : ahead >= 4 ? 0x01010101u : 0x01010101u >> 8 * (4 - ahead);",
        "return ahead <= 0 ? 0u : ahead > 4 ? 0x01010101u : 0x01010101u >> 8 * (4 - ahead);",
    ): "the two are equal there",
    (
        "sketch.cu",
        "for (int apart = 1; apart < kWarps; apart *= 2) {",
        "for (int apart = 1; apart <= kWarps; apart *= 2) {",
    ): "lanes from 16 on, whose sums nobody asks for",
    (
        "sketch.cu",
        "return __shfl_sync(kAll, begin + before, owner % kWarps) + __popc(peers & ((1u << lane) - 1u));",
        "return __shfl_sync(kAll, begin + before, owner) + __popc(peers & ((1u << lane) - 1u));",
    ): "an owner is below 16, or its entry is not stored",
    (
        "sketch.cu",
        "const unsigned width = left < kSegment ? static_cast<unsigned>(left) : kSegment;",
        "const unsigned width = left <= kSegment ? static_cast<unsigned>(left) : kSegment;",
    ): "the two are equal there",
    (
        "sketch.cu",
        "const unsigned place = kRagged ? places[v] % (1u << kWidthShift) : places[v], width = places[v] >> kWidthShift;",
        "const unsigned place = kRagged || true ? places[v] % (1u << kWidthShift) : places[v], width = places[v] >> kWidthShift;",
    ): "a place is below 2^16",
    (
        "sketch.cu",
        "const int64_t row = kRagged ? first / per_row : 0;",
        "const int64_t row = kRagged || true ? first / per_row : 0;",
    ): "the same place, where segments are whole",
    (
        "sketch.cu",
        "const int64_t start = kRagged ? row * plan.cols + (first - row * per_row) * kSegment : first * kSegment;",
        "const int64_t start = kRagged || true ? row * plan.cols + (first - row * per_row) * kSegment : first * kSegment;",
    ): "the same place, where segments are whole",
    (
        "sketch.cu",
        "const Batch batch = {first, static_cast<int>(end - first < kThreads ? end - first : kThreads),",
        "const Batch batch = {first, static_cast<int>(end - first <= kThreads ? end - first : kThreads),",
    ): "the two are equal there",
    (
        "sketch.cu",
        "const Batch batch = {first, static_cast<int>(end - first < kThreads ? end - first : kThreads),",
        "const Batch batch = {first, static_cast<int>(end - first < kThreads || true ? end - first : kThreads),",
    ): "a count beyond the 512 threads of a block means all of them",
    (
        "sketch.cu",
        "const int64_t end = begin + (left < plan.slice_segments ? left : plan.slice_segments);",
        "const int64_t end = begin + (left <= plan.slice_segments ? left : plan.slice_segments);",
    ): "the two are equal there",
    (
        "sketch.cu",
        "const int64_t i = static_cast<int64_t>(group) * kSamples + r, last = plan.n - 1, sample = i < last ? i : last;",
        "const int64_t i = static_cast<int64_t>(group) * kSamples + r, last = plan.n - 1, sample = i <= last ? i : last;",
    ): "the two are equal there",
    (
        "sketch.cu",
        "const Span span = {static_cast<unsigned>(at), static_cast<unsigned>(more < kSpan + kSegment ? more : kSpan)};",
        "const Span span = {static_cast<unsigned>(at), static_cast<unsigned>(more <= kSpan + kSegment ? more : kSpan)};",
    ): "16 ranges hold one bucket more",
    (
        "sketch.cu",
        "const float sum = sum_of_ranges<kSamples>(buckets, plan, b, r) + (b < kSegment ? carry[r] : 0.0f);",
        "const float sum = sum_of_ranges<kSamples>(buckets, plan, b, r) + (b <= kSegment ? carry[r] : 0.0f);",
    ): "threads from 64 on carry zeros",
    (
        "sketch.cu",
        "if (thread < kSegment) carry[r] = sum_of_ranges<kSamples>(buckets, plan, size + thread, r);",
        "if (thread <= kSegment) carry[r] = sum_of_ranges<kSamples>(buckets, plan, size + thread, r);",
    ): "a carry that is not added",
    (
        "sketch.cu",
        "if (thread < kSegment) carry[r] = sum_of_ranges<kSamples>(buckets, plan, size + thread, r);",
        "if (true) carry[r] = sum_of_ranges<kSamples>(buckets, plan, size + thread, r);",
    ): "carries that are not added",
    (
        "sketch.cu",
        "const auto kernel = plan.cols % kSegment == 0 ? sketch_slices<T, kSamples, false> : sketch_slices<T, kSamples, true>;",
        "const auto kernel = plan.cols % kSegment == 0 && false ? sketch_slices<T, kSamples, false> : sketch_slices<T, kSamples, true>;",
    ): "a kernel for ragged rows handles whole ones",
    (
        "sketch.cu",
        "const auto kernel = plan.cols % kSegment == 0 ? sketch_slices<T, kSamples, false> : sketch_slices<T, kSamples, true>;",
        "const auto kernel = plan.cols == 0 ? sketch_slices<T, kSamples, false> : sketch_slices<T, kSamples, true>;",
    ): "a kernel for ragged rows handles whole ones",
    (
        "sketch.cu",
        "const int64_t blocks = (plan.n + kSamples - 1) / kSamples * plan.slices;",
        "const int64_t blocks = (plan.n + kSamples + 1) / kSamples * plan.slices;",
    ): "blocks too many, which write the last sample again",
    (
        "sketch.cu",
        "(plan.samples == 1 ? launch_slices<T, 1> : launch_slices<T, 2>)(static_cast<const T*>(x.data), sums, plan, spec,",
        "(plan.samples == 1 || true ? launch_slices<T, 1> : launch_slices<T, 2>)(static_cast<const T*>(x.data), sums, plan, spec,",
    ): "no bit depends on who shares a block",
    (
        "tile_schedule.h",
        "return {begin, left < part_positions ? left : part_positions};",
        "return {begin, left <= part_positions ? left : part_positions};",
    ): "the two are equal there",
    (
        "tile_schedule.h",
        "const int64_t worth = values * positions / (kWorkForSum * k), wanted = worth < kEnough ? worth : kEnough;",
        "const int64_t worth = values * positions / (kWorkForSum * k), wanted = worth <= kEnough ? worth : kEnough;",
    ): "the two are equal there",
    (
        "tile_schedule.h",
        "const int64_t most = k / 1024 > 8 ? k / 1024 : 8, even = wanted > 1 ? pieces / wanted : most;",
        "const int64_t most = k / 1024 >= 8 ? k / 1024 : 8, even = wanted > 1 ? pieces / wanted : most;",
    ): "the two are equal there",
    (
        "tile_schedule.h",
        "const int64_t most = k / 1024 > 8 ? k / 1024 : 8, even = wanted > 1 ? pieces / wanted : most;",
        "const int64_t most = k / 1024 > 8 ? k / 1024 : 8, even = wanted >= 1 ? pieces / wanted : most;",
    ): "another cut of the same sum, which is one slice either way",
    (
        "tile_schedule.h",
        "cut.slice_pieces = even < 1 ? 1 : even < most ? even : most;",
        "cut.slice_pieces = even <= 1 ? 1 : even < most ? even : most;",
    ): "the two are equal there",
    (
        "tile_schedule.h",
        "cut.slice_pieces = even < 1 ? 1 : even < most ? even : most;",
        "cut.slice_pieces = even < 1 ? 1 : even <= most ? even : most;",
    ): "the two are equal there",
    (
        "tile_schedule.h",
        "cut.slice_pieces = even < 1 ? 1 : even < most ? even : most;",
        "cut.slice_pieces = even < 1 ? 1 : even < most || true ? even : most;",
    ): "another cut of the same sum: longer slices",
    (
        "tile_schedule.h",
        "const int64_t parts = cut.runs > 0 && wanted > cut.runs ? (wanted + cut.runs - 1) / cut.runs : 1;",
        "const int64_t parts = cut.runs > 0 && wanted >= cut.runs ? (wanted + cut.runs - 1) / cut.runs : 1;",
    ): "the two are equal there",
    (
        "tile_schedule.h",
        "const int64_t parts = cut.runs > 0 && wanted > cut.runs ? (wanted + cut.runs - 1) / cut.runs : 1;",
        "const int64_t parts = cut.runs > 0 && wanted > cut.runs ? (wanted + cut.runs + 1) / cut.runs : 1;",
    ): "another cut of the same sum",
    (
        "tile_schedule.h",
        "const int64_t chunks = (positions + kFewest - 1) / kFewest;",
        "const int64_t chunks = (positions + kFewest + 1) / kFewest;",
    ): "another cut of the same sum",
    (
        "tile_schedule.h",
        "cut.part_positions = (chunks + parts - 1) / parts * kFewest;",
        "cut.part_positions = (chunks + parts + 1) / parts * kFewest;",
    ): "another cut of the same sum",
    (
        "tile_schedule.h",
        "cut.slices = cut.runs * (chunks == 0 ? 1 : (positions + cut.part_positions - 1) / cut.part_positions);",
        "cut.slices = cut.runs * (chunks == 0 ? 1 : (positions + cut.part_positions + 1) / cut.part_positions);",
    ): "a part of no positions",
    (
        "sketch_conv.cu",
        "const int64_t pieces = (gradient.segments() + kPiece - 1) / kPiece;",
        "const int64_t pieces = (gradient.segments() + kPiece + 1) / kPiece;",
    ): "a piece too many, of segments without columns",
    (
        "sketch.cu",
        "const bool fits = plan.span == k && shared_bytes(plan) <= static_cast<size_t>(bytes);",
        "const bool fits = plan.span == k && shared_bytes(plan) < static_cast<size_t>(bytes);",
    ): "the two are equal there",
}


def overlapping(pattern: str, text: str) -> Iterator[re.Match[str]]:
    match = re.search(pattern, text)
    while match:
        yield match
        match = re.compile(pattern).search(text, match.start() + 1)


def without_guards(line: str, visible: str) -> Iterator[str]:
    """`if (guard) work` with a guard that passes always."""
    for match in re.finditer(r"\bif \(", visible):
        depth, end = 1, match.end()
        while depth and end < len(visible):
            depth += {"(": 1, ")": -1}.get(visible[end], 0)
            end += 1
        if depth == 0:
            leaves = re.match(r" (return|continue|break)\b", visible[end:])
            yield f"{line[: match.end()]}{'false' if leaves else 'true'}){line[end:]}"


def mutate_line(line: str) -> Iterator[tuple[str, str]]:
    """(kind, mutated line) for every rule and every place where it matches, outside comments and strings."""
    visible = re.sub(r'"[^"]*"|//.*', lambda match: "~" * len(match.group()), line)
    if re.match(r"\s*(#|static_assert)", visible):
        return
    for kind, pattern, replacement in RULES:
        for match in overlapping(pattern, visible):
            yield kind, line[: match.start()] + match.expand(replacement) + line[match.end() :]
    for mutated in without_guards(line, visible):
        yield "guard", mutated


def mutants_of(path: Path) -> list[Mutant]:
    lines = path.read_text().splitlines()
    return [
        Mutant(path.name, number, kind, line, mutated)
        for number, line in enumerate(lines, 1)
        for kind, mutated in mutate_line(line)
    ]


def all_mutants() -> list[Mutant]:
    return [mutant for path in KERNELS for mutant in mutants_of(path)]


def stale_equivalents() -> list[tuple[str, str, str]]:
    return sorted(EQUIVALENT.keys() - {mutant.key for mutant in all_mutants()})


def apply(mutant: Mutant, root: Path) -> None:
    """Break the copy of the kernels under root."""
    path = root / "csrc/cuda" / mutant.file
    lines = path.read_text().splitlines(keepends=True)
    lines[mutant.line - 1] = f"{mutant.after}\n"
    path.write_text("".join(lines))


def copy_sources(root: Path) -> None:
    for folder in ("csrc", "tests/emulate"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))


def included_by(path: Path) -> set[str]:
    """Names of the files of csrc/cuda that a file includes, directly or indirectly."""
    names = re.findall(r'^#include "(\w+\.h)"', path.read_text(), re.MULTILINE)
    paths = [CUDA / name for name in names if (CUDA / name).exists()]
    return {path.name for path in paths}.union(*map(included_by, paths))


def ops_of(file: str) -> list[str]:
    """The ops whose kernels a file is part of."""
    return [op for op in emulate.OPS if file == f"{op}.cu" or file in included_by(CUDA / f"{op}.cu")]


def tests_of(ops: Sequence[str]) -> list[str]:
    """The emulated tests of these ops, as arguments of pytest."""
    own = {"sketch_outer": "test_sketch_cuda.py", "sketch_conv": "test_sketch_cuda.py"}
    files = sorted({str(ROOT / "tests/kernels" / own.get(op, f"test_{op}.py")) for op in ops})
    others = {"sketch_outer": "conv", "sketch_conv": "outer"}
    return [*files, "-k", f"not {others[ops[0]]}"] if len(ops) == 1 and ops[0] in others else files


def pytest_process(library: Path, tests: list[str], log: Path) -> None:
    with log.open("w") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    os.chdir(ROOT)
    os.environ["GRADKERN_EMULATED"] = str(library)
    torch.set_num_threads(1)
    sys.exit(pytest.main(["-xq", "-p", "no:cacheprovider", "-m", "emulated", *tests]))


def run_tests(library: Path, tests: list[str], timeout: float) -> tuple[bool, str]:
    """Whether the emulated tests pass on a library, and the first that failed."""
    log = library.with_suffix(".log")
    process = PROCESSES.Process(target=pytest_process, args=(library, tests, log))
    process.start()
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
        return False, "timeout"
    if process.exitcode in (0, 1):
        failed = re.search(r"^(?:FAILED|ERROR) \S+?::(\S+)", log.read_text(), re.MULTILINE)
        return process.exitcode == 0, failed.group(1) if failed else ""
    if process.exitcode < 0:
        return False, f"signal {-process.exitcode}"
    raise RuntimeError(f"pytest ended with {process.exitcode}:\n{log.read_text()}")


def judge(mutant: Mutant, timeout: float) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        copy_sources(root)
        apply(mutant, root)
        try:
            library = emulate.compile_kernels(root, root, warnings=False, ops=ops_of(mutant.file))
        except RuntimeError:
            return Outcome(mutant, "invalid")
        passed, failed = run_tests(library, tests_of(ops_of(mutant.file)), timeout)
    return Outcome(mutant, "survived" if passed else "killed", failed)


def seconds_unbroken(files: set[str]) -> float:
    """How long the tests take on the unbroken kernels, on which they must pass."""
    with tempfile.TemporaryDirectory() as folder:
        library = emulate.compile_kernels(Path(folder))
        start = time.monotonic()
        for tests in {tuple(tests_of(ops_of(file))) for file in files}:
            passed, failed = run_tests(library, list(tests), timeout=600)
            if not passed:
                raise RuntimeError(f"the unbroken kernels fail {failed}")
        return time.monotonic() - start


def judge_all(mutants: Sequence[Mutant]) -> Iterator[Outcome]:
    timeout = 10 + 3 * seconds_unbroken({mutant.file for mutant in mutants})
    with ThreadPoolExecutor(WORKERS) as pool:
        for done in as_completed([pool.submit(judge, mutant, timeout) for mutant in mutants]):
            yield done.result()


def is_failure(outcome: Outcome) -> bool:
    """Whether a mutant survived without an explanation, or did not survive in spite of one."""
    return (outcome.status == "survived") != (outcome.mutant.key in EQUIVALENT)


def seed_of_kernels() -> int:
    """A seed that changes when the kernels change."""
    return int.from_bytes(hashlib.sha256(b"".join(path.read_bytes() for path in KERNELS)).digest()[:8])


def sample_of(mutants: Sequence[Mutant], size: int, seed: int) -> list[Mutant]:
    unexplained = [mutant for mutant in mutants if mutant.key not in EQUIVALENT]
    return random.Random(seed).sample(unexplained, min(size, len(unexplained)))


def describe(outcome: Outcome) -> str:
    mutant = outcome.mutant
    status = "equivalent" if outcome.status == "survived" and not is_failure(outcome) else outcome.status
    status = f"{status} though listed" if is_failure(outcome) and status != "survived" else status
    changed = f"{mutant.before.strip()}  ->  {mutant.after.strip()}"
    return f"{status:10} {mutant.file}:{mutant.line:<4} {mutant.kind:10} {changed}  {outcome.by}".rstrip()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutate_kernels", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sample", type=int, help="judge N mutants, drawn from those that are not listed as equivalent"
    )
    parser.add_argument("--seed", type=int, help="of the draw; by default it is derived from the kernels")
    parser.add_argument("--file", help="one file of csrc/cuda")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    options = parser.parse_args(arguments)
    if stale := stale_equivalents():
        parser.error(f"EQUIVALENT lists mutants that no longer exist: {stale}")
    mutants = [mutant for mutant in all_mutants() if options.file in (None, mutant.file)]
    if options.sample is not None:
        mutants = sample_of(mutants, options.sample, seed_of_kernels() if options.seed is None else options.seed)
    if not mutants:
        parser.error(f"no mutants in {options.file}")
    if options.list:
        print(*(describe(Outcome(mutant, "")) for mutant in mutants), sep="\n")
        return 0
    outcomes = []
    for outcome in judge_all(mutants):
        outcomes.append(outcome)
        print(describe(outcome), flush=True)
    totals = Counter("equivalent" if o.status == "survived" and not is_failure(o) else o.status for o in outcomes)
    print(", ".join(f"{count} {status}" for status, count in sorted(totals.items())), f"of {len(outcomes)}")
    return int(any(map(is_failure, outcomes)))


if __name__ == "__main__":
    sys.exit(main())
