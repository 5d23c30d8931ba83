"""Products, norms and convolutions without a rule of their own; rows of images in any order; parameters of any type."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import gradkern
from gradkern.features import CoverageError
from tests.features.image_truth import captured, error, weight_gradients

N, T, D = 5, 6, 8
PRECISION = 1e-5  # what gradkern promises of float32


class Net(nn.Module):
    """A stem, tokens [n, t, d], the layer in the middle, a head."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.stem, self.layer = nn.Conv2d(3, D, 4, stride=(4, 4)), layer

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(self.stem(images).flatten(2).mT).tanh()


class Weighted(nn.Module):
    """Tokens and a weight [d, d] that a function brings together."""

    def __init__(self, use: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.weight, self.use = nn.Parameter(torch.randn(D, D) * 0.3), use

    def forward(self, x: Tensor) -> Tensor:
        return self.use(x, self.weight)


class Maps(nn.Module):
    """A layer on feature maps of some shape, given tokens."""

    def __init__(self, layer: nn.Module, *shape: int) -> None:
        super().__init__()
        self.inner, self.shape = layer, shape

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.mT.reshape(len(x), *self.shape))


def images(n: int = N) -> Tensor:
    return torch.randn(n, 3, 8, 12, generator=torch.Generator().manual_seed(1))


def written(x: Tensor, weight: Tensor) -> Tensor:
    x = x.clone()
    x[:, 1:3] = weight[:2]
    x[:, -1] = x[:, -1].clone() * weight[0]
    return x


USES = {
    "mm": lambda x, w: torch.mm(x.reshape(-1, D), w).view_as(x),
    "addmm": lambda x, w: torch.addmm(w[0], x.reshape(-1, D), w).view_as(x),
    "addmm, scaled": lambda x, w: torch.addmm(w[0], x.reshape(-1, D), w, beta=0.5, alpha=2).view_as(x),
    "baddbmm": lambda x, w: torch.baddbmm(w[None, :T], x, w.expand(len(x), -1, -1)),
    "bmm": lambda x, w: torch.bmm(x, w.expand(len(x), -1, -1)),
    "einsum": lambda x, w: torch.einsum("nti,io->nto", x, w),
    "einsum, three factors": lambda x, w: torch.einsum("nti,io,oj->ntj", x, w, w),
    "tensordot": lambda x, w: torch.tensordot(x, w, 1),
    "weight on the left": lambda x, w: (w @ x.mT).mT,
    "weight of positions": lambda x, w: torch.einsum("st,ntd->nsd", w[:T, :T], x),
    "stacked": lambda x, w: torch.cat([torch.stack([w[:1]] * len(x)), x], 1),
    "repeated": lambda x, w: torch.cat([w[None, :1].repeat_interleave(len(x), 0), x], 1),
    "written": written,
    "prelu": lambda x, w: F.prelu(x.mT, w[0]),
    "bilinear": lambda x, w: F.bilinear(x, x, w[:3, :, None] * w[None, 0]),
    "distances": lambda x, w: torch.cdist(x, w.expand(len(x), -1, -1)),
    "looked up by words": lambda x, w: x + w[(x[..., 0] > 0).long()],
    "in place on a table": lambda x, w: x + w.mul(2).add_(1).mul_(w[0]).relu_()[:T],
    "a place in a table": lambda x, w: x + torch.zeros(T, D, dtype=w.dtype).index_put((torch.tensor([1]),), w[0]),
}
MODULES = {
    "Conv3d": lambda: Maps(nn.Conv3d(2, 3, 2), 2, 2, 3, 4),
    "ConvTranspose1d": lambda: Maps(nn.ConvTranspose1d(D, 3, 2, stride=2), D, T),
    "ConvTranspose2d": lambda: Maps(nn.ConvTranspose2d(D, 4, 2, stride=2, groups=2), D, 2, 3),
    "InstanceNorm2d": lambda: Maps(nn.InstanceNorm2d(D, affine=True), D, 2, 3),
    "PReLU of channels": lambda: Maps(nn.PReLU(D), D, 2, 3),
    "Bilinear": lambda: Weighted(lambda x, w: F.bilinear(x, x, w[:, :, None] * w[:, None, :])),
}


def layer(name: str) -> nn.Module:
    torch.manual_seed(0)
    return MODULES[name]() if name in MODULES else Weighted(USES[name])


@pytest.mark.parametrize("name", [*USES, *MODULES])
def test_a_call_without_a_rule_equals_autograd(name: str) -> None:
    model = Net(layer(name)).eval()
    expected = weight_gradients(model, "layer", images())
    for batch_size in (N, 2, 1):
        assert error(captured(model, "layer", images(), batch_size=batch_size), expected) < PRECISION, batch_size


class Folded(nn.Module):
    """Rows of a layer: all parts of an image together, or all images of a part, which has some tokens or channels."""

    def __init__(self, parts: int, *, is_inner: bool, of_channels: bool, inner: nn.Module) -> None:
        super().__init__()
        self.parts, self.is_inner, self.of_channels, self.inner = parts, is_inner, of_channels, inner

    def forward(self, x: Tensor) -> Tensor:
        pieces = x.chunk(self.parts, 2 if self.of_channels else 1)
        if self.is_inner:
            return torch.cat(self.inner(torch.cat(pieces)).chunk(self.parts), 1)
        rows = torch.stack(pieces, 1).flatten(0, 1)
        return self.inner(rows).unflatten(0, (len(x), self.parts)).flatten(1, 2)


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(2, 5),
    parts=st.sampled_from([2, 3]),
    is_inner=st.booleans(),
    of_channels=st.booleans(),
    kind=st.sampled_from(["linear", "norm", "einsum", "scale"]),
)
def test_rows_belong_to_their_images_in_any_order(
    n: int, parts: int, is_inner: bool, of_channels: bool, kind: str
) -> None:
    torch.manual_seed(2)
    parts = 2 if of_channels else parts
    width = D // parts if of_channels else D
    weighted = Weighted(lambda x, w: torch.einsum("nti,io->nto", x, w[:width, :width]))
    scaled = Weighted(lambda x, w: x * w[0, :width])
    inner = {"linear": nn.Linear(width, 3), "norm": nn.LayerNorm(width), "einsum": weighted, "scale": scaled}[kind]
    model = Net(Folded(parts, is_inner=is_inner, of_channels=of_channels, inner=inner)).eval()
    expected = weight_gradients(model, "layer", images(n))
    assert error(captured(model, "layer", images(n)), expected) < PRECISION


@settings(max_examples=15, deadline=None)
@given(
    letters=st.permutations("nta").map("".join),
    weight=st.sampled_from(["ab", "ba", "tb", "atb"]),
    out=st.permutations("ntb").map("".join),
)
def test_any_product_of_letters_is_covered(letters: str, weight: str, out: str) -> None:
    """The images may stand at any axis of what einsum is given, and of what it returns."""
    torch.manual_seed(3)

    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = {"t": T, "a": D, "b": 5}
            self.weight = nn.Parameter(torch.randn([sizes[letter] for letter in weight]) * 0.4)

        def forward(self, x: Tensor) -> Tensor:
            given = torch.einsum(f"nta->{letters}", x)
            return torch.einsum(f"{out}->ntb", torch.einsum(f"{letters},{weight}->{out}", given, self.weight))

    model = Net(Product()).eval()
    assert error(captured(model, "layer", images()), weight_gradients(model, "layer", images())) < PRECISION


class Spectral(nn.Module):
    """A product of spectra: a complex parameter, or its real view."""

    def __init__(self, *, is_complex: bool) -> None:
        super().__init__()
        weight = torch.randn(T // 2 + 1, D, dtype=torch.complex64)
        self.weight = nn.Parameter(weight if is_complex else torch.view_as_real(weight))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight if self.weight.is_complex() else torch.view_as_complex(self.weight)
        return torch.fft.irfft(torch.fft.rfft(x, dim=1) * weight, n=T, dim=1)


def test_a_complex_weight_is_covered_as_its_real_view() -> None:
    torch.manual_seed(0)
    model = Net(Spectral(is_complex=False)).eval()
    expected = weight_gradients(model, "layer", images())
    assert error(captured(model, "layer", images()), expected) < PRECISION
    model = Net(Spectral(is_complex=True)).eval()
    for batch_size in (N, 1):
        with pytest.raises(CoverageError, match=r"layer.weight \(complex, and a sketch is of real numbers"):
            captured(model, "layer", images(), batch_size=batch_size)
    features = gradkern.capture(model, images(), lambda o, b: o.flatten(1).square().sum(1), layers=["layer"])
    assert features["gradient", "layer"].isfinite().all()


class Quantised(nn.Module):
    """An integer weight with a scale, an unused complex parameter, and one that is used without gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randint(-127, 128, (D, D), dtype=torch.int8), requires_grad=False)
        self.scale, self.bias = nn.Parameter(torch.tensor(0.01)), nn.Parameter(torch.randn(D))
        self.unused = nn.Parameter(torch.randn(3, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype) * self.scale, self.bias)


def test_integer_and_unused_parameters_stand_beside() -> None:
    torch.manual_seed(0)
    model = Net(Quantised()).eval()

    def fresh(model: nn.Module) -> nn.Module:
        copy = Net(Quantised())
        copy.load_state_dict(model.state_dict())
        for parameter in copy.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        copy.requires_grad_ = lambda mode: copy  # integers cannot
        return copy

    expected = weight_gradients(model, "layer", images(), fresh)
    for batch_size in (N, 1):
        assert error(captured(model, "layer", images(), batch_size=batch_size), expected) < PRECISION
    assert not model.layer.weight.requires_grad
    assert model.layer.scale.requires_grad


def test_calls_that_differ_by_batch_are_named() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(D, D), nn.Linear(D, D)

        def forward(self, x: Tensor) -> Tensor:
            chosen, y = x.mean((1, 2)) > 0, torch.zeros_like(x)
            if chosen.any():
                y[chosen] = self.a(x[chosen])
            if not chosen.all():
                y[~chosen] = self.b(x[~chosen])
            return y

    torch.manual_seed(0)
    model = Net(Experts()).eval()
    with pytest.raises(CoverageError, match="does not make the same calls for one image and for 5"):
        captured(model, "layer", images())
    assert (
        error(captured(model, "layer", images(), batch_size=1), weight_gradients(model, "layer", images())) < PRECISION
    )
