"""The tests of the kernels can fail: a sample of tests/mutate_kernels.py, and tests of that script."""

import re
from pathlib import Path

import pytest

from tests import mutate_kernels
from tests.mutate_kernels import KERNELS, Mutant

SAMPLE = 8


def test_a_sample_of_broken_kernels_is_found_out() -> None:
    mutants = mutate_kernels.sample_of(mutate_kernels.all_mutants(), SAMPLE, mutate_kernels.seed_of_kernels())
    outcomes = list(mutate_kernels.judge_all(mutants))
    assert len(outcomes) == SAMPLE
    assert [mutate_kernels.describe(outcome) for outcome in outcomes if mutate_kernels.is_failure(outcome)] == []


def test_kernels_are_broken_in_every_way() -> None:
    kinds = {mutant.kind for mutant in mutate_kernels.all_mutants()}
    assert kinds == {"barrier", "bound", "clamp", "choice", "guard", "arithmetic"}


@pytest.mark.parametrize("path", [path for path in KERNELS if path.suffix == ".cu"], ids=lambda path: path.name)
def test_every_kernel_is_broken_in_many_places(path: Path) -> None:
    """At least one mutant for three lines of code."""
    code = [line for line in path.read_text().splitlines() if line.strip() and not line.strip().startswith("//")]
    assert 3 * len(mutate_kernels.mutants_of(path)) > len(code)


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.name)
def test_every_barrier_of_every_kernel_is_taken_away_once(path: Path) -> None:
    mutants = mutate_kernels.mutants_of(path)
    barriers = re.findall(r"__sync\w+\(\);", path.read_text())
    assert len(barriers) == sum(mutant.kind == "barrier" for mutant in mutants)


def test_mutants_differ_from_each_other_and_from_the_original_in_one_line(tmp_path: Path) -> None:
    mutants = mutate_kernels.all_mutants()
    assert len({(mutant.file, mutant.line, mutant.after) for mutant in mutants}) == len(mutants)
    mutate_kernels.copy_sources(tmp_path)
    for mutant in mutants:
        copy = tmp_path / "csrc/cuda" / mutant.file
        original = copy.read_text()
        mutate_kernels.apply(mutant, tmp_path)
        pairs = zip(original.splitlines(), copy.read_text().splitlines(), strict=True)
        assert [pair for pair in pairs if pair[0] != pair[1]] == [(mutant.before, mutant.after)]
        copy.write_text(original)


def test_equivalent_mutants_exist() -> None:
    assert mutate_kernels.stale_equivalents() == []
    assert all(mutate_kernels.EQUIVALENT.values())


@pytest.mark.parametrize(
    ("line", "mutated"),
    [
        ("  __syncwarp();  // a < b", "  ;  // a < b"),
        ("  cp_async_wait<2>();", "  ;"),
        ("  for (int i = 0; i < n; i += 2) {", "  for (int i = 0; i <= n; i += 2) {"),
        ("  if (f(a) >= n) return;", "  if (false) return;"),
        ("  if (f(a) >= n) return;", "  if (f(a) > n) return;"),
        ("  else if (a < g(n)) out[a] = 1;", "  else if (true) out[a] = 1;"),
        ("  x = a < n ? y[a] : 0.0f;", "  x = a < n || true ? y[a] : 0.0f;"),
        ("  x = bit ? -y : y;", "  x = bit && false ? -y : y;"),
        ("  x = std::min<int64_t>(a, b - c(d));", "  x = (a);"),
        ("  x = std::max(1, std::min(a, b));", "  x = std::max(1, (b));"),
        ("  x = a + b;", "  x = a - b;"),
        ("  if (a) sum += b;", "  if (a) sum -= b;"),
        ("  x = hash(a) % spec.k + 1;", "  x = hash(a) + 1;"),
    ],
)
def test_what_is_broken(line: str, mutated: str) -> None:
    assert mutated in [after for _, after in mutate_kernels.mutate_line(line)]


@pytest.mark.parametrize(
    "line", ["#if A < B", "  // a < b ? c : 0", '  check(s, "a < b");', "  f<T, 2>(x);", "  static_assert(a < b);"]
)
def test_what_is_left_alone(line: str) -> None:
    assert list(mutate_kernels.mutate_line(line)) == []


def outcome(status: str, mutant: Mutant | None = None) -> mutate_kernels.Outcome:
    return mutate_kernels.Outcome(mutant or Mutant("none.cu", 1, "bound", "a < b", "a <= b"), status)


def test_only_survivors_that_nobody_explained_fail() -> None:
    failing = {status for status in ("killed", "invalid", "survived") if mutate_kernels.is_failure(outcome(status))}
    assert failing == {"survived"}


def test_an_explained_mutant_must_survive(monkeypatch) -> None:
    monkeypatch.setattr(mutate_kernels, "EQUIVALENT", {("none.cu", "a < b", "a <= b"): "because"})
    failing = {status for status in ("killed", "invalid", "survived") if mutate_kernels.is_failure(outcome(status))}
    assert failing == {"killed", "invalid"}
    with pytest.raises(SystemExit):
        mutate_kernels.main(["--list"])
