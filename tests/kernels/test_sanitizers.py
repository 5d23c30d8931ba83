"""The kernels for CPUs keep to their arrays and to what C++ defines; clang compiles them."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gradkern import _native
from tests import sanitize
from tests.native_sources import ROOT, compile_all, isas, units

CLANGS = [name for name in ("clang++-14", "clang++") if shutil.which(name)]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver with the kernels of this processor's widest instruction set."""
    return sanitize.build(tmp_path_factory.mktemp("sanitized"), _native.isas()[:1])


@pytest.fixture(scope="module")
def calls() -> list[sanitize.Call]:
    return sanitize.calls()


def test_no_case_meets_a_sanitizer(driver: Path, calls: list[sanitize.Call]) -> None:
    assert sanitize.wrong(calls, sanitize.run(driver, _native.isas()[0], calls)) == []


@pytest.mark.parametrize(
    ("file", "right", "broken", "source", "message"),
    [
        ("select_scale.cpp", "t < count", "t <= count", "select_scale.cpp", "AddressSanitizer: heap-buffer-overflow"),
        ("vectors.h", "aligned(4), may_alias", "may_alias", "pack.cpp", "misaligned address"),
    ],
    ids=["one element too far", "a vector that is not aligned"],
)
def test_what_is_wrong_is_found(
    file: str, right: str, broken: str, source: str, message: str, driver: Path, calls: list[sanitize.Call],
    tmp_path: Path,
) -> None:  # fmt: skip
    folder = tmp_path / "csrc/cpu/isa"
    shutil.copytree(ROOT / "csrc", tmp_path / "csrc")
    text = (folder / file).read_text()
    assert right in text
    (folder / file).write_text(text.replace(right, broken))
    isa = _native.isas()[0]
    (unit,) = [unit for unit in units([isa]) if unit.isa == isa and unit.source.name == source]
    (changed,) = compile_all("g++", [replace(unit, source=folder / source)], sanitize.OPTIONS, tmp_path)
    objects = [changed if path.name == changed.name else path for path in driver.parent.glob("*.o")]
    with pytest.raises(RuntimeError, match=message):
        sanitize.run(sanitize.link(tmp_path / "driver", objects), isa, calls)


@pytest.mark.skipif(not CLANGS, reason="no clang is installed")
@pytest.mark.parametrize("compiler", CLANGS)
def test_clang_compiles_every_source_without_a_warning(compiler: str, tmp_path: Path) -> None:
    compile_all(compiler, units(isas()), ["-O0", "-Wall", "-Wextra", "-Werror"], tmp_path)


def test_no_source_asks_for_what_one_compiler_has() -> None:
    """clang has no __builtin_shuffle, and neither compiler all of the other's builtins."""
    of_gcc = r"__builtin_(shuffle|ia32_\w+|apply\w*)\b"
    for path in [*(ROOT / "csrc").rglob("*.cpp"), *(ROOT / "csrc").rglob("*.h")]:
        assert re.findall(of_gcc, path.read_text()) == [], path


def test_every_option_of_the_build_is_read() -> None:
    assert set(isas()) >= set(_native.isas())
    assert all(f"-DGK_ISA={name}" in options and "-ffp-contract=off" in options for name, options in isas().items())
    assert len(units(["portable"])) == len(units([])) + len(list((ROOT / "csrc/cpu/isa").glob("*.cpp")))
