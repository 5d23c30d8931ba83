"""Untrained copies of real architectures, and feedback alignment through them."""

import pytest
import torch
from torch import Tensor, nn

import gradkern
from gradkern import Sketch, load_model, objectives
from gradkern.features._engine.feedback_alignment import FeedbackAlignment
from gradkern.features._engine.gradient_controls import FEEDBACK
from gradkern.models import untrained
from tests.small_models import SMALL, small
from tests.toy_models import ConvNet, Transformer


def pictures(size: int, n: int = 3) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def moved(model: nn.Module) -> nn.Module:
    """As if it had been trained."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(5)
        for name, buffer in model.named_buffers():
            if "running" in name or name == "center":
                buffer.add_(5)
    return model


@pytest.mark.parametrize("family", SMALL)
def test_untrained_weights_are_those_of_the_initialiser(family: str) -> None:
    model = moved(small(family))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    fresh = untrained(model, seed=3)
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert type(fresh) is type(model)
    assert (fresh.spec.weights, fresh.spec.weights_sha256) == ("random", None)
    assert fresh.spec.layers == model.spec.layers
    built = small(family, seed=8).state_dict()
    for name, value in fresh.state_dict().items():
        assert not torch.equal(value, before[name]) or name not in dict(model.named_parameters())
        if value.is_floating_point() and value.numel() >= 64:  # spread as the initialiser spreads it, centre as well
            assert abs(value.std() - built[name].std()) <= 0.5 * built[name].std(), name
            assert abs(value.mean() - built[name].mean()) <= 0.5 * built[name].std() + 1e-6, name
    again, other = untrained(model, seed=3).state_dict(), untrained(model, seed=4).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in fresh.state_dict().items())
    assert any(not torch.equal(value, other[name]) for name, value in fresh.state_dict().items())
    assert all(torch.equal(fresh.state_dict()[f"blocks.{n}"], v) for n, v in fresh.blocks.state_dict().items())


def test_an_untrained_dino_has_a_teacher_that_is_its_copy() -> None:
    fresh = untrained(moved(small("dinov1-head")))
    assert (fresh.center == 0).all()
    for name, value in fresh.teacher.network.state_dict().items():
        assert torch.equal(value, fresh.network.state_dict()[name])
    for name, value in fresh.teacher.head.state_dict().items():
        assert torch.equal(value, fresh.head.state_dict()[name])


def test_statistics_of_batch_norm_are_those_of_no_data() -> None:
    fresh = untrained(ConvNet())
    assert (fresh.stem[1].running_mean == 0).all()
    assert (fresh.stem[1].running_var == 1).all()
    assert torch.isfinite(fresh(pictures(16)).logits).all()


def test_an_initialiser_of_the_whole_model_has_the_last_word() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.token = nn.Linear(3, 3), nn.Parameter(torch.ones(3))

        def init_weights(self, mode: str = "") -> None:
            nn.init.constant_(self.layer.bias, 7)
            nn.init.normal_(self.token)

    fresh = untrained(Own())
    assert (fresh.layer.bias == 7).all()
    assert not torch.equal(fresh.token, torch.ones(3))


def test_parameters_that_nobody_draws_are_named() -> None:
    with pytest.raises(
        ValueError, match=r"an initialiser .* of all its parameters, got none for token, blocks.0.scale"
    ):
        untrained(Transformer())
    with pytest.raises(ValueError, match="seed must be an integer of at least 0, got -1"):
        untrained(ConvNet(), seed=-1)


def test_efficientnet_lite0_is_drawn_anew() -> None:
    model = load_model("efficientnet-lite0")
    fresh = untrained(model)
    assert fresh.spec.weights == "random"
    for name, value in fresh.named_parameters():
        assert value.isfinite().all()
        if value.dim() > 1:
            assert not torch.equal(value, model.state_dict()[name])


@pytest.mark.parametrize("family", SMALL)
def test_feedback_by_the_true_weights_is_the_gradient(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every family: no call is missed, none is taken for another."""
    size, kinds = SMALL[family][2], ["gradient", *FEEDBACK]
    ask = {"kinds": kinds, "sketch": Sketch(128)}
    drawn = gradkern.capture(small(family), pictures(size), objectives.FeatureNorm(), **ask)
    monkeypatch.setattr(FeedbackAlignment, "feedback_of", lambda self, weight: weight)
    same = gradkern.capture(small(family), pictures(size), objectives.FeatureNorm(), **ask)
    deepest = small(family).spec.layers[-1]
    for (kind, layer), values in same.items():
        true = same["gradient", layer]
        assert (values - true).norm() <= 1e-5 * true.norm()
        if kind != "gradient" and layer != deepest:
            assert (drawn[kind, layer] - true).norm() > 1e-2 * true.norm()


# Nothing that was trained is left


class Keeping(nn.Module):
    """A layer that keeps something of its weight beside it."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.inner, self.where = nn.Linear(6, 6), where
        self.register_buffer("mask", torch.tensor([0.0, 1.0] * 3))
        self.register_buffer("places", torch.arange(6))
        if where == "buffer":
            self.register_buffer("center", torch.zeros(6))
        if where == "cached buffer":
            self.register_buffer("center", None, persistent=False)
        if where == "drawn buffer":
            self.register_buffer("center", torch.zeros(6))
            self.reset_parameters = lambda: self.center.zero_()
        if where == "dict":
            self.kept: dict[str, Tensor] = {}

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        if self.where == "at eval":
            self.center = self.inner.weight[0] * 2
        elif mode and self.where == "dict":
            self.kept = {}
        return self

    def trained(self) -> None:
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape))
            if self.where in ("buffer", "drawn buffer"):
                self.center.copy_(torch.randn(6))
            elif self.where in ("attribute", "cached buffer"):
                self.center = self.inner.weight[0].clone()
            elif self.where == "list":
                self.tables = [self.inner.weight[0].clone()]
            elif self.where == "dict":
                self.kept["eval"] = self.inner.weight[0] * 2
        if self.where == "graph":
            self.center = self.inner.weight[0] * 3

    def forward(self, x: Tensor) -> Tensor:
        center = self.kept.setdefault("eval", self.inner.weight[0] * 2) if self.where == "dict" else self.center
        return self.inner(x * self.mask) + center


@pytest.mark.parametrize("where", ["drawn buffer", "at eval", "dict"])
@pytest.mark.parametrize("seed", [1, 2])
def test_what_a_model_keeps_is_computed_anew(where: str, seed: int) -> None:
    torch.manual_seed(seed)
    x, outputs = torch.randn(3, 6), []
    for _ in range(2):
        model = Keeping(where).eval()
        model.trained()
        outputs.append(untrained(model, seed=3)(x))
    assert torch.equal(*outputs)


@pytest.mark.parametrize("where", ["buffer", "attribute", "cached buffer", "list", "graph"])
def test_what_may_be_trained_is_refused_by_name(where: str) -> None:
    model = nn.Sequential(Keeping(where)).eval()
    model[0].trained()
    before = {name: value for name, value in vars(model[0]).items() if isinstance(value, Tensor)}
    with pytest.raises(ValueError, match=r"untrained: model must .*got .*0\.(center|tables)"):
        untrained(model)
    assert all(vars(model[0])[name] is value for name, value in before.items())
