"""Tokens, raw features, files that a later call goes on with, memory, early stop, objectives that prepare."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradkern
from gradkern import Sketch, objectives
from gradkern.features._engine import memory
from gradkern.features._engine.first_batch import SAME
from gradkern.objectives import Prepared
from tests.toy_models import ConvNet, Transformer

SKETCH = Sketch(128, seed=1)
TOKENS = ("all", "class", "registers", "patches", "mean", "rms")


class Spec:
    class_tokens, register_tokens, layers = 1, 2, ("blocks.0", "blocks.2")


@pytest.fixture
def model() -> Transformer:
    torch.manual_seed(0)
    made = Transformer()
    made.spec = Spec()
    return made


@pytest.fixture
def images() -> Tensor:
    return torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def outputs(model: nn.Module, layer: str, images: Tensor) -> Tensor:
    seen = []
    handle = model.get_submodule(layer).register_forward_hook(lambda m, a, o: seen.append(o[0].detach()))
    model.eval()(images)
    handle.remove()
    return seen[0]


def test_tokens_are_an_axis(model: Transformer, images: Tensor) -> None:
    features = gradkern.capture(model, images, objectives.Entropy(), tokens=TOKENS, sketch=SKETCH)
    x = outputs(model, "blocks.2", images)
    expected = [x, x[:, :1], x[:, 1:3], x[:, 3:], x.mean(1, keepdim=True), x.square().mean(1, keepdim=True).sqrt()]
    assert features.tokens == TOKENS
    assert features["gradient", "blocks.0"].shape == (6, len(TOKENS), SKETCH.k)
    for i, part in enumerate(expected):
        values = features["activation", "blocks.2"][:, i]
        torch.testing.assert_close(values, SKETCH(part.contiguous()), rtol=1e-4, atol=1e-5)
    one = gradkern.capture(model, images, objectives.Entropy(), tokens="patches", sketch=SKETCH)
    torch.testing.assert_close(one["activation", "blocks.2"], features["activation", "blocks.2"][:, 3])


def test_the_class_token_alone_gives_no_gradient_to_the_last_patches(model: Transformer, images: Tensor) -> None:
    kinds = ("gradient", "weight_gradient")
    features = gradkern.capture(model, images, objectives.FeatureNorm(), kinds=kinds, tokens=("class", "patches"))
    last = features["gradient", "blocks.2"]
    assert last[:, 1].abs().max() == 0
    assert last[:, 0].abs().max() > 0
    assert features["gradient", "blocks.0"][:, 1].abs().max() > 0
    assert features["weight_gradient", "blocks.0"].shape == (6, 1024)


def test_raw_features_are_pooled_tokens(model: Transformer, images: Tensor) -> None:
    features = gradkern.capture(model, images, objectives.Entropy(), tokens=("class", "mean"), sketch="raw")
    x = outputs(model, "blocks.0", images)
    torch.testing.assert_close(features["activation", "blocks.0"], torch.stack([x[:, 0], x.mean(1)], 1))
    torch.manual_seed(0)
    maps = gradkern.capture(
        ConvNet(), images, None, layers=["block"], kinds=["activation"], tokens="mean", sketch="raw"
    )
    assert maps["activation", "block"].shape == (6, 12)


BAD = [
    ({"tokens": "cls"}, r"tokens must be of \['all', 'class', .*\], one or several, each once, got 'cls'"),
    ({"tokens": ()}, "tokens must be of"),
    ({"sketch": "raw"}, r'sketch "raw" is for pooled tokens, .* got tokens \'all\''),
    ({"sketch": "raw", "tokens": "mean", "kinds": ["weight_gradient"]}, "weight_gradient is always sketched"),
    ({"sketch": 512}, 'sketch must be a Sketch or "raw", got 512'),
    ({"uncovered": "ignore"}, 'uncovered must be "error" or "warn", got \'ignore\''),
    ({"compile": True, "kinds": ["weight_gradient"]}, "compile must be False for weight_gradient"),
    ({"objective": None}, r"objective must be given for \['gradient'\], got None"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_options_are_named(changes, message, model: Transformer, images: Tensor) -> None:
    objective = changes.pop("objective", objectives.Entropy())
    with pytest.raises(ValueError, match=message):
        gradkern.capture(model, images, objective, **changes)


def test_tokens_that_are_not_there_are_named(images: Tensor) -> None:
    plain = Transformer()
    with pytest.raises(ValueError, match="'class' need a model whose spec says where they are"):
        gradkern.capture(plain, images, objectives.Entropy(), layers=["blocks.0"], tokens="class")
    plain.spec = type("Spec", (), {"class_tokens": 1, "register_tokens": 0})()
    with pytest.raises(ValueError, match="'registers': this layer has none among its 17 tokens"):
        gradkern.capture(plain, images, objectives.Entropy(), layers=["blocks.0"], tokens="registers")


def test_without_an_objective_the_forward_pass_stops_at_the_deepest_layer(model: Transformer, images: Tensor) -> None:
    ran = []
    model.blocks[2].register_forward_hook(lambda *given: ran.append(2))
    features = gradkern.capture(model, images, None, layers=["blocks.0", "blocks.1"], kinds=["activation"])
    assert ran == []
    assert features.losses.isnan().all()
    full = gradkern.capture(model, images, objectives.Entropy(), layers=["blocks.0", "blocks.1"])
    torch.testing.assert_close(features["activation", "blocks.1"], full["activation", "blocks.1"])


class Counted(objectives.Entropy):
    """Counts the images it has seen, and fails after some."""

    def __init__(self, fails_at: int | None = None) -> None:
        super().__init__()
        object.__setattr__(self, "seen", [])
        object.__setattr__(self, "fails_at", fails_at)

    def __call__(self, output, batch) -> Tensor:
        if self.fails_at is not None and int(batch.index[-1]) >= self.fails_at:
            raise KeyboardInterrupt
        self.seen.append(batch.index.tolist())
        return super().__call__(output, batch)


def test_an_interrupted_capture_goes_on(model: Transformer, images: Tensor, tmp_path: Path) -> None:
    ask = {"kinds": ("activation", "gradient", "weight_gradient"), "sketch": SKETCH, "batch_size": 2}
    whole = gradkern.capture(model, images, objectives.Entropy(), **ask)
    with pytest.raises(KeyboardInterrupt):
        gradkern.capture(model, images, Counted(fails_at=4), out=tmp_path / "run", **ask)
    assert json.loads((tmp_path / "run" / "capture.json").read_text())["done"] == 4
    assert all(not m._forward_hooks for m in model.modules())
    assert all(p.requires_grad for p in model.parameters())
    rest = Counted()
    features = gradkern.capture(model, images, rest, out=tmp_path / "run", **ask)
    assert rest.seen[-1] == [4, 5]
    assert [2, 3] not in rest.seen
    assert list(features) == list(whole)
    for key in whole:
        assert torch.equal(features[key], whole[key]), key
    assert torch.equal(features.losses, whole.losses)
    again = Counted()
    features = gradkern.capture(model, images, again, out=tmp_path / "run", **ask)
    assert again.seen == []
    assert torch.equal(features["gradient", "blocks.0"], whole["gradient", "blocks.0"])
    assert np.load(tmp_path / "run" / "gradient-blocks.0.npy").shape == (6, 128)


def test_files_of_another_capture_are_kept(model: Transformer, images: Tensor, tmp_path: Path) -> None:
    ask = {"kinds": ["activation"], "out": tmp_path / "run"}
    gradkern.capture(model, images, None, **ask)
    for changed, said in (
        ({"sketch": SKETCH}, "sketch_k: 1024, now 128"),
        ({"kinds": ["activation", "gradient"], "objective": objectives.Entropy()}, "kinds: .*objective"),
        ({"images": images + 1}, "images.sha256: "),
    ):
        given = {"images": images, "objective": None} | ask | changed
        with pytest.raises(FileExistsError, match=f"holds another capture, which had .*{said}"):
            gradkern.capture(model, given.pop("images"), given.pop("objective"), **given)
    with torch.no_grad():
        model.head.weight.add_(1)
    with pytest.raises(FileExistsError, match="model: "):
        gradkern.capture(model, images, None, **ask)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="out must be a new folder or an earlier capture"):
        gradkern.capture(model, images, None, kinds=["activation"], out=tmp_path / "other")


def test_the_batch_size_comes_from_the_memory(model: Transformer, images: Tensor, monkeypatch) -> None:
    features = gradkern.capture(model, images, objectives.Entropy())
    assert features.facts["batch_size"] == 6
    per_image = features.facts["bytes_per_image"]
    assert per_image > 10 * 17 * 12 * 4  # tokens x width x bytes, several of them in each of two blocks
    monkeypatch.setattr(memory, "free_bytes", lambda device: int(per_image * 2 / memory.SHARE_OF_FREE) + 1)
    smaller = gradkern.capture(model, images, objectives.Entropy())
    assert smaller.facts["batch_size"] == 2
    with pytest.raises(MemoryError, match=r"batch_size 6 needs about .* GB on cpu, .* GB are free; about 2 images fit"):
        gradkern.capture(model, images, objectives.Entropy(), batch_size=6)


def test_free_memory_is_that_of_the_machine_or_of_the_job(monkeypatch, tmp_path: Path) -> None:
    free = memory.free_bytes(torch.device("cpu"))
    assert free is None or free > 1e6
    (tmp_path / "memory.max").write_text("5000000\n")
    (tmp_path / "memory.current").write_text("2000000\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.free_bytes(torch.device("cpu")) == 3_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_bytes(torch.device("cpu")) != 3_000_000


class Prepares:
    name = "prepares"

    def prepare(self, model: nn.Module, batch) -> Prepared:
        return Prepared(context=model(batch.images.flip(3)).logits.softmax(1))

    def __call__(self, output, batch) -> Tensor:
        return -(batch.context * output.logits.log_softmax(1)).sum(1)


def test_an_objective_may_run_the_model_beforehand(model: Transformer, images: Tensor) -> None:
    features = gradkern.capture(model, images, Prepares(), kinds=["gradient", "weight_gradient"], batch_size=4)
    model.eval()
    expected = -(model(images.flip(3)).logits.softmax(1) * model(images).logits.log_softmax(1)).sum(1)
    torch.testing.assert_close(features.losses, expected.detach())


class DependsOnBatch(nn.Module):
    """Attention whose fused kernel rounds otherwise in a batch."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        fused = torch.backends.cuda.flash_sdp_enabled()
        return self.inner(x) * (1 + 1e-4 * (len(x) > 1) * fused)


def test_attention_that_depends_on_the_batch_is_switched(images: Tensor) -> None:
    model = nn.Sequential(DependsOnBatch(nn.Conv2d(3, 4, 3)), nn.Flatten(1))
    ask = {"layers": ["0"], "kinds": ["activation"]}
    with pytest.warns(UserWarning, match=r"differ by 1.0e-04 between batches; attention is computed by plain products"):
        features = gradkern.capture(model, images, None, **ask)
    assert features.facts["attention"] == "math"
    assert features.facts["alone_against_batch"] < SAME
    assert torch.backends.cuda.flash_sdp_enabled()
    alone = gradkern.capture(model, images, None, batch_size=1, **ask)
    torch.testing.assert_close(alone["activation", "0"], features["activation", "0"], rtol=1e-5, atol=1e-5)


def test_compiled_layers_give_the_same(model: Transformer, images: Tensor) -> None:
    layers = ["blocks.0", "blocks.1", "blocks.1.mlp"]
    plain = gradkern.capture(model, images, objectives.Entropy(), layers=layers)
    forwards = [type(model.get_submodule(name)).forward for name in layers]
    compiled = gradkern.capture(model, images, objectives.Entropy(), layers=layers, compile=True)
    for key, values in plain.items():
        assert (compiled[key] - values).norm() <= 1e-5 * values.norm(), key
    assert [model.get_submodule(name).forward.__func__ for name in layers] == forwards
    assert all("forward" not in module.__dict__ for module in model.modules())


def test_features_fit_a_screen(model: Transformer, images: Tensor) -> None:
    features = gradkern.capture(model, images, objectives.Entropy(), tokens=("class", "mean"), sketch=SKETCH)
    shown = repr(features).splitlines()
    assert shown[0] == "Features of 6 images"
    assert len(shown) < 12
    assert max(map(len, shown)) < 120
    for text in ("activation, gradient", "2: blocks.0, blocks.2", "[6, 2, 128]", "entropy (exact)", "class, mean"):
        assert text in repr(features)
    assert features._repr_html_().startswith("<table><caption>Features of 6 images</caption><tr><th>kinds</th>")


def test_a_folder_without_a_version_is_read_and_a_later_one_refused(
    model: Transformer, images: Tensor, tmp_path: Path
) -> None:
    ask = {"kinds": ["activation"], "out": tmp_path / "run"}
    features = gradkern.capture(model, images, None, **ask)
    state = json.loads((tmp_path / "run" / "capture.json").read_text())
    assert state.pop("version") == 3
    (tmp_path / "run" / "capture.json").write_text(json.dumps(state))
    for again in (gradkern.capture(model, images, None, **ask), gradkern.load_features(tmp_path / "run")):
        assert torch.equal(again["activation", "blocks.0"], features["activation", "blocks.0"])
    (tmp_path / "run" / "capture.json").write_text(json.dumps({**state, "version": 4}))
    with pytest.raises(ValueError, match=r"load_features: .* version 3 at most, got 4"):
        gradkern.load_features(tmp_path / "run")
