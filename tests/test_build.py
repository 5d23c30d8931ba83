"""The wheel, as pip builds it for a user: in isolation, from a copy of the sources, with and without CUDA."""

import email
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
EXTRAS = {"demo", "models", "meg", "fmri", "cluster", "simulate", "docs", "bench", "test", "cupy", "all"}
SYSTEM_LIBRARIES = r"(libc|libm|libstdc\+\+|libgcc_s|libpthread|libdl|ld-linux[\w-]*)\.so\.\d+"
HAS_NVCC = shutil.which("nvcc") is not None
needs_nvcc = pytest.mark.skipif(not HAS_NVCC, reason="wheel built WITHOUT kernels: there is no nvcc on the PATH")


@dataclass(frozen=True)
class Wheel:
    names: list[str]
    metadata: Message
    folder: Path  # where it is unpacked

    @property
    def native(self) -> Path:
        (found,) = self.folder.glob("gradkern/_native*.so")
        return found

    def run(self, code: str) -> str:
        """What code prints in a fresh interpreter that finds this wheel's gradkern first, then this folder's tests."""
        path = os.pathsep.join([str(self.folder), str(ROOT)])
        return command([sys.executable, "-c", code], cwd=self.folder, PYTHONPATH=path).stdout


def command(arguments: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(arguments, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    return done


def pip_wheel(sources: Path, out: Path, **environment: str) -> Path:
    arguments = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(out), str(sources)]
    command(arguments, cwd=out.parent, **environment)
    (path,) = out.glob("*.whl")
    return path


def unpack(path: Path, folder: Path) -> Wheel:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
        names = archive.namelist()
        (metadata,) = (each for each in names if each.endswith(".dist-info/METADATA"))
        return Wheel(names, email.message_from_bytes(archive.read(metadata)), folder)


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean checkout: nothing that an earlier build left in this one."""
    copy = tmp_path_factory.mktemp("sources")
    built = shutil.ignore_patterns("*.so", "__pycache__")
    for folder in ("csrc", "python", "gradkern"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=built)
    for file in ("CMakeLists.txt", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy)
    return copy


@pytest.fixture(scope="session")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    folder = tmp_path_factory.mktemp("wheel")
    return unpack(pip_wheel(sources, folder / "out", GRADKERN_CUDA="AUTO"), folder / "unpacked")


@pytest.fixture(scope="session")
def cpu_wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    folder = tmp_path_factory.mktemp("cpu_wheel")
    return unpack(pip_wheel(sources, folder / "out", GRADKERN_CUDA="OFF"), folder / "unpacked")


def test_a_build_needs_no_torch() -> None:
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert {Requirement(each).name for each in requires} == {"setuptools", "pybind11", "cmake", "ninja"}


def test_the_package_is_whole_and_alone(wheel: Wheel, sources: Path) -> None:
    package = {path.relative_to(sources).as_posix() for path in (sources / "gradkern").rglob("*") if path.is_file()}
    assert {"gradkern/py.typed", "gradkern/_native.pyi", "gradkern/recordings/data/kay2017.npz"} <= package
    shipped = {each for each in wheel.names if ".dist-info/" not in each}
    assert shipped - {f"gradkern/{wheel.native.name}"} == package


def test_licences_are_in_the_wheel(wheel: Wheel) -> None:
    licences = {each.partition("/licenses/")[2] for each in wheel.names if "/licenses/" in each}
    assert licences == {"LICENSE", "gradkern/recordings/data/kay2017.LICENSE.txt"}
    assert wheel.metadata["License-Expression"] == "Apache-2.0"


def test_extras(wheel: Wheel) -> None:
    assert set(wheel.metadata.get_all("Provides-Extra")) == EXTRAS
    requirements = [Requirement(each) for each in wheel.metadata.get_all("Requires-Dist")]
    (everything,) = (each for each in requirements if str(each.marker) == 'extra == "all"')
    assert everything.name == "gradkern"
    assert everything.extras == EXTRAS - {"all", "cupy"}


@pytest.mark.parametrize("which", ["wheel", "cpu_wheel"])
class TestEveryWheel:
    def test_links_only_the_system(self, which: str, request: pytest.FixtureRequest) -> None:
        native = request.getfixturevalue(which).native
        needed = re.findall(r"\(NEEDED\).*\[(.*)\]", command(["readelf", "-d", str(native)], native.parent).stdout)
        assert needed
        assert [library for library in needed if not re.fullmatch(SYSTEM_LIBRARIES, library)] == []

    def test_imports_and_sketches(self, which: str, request: pytest.FixtureRequest) -> None:
        built = request.getfixturevalue(which)
        code = "import torch, gradkern; print(gradkern.__file__, *gradkern.sketch(torch.ones(2, 100), 64).shape)"
        assert built.run(code).split() == [str(built.folder / "gradkern" / "__init__.py"), "2", "64"]


def test_a_build_without_cuda_says_so(cpu_wheel: Wheel) -> None:
    # a CUDA array cannot be made here, so a capsule that claims to be one: no_cuda.cpp never touches the memory
    code = """
from gradkern import _native
from tests.fake_capsule import cuda_capsule
assert _native.cuda_architectures() == ""
try:
    _native.sketch(cuda_capsule((1, 1, 64)), cuda_capsule((0,)), cuda_capsule((1, 64)), (64, 0, 1, 0), (1, 0, False))
except RuntimeError as error:
    print(error)
"""
    assert "this build of gradkern has no CUDA code" in cpu_wheel.run(code)


@needs_nvcc
def test_a_build_with_cuda_knows_its_architectures(wheel: Wheel) -> None:
    assert wheel.run("from gradkern import _native; print(_native.cuda_architectures())").strip() == "80-real 90"


@needs_nvcc
@pytest.mark.skipif(shutil.which("cuobjdump") is None, reason="kernels were NOT listed: there is no cuobjdump")
def test_a_build_with_cuda_holds_code_for_its_architectures(wheel: Wheel) -> None:
    listed = {kind: command(["cuobjdump", kind, str(wheel.native)], wheel.folder).stdout for kind in ("-lelf", "-lptx")}
    assert set(re.findall(r"sm_\d+", listed["-lelf"])) >= {"sm_80", "sm_90"}
    assert "sm_90" in listed["-lptx"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("ON", "gradkern: GRADKERN_CUDA=ON, but there is no nvcc"),
        ("yes", "gradkern: GRADKERN_CUDA must be AUTO, ON or OFF, got 'yes'"),
    ],
)
def test_a_setting_that_cannot_be_met_is_an_error(setting: str, message: str, sources: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as error:
        pip_wheel(sources, tmp_path / "out", GRADKERN_CUDA=setting, CUDACXX=str(tmp_path / "nvcc"))
    assert message in " ".join(str(error.value).split())
