"""What a package index, a packager or a type checker reads: one version, one list of requirements, a true stub."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
CONDA_NAMES = {"torch": "pytorch"}


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    text = (ROOT / "recipe" / "recipe.yaml").read_text()
    return yaml.safe_load(re.sub(r"\$\{\{ (\w+)\(\"(\w+)\"\) \}\}", r"\1-\2", text))


def test_the_version_is_written_once() -> None:
    """But for files that other tools read as they are, which other tests compare with it."""
    version = PROJECT["version"]
    exempt = {"pyproject.toml", "CHANGELOG.md", "CITATION.cff", "recipe/recipe.yaml"}
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    named = [
        file
        for file in files
        if file.endswith((".py", ".toml", ".cff", ".yaml", ".yml", "CMakeLists.txt", "Makefile"))
        and re.search(rf"version\W{{1,6}}{re.escape(version)}", (ROOT / file).read_text())
    ]
    assert set(named) <= exempt


def test_the_citation_names_the_software_and_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    (paper,) = citation["references"]
    assert paper["url"] == "https://arxiv.org/abs/2605.28693"
    assert len(paper["authors"]) == 9


def test_the_conda_recipe_requires_what_the_package_requires(recipe: dict[str, Any]) -> None:
    assert recipe["context"]["version"] == PROJECT["version"]
    conda = {line.split()[0]: SpecifierSet(line.split()[1]) for line in recipe["requirements"]["run"]}
    listed = [Requirement(line) for line in PROJECT["dependencies"]]
    wanted = {CONDA_NAMES.get(each.name, each.name): each.specifier for each in listed}
    assert conda == wanted | {"python": SpecifierSet(PROJECT["requires-python"])}
    tools = {line.split()[0] for part in ("build", "host") for line in recipe["requirements"][part]}
    assert {Requirement(line).name for line in PYPROJECT["build-system"]["requires"]} <= tools
    assert {file for file in recipe["about"]["license_file"] if not (ROOT / file).is_file()} == set()


def test_the_oldest_releases_are_those_of_the_bounds() -> None:
    """tests/minimal.txt, with which `make minimal` tests, has the lower bound of all that gradkern imports."""
    tools = {"bench", "test", "docs", "all", "cupy"}  # these import nothing that users do; CuPy needs CUDA
    used = [PROJECT["dependencies"], *(lines for key, lines in EXTRAS.items() if key not in tools)]
    bounds = [Requirement(line) for lines in used for line in lines if not line.startswith("gradkern[")]
    wanted = {each.name: {limit.version for limit in each.specifier} for each in bounds}
    assert [name for name, limits in wanted.items() if len(limits) != 1] == []
    assert all(limit.operator in {">=", "=="} for each in bounds for limit in each.specifier)
    lines = (ROOT / "tests" / "minimal.txt").read_text().split("\n")
    listed = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert {each.name: {limit.version for limit in each.specifier} for each in listed} == wanted
    assert all(limit.operator == "==" for each in listed for limit in each.specifier)


def test_wheels_are_of_pythons_that_the_package_takes() -> None:
    settings = PYPROJECT["tool"]["cibuildwheel"]
    versions = ["3." + re.fullmatch(r"cp3(\d+)-\*", build)[1] for build in settings["build"]]
    assert [version for version in versions if version not in SpecifierSet(PROJECT["requires-python"])] == []
    assert settings["environment"] == {"GRADKERN_CUDA": "OFF"}
    assert settings["macos"]["environment"].items() >= settings["environment"].items()  # tables replace one another


def test_the_stub_of_the_native_module_is_true(tmp_path: Path) -> None:
    """Ops are made from csrc/ops.def, and `__getattr__` stands for them: tests/kernels compares their names."""
    (library,) = (ROOT / "gradkern").glob("_native*.so")
    for file in (library, ROOT / "gradkern" / "_native.pyi"):
        shutil.copy(file, tmp_path)

    def stubtest() -> str:
        command = [sys.executable, "-m", "mypy.stubtest", "_native", "--ignore-missing-stub"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout

    assert stubtest().startswith("Success")
    stub = tmp_path / "_native.pyi"
    stub.write_text(stub.read_text().replace("def isas()", "def instruction_sets()"))
    assert "_native.instruction_sets is not present at runtime" in stubtest()


def test_importing_gradkern_takes_as_long_as_importing_torch() -> None:
    """At most 1.3 times as long: the best of three runs, of which one may be disturbed."""
    code = "import gradkern"
    ratios = []
    for _ in range(3):
        command = [sys.executable, "-X", "importtime", "-c", code]
        printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stderr
        took = {
            name: int(total) for total, name in re.findall(r"\| +(\d+) \| +(torch|gradkern)$", printed, re.MULTILINE)
        }
        ratios.append(took["gradkern"] / took["torch"])
        if ratios[-1] <= 1.3:
            return
    assert min(ratios) <= 1.3, ratios
