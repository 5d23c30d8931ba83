"""csrc/ops.def: what is made from one row of it, and how few files name an op."""

import ast
import re
from pathlib import Path

import pytest
import torch

from gradkern import _native
from gradkern.kernels import reference

ROOT = Path(__file__).parents[2]
TABLE = re.sub(r"//.*", "", (ROOT / "csrc/ops.def").read_text())
ROWS = {
    name: re.findall(r"(\w+)(?=[,)])", parameters)
    for name, parameters in re.findall(r"GK_(?:OP|WORKSPACE)\((\w+), (\(.*?\))\)", TABLE, re.DOTALL)
}
OPS = re.findall(r"GK_OP\((\w+)", TABLE)


def signatures(source: str) -> dict[str, tuple[list[str], str]]:
    """Arguments and result of every function of a stub."""
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    return {f.name: ([a.arg for a in f.args.args], ast.unparse(f.returns) if f.returns else "") for f in functions}


def test_native_functions_are_those_of_the_table_and_of_the_stub() -> None:
    exported = [function for name, function in vars(_native).items() if not name.startswith("__")]
    # pybind11 begins every docstring with the signature, written as Python
    built = signatures("\n".join(f"def {function.__doc__.splitlines()[0]}: ..." for function in exported))
    stub = signatures((ROOT / "gradkern/_native.pyi").read_text())
    del stub["__getattr__"]  # stands for the ops
    assert set(built) == set(stub) | set(ROWS)
    assert {name: built[name] for name in stub} == stub
    assert {name: built[name][0] for name in ROWS} == ROWS
    assert {name: built[name][1] for name in ROWS} == {name: "None" if name in OPS else "int" for name in ROWS}


@pytest.mark.parametrize("op", OPS)
def test_an_op_has_a_schema_a_reference_and_a_source_for_every_device(op: str) -> None:
    assert hasattr(torch.ops.gradkern, op)
    assert hasattr(reference, op)
    assert (ROOT / f"csrc/cuda/{op}.cu").exists()
    assert any((ROOT / folder / f"{op}.cpp").exists() for folder in ("csrc/cpu", "csrc/cpu/isa"))


@pytest.mark.parametrize("op", OPS)
def test_an_op_stands_in_six_files(op: str) -> None:
    """Comments, its callers and what users see of it are not counted."""
    sources = [path for folder in ("csrc", "python") for path in (ROOT / folder).rglob("*.*") if path.suffix != ".md"]
    sources += [ROOT / "CMakeLists.txt", ROOT / "gradkern/_native.pyi"]
    sources += [ROOT / "gradkern/kernels/ops.py", ROOT / "gradkern/kernels/reference.py"]
    code = {path: re.sub(r"(//|#(?! ?(?:define|include))).*", "", path.read_text()) for path in sources}
    named = [path.relative_to(ROOT).as_posix() for path, text in code.items() if re.search(rf"\b{op}\b", text)]
    assert len(named) <= 6, named
