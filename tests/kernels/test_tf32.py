"""Whether sketches of weight gradients use TF32 on a GPU: as torch's own products do, by whichever switch."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from gradkern import sketch_outer
from gradkern.kernels import ops


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    torch.backends.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.fp32_precision = torch.backends.mkldnn.matmul.fp32_precision = "none"


def by_name() -> None:
    torch.set_float32_matmul_precision("high")


def by_flag() -> None:
    torch.backends.cuda.matmul.allow_tf32 = True


def by_switch() -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"


def by_parent() -> None:
    torch.backends.fp32_precision = "tf32"


def by_switch_after_all() -> None:
    torch.backends.fp32_precision = "tf32"
    torch.backends.cuda.matmul.fp32_precision = "ieee"


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (None, False),
        (by_name, True),
        (by_flag, True),
        (by_switch, True),
        (by_parent, True),
        (by_switch_after_all, False),
    ],
)  # fmt: skip
def test_tf32_is_allowed_as_for_the_products_of_torch(setting: Callable[[], None] | None, expected: bool) -> None:
    if setting is not None:
        setting()
    with FakeTensorMode():
        a, g = torch.empty(2, 5, 64, device="cuda"), torch.empty(2, 5, 32, device="cuda")
        assert sketch_outer(a, g, 64).shape == (2, 64)
        assert ops._allow_tf32(a) is expected
        assert not ops._allow_tf32(torch.empty(2))
