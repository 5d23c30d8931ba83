"""Kernels of another processor under QEMU: the bits of the sketch. `python -m tests.foreign` runs all tests on them."""

import shutil
from collections.abc import Iterator

import pytest
import torch
from torch.utils.dlpack import to_dlpack

from gradkern import _native
from tests.cases import DTYPES, SKETCH, SketchCase
from tests.foreign import COMPILER, EMULATOR, LANES, MACHINE, OPS, ROOT, Native, compile_server
from tests.rounding import uneven

MISSING = [tool for tool in (COMPILER, EMULATOR) if shutil.which(tool) is None]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Native]:
    program = tmp_path_factory.mktemp("foreign") / f"kernels-{MACHINE}"
    compile_server(COMPILER, program)
    native = Native([EMULATOR, str(program)])
    yield native
    native.close()


def sketched(native: object, x: torch.Tensor, case: SketchCase) -> torch.Tensor:
    out = torch.full((len(x), case.k), float("nan"))
    arrays = (to_dlpack(array) for array in (x, torch.empty(0), out))
    native.sketch(*arrays, case.spec, (1, False))
    return out


def test_the_ops_are_those_of_the_native_module() -> None:
    about = {"isas", "current_isa", "cuda_architectures"}
    assert {name for name in vars(_native) if not name.startswith("__")} == {*OPS, *about}


def test_the_lanes_are_those_of_the_build() -> None:
    assert f"gradkern_isa(portable {LANES})" in (ROOT / "CMakeLists.txt").read_text()


@pytest.mark.skipif(bool(MISSING), reason=f"kernels of {MACHINE} did NOT run: there is no {' and no '.join(MISSING)}")
def test_the_sketch_has_the_bits_of_this_processor(foreign: Native) -> None:
    assert foreign.isas() == ["portable"]
    for case in SKETCH:
        for dtype in DTYPES:
            x = (uneven(case.shape) if 0 not in case.shape else torch.empty(case.shape)).to(dtype)
            assert torch.equal(sketched(foreign, x, case), sketched(_native, x, case)), (str(case), dtype)
    assert foreign.calls == len(SKETCH) * len(DTYPES)
    with pytest.raises(ValueError, match="k must be at least 64, got 3"):
        foreign.check_sketch((3, 0, 1, 0))
