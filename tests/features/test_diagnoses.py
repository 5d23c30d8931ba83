"""What is said of a model whose images are not the same alone and in their batch, or whose gradient does not come."""

import warnings
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import gradkern
from gradkern import Sketch
from tests.features.image_truth import squares

ASK = {"layers": ["0"], "sketch": Sketch(64), "progress": False}


def images(n: int = 6) -> Tensor:
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def net(*middle: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), *middle, nn.Flatten(), nn.Linear(144, 5)).eval()


class Noise(nn.Module):
    def __init__(self, size: float) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return x + self.size * torch.randn_like(x)


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(2)
        return nn.functional.scaled_dot_product_attention(rows, rows, rows).view_as(x)


@settings(max_examples=12, deadline=None)
@given(size=st.sampled_from([1.0, 0.3, 1e-3, 3e-5]), has_attention=st.booleans(), seed=st.integers(0, 99))
def test_noise_is_called_noise(size: float, has_attention: bool, seed: int) -> None:
    model = net(*([Attention()] if has_attention else []), Noise(size))
    torch.manual_seed(seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            gradkern.capture(model, images(), squares, **ASK)
            said = " ".join(str(warning.message) for warning in caught)
        except RuntimeError as error:
            said = str(error)
    assert "the model draws random numbers: two runs of image 0 alone differ by" in said
    assert "attention" not in said
    assert "mix" not in said


def test_images_that_mix_are_said_to() -> None:
    model = net(nn.BatchNorm2d(4, track_running_stats=False))
    with pytest.raises(RuntimeError, match=r"layer '1': run on one image alone.*does the model mix images"):
        gradkern.capture(model, images(), squares, **ASK | {"layers": ["0", "1"]})


class Kink(nn.Module):
    """An activation whose input lies so near its kink that the rounding of a batch decides."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        at_zero = (x - x.detach()) + x.detach().mean((1, 2, 3), keepdim=True) * 0
        noise = (x.detach().double().sum((1, 2, 3)) * 1e6).remainder(1)[:, None, None, None].float() - 0.5
        side = noise * 1e-6 * (1 if len(x) == 1 else -1)
        return x + self.gain * (at_zero + side).relu()


def test_rounding_at_a_kink_is_not_called_mixing() -> None:
    model = net(Kink(0.5))
    with pytest.warns(
        UserWarning, match=r"gradient of layer '0' differs by .* between batches .* rounding alone moves"
    ):
        features = gradkern.capture(model, images(), squares, **ASK)
    assert features.facts["alone_against_batch"] > 1e-2


class OfTheBatch(nn.Module):
    """Adds what depends on the batch, in units of rounding or as it is; moving the images tells nothing about it."""

    def __init__(self, size: float, of_rounding: bool) -> None:
        super().__init__()
        self.size, self.of_rounding = size, of_rounding

    def forward(self, x: Tensor) -> Tensor:
        unit = torch.finfo(x.dtype).eps if self.of_rounding else torch.finfo(torch.float32).eps
        return x * (1 + self.size * unit * (len(x) > 1))


@pytest.mark.parametrize("kinds", [["gradient"], ["activation", "gradient", "weight_gradient"]])
@pytest.mark.parametrize("size", [3e5, 3e6])
def test_what_vanishes_in_float64_is_rounding_and_what_does_not_mixes(size: float, kinds: list[str]) -> None:
    with pytest.warns(UserWarning, match=r"of layer '0' differs by .* and by .* in float64: it is the rounding"):
        features = gradkern.capture(net(OfTheBatch(size, True)), images(), squares, **ASK, kinds=kinds)
    assert features.facts["alone_against_batch"] > 1e-2
    with pytest.raises(RuntimeError, match="does the model mix images"):
        gradkern.capture(net(OfTheBatch(size, False)), images(), squares, **ASK, kinds=kinds)


@pytest.mark.parametrize(
    "objective",
    [
        lambda output, batch: output.softmax(1).sum(1),
        lambda output, batch: (output - output.mean(1, keepdim=True)).sum(1),
        lambda output, batch: output.sum(1) * 0,
    ],
    ids=["softmax", "centred", "zero"],
)
def test_a_gradient_that_cancels_is_not_called_mixing(objective: Callable[..., Tensor]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        features = gradkern.capture(net(), images(), objective, **ASK)
    assert features["gradient", "0"].abs().max() < 1e-5
    assert any("gradient" in str(warning.message) for warning in caught)


@pytest.mark.parametrize(
    "objective",
    [lambda output, batch: torch.zeros(len(output)), lambda output, batch: output.detach().sum(1)],
    ids=["constant", "detached"],
)
def test_an_objective_without_gradient_is_said(objective: Callable[..., Tensor]) -> None:
    with pytest.raises(RuntimeError, match="losses are constant or detached from it"):
        gradkern.capture(net(), images(), objective, **ASK)


class WithoutGradient(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return x * 2


class Checkpointed(nn.Module):
    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.inner, self.reentrant = nn.Linear(5, 5), reentrant

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.inner, x, use_reentrant=self.reentrant)


def on_meta() -> nn.Module:
    model = net()
    model[2] = nn.Linear(144, 5, device="meta")
    return model


def compiled_in_place() -> nn.Module:
    model = net()
    model.compile()
    return model


CASES = [
    (lambda: net(WithoutGradient()), ["0"], RuntimeError, "the model's output does not, so the model detaches it"),
    (lambda: nn.Sequential(net(), Checkpointed(reentrant=True)), ["0", "1.inner"], RuntimeError, "use_reentrant=True"),
    (
        lambda: nn.Sequential(net(), Checkpointed(reentrant=True)),
        ["0"],
        RuntimeError,
        "is checkpointed with use_reentrant",
    ),
    (lambda: torch.compile(net()), ["_orig_mod.0"], ValueError, "model must not be compiled, got a compiled one"),
    (compiled_in_place, ["0"], ValueError, r"model must not be compiled, got .* on which .compile\(\) was called"),
    (lambda: net().to("meta"), ["0"], ValueError, "must hold its weights, got parameters on the meta device"),
    (on_meta, ["0"], ValueError, "parts on the meta device: it is offloaded"),
]


@pytest.mark.parametrize(("make", "layers", "error", "message"), CASES)
def test_what_hides_a_gradient_is_named(
    make: Callable[[], nn.Module], layers: list[str], error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        gradkern.capture(make(), images(), squares, **ASK | {"layers": layers})


@pytest.mark.parametrize("batch_size", [6, 2, 1])
def test_a_model_that_is_checkpointed_without_reentering_is_captured(batch_size: int) -> None:
    torch.manual_seed(0)
    checkpointed = nn.Sequential(net(), Checkpointed(reentrant=False)).eval()
    plain = nn.Sequential(net(), checkpointed[1].inner)
    plain[0].load_state_dict(checkpointed[0].state_dict())
    kinds = ["activation", "gradient", "weight_gradient"]
    expected = gradkern.capture(plain, images(), squares, layers=["0", "1"], kinds=kinds)
    ask = {"layers": ["0", "1"], "kinds": kinds, "batch_size": batch_size}
    for key, values in gradkern.capture(checkpointed, images(), squares, **ask).items():
        torch.testing.assert_close(values, expected[key], rtol=1e-4, atol=1e-5)
