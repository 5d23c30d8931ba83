"""Weight gradients formed by batched products and sketched chunk by chunk, and when a GPU takes that way."""

import pytest
import torch
from torch import Tensor

from gradkern.kernels import formed, ops, reference
from tests.cases import CONV, OUTER, ConvCase, OuterCase

L2 = 50 * 2**20  # bytes, of an H200


def sketch_of(spec: tuple[int, int, int, int]) -> formed.Sketch:
    return lambda gradient: reference.sketch(gradient, *spec)


def run(case: OuterCase | ConvCase, x: Tensor, g: Tensor, cache: int) -> Tensor:
    if isinstance(case, OuterCase):
        return formed.sketch_outer(x, g, case.bias, sketch_of(case.spec), cache)
    window = reference.Window(case.kernel, case.stride, case.padding, case.dilation, case.groups)
    return formed.sketch_conv(x, g, window, case.bias, sketch_of(case.spec), cache)


def is_not_empty(case: OuterCase | ConvCase) -> bool:
    return all(values.numel() for values in case.inputs(torch.float32))


@pytest.mark.parametrize("cache", [1, L2])  # a sample at a time, all of them
@pytest.mark.parametrize("case", [case for case in OUTER + CONV if is_not_empty(case)], ids=str)
def test_formed_equals_truth(case: OuterCase | ConvCase, cache: int) -> None:
    x, g = (values.double() for values in case.inputs(torch.float32))
    truth = case.truth(x, g)
    torch.testing.assert_close(run(case, x, g, cache), truth, rtol=0, atol=1e-12 * float(truth.abs().max() + 1))


@pytest.mark.parametrize("case", [OuterCase((3, 197, 96, 130), 1024, bias=True), CONV[6]], ids=str)
def test_bfloat16_is_rounded_once(case: OuterCase | ConvCase) -> None:
    """A gradient is rounded to 8 bits, each value by itself: by at most 2^-9 of the norm."""
    x, g = case.inputs(torch.bfloat16)
    truth = case.truth(x, g)
    assert (run(case, x, g, L2) - truth).norm() < 2**-9 * truth.norm()


def test_chunks_of_a_transformer_layer() -> None:
    a, g = (torch.empty(16, 197, side, device="meta", dtype=torch.bfloat16) for side in (768, 3072))
    sizes: list[torch.Size] = []

    def sketch(gradient: Tensor) -> Tensor:
        sizes.append(gradient.shape)
        assert gradient.is_contiguous()
        return gradient.new_empty(len(gradient), 1024, dtype=torch.float32)

    assert formed.sketch_outer(a, g, False, sketch, L2).shape == (16, 1024)
    assert sizes == [(8, 3072, 768)] * 2
    assert formed.sketch_outer(a, g, True, sketch, L2).shape == (16, 1024)
    assert sizes[-1][2] == 832  # the bias and its padding are one segment


LINEAR = {  # n, t, p, o: whether the gradient is formed
    (16, 197, 768, 3072): True,
    (16, 257, 1280, 5120): True,
    (128, 197, 768, 768): True,
    (1, 1, 64, 64): False,
    (2, 17, 70, 130): False,
}
LAYERS = {  # c, side, o, kernel, stride, padding, groups, with 16 samples
    (64, 56, 64, 3, 1, 1, 1): True,
    (256, 14, 256, 3, 1, 1, 1): True,
    (256, 56, 64, 1, 1, 0, 1): True,  # its patches are the input itself
    (384, 14, 384, 7, 1, 3, 384): True,
}


@pytest.mark.parametrize("shape", LINEAR, ids=str)
def test_choice_for_linear_layers(shape: tuple[int, int, int, int]) -> None:
    n, t, p, o = shape
    product = formed.Product(n, 1, o, p, t)
    assert formed.is_faster(product, torch.bfloat16, False, L2) == LINEAR[shape]
    assert not formed.is_faster(product, torch.float16, False, L2)
    a, g = (torch.empty(n, t, side, dtype=torch.bfloat16, device="meta") for side in (p, o))
    assert formed.suits_outer(a, g, False, False, L2) == LINEAR[shape]
    assert not formed.suits_outer(a, g[:, :-1], False, False, L2)
    assert not formed.suits_outer(a.mT, g, False, False, L2)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_choice_for_convolutions(layer: tuple[int, ...]) -> None:
    c, side, o, kernel, stride, padding, groups = layer
    out = (side + 2 * padding - kernel) // stride + 1
    x, g = torch.empty(16, c, side, side, device="meta"), torch.empty(16, o, out, out, device="meta")
    window = reference.Window(*([size, size] for size in (kernel, stride, padding, 1)), groups)  # as torch gives it
    assert formed.suits_conv(x.bfloat16(), g.bfloat16(), window, False, False, L2) == LAYERS[layer]
    for wrong in (g.bfloat16()[..., 1:], g.float()[:1], g.half()):  # the kernel says what is wrong with them
        assert not formed.suits_conv(x.bfloat16(), wrong.contiguous(), window, False, False, L2)
    product = formed.conv_product(x, g, window, False)
    assert product.unfolded == (kernel > 1)
    assert formed.is_faster(product, torch.bfloat16, False, L2) == LAYERS[layer]


def test_float32_products_are_left_to_the_kernel_without_tf32() -> None:
    product = formed.Product(16, 1, 3072, 768, 197)
    assert not formed.is_faster(product, torch.float32, False, L2)
    assert formed.is_faster(product, torch.float32, True, L2)


def test_predicted_rate_of_a_transformer_layer() -> None:
    product = formed.Product(16, 1, 3072, 768, 197)
    us = formed.formed_us(product, formed.BFLOAT16, 2, L2)
    flops = 2 * 16 * 197 * 768 * 3072
    assert flops / us > 1.5 * flops / formed.fused_us(product, formed.BFLOAT16)


@pytest.mark.gpu
@pytest.mark.parametrize("bias", [False, True])
def test_large_products_on_a_gpu_are_formed(bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    a, g = (torch.randn(16, 197, side).bfloat16().cuda() for side in (768, 3072))
    out = ops.sketch_outer(a, g, (1024, 0, 1, 0), bias)
    monkeypatch.setattr(formed, "is_faster", lambda *rest: False)
    fused = ops.sketch_outer(a, g, (1024, 0, 1, 0), bias)
    assert not torch.equal(out, fused)
    assert (out - fused).norm() < 2**-9 * fused.norm()
