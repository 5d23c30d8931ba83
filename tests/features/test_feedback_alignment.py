"""Feedback alignment by hand, and that nothing goes back another way."""

import hashlib

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gradkern
from gradkern import objectives
from gradkern.features._engine.feedback_alignment import FeedbackAlignment
from gradkern.features._engine.gradient_controls import FEEDBACK
from tests.control_truth import LABELS, LAYERS, SKETCH, build, close, pictures
from tests.toy_models import ConvNet, Transformer

ALIGNED, SYMMETRIC = FEEDBACK


def feedback(name: str, weight: Tensor, seed: int, symmetric: bool = False) -> Tensor:
    words = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype="<u4").tolist()
    z = torch.from_numpy(np.random.default_rng([13, seed, *words]).standard_normal(weight.shape, dtype=np.float32))
    signed = z.abs() * weight.sign() if symmetric else z
    return (signed * weight.double().square().mean().sqrt()).to(weight.dtype)


@pytest.mark.parametrize("kind", FEEDBACK)
@pytest.mark.parametrize("batch_size", [1, 4])
def test_feedback_alignment_by_hand(kind: str, batch_size: int) -> None:
    model = build(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.ReLU(inplace=True), nn.Flatten(),
            nn.Linear(64, 9), nn.Tanh(), nn.Linear(9, 10),
        ),
        torch.float64,
    )  # fmt: skip
    images = pictures(size=4).double()
    features = gradkern.capture(
        model, images, objectives.CrossEntropy(LABELS), layers=["0", "3", "4", "6"], kinds=[kind], control_seed=6,
        sketch=SKETCH, batch_size=batch_size,
    )  # fmt: skip
    conv, first, last = (
        feedback(f"{name}.weight", model[name].weight.detach(), 6, kind == SYMMETRIC) for name in (1, 4, 6)
    )
    with torch.no_grad():
        seen = model[1](model[0](images))
        hidden = model[4](seen.relu().flatten(1)).tanh()
        error = model(images).softmax(1) - F.one_hot(LABELS, 10)
        at_first = error @ last * (1 - hidden**2)
        flat = at_first @ first
        truth = {"6": error, "4": error @ last, "3": flat}
        back = flat.reshape(-1, 4, 4, 4) * (seen > 0)
        truth["0"] = F.conv_transpose2d(back, conv, padding=1, groups=2).flatten(1)
    truth["4"] = truth["4"] * (1 - hidden**2)
    for layer, values in truth.items():
        close(features[kind, layer], SKETCH(values[:, None].contiguous()).double(), 1e-6)
    torch.testing.assert_close(features.losses, F.cross_entropy(model(images), LABELS, reduction="none").float())


@pytest.mark.parametrize("make", [ConvNet, Transformer])
def test_feedback_by_the_true_weights_is_the_gradient(make: type[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention, norms, class tokens, in-place operations: nothing else is on the way."""
    monkeypatch.setattr(FeedbackAlignment, "feedback_of", lambda self, weight: weight)
    features = gradkern.capture(
        build(make), pictures(), objectives.Entropy(), layers=LAYERS[make], kinds=["gradient", ALIGNED], sketch=SKETCH
    )
    for layer in LAYERS[make]:
        close(features[ALIGNED, layer], features["gradient", layer].double())


def test_nothing_goes_back_but_by_feedback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FeedbackAlignment, "feedback_of", lambda self, weight: torch.zeros_like(weight))
    features = gradkern.capture(
        build(ConvNet), pictures(), objectives.Entropy(), layers=LAYERS[ConvNet], kinds=[ALIGNED, "gradient"]
    )
    for layer in LAYERS[ConvNet][:-1]:
        assert (features[ALIGNED, layer] == 0).all()
        assert features["gradient", layer].abs().max() > 0
    assert features[ALIGNED, "head"].abs().max() > 0
    inside = gradkern.capture(
        build(Transformer),
        pictures(),
        objectives.Entropy(),
        layers=["blocks.1.norm", "blocks.1.mlp.0"],
        kinds=[ALIGNED],
    )
    assert all((values == 0).all() for values in inside.values())


def test_feedback_weights_are_fixed_and_as_large_as_the_true_ones() -> None:
    model = build(Transformer)
    drawn = FeedbackAlignment(model, 4, sign_symmetric=False)
    weight = model.blocks[1].mlp[1].weight
    random = drawn.feedback_of(weight)
    assert random is drawn.feedback_of(weight)
    assert random.shape == weight.shape
    assert abs(random.square().mean() / weight.square().mean() - 1) < 0.2
    assert not torch.allclose(random, drawn.feedback_of(model.blocks[0].mlp[1].weight), atol=1e-3)
    assert not torch.allclose(random, FeedbackAlignment(model, 5, sign_symmetric=False).feedback_of(weight), atol=1e-3)
    signed = FeedbackAlignment(model, 4, sign_symmetric=True).feedback_of(weight)
    assert torch.equal(signed.sign(), weight.sign())
    assert torch.equal(signed.abs(), random.abs())


class Computed(nn.Module):
    """Weights that are computed from parameters, and a product that no rule knows."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.first, self.how = nn.Linear(3, 8), how
        self.g, self.v = nn.Parameter(torch.rand(5, 1) + 0.5), nn.Parameter(torch.randn(5, 8))

    def forward(self, images: Tensor) -> Tensor:
        x = self.first(images.mean((2, 3)))
        if self.how == "cdist":
            return torch.cdist(x, self.v)
        weight = self.g * (self.v / self.v.norm(dim=1, keepdim=True))
        return F.linear(x, weight) if self.how == "linear" else x @ weight.t()


@pytest.mark.parametrize("how", ["linear", "matmul"])
def test_feedback_of_computed_weights_is_computed_from_feedback(how: str) -> None:
    model = build(lambda: Computed(how), torch.float64)
    features = gradkern.capture(
        model, pictures().double(), objectives.CrossEntropy(LABELS % 5), layers=["first"], kinds=[ALIGNED],
        tokens="mean", sketch="raw",
    )  # fmt: skip
    g, v = feedback("g", model.g.detach(), 0), feedback("v", model.v.detach(), 0)
    error = model(pictures().double()).softmax(1) - F.one_hot(LABELS % 5, 5)
    close(features[ALIGNED, "first"], (error @ (g * (v / v.norm(dim=1, keepdim=True)))).detach(), 1e-6)


def test_a_way_back_without_a_rule_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"no rule says how a gradient goes back through cdist .* \(v\)"):
        gradkern.capture(
            build(lambda: Computed("cdist")), pictures(), lambda o, b: o.sum(1), layers=["first"], kinds=[ALIGNED]
        )
