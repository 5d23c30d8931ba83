"""Shows that the emulated tests can fail: breaks the CUDA kernels in one line at a time and runs the tests on each.

    python -m tests.mutate_kernels [--sample N [--seed S]] [--file sketch.cu] [--list]

A mutant is killed if a test fails, crashes or hangs, and invalid if it does not compile. A mutant that survives must be
listed in tests/equivalent_mutants.py, with the reason why no test can distinguish it from the original.
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
from tests.equivalent_mutants import EQUIVALENT

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
