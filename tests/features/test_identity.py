"""A folder is gone on with by the same model alone, whatever another one differs by."""

import functools
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import gradkern
from gradkern import Sketch
from tests.features.image_truth import squares

ASK = {"layers": ["layer"], "sketch": Sketch(64), "progress": False}
GAIN = [1.0]


class Net(nn.Module):
    def __init__(self, **settings: object) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 8, 3, padding=1)
        self.act, self.scales, self.table = F.relu, [1.0, 2.0], {"gain": 1.0}
        self.kept, self._gain, self.nested = torch.ones(8), 1.0, ({"a": [torch.ones(2)]}, "b")
        self.after = functools.partial(torch.mul, other=1.0)
        self.log = logging.getLogger("a model")
        for name, value in settings.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.layer(x)) * self.scales[0] * self.table["gain"] * self._gain * self.kept[:, None, None]
        return self.after(y * self.nested[0]["a"][0][0] * GAIN[0]).flatten(1)


def images() -> Tensor:
    return torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def with_hook(model: Net, register: Callable[[nn.Module], object]) -> Net:
    register(model.layer)
    return model


def patched(model: Net) -> Net:
    original = model.layer.forward
    model.layer.forward = lambda x: original(x) * 2
    return model


def adapted(model: Net) -> Net:
    model.layer.weight = nn.Parameter(model.layer.weight.detach().clone())
    model.layer.extra = nn.Parameter(torch.ones(1))
    return model


OTHERS = {
    "a function": lambda: Net(act=F.gelu),
    "a function of one's own": lambda: Net(act=lambda x: x.relu() * 2),
    "a list": lambda: Net(scales=[3.0, 2.0]),
    "a dict": lambda: Net(table={"gain": 3.0}),
    "a tensor": lambda: Net(kept=torch.full((8,), 3.0)),
    "a tensor in containers": lambda: Net(nested=({"a": [torch.full((2,), 3.0)]}, "b")),
    "a private number": lambda: Net(_gain=3.0),
    "a partial function": lambda: Net(after=functools.partial(torch.mul, other=3.0)),
    "a forward hook": lambda: with_hook(Net(), lambda m: m.register_forward_hook(lambda m, a, o: o * 2)),
    "a hook before": lambda: with_hook(Net(), lambda m: m.register_forward_pre_hook(lambda m, a: (a[0] * 2,))),
    "a backward hook": lambda: with_hook(
        Net(),
        lambda m: m.register_full_backward_hook(lambda m, into, out: tuple(g if g is None else g * 2 for g in into)),
    ),
    "a patched forward": lambda: patched(Net()),
    "a further parameter": lambda: adapted(Net()),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_model_is_refused(name: str, tmp_path: Path) -> None:
    first = gradkern.capture(Net(), images(), squares, out=tmp_path / "run", **ASK)
    again = gradkern.capture(Net(), images(), squares, out=tmp_path / "run", **ASK)
    assert torch.equal(first["gradient", "layer"], again["gradient", "layer"])
    with pytest.raises(FileExistsError, match="holds another capture, which had model"):
        gradkern.capture(OTHERS[name](), images(), squares, out=tmp_path / "run", **ASK)


plain = st.one_of(st.integers(-5, 5), st.floats(-2, 2), st.text(max_size=3), st.booleans(), st.none())
values = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


def is_same(a: object, b: object) -> bool:
    return repr(a) == repr(b)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=values, now=values)
def test_attributes_of_any_value_count(before: object, now: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("identity") / "run"
    ask = ASK | {"kinds": ["activation"]}
    gradkern.capture(Net(other=before), images()[:1], None, out=out, **ask)
    if is_same(before, now):
        gradkern.capture(Net(other=now), images()[:1], None, out=out, **ask)
        return
    with pytest.raises(FileExistsError, match="which had model"):
        gradkern.capture(Net(other=now), images()[:1], None, out=out, **ask)


def test_what_cannot_be_known_again_is_refused_and_named(tmp_path: Path) -> None:
    gradkern.capture(Net(lock=threading.Lock()), images(), squares, out=tmp_path / "run", **ASK)
    with pytest.raises(FileExistsError, match=r"never the same because of lock"):
        gradkern.capture(Net(lock=threading.Lock()), images(), squares, out=tmp_path / "run", **ASK)


def test_a_probe_finds_what_no_attribute_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code of a package is not compared, what it gives is."""
    gradkern.capture(Net(), images(), squares, out=tmp_path / "run", **ASK)
    relu = torch.nn.modules.conv.F.conv2d
    monkeypatch.setattr(torch.nn.modules.conv.F, "conv2d", lambda *given, **named: relu(*given, **named) * 2)
    with pytest.raises(FileExistsError, match=r"whose model gave other outputs: layer of image 0 differs by 1.0e\+00"):
        gradkern.capture(Net(), images(), squares, out=tmp_path / "run", **ASK)


def test_a_model_that_ran_is_the_same_model(tmp_path: Path) -> None:
    gradkern.capture(Net(), images(), squares, out=tmp_path / "run", **ASK)
    model = Net()
    model(images()).sum().backward()
    model.zero_grad()
    gradkern.capture(model.train(), images(), squares, out=tmp_path / "run", **ASK)
