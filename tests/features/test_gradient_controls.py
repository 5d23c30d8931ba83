"""Controls of the gradient against the obvious: one image at a time, torch.autograd.grad."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gradkern
from gradkern import objectives
from gradkern.features import CONTROLS
from gradkern.features._engine.gradient_controls import COTANGENTS, FEEDBACK, derangement, random_like
from gradkern.objectives import Batch, Prepared
from tests.control_truth import LABELS, LAYERS, SKETCH, N, build, close, pictures
from tests.toy_models import ConvNet, Transformer
from tests.toy_objectives import IMAGES as PATCHES
from tests.toy_objectives import OBJECTIVES, Model

SHUFFLED, RANDOM = COTANGENTS
ALIGNED = FEEDBACK[0]


# Drawing.


@pytest.mark.parametrize("n", [2, 3, 4, 17, 1000])
def test_a_derangement_moves_everything(n: int) -> None:
    for seed in range(20):
        order = derangement(n, seed)
        assert sorted(order) == list(range(n))
        assert (order != np.arange(n)).all()
        np.testing.assert_array_equal(order, derangement(n, seed))
    assert len({tuple(derangement(1000, seed)) for seed in range(5)}) == 5


def test_every_derangement_is_as_likely() -> None:
    drawn = [tuple(derangement(4, seed).tolist()) for seed in range(1800)]
    counts = [drawn.count(each) for each in set(drawn)]
    assert len(counts) == 9  # !4
    assert max(counts) < 1.5 * min(counts)  # 200 each, sd 13


def test_random_cotangents_have_the_length_of_the_true_ones_and_are_gaussian() -> None:
    true = torch.randn(3, 40, 50) * torch.tensor([1e-6, 1.0, 1e6])[:, None, None]
    true[1, 7:] = 0
    z = random_like(true, torch.tensor([4, 9, 2]), seed=5)
    torch.testing.assert_close(z.flatten(1).norm(dim=1), true.flatten(1).norm(dim=1))
    assert (z[1, 7:] == 0).all()  # positions that the objective does not read
    scaled = z[0] / z[0].square().mean().sqrt()
    assert abs(scaled.mean()) < 0.1
    assert abs(scaled.pow(4).mean() - 3) < 0.5
    assert abs((z[0] * true[0]).sum()) < 0.1 * z[0].norm() * true[0].norm()
    alone = random_like(true[2:], torch.tensor([2]), seed=5)
    torch.testing.assert_close(alone, z[2:])
    assert not torch.allclose(alone, random_like(true[2:], torch.tensor([3]), seed=5))
    assert not torch.allclose(alone, random_like(true[2:], torch.tensor([2]), seed=6))
    assert not torch.allclose(alone, random_like(true[2:], torch.tensor([2]), seed=5, position=1))
    assert (random_like(torch.zeros(2, 5), torch.tensor([0, 1]), seed=0) == 0).all()


# Other vectors at the output.


def test_a_random_cotangent_goes_back_through_the_jacobian_of_a_linear_network() -> None:
    model = build(lambda: nn.Sequential(nn.Flatten(), nn.Linear(48, 7), nn.Linear(7, 10)), torch.float64)
    images = pictures(size=4).double()
    features = gradkern.capture(
        model, images, objectives.CrossEntropy(LABELS), layers=["1"], kinds=["gradient", RANDOM], tokens="mean",
        sketch="raw", control_seed=8, batch_size=4,
    )  # fmt: skip
    error = model(images).softmax(1) - F.one_hot(LABELS, 10)
    z = [np.random.default_rng([12, 8, i, 0]).standard_normal(10, dtype=np.float32) for i in range(N)]
    z = torch.from_numpy(np.stack(z)).double()
    cotangent = z / z.norm(dim=1, keepdim=True) * error.norm(dim=1, keepdim=True)
    close(features[RANDOM, "1"], (cotangent @ model[2].weight).detach(), 1e-6)
    close(features["gradient", "1"], (error @ model[2].weight).detach(), 1e-6)


@pytest.mark.parametrize(
    "make", [objectives.CrossEntropy, lambda y: objectives.SigmoidContrastive(TEXT, y), lambda y: clip(y)]
)
@pytest.mark.parametrize("batch_size", [1, 4])
def test_shuffled_labels_are_labels_of_other_images(make: Callable, batch_size: int) -> None:
    model = build(Embedding)
    order = derangement(N, 2)
    ask = {"layers": LAYERS[Transformer], "sketch": SKETCH, "batch_size": batch_size}
    labels = LABELS % 4
    features = gradkern.capture(model, pictures(), make(labels), kinds=["gradient", SHUFFLED], control_seed=2, **ask)
    moved = gradkern.capture(model, pictures(), make(labels[order]), kinds=["gradient"], **ask)
    for layer in LAYERS[Transformer]:
        close(features[SHUFFLED, layer], moved["gradient", layer].double())
        assert not torch.allclose(features[SHUFFLED, layer], features["gradient", layer])


TEXT = torch.randn(4, 10, generator=torch.Generator().manual_seed(3))


def clip(labels: Tensor) -> objectives.Contrastive:
    images = torch.randn(3, 10, generator=torch.Generator().manual_seed(4))
    return objectives.Contrastive(TEXT, labels, 5.0, images, torch.tensor([0, 1, 3]), torch.tensor([0, 2, 4]))


class Embedding(Transformer):
    """Its logits are logits, and an embedding."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).logits


def test_shuffled_predictions_are_those_of_other_images() -> None:
    model = build(lambda: ConvNet())
    with torch.no_grad():
        model.head.bias.sub_(model(pictures()).logits.mean(0))  # so that predictions differ
    predicted = model(pictures()).logits.argmax(1)
    order = derangement(N, 0)
    assert (predicted != predicted[order]).any()
    ask = {"layers": ["stem", "head"], "sketch": SKETCH}
    features = gradkern.capture(model, pictures(), objectives.CrossEntropy(), kinds=[SHUFFLED], **ask)
    moved = gradkern.capture(model, pictures(), objectives.CrossEntropy(predicted[order]), **ask)
    for layer in ask["layers"]:
        close(features[SHUFFLED, layer], moved["gradient", layer].double())


class Wrapped(nn.Module):
    """Everything that an objective may read, behind a layer to tap."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)
        self.inner = [Model()]  # not a module of this one: nothing to freeze
        for name in ("teacher", "center", "spec", "network"):
            object.__setattr__(self, name, getattr(Model(), name))

    def forward(self, images: Tensor, **inputs: Tensor):
        return self.behind(self.layer(images), **inputs)

    def behind(self, x: Tensor, **inputs: Tensor):
        output = self.inner[0](x, **inputs)  # which paints nothing into hidden patches
        return output._replace(prediction=output.prediction + x.square().mean((1, 2, 3))[:, None, None])


TARGETED = [name for name, objective in OBJECTIVES.items() if hasattr(objective, "targets")]


@pytest.mark.parametrize("name", TARGETED)
def test_cotangents_of_every_objective_are_autograds_of_one_image(name: str) -> None:
    model, objective = build(Wrapped, torch.float64), OBJECTIVES[name]
    features = gradkern.capture(
        model, PATCHES, objective, layers=["layer"], kinds=CONTROLS[:2], sketch=SKETCH, batch_size=3, control_seed=1
    )
    order = derangement(len(PATCHES), 1)

    def prepared(i: int) -> tuple[Batch, Prepared]:
        batch = Batch(PATCHES[i : i + 1], torch.tensor([i]))
        made = objective.prepare(model, batch) if hasattr(objective, "prepare") else Prepared()
        return Batch(batch.images, batch.index, made.context), made

    rows = []
    for i in range(len(PATCHES)):
        (batch, made), (other, its) = prepared(i), prepared(int(order[i]))
        targets = objective.targets(model(other.images, **its.inputs), other)
        layer = model.layer(batch.images).detach().requires_grad_()
        output = model.behind(layer, **made.inputs)
        loss = objective.losses(output, batch, targets).sum()
        (gradient,) = torch.autograd.grad(loss, layer, retain_graph=True)
        read = objective.needs[0]
        field = getattr(output, read)
        fresh = field.detach().requires_grad_()
        true = objective(output._replace(**{read: fresh}), batch).sum()
        cotangent = random_like(torch.autograd.grad(true, fresh)[0], batch.index, 1, place_of(output, read))
        (random,) = torch.autograd.grad(field, layer, cotangent)
        rows.append((gradient, random))
    for kind, parts in zip(COTANGENTS, zip(*rows, strict=True), strict=True):
        truth = SKETCH(torch.cat(parts).flatten(1)[:, None].contiguous())
        close(features[kind, "layer"], truth.double())


def place_of(output, field: str) -> int:
    """Which of the distinct tensors of the output it is."""
    distinct = {id(value): None for value in output if isinstance(value, Tensor)}
    return list(distinct).index(id(getattr(output, field)))


def test_masked_targets_of_others_keep_the_own_mask() -> None:
    objective, model = OBJECTIVES["patches"], Model()
    batch, other = (Batch(PATCHES[i], torch.tensor(i)) for i in ([0, 1], [3, 4]))
    made, its = objective.prepare(model, batch), objective.prepare(model, other)
    batch, other = Batch(batch.images, batch.index, made.context), Batch(other.images, other.index, its.context)
    output = model(batch.images, **made.inputs)
    losses = objective.losses(output, batch, objective.targets(None, other))
    distance = 1 - F.cosine_similarity(output.tokens[:, 3:], model(other.images).tokens[:, 3:], dim=2)
    expected = [row[mask].mean() for row, mask in zip(distance, made.inputs["bool_masked_pos"], strict=True)]
    torch.testing.assert_close(losses, torch.stack(expected))


def test_a_detectors_own_box_is_pulled_to_the_query_of_another() -> None:
    logits = torch.tensor([[[0.0, 5.0], [1.0, 2.0]], [[3.0, 0.0], [1.0, 2.0]]])
    output = Model()(PATCHES[:2])._replace(query_logits=logits)
    batch = Batch(PATCHES[:2], torch.arange(2))
    objective = OBJECTIVES["detection"]
    targets = objective.targets(output, batch)
    assert targets.tolist() == [1, 0]
    swapped = objective.losses(output, batch, targets.flip(0))
    expected = F.binary_cross_entropy_with_logits(logits[:, 0], torch.eye(2), reduction="none").sum(1)
    torch.testing.assert_close(swapped, expected)


# All together.


@pytest.mark.parametrize("make", [ConvNet, Transformer])
def test_no_kind_depends_on_the_others_or_on_the_batch(make: type[nn.Module]) -> None:
    model, layers = build(make), LAYERS[make]
    objective = objectives.CrossEntropy(LABELS)
    every = ("activation", "gradient", "weight_gradient", *CONTROLS)
    ask = {"layers": layers, "sketch": SKETCH, "control_seed": 3}
    together = gradkern.capture(model, pictures(), objective, kinds=every, batch_size=4, **ask)
    assert set(together) == {(kind, layer) for kind in every for layer in layers}
    for batch_size in (1, 6):
        again = gradkern.capture(model, pictures(), objective, kinds=every[::-1], batch_size=batch_size, **ask)
        for key, values in together.items():
            close(again[key], values.double())
    for kind in every:
        alone = gradkern.capture(model, pictures(), objective, kinds=[kind], batch_size=4, **ask)
        for layer in layers:
            close(alone[kind, layer], together[kind, layer].double())
    seeds = gradkern.capture(model, pictures(), objective, kinds=CONTROLS, **{**ask, "control_seed": 4})
    for kind in CONTROLS:
        assert not torch.allclose(seeds[kind, layers[0]], together[kind, layers[0]])


def test_an_image_has_its_random_cotangent_wherever_it_is_run() -> None:
    kinds = [RANDOM, ALIGNED]
    objective = objectives.CrossEntropy(LABELS)
    ask = {"layers": LAYERS[ConvNet], "kinds": kinds}
    all_of_them = gradkern.capture(build(ConvNet), pictures(), objective, **ask)
    first = gradkern.capture(build(ConvNet), pictures()[:3], objective, **ask)
    for key, values in first.items():
        close(all_of_them[key][:3], values.double())


def test_a_part_of_a_study_has_what_the_whole_has() -> None:
    """Labels are read, and cotangents drawn, at the place of an image in the study."""
    kinds = ["gradient", RANDOM, ALIGNED]
    objective = objectives.CrossEntropy(LABELS)
    ask = {"layers": LAYERS[ConvNet], "kinds": kinds}
    whole = gradkern.capture(build(ConvNet), pictures(), objective, **ask)
    part = gradkern.capture(build(ConvNet), pictures()[3:], objective, first_index=3, **ask)
    for key, values in part.items():
        close(values, whole[key][3:].double())
    assert part.labels.tolist() == LABELS[3:].tolist()
    others = objectives.CrossEntropy(torch.cat([torch.zeros(3, dtype=torch.int64), LABELS[3:]]))
    shuffled = [  # targets of others are those of other images of the part
        gradkern.capture(build(ConvNet), pictures()[3:], given, layers=["head"], kinds=[SHUFFLED], first_index=3)
        for given in (objective, others)
    ]
    assert torch.equal(*(captured[SHUFFLED, "head"] for captured in shuffled))
    with pytest.raises(ValueError, match="first_index must be"):
        gradkern.capture(build(ConvNet), pictures(), objective, first_index=-1, **ask)


class Counting(Transformer):
    calls = 0

    def forward(self, images: Tensor):
        type(self).calls += len(images)
        return super().forward(images)


def test_controls_at_the_output_share_the_forward_pass() -> None:
    counts = []
    for kinds in (["gradient"], ["gradient", *COTANGENTS]):
        Counting.calls = 0
        gradkern.capture(build(Counting), pictures(), objectives.CrossEntropy(LABELS), layers=["blocks.0"], kinds=kinds)
        counts.append(Counting.calls)
    assert counts[0] == counts[1]


def test_float16_scales_and_unscales_controls() -> None:
    ask = {"layers": LAYERS[Transformer], "kinds": CONTROLS, "sketch": SKETCH}
    objective = objectives.CrossEntropy(LABELS)
    full = gradkern.capture(build(Transformer), pictures(), objective, **ask)
    half = gradkern.capture(build(Transformer), pictures(), objective, dtype=torch.float16, **ask)
    for key in full:
        assert (half[key] - full[key]).norm() < 0.1 * full[key].norm(), key


def test_the_model_and_torch_are_left_as_they_were() -> None:
    model, linear = build(Transformer), F.linear
    model.head.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradkern.capture(
        model, pictures(), objectives.CrossEntropy(), layers=["blocks.1"], kinds=[*CONTROLS, "weight_gradient"]
    )
    assert F.linear is linear
    assert torch.overrides._get_current_function_mode_stack() == []
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["head.weight"]
    assert all(p.grad is None for p in model.parameters())
    assert all(not m._forward_hooks for m in model.modules())


class Interrupted(objectives.CrossEntropy):
    """Fails at the images from the fifth on, in the first of their passes."""

    def losses(self, output, batch, targets: Tensor) -> Tensor:
        if int(batch.index[0]) >= 4:
            raise KeyboardInterrupt
        return super().losses(output, batch, targets)


def test_files_go_on_and_know_the_seed(tmp_path: Path) -> None:
    model, objective = build(Transformer), objectives.CrossEntropy(LABELS)
    ask = {"layers": ["blocks.0"], "kinds": ["gradient", *CONTROLS], "batch_size": 2, "control_seed": 5}
    expected = gradkern.capture(model, pictures(), objective, **ask)
    with pytest.raises(KeyboardInterrupt):
        gradkern.capture(model, pictures(), Interrupted(LABELS), out=tmp_path / "features", **ask)
    features = gradkern.capture(model, pictures(), objective, out=tmp_path / "features", **ask)
    assert list(features) == list(expected)
    for key, values in expected.items():
        torch.testing.assert_close(features[key], values)
    torch.testing.assert_close(features.entropy, expected.entropy)
    assert features.provenance()["control_seed"] == 5
    with pytest.raises(FileExistsError, match="control_seed: 5, now 6"):
        gradkern.capture(model, pictures(), objective, out=tmp_path / "features", **{**ask, "control_seed": 6})


def test_a_capture_without_controls_does_not_mention_them(tmp_path: Path) -> None:
    features = gradkern.capture(build(ConvNet), pictures(), objectives.Entropy(), layers=["stem"], out=tmp_path / "f")
    assert "control_seed" not in features.provenance()
    assert "control_seed" not in (tmp_path / "f" / "capture.json").read_text()


def test_entropy_is_that_of_the_prediction() -> None:
    model = build(ConvNet)
    features = gradkern.capture(model, pictures(), objectives.FeatureNorm(), layers=["stem"], batch_size=4)
    p = model(pictures()).logits.softmax(1)
    torch.testing.assert_close(features.entropy, -(p * p.log()).sum(1).detach())
    assert gradkern.capture(build(Embedding), pictures(), objectives.Entropy(), layers=["blocks.0"]).entropy is None
    assert gradkern.capture(model, pictures(), None, layers=["stem"], kinds=["activation"]).entropy is None


def test_a_model_may_return_tensors_in_anything() -> None:
    class Boxed(ConvNet):
        def forward(self, images: Tensor):
            output = super().forward(images)
            return {"out": [type("Box", (), {})()], "seen": output.features} | {"logits": (output.logits, "text")}

    def objective(output, batch) -> Tensor:
        return output["logits"][0].square().sum(1)

    plain = gradkern.capture(
        build(ConvNet), pictures(), lambda output, batch: output.logits.square().sum(1), layers=["stem"], kinds=[RANDOM]
    )
    boxed = gradkern.capture(build(Boxed), pictures(), objective, layers=["stem"], kinds=[RANDOM])
    close(boxed[RANDOM, "stem"], plain[RANDOM, "stem"].double())


BAD = [
    (
        {"objective": objectives.Entropy()},
        r"must have a target for 'gradient/target-shuffled', .* got 'entropy' without",
    ),
    ({"objective": lambda o, b: o.logits.sum(1)}, "got '<lambda>' without targets and losses"),
    ({"images": pictures(1)}, "images must be at least 2 for 'gradient/target-shuffled', got 1"),
    ({"control_seed": -1}, "control_seed must be an integer of at least 0, got -1"),
    ({"compile": True, "kinds": [ALIGNED]}, "compile must be False for gradient/feedback-alignment"),
    ({"objective": None}, r"objective must be given for \['gradient/target-shuffled'\], got None"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_controls_are_named(changes: dict, message: str) -> None:
    ask = {
        "images": pictures(),
        "objective": objectives.CrossEntropy(),
        "kinds": [SHUFFLED],
        "layers": ["stem"],
    } | changes
    images, objective = ask.pop("images"), ask.pop("objective")
    with pytest.raises(ValueError, match=message):
        gradkern.capture(build(ConvNet), images, objective, **ask)


def test_an_output_that_hides_its_tensors_is_named() -> None:
    class Hidden(ConvNet):
        def forward(self, images: Tensor):
            output = super().forward(images)
            return lambda: output.logits

    with pytest.raises(RuntimeError, match="objective must read tensors of the model's output"):
        gradkern.capture(build(Hidden), pictures(), lambda o, b: o().sum(1), layers=["stem"], kinds=[RANDOM])
