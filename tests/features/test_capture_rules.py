"""Every rule by which a weight gets its gradient, against autograd one image at a time; and what no rule covers."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gradkern
from gradkern import Sketch
from gradkern.features import CoverageError

N = 7
SKETCH = Sketch(256, seed=5)


class Fused(nn.Module):
    """timm's way: F.linear with a module's weight, and a bias put together from parts."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24, bias=False)
        self.q_bias, self.v_bias = nn.Parameter(torch.randn(8)), nn.Parameter(torch.randn(8))
        self.register_buffer("k_bias", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = F.linear(x, self.qkv.weight, torch.cat([self.q_bias, self.k_bias, self.v_bias])).chunk(3, -1)
        return F.scaled_dot_product_attention(q, k, v)


class Tokens(nn.Module):
    """Class, register and mask tokens, positions that are interpolated, an embedding of positions, LayerScale."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(1, 1, width))
        self.registers = nn.Parameter(torch.randn(1, 2, width))
        self.hidden = nn.Parameter(torch.randn(width))
        self.grid = nn.Parameter(torch.randn(1, width, 3, 3))
        self.places = nn.Embedding(7, width)
        self.gamma = nn.Parameter(torch.randn(width))

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        grid = F.interpolate(self.grid, size=(2, 2), mode="bilinear").flatten(2).mT
        mask = torch.arange(t).remainder(2).bool()[None, :, None].expand(n, -1, -1)
        x = torch.where(mask, self.hidden, x) + grid
        x = torch.cat([self.first.expand(n, -1, -1), self.registers.repeat(n, 1, 1), x], 1)
        return self.gamma * (x + self.places(torch.arange(t + 3)[None]))


class Rms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.norm = nn.Parameter(torch.randn(8)), nn.RMSNorm(8, eps=1e-6)
        nn.init.normal_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6))


class Shared(nn.Module):
    """One module called twice, and one weight in two modules."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.other = nn.Linear(8, 8), nn.Linear(8, 8)
        self.other.weight = self.twice.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.other(self.twice(self.twice(x).tanh()).tanh())


class Attention(nn.Module):
    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.first = batch_first
        self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)
        self.probe = nn.Parameter(torch.randn(1, 2, 8))

    def forward(self, x: Tensor) -> Tensor:
        probe = self.probe.repeat(len(x), 1, 1)
        if not self.first:
            x, probe = x.transpose(0, 1), probe.transpose(0, 1)
        out = self.attention(x, x, x, need_weights=False)[0].tanh()
        out = self.attention(probe, out, out)[0]
        return out if self.first else out.transpose(0, 1)


class Windows(nn.Module):
    """Swin's and BEiT's way: attention in windows, with a table of relative positions added to it or given to it."""

    def __init__(self, given: bool) -> None:
        super().__init__()
        self.given, self.table = given, nn.Parameter(torch.randn(3, 2))

    def forward(self, x: Tensor) -> Tensor:
        n = len(x)
        places = self.table[torch.tensor([[0, 1], [2, 0]])].permute(2, 0, 1)[None]  # [1, heads, 2, 2]
        x = x.reshape(n * 2, 2, 2, 4).transpose(1, 2)  # two windows, two heads
        if self.given:
            out = F.scaled_dot_product_attention(x, x, value=x, attn_mask=places)
        else:
            out = (x @ x.mT + places).softmax(-1) @ x
        return out.transpose(1, 2).reshape(n, 4, 8)


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 8, padding_idx=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.words((x[..., 0] * 100).long() % 11)


class Transposed(nn.Module):
    """A product with a bare matrix, its transpose, and a weight whose length and direction are apart."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(8, 8))
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.normed((x @ self.matrix).tanh() @ self.matrix.T)


TOKEN_MODULES = {
    "Linear": lambda: nn.Linear(8, 5),
    "Linear without bias": lambda: nn.Linear(8, 5, bias=False),
    "LayerNorm": lambda: nn.LayerNorm(8),
    "LayerNorm over two axes": lambda: nn.LayerNorm((4, 8)),
    "RMSNorm": Rms,
    "fused F.linear": Fused,
    "bare parameters": Tokens,
    "twice and shared": Shared,
    "attention, batch first": lambda: Attention(True),
    "attention, batch second": lambda: Attention(False),
    "relative positions, added": lambda: Windows(False),
    "relative positions, given": lambda: Windows(True),
    "Embedding of words": Words,
    "matrices and weight norm": Transposed,
    "TransformerEncoderLayer": lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.5, batch_first=True),
}
MAP_MODULES = {
    "Conv2d": lambda: nn.Conv2d(8, 6, 3, stride=2, padding=1),
    "Conv2d, groups, same": lambda: nn.Conv2d(8, 8, 3, groups=4, padding="same", dilation=2),
    "Conv2d, reflected edges": lambda: nn.Conv2d(8, 6, 3, padding=1, padding_mode="reflect"),
    "BatchNorm2d": lambda: nn.BatchNorm2d(8),
    "GroupNorm": lambda: nn.GroupNorm(2, 8),
}


class Net(nn.Module):
    """A stem, the module in the middle, a loss that is not linear."""

    def __init__(self, middle: nn.Module, maps: bool) -> None:
        super().__init__()
        self.stem, self.middle, self.maps = nn.Conv2d(3, 8, 4, stride=4), middle, maps
        for parameter in middle.parameters():
            nn.init.normal_(parameter, std=0.5)
        for norm in self.modules():
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.normal_(norm.running_mean)
                nn.init.uniform_(norm.running_var, 0.5, 2)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        return self.middle(x if self.maps else x.flatten(2).mT).tanh().flatten(1)


def loss(output: Tensor, batch: object) -> Tensor:
    return (output * torch.linspace(-1, 1, output.shape[1])).sum(1) + output.square().sum(1)


def net(name: str) -> Net:
    torch.manual_seed(2)
    return Net((TOKEN_MODULES | MAP_MODULES)[name](), name in MAP_MODULES).eval()


def images(n: int = N, size: int = 8) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(3))


def autograd(model: nn.Module, layer: str, pictures: Tensor) -> Tensor:
    """Obviously correct, but slow: [n, k] by one backward an image, in the model's precision."""
    module = model.get_submodule(layer)
    rows = []
    for image in pictures:
        _, parameters = zip(*module.named_parameters(), strict=True)
        parts = torch.autograd.grad(loss(model(image[None]), None).sum(), parameters, allow_unused=True)
        row, first = torch.zeros(1, SKETCH.k), 0
        for parameter, part in zip(parameters, parts, strict=True):
            rows_of, cols = (
                (parameter.shape[0], parameter[0].numel()) if parameter.dim() > 1 else (1, parameter.numel())
            )
            if part is not None:
                row += SKETCH(part.reshape(1, rows_of, cols).contiguous(), first_segment=first)
            first += rows_of * math.ceil(cols / 64)
        rows.append(row)
    return torch.cat(rows)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [*TOKEN_MODULES, *MAP_MODULES])
def test_a_rule_equals_autograd(name: str, dtype: torch.dtype) -> None:
    model, pictures = net(name).to(dtype), images().to(dtype)
    expected = autograd(model, "middle", pictures)
    for batch_size in (2, 3, N):  # 3 leaves one image over
        got = gradkern.capture(
            model, pictures, loss, layers=["middle"], kinds=["weight_gradient"], sketch=SKETCH, batch_size=batch_size
        )["weight_gradient", "middle"]
        error = (got - expected).norm(dim=1) / expected.norm(dim=1)
        assert error.max() < (1e-5 if dtype == torch.float32 else 2e-7), batch_size


@pytest.mark.parametrize("name", [*TOKEN_MODULES, *MAP_MODULES])
def test_features_do_not_depend_on_the_batch(name: str) -> None:
    kinds = ("activation", "gradient", "weight_gradient")
    runs = [
        gradkern.capture(net(name), images(16), loss, layers=["stem", "middle"], kinds=kinds, batch_size=size)
        for size in (1, 7, 16)
    ]
    for key, values in runs[0].items():
        for other in runs[1:]:
            assert ((other[key] - values).norm(dim=1) <= 1e-5 * values.norm(dim=1)).all(), key


class ToTokens(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).mT


def test_batch_norm_before_tokens() -> None:
    """Where torch 2.13 takes a wrong gradient of one image alone on the CPU; of the image twice it is right."""
    torch.manual_seed(2)
    model = Net(nn.Sequential(nn.BatchNorm2d(8), ToTokens()), maps=True).double().eval()
    pictures = images().double()
    twice = loss(model(pictures[:1].expand(2, -1, -1, -1)), None).sum() / 2
    weight, bias = torch.autograd.grad(twice, [model.stem.weight, model.stem.bias])
    expected = SKETCH(weight.reshape(1, 8, -1)) + SKETCH(bias.reshape(1, 1, -1), first_segment=8)
    for batch_size in (1, 3, N):
        features = gradkern.capture(
            model, pictures, loss, layers=["stem"], kinds=["weight_gradient"], sketch=SKETCH, batch_size=batch_size
        )
        torch.testing.assert_close(features["weight_gradient", "stem"][:1], expected, rtol=1e-5, atol=1e-5)


def test_a_convolution_in_two_layers_counts_once_in_each() -> None:
    """In float64, where gradients are formed image by image."""
    model = Net(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1)), maps=True).double().eval()
    features = gradkern.capture(
        model, images().double(), loss, layers=["middle", "middle.0"], kinds=["weight_gradient"], sketch=SKETCH
    )
    torch.testing.assert_close(features["weight_gradient", "middle"], features["weight_gradient", "middle.0"])
    expected = autograd(model, "middle", images().double())
    torch.testing.assert_close(features["weight_gradient", "middle"], expected, rtol=1e-5, atol=1e-5)


class Uncovered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.odd, self.plain = nn.LSTM(8, 8, batch_first=True), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.plain(self.odd(x)[0])


def test_what_no_rule_covers_is_an_error() -> None:
    torch.manual_seed(0)
    model = Net(Uncovered(), maps=False)
    ask = {"layers": ["middle"], "kinds": ["weight_gradient"], "sketch": SKETCH}
    with pytest.raises(CoverageError, match=r"gradient of middle.odd.bias_hh_l0 \(used by lstm\), .*; batch_size=1 is"):
        gradkern.capture(model, images(), loss, **ask)
    alone = gradkern.capture(model, images(), loss, batch_size=1, **ask)["weight_gradient", "middle"]
    torch.testing.assert_close(alone, autograd(model, "middle", images()), rtol=1e-4, atol=1e-5)
    with pytest.warns(UserWarning, match=r"middle.odd.* .used by lstm.*their part is missing from weight_gradient"):
        part = gradkern.capture(model, images(), loss, uncovered="warn", **ask)
    assert part.facts["uncovered"] == sorted(
        f"middle.{name}" for name, _ in model.middle.named_parameters() if "odd" in name
    )
    only = gradkern.capture(model, images(), loss, **ask | {"layers": ["middle.plain"]})[
        "weight_gradient", "middle.plain"
    ]
    assert only.norm() > 0
    assert not torch.allclose(part["weight_gradient", "middle"], alone)


class Overwrites(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        y = self.linear(x)
        x.add_(1)
        return y


def test_an_input_that_is_overwritten_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation|the input of linear was overwritten"):
        gradkern.capture(Net(Overwrites(), False), images(), loss, layers=["middle"], kinds=["weight_gradient"])


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.relu() if len(x) == 1 else x)


def test_a_path_that_depends_on_the_batch_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="does not make the same calls for one image and for 7"):
        gradkern.capture(Net(Branching(), False), images(), loss, layers=["middle"], kinds=["weight_gradient"])


def test_half_precision_stays_near() -> None:
    """bfloat16 and float16 by autocast; a loss of 1e-7 would vanish in float16 without a scale."""
    model = net("TransformerEncoderLayer")
    ask = {"layers": ["stem", "middle"], "kinds": ["gradient", "weight_gradient"], "sketch": SKETCH}

    def tiny(output: Tensor, batch: object) -> Tensor:
        return 1e-7 * loss(output.float(), batch)

    full = gradkern.capture(model, images(), tiny, **ask)
    for dtype in (torch.bfloat16, torch.float16):
        half = gradkern.capture(model, images(), tiny, dtype=dtype, **ask)
        assert half.facts["loss_scale"] == (1.0 if dtype == torch.bfloat16 else 2.0**16)
        for key in full:
            assert (half[key] - full[key]).norm() < 0.05 * full[key].norm(), key


def test_a_scale_that_overflows_is_lowered() -> None:
    model = net("TransformerEncoderLayer")
    ask = {"layers": ["middle"], "kinds": ["gradient", "weight_gradient"], "sketch": SKETCH}

    def large(output: Tensor, batch: object) -> Tensor:
        return 1e3 * loss(output.float(), batch)

    full = gradkern.capture(model, images(), large, **ask)
    half = gradkern.capture(model, images(), large, dtype=torch.float16, **ask)
    assert half.facts["loss_scale"] < 2**16
    for key in full:
        assert (half[key] - full[key]).norm() < 0.05 * full[key].norm(), key
