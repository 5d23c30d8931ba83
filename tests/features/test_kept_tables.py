"""Tables that a model keeps: their parameters have a gradient all the same, or are named; nothing is left behind."""

import copy
import functools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import gradkern
from gradkern.features import CoverageError
from tests.features.image_truth import captured, error, squares, weight_gradients

N, T, D = 4, 6, 8
PRECISION = 1e-5  # what gradkern promises of float32


def distances() -> Tensor:
    return torch.arange(T)[:, None].sub(torch.arange(T)).abs()


class Biases(nn.Module):
    """Attention with a bias for each distance, in a table [t, t]; subclasses say how the table is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.bias = nn.Linear(D, 3 * D), nn.Parameter(torch.randn(T))

    def computed(self) -> Tensor:
        return self.bias[distances()]

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return (q @ k.mT / D**0.5 + self.table()).softmax(-1) @ v


class InDict(Biases):
    """As in LeViT, TinyViT and EfficientViT."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[object, Tensor] = {}

    def table(self) -> Tensor:
        return self.computed() if self.training else self.kept.setdefault("cpu", self.computed())


class InAttribute(Biases):
    def __init__(self) -> None:
        super().__init__()
        self.kept = None

    def table(self) -> Tensor:
        if self.kept is None:
            self.kept = self.computed()
        return self.kept


class InNewAttribute(Biases):
    def table(self) -> Tensor:
        if not hasattr(self, "kept"):
            self.kept = self.computed()
        return self.kept


class InList(Biases):
    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []

    def table(self) -> Tensor:
        if not self.kept:
            self.kept.append(self.computed())
        return self.kept[0]


class Store:
    def __init__(self) -> None:
        self.tables: dict[str, Tensor] = {}


class InObject(Biases):
    def __init__(self) -> None:
        super().__init__()
        self.store = Store()

    def table(self) -> Tensor:
        return self.store.tables.setdefault("eval", self.computed())


class InBuffer(Biases):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", None, persistent=False)

    def table(self) -> Tensor:
        if self.kept is None:
            self.kept = self.computed()
        return self.kept


@functools.lru_cache(maxsize=8)
def remembered(layer: Biases) -> Tensor:
    return layer.computed()


class InFunction(Biases):
    def table(self) -> Tensor:
        return remembered(self)


TABLES: dict[int, Tensor] = {}


class InGlobal(Biases):
    def table(self) -> Tensor:
        return TABLES.setdefault(T, self.computed())


class AtEval(Biases):
    """As in the first LeViT and TinyViT: computed when the mode changes."""

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        if mode and hasattr(self, "kept"):
            del self.kept
        elif not mode:
            self.kept = self.computed()
        return self

    def table(self) -> Tensor:
        return self.computed() if self.training else self.kept


KEEPING = [InDict, InAttribute, InNewAttribute, InList, InObject, InBuffer, InFunction, InGlobal]


class Net(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.stem, self.layer = nn.Conv2d(3, D, 4, stride=4), layer

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(self.stem(images).flatten(2).mT * 2)


def images(n: int = N) -> Tensor:
    return torch.randn(n, 3, 8, 12, generator=torch.Generator().manual_seed(1))


def net(kind: Callable[[], nn.Module]) -> Net:
    torch.manual_seed(0)
    return Net(kind())


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    remembered.cache_clear()
    TABLES.clear()


def fresh_copy(kind: Callable[[], nn.Module]) -> Callable[[nn.Module], nn.Module]:
    def fresh(model: nn.Module) -> nn.Module:
        made = net(kind)
        made.load_state_dict(model.state_dict())
        TABLES.clear()
        return made

    return fresh


def run_before(model: nn.Module, how: str) -> None:
    """What a user does before the capture."""
    model.eval()
    with torch.set_grad_enabled(how == "with gradient"):
        if how != "nothing":
            model(images(1))


@pytest.mark.parametrize("before", ["nothing", "without gradient", "with gradient"])
@pytest.mark.parametrize("kind", KEEPING)
def test_a_kept_table_has_its_gradient(kind: type[Biases], before: str) -> None:
    expected = weight_gradients(net(kind), "layer", images(), fresh_copy(kind))
    for batch_size in (N, 1):
        model = net(kind)
        TABLES.clear()
        run_before(model, before)
        found = captured(model, "layer", images(), batch_size=batch_size)
        assert error(found, expected) < PRECISION, batch_size


@pytest.mark.parametrize("before", ["nothing", "without gradient", "with gradient"])
@pytest.mark.parametrize("kind", [*KEEPING, AtEval])
def test_other_kinds_are_captured_whatever_ran_before(kind: type[Biases], before: str) -> None:
    model, plain = net(kind), net(kind)
    run_before(model, before)
    features = gradkern.capture(model, images(), squares, layers=["layer"])
    TABLES.clear()
    expected = gradkern.capture(plain, images(), squares, layers=["layer"])
    for key, values in expected.items():
        torch.testing.assert_close(features[key], values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KEEPING)
def test_a_capture_leaves_no_table_behind(kind: type[Biases]) -> None:
    model = net(kind).eval()
    before = {name: copy.copy(value) for name, value in vars(model.layer).items() if not name.startswith("_")}
    captured(model, "layer", images())
    after = {name: value for name, value in vars(model.layer).items() if not name.startswith("_")}
    assert before.keys() == after.keys()
    assert all(before[name] == after[name] for name in before if isinstance(before[name], dict | list))
    model(images(1)).sum().backward()
    assert model.layer.bias.grad is not None


def test_a_table_of_another_time_is_named() -> None:
    model = net(AtEval).eval()
    for batch_size in (N, 1):
        with pytest.raises(CoverageError, match=r"layer.bias \(layer.kept was computed from it before the capture"):
            captured(model, "layer", images(), batch_size=batch_size)
    with pytest.warns(UserWarning, match="layer.bias .*their part is missing"):
        captured(model, "layer", images(), uncovered="warn")
    below = captured(model, "layer.qkv", images())
    torch.testing.assert_close(below, captured(model, "layer.qkv", images(), batch_size=1), rtol=1e-5, atol=1e-6)


class Scaled(nn.Module):
    """A table of relative positions that is worked on in place, as in Swin v2."""

    def __init__(self, steps: list[str]) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2, 8), nn.ReLU(inplace=True), nn.Linear(8, D, bias=False))
        self.register_buffer("positions", torch.randn(T, 2))
        self.scale, self.steps = nn.Parameter(torch.randn(D)), steps

    def forward(self, x: Tensor) -> Tensor:
        table = self.mlp(self.positions.clone().mul_(2))
        for step in self.steps:
            if step == "sigmoid":
                table = table.sigmoid().clone().mul_(2)
            elif step == "scale":
                table = table.clone().mul_(self.scale)
            elif step == "add":
                table += self.scale
            else:
                table[1:3] = self.scale * 2
        return x + table


@settings(max_examples=12, deadline=None)
@given(steps=st.lists(st.sampled_from(["sigmoid", "scale", "add", "place"]), max_size=3))
def test_tables_that_are_worked_on_in_place(steps: list[str]) -> None:
    model = net(lambda: Scaled(steps)).eval()
    expected = weight_gradients(model, "layer", images())
    assert error(captured(model, "layer", images()), expected) < PRECISION


class ActivatedNorm(nn.Module):
    """Batch norm with an activation behind it, in one module, by functions, as in timm."""

    def __init__(self, *, in_place: bool) -> None:
        super().__init__()
        self.norm, self.in_place = nn.BatchNorm2d(D), in_place
        nn.init.uniform_(self.norm.running_var, 0.5, 2)
        nn.init.normal_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        return F.relu(x, inplace=self.in_place)


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("channels_last", [True, False])
def test_batch_norm_by_functions_for_one_image(in_place: bool, channels_last: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Conv2d(3, D, 3, bias=False), ActivatedNorm(in_place=in_place), nn.Conv2d(D, 4, 3))
    model, pictures = nn.Sequential(layer, nn.Flatten(2)), images()
    expected = weight_gradients(model, "0", pictures.repeat_interleave(1, 0))
    if channels_last:
        model, pictures = model.to(memory_format=torch.channels_last), pictures.to(memory_format=torch.channels_last)
    batch, alone = (captured(model, "0", pictures, batch_size=size) for size in (N, 1))
    torch.testing.assert_close(batch, alone, rtol=1e-4, atol=1e-5)
    assert expected.shape == batch.shape


@pytest.mark.parametrize("between", [nn.Identity(), nn.Dropout(0.5)])
@pytest.mark.parametrize("layers", [["2"], ["1", "2"], ["1", "2", "4"], ["1"]])
def test_what_passes_its_input_on_before_an_activation_in_place(between: nn.Module, layers: list[str]) -> None:
    torch.manual_seed(0)
    plain, in_place = (
        nn.Sequential(nn.Flatten(), nn.Linear(288, 16), between, nn.ReLU(inplace=inplace), nn.Linear(16, 4))
        for inplace in (False, True)
    )
    in_place.load_state_dict(plain.state_dict())
    expected = gradkern.capture(plain, images(), squares, layers=layers)
    features = gradkern.capture(in_place, images(), squares, layers=layers)
    for key, values in expected.items():
        torch.testing.assert_close(features[key], values, rtol=1e-5, atol=1e-6)


def test_an_input_that_is_overwritten_behind_a_layer_and_read_again_is_refused() -> None:
    class ReadAgain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.same = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.same(x).relu_() + x

    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(288, 16), ReadAgain())
    with pytest.raises(RuntimeError, match=r"layer '2.same' returns its input, which the model overwrites behind it"):
        gradkern.capture(model, images(), squares, layers=["1", "2.same"])
    features = gradkern.capture(model, images(), squares, layers=["1"])
    assert features["gradient", "1"].isfinite().all()


def test_swin_v2_of_transformers_is_covered() -> None:
    from transformers import Swinv2Config, Swinv2Model

    torch.manual_seed(0)
    config = Swinv2Config(image_size=16, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=2)
    model, pictures = Swinv2Model(config).eval(), torch.randn(3, 3, 16, 16)
    expected = weight_gradients(model, "encoder", pictures)
    for batch_size in (3, 1):
        assert error(captured(model, "encoder", pictures, batch_size=batch_size), expected) < 1e-4
