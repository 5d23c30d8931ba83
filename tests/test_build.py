"""The sdist, the wheel that pip builds from it for a user, with and without CUDA, and every extra alone."""

import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests import first_steps
from tests.wheels import (
    ROOT,
    SHIPPED,
    Environment,
    Wheel,
    clean_checkout,
    command,
    environment,
    make_sdist,
    pip_wheel,
    unpack,
)

EXTRAS = {
    "analysis",
    "demo",
    "models",
    "meg",
    "fmri",
    "simulate",
    "brain",
    "cluster",
    "cupy",
    "bench",
    "test",
    "docs",
    "all",
}
SYSTEM_LIBRARIES = r"(libc|libm|libstdc\+\+|libgcc_s|libpthread|libdl|ld-linux[\w-]*)\.so\.\d+"
HAS_NVCC = shutil.which("nvcc") is not None
STEPS = str(ROOT / "tests" / "first_steps.py")
needs_nvcc = pytest.mark.skipif(not HAS_NVCC, reason="wheel built WITHOUT kernels: there is no nvcc on the PATH")


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean checkout: nothing that an earlier build left in this one."""
    return clean_checkout(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="session")
def sdist(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sdist(sources, tmp_path_factory.mktemp("sdist") / "out")


@pytest.fixture(scope="session")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    folder = tmp_path_factory.mktemp("wheel")
    return unpack(pip_wheel(sdist, folder / "out", GRADKERN_CUDA="AUTO"), folder / "unpacked")


@pytest.fixture(scope="session")
def cpu_wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    folder = tmp_path_factory.mktemp("cpu_wheel")
    return unpack(pip_wheel(sources, folder / "out", GRADKERN_CUDA="OFF"), folder / "unpacked")


@pytest.fixture(scope="session")
def installed(wheel: Wheel, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Environment]:
    """The environment that holds the wheel and one extra, made when first asked for."""
    made: dict[str, Environment] = {}

    def with_extra(extra: str) -> Environment:
        if extra not in made:
            made[extra] = environment(wheel, extra, tmp_path_factory.mktemp("environment") / "venv")
        return made[extra]

    return with_extra


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


def test_an_sdist_holds_all_that_a_build_reads(sdist: Path, sources: Path) -> None:
    held = {line.partition("/")[2] for line in command(["tar", "tzf", str(sdist)], sdist.parent).stdout.splitlines()}
    needed = {
        path.relative_to(sources).as_posix()
        for folder in SHIPPED
        for path in (sources / folder).rglob("*")
        if path.is_file()
    }
    needed |= {"CMakeLists.txt", "Makefile", "pyproject.toml", "setup.py", "LICENSE", "CITATION.cff", "README.md"}
    needed |= {"CHANGELOG.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "SECURITY.md"}
    assert needed - held == set()
    assert not [file for file in held if file.endswith(".so")]


def test_extras(wheel: Wheel) -> None:
    assert wheel.extras == EXTRAS
    (everything,) = wheel.requirements("all")
    assert everything.name == "gradkern"
    assert everything.extras == EXTRAS - {"all", "cupy"}


# Every extra, alone in an environment. Commands that need another extra say which.


def test_every_command_explains_itself_without_any_extra(installed: Callable[[str], Environment]) -> None:
    assert "usage: gradkern" in installed("")("-m", "gradkern", "--help")
    assert installed("")(STEPS, "commands").count("usage: gradkern") == len(first_steps.COMMANDS)


def test_every_public_name_loads_with_the_extra_for_it(installed: Callable[[str], Environment]) -> None:
    missing = dict(line.split("\t") for line in installed("")(STEPS, "public_names").splitlines())
    assert {name.rpartition(".")[0] for name in missing} == {"gradkern.plotting", "gradkern.study.report"}
    assert all("pip install 'gradkern[analysis]'" in message for message in missing.values())
    assert installed("analysis")(STEPS, "public_names") == ""


def test_the_core_captures_encodes_and_compares(installed: Callable[[str], Environment]) -> None:
    core = installed("")
    assert core(STEPS, "core").split() == ["6", "5", "6"]
    data = ["--features", "features", "--recordings", "subject-1.h5"]
    core("-m", "gradkern", "encode", *data)
    core("-m", "gradkern", "similarity", *data, "--permutations", "19")
    assert "FFA" in core("-m", "gradkern", "data", "check", "kay2017")
    assert "CPU kernels" in core("-m", "gradkern", "doctor")


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [(("demo",), "demo"), (("layers", "resnet50"), "models"), (("verdict", "study.toml"), "analysis")],
)
def test_a_command_that_lacks_a_package_names_the_extra(
    arguments: tuple[str, ...], extra: str, installed: Callable[[str], Environment]
) -> None:
    message = installed("")("-m", "gradkern", *arguments, status=2)
    assert message.startswith(f"gradkern {arguments[0]}: ")
    assert f"pip install 'gradkern[{extra}]'" in message


def test_a_function_that_lacks_a_package_names_the_extra(installed: Callable[[str], Environment]) -> None:
    messages = dict(line.split("\t") for line in installed("")(STEPS, "missing").splitlines())
    assert set(messages) == set(first_steps.NEEDS)
    for extra, message in messages.items():
        assert f"pip install 'gradkern[{extra}]'" in message


@pytest.mark.parametrize(
    ("extra", "printed"),
    [("models", "1 2048"), ("meg", "6 15"), ("fmri", "6 8"), ("simulate", "1 1")],
)
def test_an_extra_is_enough_for_what_it_is_for(
    extra: str, printed: str, installed: Callable[[str], Environment]
) -> None:
    assert installed(extra)(STEPS, extra).splitlines()[-1] == printed


def test_analysis_is_enough_for_a_verdict(installed: Callable[[str], Environment]) -> None:
    analysis = installed("analysis")
    analysis(STEPS, "analysis")
    analysis("-m", "gradkern", "verdict", "study.toml")
    assert (analysis.folder / "verdict" / "report.html").exists()


def test_the_demo_begins_from_the_wheel_of_the_sdist(installed: Callable[[str], Environment]) -> None:
    """Loading the data and the network, and every capture: the first minute. The rest is tested where it is cheaper."""
    lines = installed("demo").until("encode", "-m", "gradkern", "demo", "--images", "20")
    assert [line.split()[-4] for line in lines if line.startswith("capture")] == [
        "feature-norm", "cross-entropy", "entropy", "kl-uniform",
    ]  # fmt: skip


@pytest.mark.parametrize("which", ["wheel", "cpu_wheel"])
def test_a_wheel_links_only_the_system(which: str, request: pytest.FixtureRequest) -> None:
    native = request.getfixturevalue(which).native
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", command(["readelf", "-d", str(native)], native.parent).stdout)
    assert needed
    assert [library for library in needed if not re.fullmatch(SYSTEM_LIBRARIES, library)] == []


@pytest.mark.parametrize("which", ["wheel", "cpu_wheel"])
def test_a_wheel_imports_and_sketches(which: str, request: pytest.FixtureRequest) -> None:
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
    _native.sketch(cuda_capsule((1, 1, 64)), cuda_capsule((0,)), cuda_capsule((1, 64)), (64, 0, 1, 0), (1, False))
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
