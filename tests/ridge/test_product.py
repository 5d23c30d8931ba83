"""The product that blocks of targets go through: right for every shape, order and dtype, and the same bits again."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradkern.ridge._engine import precision as module
from gradkern.ridge._engine.precision import product

SIZES = st.sampled_from([0, 1, 3, 63, 64, 65, 200])


def _matrix(rows: int, columns: int, order: str, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(rows * 1000 + columns)
    if order == "rows":
        return torch.randn(rows, columns, generator=generator, dtype=dtype)
    if order == "columns":
        return torch.randn(columns, rows, generator=generator, dtype=dtype).T
    return torch.randn(rows, 2 * columns, generator=generator, dtype=dtype)[:, ::2]


@settings(deadline=None)
@given(SIZES, SIZES, SIZES, *[st.sampled_from(["rows", "columns", "spread"])] * 2, st.booleans())
def test_is_the_matrix_product(m: int, k: int, b: int, first: str, second: str, double: bool) -> None:
    dtype = torch.float64 if double else torch.float32
    left, right = _matrix(m, k, first, dtype), _matrix(k, b, second, dtype)
    found = product(left, right)
    assert (found.dtype, found.shape) == (dtype, (m, b))
    assert found.is_contiguous()
    most = k * torch.finfo(dtype).eps * (left.double().abs() @ right.double().abs())
    assert bool(((found.double() - left.double() @ right.double()).abs() <= most).all())
    assert torch.equal(found, product(left, right))


@pytest.mark.skipif(module._onednn is None, reason="needs a torch with oneDNN")
def test_the_faster_library_is_asked_for_large_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(module, "_onednn", lambda *arguments: asked.append(arguments) or torch.zeros(0))
    product(torch.ones(64, 64), torch.ones(64, 64))
    assert len(asked) == 1
    product(torch.ones(63, 64), torch.ones(64, 64))
    product(torch.ones(64, 64).double(), torch.ones(64, 64).double())
    assert len(asked) == 1


def test_without_it_the_result_is_the_same_to_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = _matrix(200, 300, "columns", torch.float32), _matrix(300, 100, "rows", torch.float32)
    found = product(left, right)
    monkeypatch.setattr(module, "_onednn", None)
    torch.testing.assert_close(product(left, right), found, rtol=1e-5, atol=1e-4)
