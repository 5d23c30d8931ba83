"""Every objective against its formula written out, alone and in a batch, and against the losses that it stands for."""

import json
import math
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from gradkern import objectives
from gradkern.objectives import Batch, Output, Prepared, crops
from tests.toy_objectives import (
    CONTEXT,
    CONTEXT_INDEX,
    CONTEXT_LABELS,
    DIM,
    IMAGES,
    LABELS,
    OBJECTIVES,
    PATCHES,
    TEXT,
    Model,
    N,
    rand,
)  # fmt: skip


def run(objective, chosen, model: nn.Module | None = None) -> tuple[Prepared, Output, Tensor, Batch]:
    """As capture does it."""
    model = model if model is not None else Model()
    index = torch.tensor(chosen)
    batch = Batch(IMAGES[index], index)
    prepare = getattr(objective, "prepare", None)
    prepared = prepare(model, batch) if prepare else Prepared()
    batch = Batch(batch.images, index, prepared.context)
    output = model(batch.images, **prepared.inputs)
    return prepared, output, objective(output, batch), batch


def tensors(context) -> list[Tensor]:
    return [] if context is None else [context] if isinstance(context, Tensor) else list(context)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_images_loss_does_not_depend_on_its_batch(name: str) -> None:
    objective = OBJECTIVES[name]
    prepared, _, losses, _ = run(objective, list(range(N)))
    assert losses.shape == (N,)
    assert losses.dtype == torch.float64
    for i in range(N):
        alone, _, loss, _ = run(objective, [i])
        torch.testing.assert_close(loss, losses[i : i + 1], rtol=1e-12, atol=1e-12)
        for key, value in alone.inputs.items():
            assert torch.equal(value[0], prepared.inputs[key][i])
        for one, several in zip(tensors(alone.context), tensors(prepared.context), strict=True):
            torch.testing.assert_close(one[0], several[i], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_facts_are_fit_for_json(name: str) -> None:
    objective = OBJECTIVES[name]
    facts = objectives.facts_of(objective)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["name"] == objectives.name_of(objective) == objective.name
    assert facts["exact"] is objective.exact
    assert set(objective.needs) <= set(Output._fields)
    assert not any(isinstance(value, Tensor) for value in facts.values())


def test_facts_tell_settings_and_tensors_apart() -> None:
    distillation = objectives.facts_of(objectives.SelfDistillation(seed=3))
    assert distillation == {
        "name": "self-distillation", "exact": True, "views": 2, "seed": 3, "student_temperature": 0.1,
        "teacher_temperature": 0.04, "scale": "(0.4, 1.0)",
    }  # fmt: skip
    one, other = (objectives.facts_of(objectives.CrossEntropy(torch.tensor(x))) for x in ([1, 2], [1, 3]))
    assert one["target"] == "classes"
    assert one["labels"].startswith("int64 [2] sha256:")
    assert one["labels"] != other["labels"]

    def mine(output, batch):
        return output.logits.sum(1)

    assert objectives.facts_of(mine) == {"name": "mine", "exact": "user function"}
    assert objectives.name_of(mine) == "mine"


def softmax_by_hand(x: list[float]) -> list[float]:
    top = max(x)
    powers = [math.exp(v - top) for v in x]
    return [p / sum(powers) for p in powers]


def unit(x: Tensor) -> Tensor:
    return x / x.square().sum(-1, keepdim=True).sqrt()


def test_cross_entropy_of_classes_and_of_soft_targets() -> None:
    soft = OBJECTIVES["soft labels"].labels
    chosen = [4, 1, 2]
    _, output, hard_losses, _ = run(OBJECTIVES["labels"], chosen)
    _, _, soft_losses, _ = run(OBJECTIVES["soft labels"], chosen)
    _, _, own_losses, _ = run(OBJECTIVES["predicted class"], chosen)
    for row, i in enumerate(chosen):
        p = softmax_by_hand(output.logits[row].tolist())
        assert float(hard_losses[row]) == pytest.approx(-math.log(p[int(LABELS[i])]), rel=1e-12)
        expected = -sum(q * math.log(v) for q, v in zip(soft[i].tolist(), p, strict=True))
        assert float(soft_losses[row]) == pytest.approx(expected, rel=1e-12)
        assert float(own_losses[row]) == pytest.approx(-math.log(max(p)), rel=1e-12)


def test_entropy_divergence_and_norm() -> None:
    _, output, entropy, _ = run(OBJECTIVES["entropy"], [0, 3])
    _, _, divergence, _ = run(OBJECTIVES["kl"], [0, 3])
    _, _, norm, _ = run(OBJECTIVES["norm"], [0, 3])
    for row in range(2):
        p = softmax_by_hand(output.logits[row].tolist())
        assert float(entropy[row]) == pytest.approx(-sum(v * math.log(v) for v in p), rel=1e-12)
        assert float(divergence[row]) == pytest.approx(sum(math.log(1 / 7 / v) / 7 for v in p), rel=1e-12)
        assert float(norm[row]) == pytest.approx(math.sqrt(sum(v * v for v in output.features[row].tolist())))


def test_the_models_own_soft_prediction_is_refused_for_its_gradient_is_zero() -> None:
    for labels in ("soft", "self"):
        with pytest.raises(ValueError, match=r"labels must be a tensor or None .* gradient would be exactly zero"):
            objectives.CrossEntropy(labels)
    logits = rand(2, 7).requires_grad_()
    own = logits.detach().softmax(1)
    nn.functional.cross_entropy(logits, own, reduction="sum").backward()
    assert logits.grad.abs().max() < 1e-15


# Self-distillation.


def teacher_views(model: Model, views: int, seed: int) -> list[Output]:
    batch = Batch(IMAGES, torch.arange(N))
    return [model.teacher(crops(batch, seed, view, (0.4, 1.0))) for view in range(1, views)]


def test_self_distillation_is_its_formula() -> None:
    model = Model()
    _, output, losses, _ = run(OBJECTIVES["distillation"], list(range(N)), model)
    views = teacher_views(model, 3, 4)
    for i in range(N):
        student = softmax_by_hand((output.projection[i] / 0.1).tolist())
        terms = []
        for view in views:
            p = softmax_by_hand(((view.projection[i] - model.center) / 0.04).tolist())
            terms.append(-sum(q * math.log(s) for q, s in zip(p, student, strict=True)))
        assert float(losses[i]) == pytest.approx(sum(terms) / 2, rel=1e-10)


def test_without_a_teacher_the_model_teaches_itself() -> None:
    alone = Model(with_teacher=False)
    taught = Model()
    taught.teacher, taught.center = Model(with_teacher=False), torch.zeros(7).double()
    for name in ("distillation", "cosine"):
        one = run(OBJECTIVES[name], [0, 1], alone)[0].context
        assert torch.equal(one, run(OBJECTIVES[name], [0, 1], taught)[0].context)
        assert not one.requires_grad


def test_self_distillation_surrogates_are_their_formulas() -> None:
    model = Model()
    _, output, cosine, _ = run(OBJECTIVES["cosine"], list(range(N)), model)
    _, _, entropy, _ = run(OBJECTIVES["surrogate ce"], list(range(N)), model)
    first, second = (unit(view.features) for view in teacher_views(model, 3, 0))
    student = unit(output.features)
    expected = 1 - ((student * first).sum(1) + (student * second).sum(1)) / 2
    torch.testing.assert_close(cosine, expected, rtol=1e-12, atol=1e-12)
    p, q = (first / 0.04).exp(), (student / 0.1).exp()
    expected = -(p / p.sum(1, keepdim=True) * (q / q.sum(1, keepdim=True)).log()).sum(1)
    torch.testing.assert_close(entropy, expected, rtol=1e-10, atol=1e-12)


def test_crops_are_drawn_from_seed_and_index() -> None:
    same = IMAGES[:1].expand(4, -1, -1, -1)
    batch = Batch(same, torch.tensor([0, 1, 2, 0]))
    views = crops(batch, 3, 1, (0.4, 1.0))
    assert views.shape == same.shape
    assert torch.equal(views[0], views[3])
    assert torch.equal(views, crops(batch, 3, 1, (0.4, 1.0)))
    others = [views[1], views[2], crops(batch, 4, 1, (0.4, 1.0))[0], crops(batch, 3, 2, (0.4, 1.0))[0]]
    assert all(not torch.equal(views[0], other) for other in others)
    assert crops(Batch(same.bfloat16(), batch.index), 3, 1, (0.4, 1.0)).dtype == torch.bfloat16


def test_crops_have_the_area_and_lie_inside_the_image() -> None:
    """Of an image whose pixels are their own coordinates, a crop shows where it was cut."""
    height, width = 64, 48
    rows = torch.arange(height).double()[:, None].expand(height, width)
    columns = torch.arange(width).double()[None].expand(height, width)
    image = torch.stack([rows, columns, torch.zeros_like(rows)])
    views = crops(Batch(image.expand(50, -1, -1, -1), torch.arange(50)), 0, 1, (0.4, 0.6))
    assert views.shape == (50, 3, height, width)
    for down, across, _ in views:
        assert -1 < down.min() < down.max() < height
        assert -1 < across.min() < across.max() < width
        middle = slice(8, -8)  # resizing changes what is near the edges
        h = float((down[middle].diff(dim=0)).abs().mean()) * height
        w = float((across[:, middle].diff(dim=1)).abs().mean()) * width
        assert 0.36 < h * w / (height * width) < 0.64


def test_a_whole_crop_is_the_image_or_its_mirror() -> None:
    views = crops(Batch(IMAGES[:1].expand(40, -1, -1, -1), torch.arange(40)), 0, 1, (1.0, 1.0))
    kept = [bool((v - IMAGES[0]).abs().max() < 1e-9) for v in views]
    mirrored = [bool((v - IMAGES[0].flip(2)).abs().max() < 1e-9) for v in views]
    assert all(a or b for a, b in zip(kept, mirrored, strict=True))
    assert 8 < sum(kept) < 32


# Masked prediction.


def test_masked_patches_are_their_formula() -> None:
    model = Model()
    prepared, output, losses, _ = run(OBJECTIVES["patches"], list(range(N)), model)
    mask = prepared.inputs["bool_masked_pos"]
    assert mask.dtype == torch.bool
    assert mask.shape == (N, PATCHES)
    assert (mask.sum(1) == round(0.4 * PATCHES)).all()
    assert len({tuple(row) for row in mask.tolist()}) == N
    whole = model(IMAGES).tokens
    for i in range(N):
        terms = [
            1 - float((unit(output.tokens[i, 3 + p]) * unit(whole[i, 3 + p])).sum())
            for p in range(PATCHES)
            if mask[i, p]
        ]
        assert float(losses[i]) == pytest.approx(sum(terms) / len(terms), rel=1e-12)
    again = objectives.MaskedPatchSurrogate(seed=3).prepare(model, Batch(IMAGES, torch.arange(N)))
    assert not torch.equal(again.inputs["bool_masked_pos"], mask)


@pytest.mark.parametrize("normalize", [True, False])
def test_masked_autoencoder_is_that_of_transformers(normalize: bool) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTMAEConfig(
        image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        decoder_hidden_size=16, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
        decoder_intermediate_size=24, norm_pix_loss=normalize,
    )  # fmt: skip
    torch.manual_seed(0)
    network = transformers.ViTMAEForPreTraining(config).double().eval()
    images = rand(3, 3, 32, 32)
    objective = objectives.MaskedAutoencoder(seed=1, normalize=normalize)
    batch = Batch(images, torch.tensor([0, 1, 2]))
    noise = objective.prepare(SimpleNamespace(network=network), batch).inputs["noise"]
    together = network(images, noise=noise)
    assert (together.mask.sum(1) == 12).all()
    losses = objective(Output(images, prediction=together.logits, mask=together.mask), batch)
    for i in range(3):
        alone = network(images[i : i + 1], noise=noise[i : i + 1])
        assert losses[i].item() == pytest.approx(alone.loss.item(), rel=1e-10)


# Contrastive losses.


def clip_batch_loss(images: Tensor, text: Tensor, scale: float) -> Tensor:
    """Radford et al. 2021, figure 3."""
    logits = scale * unit(images) @ unit(text).T
    pairs = torch.arange(len(images))
    return (nn.functional.cross_entropy(logits, pairs) + nn.functional.cross_entropy(logits.T, pairs)) / 2


def siglip_batch_loss(images: Tensor, text: Tensor, scale: float, bias: float) -> Tensor:
    """Zhai et al. 2023, algorithm 1."""
    logits = scale * unit(images) @ unit(text).T + bias
    return -nn.functional.logsigmoid((2 * torch.eye(len(images)).double() - 1) * logits).sum() / len(images)


@pytest.mark.parametrize("own_index", [True, False])
def test_contrastive_has_the_gradient_of_the_batch_loss(own_index: bool) -> None:
    m = 6
    embeddings, text = rand(m, DIM, seed=3), rand(m, DIM, seed=4)
    for i in range(m):
        others = [k for k in range(m) if k != i]
        x = embeddings.clone().requires_grad_()
        (expected,) = torch.autograd.grad(m * clip_batch_loss(x, text, 5.0), x)
        labels = torch.arange(m)
        if own_index:
            objective = objectives.Contrastive(text, labels, 5.0, embeddings, labels, torch.arange(m))
        else:
            objective = objectives.Contrastive(text, labels, 5.0, embeddings[others], labels[others])
        one = embeddings[i : i + 1].clone().requires_grad_()
        loss = objective(Output(one, embedding=one), Batch(one, torch.tensor([i])))
        (gradient,) = torch.autograd.grad(loss.sum(), one)
        torch.testing.assert_close(gradient[0], expected[i], rtol=1e-11, atol=1e-13)


def test_contrastive_is_its_formula() -> None:
    _, output, plain, _ = run(OBJECTIVES["clip"], list(range(N)))
    _, _, both, _ = run(OBJECTIVES["clip images"], list(range(N)))
    _, _, left_out, _ = run(OBJECTIVES["clip all"], list(range(N)))
    text, context = unit(TEXT), unit(CONTEXT)
    for i in range(N):
        x = unit(output.embedding[i])
        to_text = -math.log(softmax_by_hand((7 * text @ x).tolist())[int(LABELS[i])])
        assert float(plain[i]) == pytest.approx(to_text, rel=1e-12)
        for losses, kept in ((both, range(8)), (left_out, [k for k in range(8) if int(CONTEXT_INDEX[k]) != i])):
            crowd = [*(context[k] for k in kept), x]
            which = [*(int(CONTEXT_LABELS[k]) for k in kept), int(LABELS[i])]
            terms = [
                -math.log(softmax_by_hand([7 * float(c @ text[label]) for c in crowd])[k])
                for k, label in enumerate(which)
            ]
            assert float(losses[i]) == pytest.approx((to_text + sum(terms)) / 2, rel=1e-11)


def test_sigmoid_contrastive_has_the_gradient_of_the_batch_loss() -> None:
    m = 6
    embeddings, text = rand(m, DIM, seed=3).requires_grad_(), rand(m, DIM, seed=4)
    (expected,) = torch.autograd.grad(m * siglip_batch_loss(embeddings, text, 3.0, -1.5), embeddings)
    objective = objectives.SigmoidContrastive(text, torch.arange(m), 3.0, -1.5)
    losses = objective(Output(embeddings, embedding=embeddings), Batch(embeddings, torch.arange(m)))
    (gradient,) = torch.autograd.grad(losses.sum(), embeddings)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(losses.mean(), siglip_batch_loss(embeddings, text, 3.0, -1.5))


def test_detection_is_its_formula() -> None:
    prepared, output, losses, _ = run(OBJECTIVES["detection"], list(range(N)))
    assert prepared.inputs["query_embeds"].shape == (N, 3, DIM)
    for i in range(N):
        z = output.query_logits[i].tolist()
        top = max(max(row) for row in z)
        row = next(row for row in z if top in row)
        p = [1 / (1 + math.exp(-v)) for v in row]
        expected = -sum(math.log(v if k == row.index(top) else 1 - v) for k, v in enumerate(p))
        assert float(losses[i]) == pytest.approx(expected, rel=1e-10)


# What goes wrong is named.

M = objectives
WRONG_SETTINGS = [
    (lambda: M.CrossEntropy(torch.ones(3)), r"labels must be int64 \[N\], .* got float32 \[3\]"),
    (lambda: M.CrossEntropy(rand(3, 4)), "rows that are probabilities"),
    (lambda: M.SelfDistillation(views=1), "SelfDistillation: views must be an integer of at least 2 .* got 1"),
    (lambda: M.SelfDistillation(seed=-1), "seed must be an integer of at least 0, got -1"),
    (lambda: M.SelfDistillation(scale=(0.5, 0.4)), r"scale must be .* got \(0.5, 0.4\)"),
    (lambda: M.SelfDistillation(student_temperature=0), "student_temperature must be a finite number above 0, got 0"),
    (lambda: M.SelfDistillationSurrogate("l2"), "loss must be 'cosine' or 'cross-entropy', got 'l2'"),
    (lambda: M.MaskedPatchSurrogate(1.0), "ratio must be a float between 0 and 1, got 1.0"),
    (lambda: M.Contrastive(TEXT[0], LABELS), r"Contrastive: text must be .* got float64 \[6\]"),
    (lambda: M.Contrastive(TEXT, LABELS + 9), r"labels must lie in 0..3, got 9..12"),
    (lambda: M.Contrastive(TEXT, LABELS, 1.0, CONTEXT), "must be given together, got images alone"),
    (lambda: M.Contrastive(TEXT, LABELS, image_index=LABELS), "image_index must come with images"),
    (lambda: M.Contrastive(TEXT, LABELS, 1.0, CONTEXT, LABELS), "image_labels must have a row for each of 8 images"),
    (lambda: M.Contrastive(TEXT, LABELS, 1.0, CONTEXT[:, 1:], CONTEXT_LABELS), "must have the text's 6 dimensions"),
    (lambda: M.SigmoidContrastive(TEXT, LABELS.float()), r"labels must be int64 \[images\], got float32 \[5\]"),
    (lambda: M.Detection(None), "queries must be a floating-point tensor .* got None"),
]


@pytest.mark.parametrize(("make", "message"), WRONG_SETTINGS)
def test_wrong_settings_are_named(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_missing_field_is_named_with_its_objective(name: str) -> None:
    objective = OBJECTIVES[name]
    _, output, _, batch = run(objective, [0])
    for field in objective.needs:
        message = rf"the model has no {field}, which objective '{objective.name}' reads"
        with pytest.raises(TypeError, match=message):
            objective(output._replace(**{field: None}), batch)
        with pytest.raises(ValueError, match=rf"{field} must be \[n, .*, got shape \[2\]"):
            objective(output._replace(**{field: torch.zeros(2)}), batch)
    with pytest.raises(TypeError, match=rf"the model's output must .*have \.{objective.needs[0]}, got dict"):
        objective({}, batch)


@dataclass
class Bare:
    network: object


def test_wrong_models_and_batches_are_named() -> None:
    batch = Batch(IMAGES, torch.arange(N))
    model = Model()
    with pytest.raises(TypeError, match=r"batch.context must be what 'self-distillation'.prepare"):
        OBJECTIVES["distillation"](model(IMAGES), batch)
    with pytest.raises(TypeError, match=r"model.spec must have class_tokens and register_tokens"):
        OBJECTIVES["patches"].prepare(lambda images: model(images), batch)
    model.spec.register_tokens = 18
    with pytest.raises(ValueError, match="tokens must be 19 class and register tokens and then patches, got 19"):
        OBJECTIVES["patches"].prepare(model, batch)
    with pytest.raises(TypeError, match=r"model.network.config.patch_size must be an integer"):
        OBJECTIVES["autoencoder"].prepare(Bare(None), batch)
    with pytest.raises(ValueError, match=r"ratio must be the model's, 0.75, got 0.5"):
        M.MaskedAutoencoder(ratio=0.5).prepare(model, batch)
    with pytest.raises(ValueError, match="whole patches of 4 pixels, got 15 x 16"):
        OBJECTIVES["autoencoder"].prepare(model, Batch(IMAGES[:, :, 1:], batch.index))
    with pytest.raises(ValueError, match="labels must have a row for every image, got 5 for image 7"):
        OBJECTIVES["siglip"](model(IMAGES), Batch(IMAGES, batch.index + 3))
    with pytest.raises(ValueError, match="text must have the model's 6 dimensions, got 4"):
        M.SigmoidContrastive(TEXT[:, :4], LABELS)(model(IMAGES), batch)
    with pytest.raises(ValueError, match=r"labels must be \[N, 7\], got \[5, 4\]"):
        M.CrossEntropy(rand(N, 4).softmax(1))(model(IMAGES), batch)
    with pytest.raises(ValueError, match=r"labels must lie in 0..6, got 1..9"):
        M.CrossEntropy(torch.tensor([1, 9, 2, 2, 2]))(model(IMAGES), batch)


def test_half_precision_outputs_give_float32_losses() -> None:
    for name in ("labels", "clip all", "siglip", "detection", "cosine", "distillation", "patches", "autoencoder"):
        _, output, losses, batch = run(OBJECTIVES[name], list(range(N)))
        half = Output(*(x if x is None else x.bfloat16() for x in output))
        low = OBJECTIVES[name](half, Batch(batch.images.bfloat16(), batch.index, batch.context))
        assert low.dtype == torch.float32
        torch.testing.assert_close(low.double(), losses, rtol=0.1, atol=0.3)
