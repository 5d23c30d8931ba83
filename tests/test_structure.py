"""The shape of the code: who imports what, how big things are, what the compilers made of them."""

import ast
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

import gradkern
from gradkern import _native

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gradkern"
MODULES = sorted(PACKAGE.rglob("*.py"))
CSRC = sorted(path for path in (ROOT / "csrc").rglob("*") if path.suffix in (".h", ".cpp", ".cu"))
BORDER = sorted(path for path in (ROOT / "python").rglob("*") if path.suffix in (".h", ".cpp"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# Imports run one way.

ROOMS_BELOW = {
    "primitives": set(),
    "vision": {"primitives"},
    "encoding": {"primitives"},
    "recordings": {"primitives"},
    "analysis": {"primitives", "vision", "encoding", "recordings"},
    "study": {"primitives", "vision", "encoding", "recordings", "analysis"},
}
ONLY_IN = {
    "gradkern._native": ["gradkern/ops.py"],
    "mne": ["gradkern/recordings/*", "gradkern/analysis/*"],
    "nibabel": ["gradkern/recordings/*"],
    "matplotlib": ["gradkern/analysis/figures.py", "gradkern/analysis/report.py"],
    "cupy": [],
}


def imports(tree: ast.AST, module: str, is_package: bool = False) -> Iterator[str]:
    """Full dotted names of all that a module imports, anywhere in it, by statement, by import_module("name") and by
    `gradkern.name` after `import gradkern`."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=base, names=names, level=level):
                home = module.split(".") if level else []
                up = level - 1 if is_package else level
                prefix = ".".join(home[: len(home) - up] + ([base] if base else []))
                yield from (f"{prefix}.{alias.name}" for alias in names)
            case ast.Call(
                func=ast.Name(id=called) | ast.Attribute(attr=called), args=[ast.Constant(value=str(target))]
            ):
                if called in ("import_module", "__import__"):
                    yield target
            case ast.Attribute(value=ast.Name(id="gradkern"), attr=attribute):
                yield f"gradkern.{attribute}"


def without_lazy_names(tree: ast.Module) -> ast.Module:
    """gradkern/__init__.py tells type checkers where its lazy names live; that is no import."""
    kept = [node for node in tree.body if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")]
    return ast.Module(kept, [])


def imports_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    is_package = path.name == "__init__.py"
    if path == PACKAGE / "__init__.py":
        tree = without_lazy_names(tree)
    parts = path.relative_to(ROOT).with_suffix("").parts
    return set(imports(tree, ".".join(parts[:-1] if is_package else parts), is_package))


def room(dotted: str) -> str:
    """The room of gradkern.x.y; a name that gradkern/__init__.py loads lazily belongs to its home's."""
    first = dotted.split(".")[1] if "." in dotted else ""
    home = gradkern._HOMES.get(first, dotted).split(".")
    return home[1] if len(home) > 1 and home[1] in ROOMS_BELOW else "primitives"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("def f():\n    from ..analysis import report", "gradkern.study.report._html"),
        ("from . import taps", "gradkern.features._engine.hooks"),
        ("if TYPE_CHECKING:\n    import mne.io", "mne.io"),
        ("importlib.import_module('cupy')", "cupy"),
        ("import gradkern\ngradkern.RidgeCV()", "gradkern.RidgeCV"),
    ],
)
def test_every_kind_of_import_is_seen(code: str, found: str) -> None:
    assert found in set(imports(ast.parse(code), "gradkern.features._capture"))
    assert room("gradkern.RidgeCV") == "encoding"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_run_one_way(path: Path) -> None:
    here = room(".".join(path.relative_to(ROOT).with_suffix("").parts))
    allowed = ROOMS_BELOW[here] | {here}
    wrong = {
        target for target in imports_of(path) if target.split(".")[0] == "gradkern" and room(target) not in allowed
    }
    assert not wrong, f"{here} may import {sorted(allowed)}"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_who_may_import_what(path: Path) -> None:
    for library, places in ONLY_IN.items():
        if not any(fnmatch(name(path), place) for place in places):
            wrong = {target for target in imports_of(path) if f"{target}.".startswith(f"{library}.")}
            assert not wrong, f"only {places or 'nobody'} may import {library}"


def test_primitives_import_torch_and_numpy_only() -> None:
    allowed = {"gradkern", "torch", "numpy"} | sys.stdlib_module_names
    for path in PACKAGE.glob("*.py"):
        assert {target.split(".")[0] for target in imports_of(path)} <= allowed, path.name


def test_type_checkers_and_the_lazy_table_agree() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    block = next(node for node in tree.body if node not in without_lazy_names(tree).body)
    written = {target.rpartition(".")[2]: target for target in imports(block, "gradkern", True)}
    homes = {key: home if home.endswith(f".{key}") else f"{home}.{key}" for key, home in gradkern._HOMES.items()}
    # capture lives in a module of its own name
    assert written == {**homes, "capture": "gradkern.features._capture.capture"}


# What the C++ sources say.


def includes(path: Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", CSRC + BORDER, ids=name)
def test_csrc_knows_no_python_and_nobody_knows_torch(path: Path) -> None:
    forbidden = r"(torch|ATen|c10)/|torch\.h" + (r"|Python\.h|pybind11/" if path in CSRC else "")
    assert [each for each in includes(path) if re.match(forbidden, each)] == []


@pytest.mark.parametrize("path", CSRC, ids=name)
def test_kernels_are_launched_by_a_function_call(path: Path) -> None:
    """Else g++ cannot parse them, and the emulation cannot run them."""
    assert "<<<" not in re.sub(r"//.*", "", path.read_text())


# Sizes.


@pytest.mark.parametrize("path", MODULES + CSRC + BORDER, ids=name)
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 500


@pytest.mark.parametrize("path", MODULES + TESTS + BENCHMARKS, ids=name)
def test_functions_are_short(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert lines < 60, f"{node.name} has {lines} lines"


def test_no_drawer_for_odds_and_ends() -> None:
    assert [name(path) for path in MODULES + TESTS + BENCHMARKS if path.name == "utils.py"] == []


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_users_never_meet_an_assert(path: Path) -> None:
    assert [node.lineno for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)] == []


@pytest.mark.parametrize("path", TESTS, ids=name)
def test_test_files_hold_tests_and_are_not_too_long(path: Path) -> None:
    text = path.read_text()
    assert bool(re.search(r"^ *def test_", text, re.MULTILINE)) == path.name.startswith("test_")
    assert len(text.splitlines()) < 500


def test_one_table_of_cases() -> None:
    readers = {path for path in TESTS + BENCHMARKS if any(t.startswith("tests.cases.") for t in imports_of(path))}
    emulated = {path for path in TESTS if {"tests.emulate", "tests.cases.SKETCH"} <= imports_of(path)}
    assert readers & set(TESTS)
    assert readers & set(BENCHMARKS)
    assert emulated


# What the compilers made.


def signatures(tree: ast.Module) -> dict[str, tuple[list[str], str]]:
    """Arguments and result of every function of a stub."""
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {f.name: ([a.arg for a in f.args.args], ast.unparse(f.returns) if f.returns else "") for f in functions}


def test_stub_says_what_the_native_module_exports() -> None:
    exported = [value for key, value in vars(_native).items() if not key.startswith("__")]
    # pybind11 begins every docstring with the signature, written as Python
    built = "\n".join(f"def {function.__doc__.splitlines()[0]}: ..." for function in exported)
    stub = (PACKAGE / "_native.pyi").read_text()
    assert signatures(ast.parse(stub)) == signatures(ast.parse(built))


CMAKE = (ROOT / "CMakeLists.txt").read_text()
ISA_FLAGS = re.search(r"target_compile_options\(isa_\S+ PRIVATE (.*?) \$\{ARGN\}\)", CMAKE)
ISAS = {isa: (lanes, flags) for isa, lanes, flags in re.findall(r"gradkern_isa\((\w+) (\d+) ?(.*?)\)", CMAKE)}


def test_instruction_sets_are_found_in_the_build_file() -> None:
    assert ISA_FLAGS is not None
    assert list(ISAS) == ["portable", "avx2", "avx512", "avx512bf16"]
    assert set(_native.isas()) <= set(ISAS)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("source", sorted((ROOT / "csrc/cpu/isa").glob("*.cpp")), ids=lambda path: path.name)
def test_instruction_set_objects_define_only_their_own_symbols(source: Path, isa: str, tmp_path: Path) -> None:
    """A weak symbol compiled for AVX-512 could be the copy that the linker keeps for everybody."""
    lanes, flags = ISAS[isa]
    if flags and platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip(f"{isa} is an instruction set of x86")
    built = tmp_path / "unit.o"
    common = ["-std=c++17", "-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden", "-DNDEBUG"]
    isa_flags = [*ISA_FLAGS.group(1).split(), *flags.split(), f"-DGK_ISA={isa}", f"-DGK_LANES={lanes}"]
    compiler = os.environ.get("CXX", "c++").split()
    subprocess.run([*compiler, *common, *isa_flags, "-c", str(source), "-o", str(built)], check=True)
    table = subprocess.run(["nm", "-C", str(built)], capture_output=True, text=True, check=True).stdout
    symbols = [(kind, symbol) for kind, symbol in re.findall(r"^[0-9a-f ]{16} (\w) (.*)$", table, re.MULTILINE)]
    own = [symbol for kind, symbol in symbols if kind in "TDR" and symbol.startswith(f"gradkern::{isa}::")]
    assert own
    # lower case: local to the object; U: taken from elsewhere
    others = [(kind, symbol) for kind, symbol in symbols if symbol not in own and kind not in "tbdrU"]
    assert others == []


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="kernels were NOT compiled: there is no nvcc on the PATH")
@pytest.mark.parametrize("architecture", ["80", "90", "90a", "100"])
@pytest.mark.parametrize("source", sorted((ROOT / "csrc/cuda").glob("*.cu")), ids=lambda path: path.name)
def test_kernels_keep_everything_in_registers(source: Path, architecture: str, tmp_path: Path) -> None:
    options = ["-std=c++17", "--expt-relaxed-constexpr", "-Xptxas=-v", f"-arch=sm_{architecture}"]
    define = '-DGK_CUDA_ARCHITECTURES="test"'
    command = ["nvcc", *options, define, "-cubin", "-o", str(tmp_path / "kernels.cubin"), str(source)]
    report = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", report)
    assert len(spills) == report.count("Compiling entry function") > 0
    assert set(spills) == {("0", "0")}, report
