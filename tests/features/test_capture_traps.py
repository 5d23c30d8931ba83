"""What went wrong once: results of another request, images that change or mix, layouts, what is left behind."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradkern
from gradkern import Sketch, objectives
from gradkern.features import CoverageError
from gradkern.features._engine import memory
from tests.small_models import small
from tests.toy_models import ConvNet

WEIGHTS = {"kinds": ["weight_gradient"], "sketch": Sketch(64, seed=1)}


def mlp() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(1), nn.Linear(48, 16), nn.Tanh(), nn.Linear(16, 8))
    return model.eval()


def squares(output: Tensor, batch: object) -> Tensor:
    return output.flatten(1).square().sum(1)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def one_by_one(model: nn.Module, images: Tensor, objective, **ask) -> dict:
    parts = [gradkern.capture(model, images[i : i + 1], objective, **ask) for i in range(len(images))]
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


# Files know the request again


class Logit:
    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, output: Tensor, batch: object) -> Tensor:
        return output[:, self.number]


def column(number: int):
    return lambda output, batch: output[:, number]


def in_module(number: int):
    """A function that names a global of its module: a tensor, from inside another function."""
    there = {"CHOSEN": torch.tensor(number)}
    exec("def objective(output, batch):\n    return (lambda x: x[:, CHOSEN])(output)", there)
    return there["objective"]


def through_another(number: int):
    """As `in_module`, of an objective of this package."""
    there = {"inner": objectives.CrossEntropy(torch.full((6,), number))}
    exec("def objective(output, batch):\n    return 2 * inner(output, batch)", there)
    return there["objective"]


@pytest.mark.parametrize("make", [Logit, column, in_module, through_another])
def test_files_are_of_one_objective(make, images: Tensor, tmp_path) -> None:
    first = gradkern.capture(mlp(), images, make(0), layers=["1"], out=tmp_path / "run")
    again = gradkern.capture(mlp(), images, make(0), layers=["1"], out=tmp_path / "run")
    assert torch.equal(first["gradient", "1"], again["gradient", "1"])
    with pytest.raises(FileExistsError, match="which had objective"):
        gradkern.capture(mlp(), images, make(1), layers=["1"], out=tmp_path / "run")


def test_files_are_of_one_set_of_images_and_one_model(images: Tensor, tmp_path) -> None:
    ask = {"layers": ["blocks.0"], "kinds": ["activation"]}
    model, pictures = small("dinov3"), torch.randn(3, 3, 32, 32)
    gradkern.capture(model, pictures, None, out=tmp_path / "a", **ask)
    changed = pictures.clone()
    changed[1, 0, 0, 0] += 1
    with pytest.raises(FileExistsError, match=r"which had images\.sha256: "):
        gradkern.capture(model, changed, None, out=tmp_path / "a", **ask)
    for layer in model.modules():
        if hasattr(layer, "num_heads"):
            layer.num_heads = 1
    with pytest.raises(FileExistsError, match="which had model: "):
        gradkern.capture(model, pictures, None, out=tmp_path / "a", **ask)
    full = small("dinov1-head")
    gradkern.capture(full, pictures, objectives.SelfDistillation(), out=tmp_path / "b", **ask)
    with torch.no_grad():
        next(full.teacher.parameters()).add_(1)
    with pytest.raises(FileExistsError, match="which had model: "):
        gradkern.capture(full, pictures, objectives.SelfDistillation(), out=tmp_path / "b", **ask)


def test_an_objective_that_cannot_be_known_again_needs_facts(images: Tensor, tmp_path) -> None:
    class Slotted:
        __slots__ = ()

        def __call__(self, output: Tensor, batch: object) -> Tensor:
            return output[:, 0]

    with pytest.raises(ValueError, match=r"objective must have `facts`.*Slotted"):
        gradkern.capture(mlp(), images, Slotted(), layers=["1"], out=tmp_path / "run")
    gradkern.capture(mlp(), images, Slotted(), layers=["1"])


def test_files_survive_an_interruption_and_their_readers(images: Tensor, tmp_path, monkeypatch) -> None:
    ask = {"layers": ["1"], "out": tmp_path / "run"}
    whole = np.lib.format.open_memmap
    made = []

    def interrupted(*args, **kwargs):
        if made:
            raise KeyboardInterrupt
        made.append(args)
        return whole(*args, **kwargs)

    monkeypatch.setattr(np.lib.format, "open_memmap", interrupted)
    with pytest.raises(KeyboardInterrupt):
        gradkern.capture(mlp(), images, squares, **ask)
    monkeypatch.undo()
    features = gradkern.capture(mlp(), images, squares, **ask)
    kept = features["activation", "1"].clone()
    features["activation", "1"].zero_()
    assert torch.equal(gradkern.capture(mlp(), images, squares, **ask)["activation", "1"], kept)
    half = gradkern.capture(mlp(), images.bfloat16(), squares, layers=["1"], out=tmp_path / "half")
    assert half["activation", "1"].isfinite().all()


# Images stay themselves


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(48, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.sub_(0.5).div_(0.25).flatten(1))


@pytest.mark.parametrize("batch_size", [1, 3, 6])
def test_a_model_may_write_into_its_input(batch_size: int, images: Tensor) -> None:
    torch.manual_seed(0)
    model, before = InPlace(), images.clone()
    features = gradkern.capture(
        model, images, squares, layers=["layer"], kinds=["activation", "weight_gradient"], batch_size=batch_size
    )
    assert torch.equal(images, before)
    expected = Sketch(1024)(model.layer(((images - 0.5) / 0.25).flatten(1)).detach())
    torch.testing.assert_close(features["activation", "layer"], expected)


class Mixes(nn.Module):
    """All but the first image take something from their neighbour."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(48, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(x.flatten(1))
        return torch.cat([h[:1], h[1:] + h[:-1]])


LABELS = torch.tensor([0, 1, 2, 3, 4, 5])


@pytest.mark.parametrize(
    ("model", "layer", "objective", "message"),
    [
        (Mixes, "layer", squares, "gives another gradient than in the batch"),
        (
            mlp,
            "3",
            lambda o, b: nn.functional.cross_entropy(o, LABELS[: len(o)], reduction="none"),
            "another gradient than in the batch",
        ),
        (mlp, "3", lambda o, b: o.square().sum(1) + o.detach().square().sum(), "the objective gives an image the loss"),
    ],
)
def test_images_that_mix_are_found_by_the_last_one(model, layer, objective, message, images: Tensor) -> None:
    with pytest.raises(RuntimeError, match=message):
        gradkern.capture(model(), images, objective, layers=[layer])


class Rounds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(48, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1)) * (1 + 1e-3 * (len(x) > 1))


def test_a_difference_that_stays_is_said(images: Tensor) -> None:
    model = nn.Sequential(Rounds())
    with pytest.warns(UserWarning, match=r"features differ by 1.0e-03 between batches: the model's own rounding"):
        features = gradkern.capture(model, images, squares, layers=["0"])
    assert features.facts["alone_against_batch"] == pytest.approx(1e-3, rel=0.01)


# A layer's own gradient


class Shortcut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shortcut, self.other = nn.Identity(), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.other(x)


@pytest.mark.parametrize("layers", [["2.shortcut"], ["1", "2.shortcut"]])
def test_a_layer_that_passes_its_input_on_has_a_gradient_of_its_own(layers: list[str], images: Tensor) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(1), nn.Linear(48, 16), Shortcut())
    features = gradkern.capture(model, images, lambda o, b: o.sum(1), layers=layers, tokens="mean", sketch="raw")
    torch.testing.assert_close(features["gradient", "2.shortcut"], torch.ones(6, 16))


# Weight gradients


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin, self.w = nn.Linear(48, 8), nn.GRU(8, 8, batch_first=True, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w(self.lin(x.flatten(1))[:, None])[0][:, 0]


def test_what_is_left_out_is_left_out_of_every_batch(images: Tensor) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Recurrent())
    runs = []
    for batch_size in (5, 6):  # 5 leaves one image over
        with pytest.warns(UserWarning, match=r"0.w.weight_hh_l0 .used by gru.*; batch_size=1 is exact.*missing"):
            found = gradkern.capture(
                model, images, squares, layers=["0"], batch_size=batch_size, uncovered="warn", **WEIGHTS
            )
        runs.append(found["weight_gradient", "0"])
    torch.testing.assert_close(*runs, rtol=1e-5, atol=1e-6)


class First(nn.Module):
    """What a layer returns first."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.flatten(2))[0]


@pytest.mark.parametrize(
    "layer", [nn.RNN(16, 3, batch_first=True), nn.LSTM(16, 3, batch_first=True)], ids=["RNN", "LSTM"]
)
def test_the_shallowest_layer_without_a_rule_is_named(layer: nn.Module, images: Tensor) -> None:
    model = nn.Sequential(nn.Identity(), First(layer), nn.Flatten(1))
    with pytest.raises(CoverageError, match=r"1.inner.weight_hh_l0 \(used by (rnn_tanh|lstm)\)"):
        gradkern.capture(model, images, squares, layers=["1"], **WEIGHTS)
    exact = gradkern.capture(model, images, squares, layers=["1"], batch_size=1, **WEIGHTS)
    assert exact["weight_gradient", "1"].norm(dim=1).min() > 0


class Written(nn.Module):
    """A token that is added, and written to a place as well."""

    def __init__(self) -> None:
        super().__init__()
        self.lin, self.token = nn.Linear(48, 8), nn.Parameter(torch.randn(8))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.stack([self.lin(x.flatten(1)) + self.token] * 2, 1)
        y = y.clone()
        y[:, 0] = self.token * 1e-6
        return y


def test_a_weight_that_is_written_to_a_place_counts(images: Tensor) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Written())
    batch, alone = (
        gradkern.capture(model, images, squares, layers=["0"], batch_size=size, **WEIGHTS)["weight_gradient", "0"]
        for size in (6, 1)
    )
    torch.testing.assert_close(batch, alone, rtol=1e-5, atol=1e-6)


def test_a_function_in_place_without_a_rule_is_named(images: Tensor) -> None:
    class Clamped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin, self.least = nn.Linear(48, 8), nn.Parameter(torch.zeros(8))

        def forward(self, x: Tensor) -> Tensor:
            return self.lin(x.flatten(1)).clone().clamp_min_(self.least)

    with pytest.raises(CoverageError, match=r"0.least \(used by clamp_min_\)"):
        gradkern.capture(nn.Sequential(Clamped()), images, squares, layers=["0"], **WEIGHTS)


def test_objectives_may_loop_over_images(images: Tensor) -> None:
    text, labels = torch.randn(4, 8), torch.tensor([0, 1, 2, 3, 0, 1])
    known = torch.randn(6, 8)
    context = objectives.Contrastive(text, labels, 10.0, known, labels, torch.arange(6))

    def looped(output: Tensor, batch: object) -> Tensor:
        return torch.stack([row.square().sum() for row in output])

    for objective in (context, looped):
        ask = {"layers": ["1", "3"], **WEIGHTS}
        together = gradkern.capture(mlp(), images, objective, **ask)
        alone = gradkern.capture(mlp(), images, objective, batch_size=1, **ask)
        for key, values in alone.items():
            torch.testing.assert_close(together[key], values, rtol=1e-4, atol=1e-5)


def test_an_objective_that_uses_a_weight_is_no_rule(images: Tensor) -> None:
    model = mlp()
    with pytest.raises(CoverageError, match=r"3.weight"):
        gradkern.capture(model, images, lambda o, b: (o @ model[3].weight).square().sum(1), layers=["3"], **WEIGHTS)


# Precision


def test_a_float16_model_has_its_losses_scaled(images: Tensor) -> None:
    def tiny(output: Tensor, batch: object) -> Tensor:
        return 1e-7 * output.float().square().sum(1)

    full = gradkern.capture(mlp(), images, tiny, layers=["1"])
    half = gradkern.capture(mlp().half(), images.half(), tiny, layers=["1"])
    assert half.facts["loss_scale"] > 1
    error = (half["gradient", "1"] - full["gradient", "1"]).norm() / full["gradient", "1"].norm()
    assert error < 0.01


def test_an_autocast_around_the_call_is_said(images: Tensor) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert gradkern.capture(mlp(), images, squares, layers=["1"]).dtype == "bfloat16"
        exact = gradkern.capture(mlp(), images, squares, layers=["1"], dtype=torch.float32)
    assert exact.dtype == "float32"
    plain = gradkern.capture(mlp(), images, squares, layers=["1"])
    assert torch.equal(exact["activation", "1"], plain["activation", "1"])


def test_the_scale_that_is_said_is_the_last_one(images: Tensor, tmp_path) -> None:
    loud = torch.tensor([1.0, 1.0, 1.0, 1.0, 1e4, 1e4])

    def objective(output: Tensor, batch) -> Tensor:
        return output.float().square().sum(1) * loud[batch.index]

    for out in (None, tmp_path / "run"):
        features = gradkern.capture(mlp(), images, objective, layers=["1"], dtype=torch.float16, batch_size=2, out=out)
        assert features.facts["loss_scale"] < 2**14


# Layouts


def test_feature_maps_with_channels_last_are_pooled_over_positions() -> None:
    model, pictures = small("convnext"), torch.randn(2, 3, 64, 64)
    ask = {"layers": ["blocks.0.pwconv1", "blocks.0.layernorm", "blocks.0"], "kinds": ["activation"]}
    features = gradkern.capture(model, pictures, None, tokens="mean", sketch="raw", **ask)
    assert [features["activation", layer].shape[1] for layer in ask["layers"]] == [32, 8, 8]


def test_class_tokens_are_not_looked_for_where_there_are_none() -> None:
    ask = {"kinds": ["activation"], "tokens": "class", "sketch": "raw"}
    for family, layer, message in (
        ("dinov3", "network.embeddings.patch_embeddings", r"are for outputs \[n, tokens, d\], got \[1, 32, 4, 4\]"),
        ("dinov2", "network.embeddings.patch_embeddings", "this layer has the 16 patches only"),
    ):
        with pytest.raises(ValueError, match=message):
            gradkern.capture(small(family), torch.randn(2, 3, 32, 32), None, layers=[layer], **ask)


# Memory


def test_activations_take_memory_too(images: Tensor, monkeypatch) -> None:
    model = ConvNet()
    pictures = torch.randn(6, 3, 16, 16)
    needed = gradkern.capture(model, pictures, None, layers=["stem"], kinds=["activation"]).facts["bytes_per_image"]
    assert needed >= 3 * 16 * 16 * 4
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    with pytest.raises(MemoryError, match="batch_size 6 needs about"):
        gradkern.capture(model, pictures, None, layers=["stem"], kinds=["activation"], batch_size=6)


def test_files_that_were_read_do_not_count_as_used(monkeypatch, tmp_path) -> None:
    for name, text in (("max", "8000000"), ("current", "7990000"), ("stat", "anon 5\ninactive_file 7400000\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.free_bytes(torch.device("cpu")) == 7_410_000


# Nothing is left behind


def test_a_masked_autoencoder_still_masks() -> None:
    model, pictures = small("mae"), torch.randn(2, 3, 32, 32)
    gradkern.capture(model, pictures, objectives.FeatureNorm())
    assert model.network(pictures).loss.isfinite()


def test_no_hook_stays_where_one_cannot_be_set() -> None:
    with pytest.warns(DeprecationWarning, match="script"):
        scripted = torch.jit.script(nn.Linear(48, 4))
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(1), scripted)
    with pytest.raises(RuntimeError, match="ScriptModules"):
        gradkern.capture(model, torch.randn(2, 3, 4, 4), squares, layers=["0", "2"])
    assert not model[0]._forward_hooks


def test_inference_mode_around_the_call_does_not_matter(images: Tensor) -> None:
    model = mlp()
    with torch.inference_mode():
        inside = gradkern.capture(model, images * 2, squares, layers=["1"], kinds=["gradient", "weight_gradient"])
    outside = gradkern.capture(model, images * 2, squares, layers=["1"], kinds=["gradient", "weight_gradient"])
    for key, values in outside.items():
        assert torch.equal(inside[key], values)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"images": (x for x in [1])}, r"images must be \[N, 3, h, w\] or a sequence of .*, got generator"),
        ({"batch_size": 2.0}, "batch_size must be an integer of at least 1, got 2.0"),
    ],
)
def test_bad_input_is_named(given, message, images: Tensor) -> None:
    ask = {"images": images, "layers": ["1"], **given}
    with pytest.raises(ValueError, match=message):
        gradkern.capture(mlp(), ask.pop("images"), squares, **ask)


def test_results_say_whether_the_objective_is_exact(images: Tensor) -> None:
    model, pictures = small("dinov2"), torch.randn(2, 3, 32, 32)
    surrogate = gradkern.capture(model, pictures, objectives.MaskedPatchSurrogate())
    assert surrogate.provenance()["exact"] is False
    assert gradkern.capture(model, pictures, objectives.FeatureNorm()).provenance()["exact"] is True
    assert gradkern.capture(mlp(), images, squares, layers=["1"]).provenance()["exact"] == "user function"
