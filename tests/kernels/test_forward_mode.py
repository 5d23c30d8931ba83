"""Forward-mode automatic differentiation: the tangent of a sketch is the sketch of the tangent."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor

import gradkern
from gradkern import Sketch

A, G = (2, 5, 30), (2, 5, 20)
MAPS = {"x": (2, 3, 6, 6), "g": (2, 4, 4, 4)}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


LINEAR = {
    "sketch of vectors": (lambda x: gradkern.sketch(x, 64), (3, 200)),
    "sketch of matrices": (lambda x: gradkern.sketch(x, 64, nnz=2), (3, 4, 70)),
    "adjoint": (lambda y: Sketch(64).adjoint(y, (200,)), (3, 64)),
}


@pytest.mark.parametrize("name", LINEAR)
def test_the_tangent_is_mapped_as_well(name: str) -> None:
    function, shape = LINEAR[name]
    x, v = draw(*shape), draw(*shape, seed=1)
    close(torch.func.jvp(function, (x,), (v,))[1], function(v))
    with forward_ad.dual_level():
        primal, tangent = forward_ad.unpack_dual(function(forward_ad.make_dual(x, v)))
    close(primal, function(x))
    close(tangent, function(v))
    jacobian = torch.func.jacfwd(function)(x[:1])
    close(torch.einsum("ik...,...->ik", jacobian.flatten(2).unflatten(2, (-1,)), v[:1].flatten()), function(v[:1]))


def outer(bias: bool) -> Callable[..., Any]:
    return lambda a, g: gradkern.sketch_outer(a, g, 64, bias=bias)


def conv(bias: bool) -> Callable[..., Any]:
    return lambda x, g: gradkern.sketch_conv(x, g, 64, kernel_size=3, bias=bias)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("make", "shapes"), [(outer, (A, G)), (conv, (MAPS["x"], MAPS["g"]))], ids=["outer", "conv"])
def test_the_tangent_of_a_product_is_that_of_both_factors(make: Any, shapes: Any, bias: bool) -> None:
    function = make(bias)
    x, g, dx, dg = draw(*shapes[0]), draw(*shapes[1], seed=1), draw(*shapes[0], seed=2), draw(*shapes[1], seed=3)
    step = 1e-2  # exact of what is quadratic, but for rounding
    expected = (function(x + step * dx, g + step * dg) - function(x - step * dx, g - step * dg)) / (2 * step)
    tangent = torch.func.jvp(function, (x, g), (dx, dg))[1]
    torch.testing.assert_close(tangent, expected, rtol=1e-3, atol=2e-2)
    one = torch.func.jvp(lambda a: function(a, g), (x,), (dx,))[1]
    other = torch.func.jvp(lambda b: function(x, b), (g,), (dg,))[1]
    close(one + other, tangent)
