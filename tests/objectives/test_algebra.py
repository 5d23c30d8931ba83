"""The identities of docs/gradients.md: autograd in float64 against the formula, for every objective."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, one_hot

from gradkern import objectives
from gradkern.objectives import Batch, Output
from tests.toy_objectives import CONTEXT, CONTEXT_INDEX, CONTEXT_LABELS, DIM, IMAGES, LABELS, TEXT, Model, N, rand

CLASSES = 7
F, W, B = rand(N, DIM, seed=20), rand(CLASSES, DIM, seed=21), rand(CLASSES, seed=22)  # features, head
BATCH = Batch(IMAGES, torch.arange(N))
Loss = Callable[[Tensor], Tensor]


def gradient(loss: Loss, at: Tensor) -> Tensor:
    """Of the summed losses, by autograd."""
    leaf = at.detach().clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(leaf).sum(), leaf)
    return found


def same(found: Tensor, formula: Tensor) -> None:
    torch.testing.assert_close(found, formula, rtol=1e-10, atol=1e-12)
    assert found.abs().max() > 1e-3  # an identity of zeros says nothing


def logits(f: Tensor) -> Tensor:
    return f @ W.T + B


def of_logits(objective: Any) -> Loss:
    return lambda z: objective(Output(F, z), BATCH)


def of_features(objective: Any) -> Loss:
    return lambda f: objective(Output(f, logits(f), embedding=f), BATCH)


def tangent(r: Tensor, x: Tensor) -> Tensor:
    """Gradient at x of a loss whose gradient at x / |x| is r."""
    norm = x.norm(dim=-1, keepdim=True)
    unit = x / norm
    return (r - (r * unit).sum(-1, keepdim=True) * unit) / norm


Z = logits(F)
P = Z.softmax(1)
Q = one_hot(LABELS, CLASSES).double()
SOFT = rand(N, CLASSES, seed=23).softmax(1)

# Objectives of the logits.

ERRORS = {
    "label": (objectives.CrossEntropy(LABELS), P - Q),
    "soft label": (objectives.CrossEntropy(SOFT), P - SOFT),
    "predicted class": (objectives.CrossEntropy(), P - one_hot(Z.argmax(1), CLASSES)),
    "entropy": (objectives.Entropy(), -P * (P.log() - (P * P.log()).sum(1, keepdim=True))),
    "kl-uniform": (objectives.KLToUniform(), P - 1 / CLASSES),
}


@pytest.mark.parametrize("name", ERRORS)
def test_the_gradient_at_the_logits(name: str) -> None:
    objective, e = ERRORS[name]
    same(gradient(of_logits(objective), Z), e)
    torch.testing.assert_close(e.sum(1), torch.zeros(N).double())


@pytest.mark.parametrize("name", ERRORS)
def test_before_the_head_it_lies_in_the_span_of_its_weights(name: str) -> None:
    objective, e = ERRORS[name]
    same(gradient(of_features(objective), F), e @ W)


@pytest.mark.parametrize("name", ERRORS)
def test_the_heads_weight_gradient_is_an_outer_product(name: str) -> None:
    objective, e = ERRORS[name]
    weights = W.expand(N, -1, -1)
    found = gradient(lambda w: objective(Output(F, torch.einsum("ncd,nd->nc", w, F) + B), BATCH), weights)
    same(found, e[:, :, None] * F[:, None])
    flat = found.flatten(1)
    same(flat @ flat.T, (e @ e.T) * (F @ F.T))  # its linear kernel is a product of kernels


def test_its_scalar_factor_with_a_class_is_one_minus_p() -> None:
    p_y = P.gather(1, LABELS[:, None])
    others = (P - Q * p_y) / (1 - p_y)  # of the other classes, given that it is none of y
    same(gradient(of_features(objectives.CrossEntropy(LABELS)), F), (1 - p_y) * (others @ W - W[LABELS]))
    losses = of_logits(objectives.CrossEntropy(LABELS))(Z)
    same(1 - p_y[:, 0], -torch.expm1(-losses))


def test_the_two_divergences_from_uniform() -> None:
    def other_way(z: Tensor) -> Tensor:
        p = z.softmax(1)
        return (p * (p * CLASSES).log()).sum(1)

    same(gradient(other_way, Z), -gradient(of_logits(objectives.Entropy()), Z))


# Objectives of the features.


def test_the_norm_has_the_direction_of_the_features() -> None:
    found = gradient(of_features(objectives.FeatureNorm()), F)
    same(found, F / F.norm(dim=1, keepdim=True))
    same((found * F).sum(1), F.norm(dim=1))


def test_the_norm_before_a_linear_map_is_a_scaled_linear_function() -> None:
    A, M = rand(N, 9, seed=24), rand(DIM, 9, seed=25)
    loss = of_features(objectives.FeatureNorm())
    norm = (A @ M.T).norm(dim=1, keepdim=True)
    same(gradient(lambda a: loss(a @ M.T), A), A @ (M.T @ M) / norm)


def test_the_norm_after_rectified_layers_without_biases() -> None:
    A, first, second = rand(N, 9, seed=24), rand(12, 9, seed=25), rand(DIM, 12, seed=26)
    loss = of_features(objectives.FeatureNorm())

    def features(a: Tensor) -> Tensor:
        return (a @ first.T).relu() @ second.T

    found = gradient(lambda a: loss(features(a)), A)
    f = features(A)
    pattern = (A @ first.T > 0).double()
    jacobian = torch.einsum("oh,nh,hi->noi", second, pattern, first)
    same(found, torch.einsum("noi,no->ni", jacobian, f / f.norm(dim=1, keepdim=True)))
    same(torch.einsum("noi,ni->no", jacobian, A), f)  # homogeneous: f = J a
    same((found * A).sum(1), f.norm(dim=1))


@pytest.mark.parametrize("views", [2, 3])
def test_self_distillation_is_the_error_against_the_teacher(views: int) -> None:
    objective = objectives.SelfDistillation(views=views, seed=4)
    model = Model()
    context = objective.prepare(model, BATCH).context
    batch = Batch(IMAGES, BATCH.index, context)
    s = model(IMAGES).projection
    found = gradient(lambda s: objective(Output(F, projection=s), batch), s)
    same(found, ((s / 0.1).softmax(1) - context.mean(1)) / 0.1)


@pytest.mark.parametrize("loss", ["cosine", "cross-entropy"])
def test_the_surrogate_is_tangent_to_the_features(loss: str) -> None:
    objective = objectives.SelfDistillationSurrogate(loss, views=3)
    context = objective.prepare(Model(), BATCH).context
    found = gradient(lambda f: objective(Output(f), Batch(IMAGES, BATCH.index, context)), F)
    if loss == "cosine":
        r = -context.mean(1)
    else:
        r = ((normalize(F, dim=1) / 0.1).softmax(1) - (context / 0.04).softmax(2).mean(1)) / 0.1
    same(found, tangent(r, F))
    torch.testing.assert_close((found * F).sum(1), torch.zeros(N).double())
    sine = (1 - torch.cosine_similarity(r, F) ** 2).sqrt()
    same(found.norm(dim=1), r.norm(dim=1) / F.norm(dim=1) * sine)


# Contrastive.

T = normalize(TEXT, dim=1)
X = normalize(F, dim=1)
Y = one_hot(LABELS, len(TEXT)).double()


def test_clip_without_images_pulls_between_texts() -> None:
    p = (7 * X @ T.T).softmax(1)
    same(gradient(of_features(objectives.Contrastive(TEXT, LABELS, 7.0)), F), tangent(7 * (p - Y) @ T, F))


@pytest.mark.parametrize("index", [None, CONTEXT_INDEX])
def test_clip_with_images_weighs_texts_by_the_images_share(index: Tensor | None) -> None:
    p, own = (7 * X @ T.T).softmax(1), (7 * X @ T.T).exp()
    others = torch.ones(N, len(CONTEXT)).double() if index is None else (index != torch.arange(N)[:, None]).double()
    theirs = others @ (7 * normalize(CONTEXT, dim=1) @ T.T).exp()
    count = others @ one_hot(CONTEXT_LABELS, len(TEXT)).double()
    share = own / (own + theirs)
    r = 7 / 2 * (p + (count + Y) * share - 2 * Y) @ T
    objective = objectives.Contrastive(TEXT, LABELS, 7.0, CONTEXT, CONTEXT_LABELS, index)
    same(gradient(of_features(objective), F), tangent(r, F))


def test_siglip_asks_every_text_by_itself() -> None:
    answers = (10 * X @ T.T - 10).sigmoid()
    same(gradient(of_features(objectives.SigmoidContrastive(TEXT, LABELS)), F), tangent(10 * (answers - Y) @ T, F))


# Dense outputs.


def test_detection_is_the_error_of_one_box() -> None:
    z = rand(N, 6, 3, seed=27)
    objective = objectives.Detection(rand(3, DIM, seed=5))
    found = gradient(lambda z: objective(Output(F, query_logits=z), BATCH), z)
    best = z.flatten(1).argmax(1)
    box, query = best // 3, best % 3
    expected = torch.zeros_like(z)
    expected[torch.arange(N), box] = z[torch.arange(N), box].sigmoid() - one_hot(query, 3)
    same(found, expected)


def test_a_masked_autoencoder_has_the_error_at_hidden_patches() -> None:
    objective = objectives.MaskedAutoencoder(normalize=False)
    model = Model()
    output = model(IMAGES, **objective.prepare(model, BATCH).inputs)
    y, mask = output.prediction, output.mask
    found = gradient(lambda y: objective(output._replace(prediction=y), BATCH), y)
    x = nn.functional.unfold(IMAGES, 4, stride=4).transpose(1, 2).unflatten(2, (3, 16)).transpose(2, 3).flatten(2)
    weight = mask / mask.sum(1, keepdim=True)
    same(found, 2 * (y - x) / y.shape[2] * weight[:, :, None])


def test_masked_patches_are_tangent_where_they_are_hidden() -> None:
    objective = objectives.MaskedPatchSurrogate(seed=2)
    prepared = objective.prepare(Model(), BATCH)
    batch = Batch(IMAGES, BATCH.index, prepared.context)
    targets, mask = prepared.context
    tokens = rand(N, 3 + mask.shape[1], DIM, seed=28)
    found = gradient(lambda tokens: objective(Output(F, tokens=tokens), batch), tokens)
    expected = torch.zeros_like(tokens)
    weight = mask.double() / mask.sum(1, keepdim=True)
    expected[:, 3:] = tangent(-normalize(targets, dim=2), tokens[:, 3:]) * weight[:, :, None]
    same(found, expected)


# At earlier layers.


class Net(nn.Module):
    """A residual block, a rectified layer and a norm before the head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.inside, self.outside, self.last = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, DIM)
        self.norm = nn.LayerNorm(DIM, eps=0.0)
        nn.init.uniform_(self.norm.weight, 0.5, 2)
        nn.init.normal_(self.norm.bias)
        self.double()

    def block(self, a: Tensor) -> Tensor:
        added: Tensor = self.outside(torch.relu(self.inside(a)))
        return a + added

    def head(self, x: Tensor) -> Output:
        f = self.norm(x)
        return Output(f, logits(f), embedding=f)

    def forward(self, a: Tensor) -> Output:
        return self.head(self.last(self.block(a)))


A = rand(N, 8, seed=29)
OWN = {  # objectives whose targets are functions of the model's own output
    "predicted class": objectives.CrossEntropy(),
    "entropy": objectives.Entropy(),
    "kl-uniform": objectives.KLToUniform(),
    "feature-norm": objectives.FeatureNorm(),
}


@pytest.mark.parametrize("name", OWN)
def test_without_labels_the_gradient_at_a_layer_is_a_function_of_its_activations(name: str) -> None:
    """Two images with the same activations at a layer have the same gradient there, whatever else they are."""
    net = Net()
    alike = A.clone()
    alike[1] = alike[0]
    found = gradient(lambda a: OWN[name](net(a), BATCH), alike)
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    assert (found[0] - found[2]).abs().max() > 1e-3
    labelled = gradient(lambda a: objectives.CrossEntropy(LABELS)(net(a), BATCH), alike)
    assert (labelled[0] - labelled[1]).abs().max() > 1e-3  # their labels differ


@pytest.mark.parametrize("name", OWN)
def test_it_is_the_jacobians_image_of_the_gradient_before_the_head(name: str) -> None:
    net = Net()

    def features(a: Tensor) -> Tensor:
        return net(a).features

    jacobian = torch.stack([torch.autograd.functional.jacobian(features, a[None])[0, :, 0] for a in A])
    at_features = gradient(of_features(OWN[name]), features(A).detach())
    found = gradient(lambda a: OWN[name](net(a), BATCH), A)
    torch.testing.assert_close(found, torch.einsum("noi,no->ni", jacobian, at_features), rtol=1e-9, atol=1e-10)


def test_a_residual_block_passes_the_gradient_on_and_adds_to_it() -> None:
    net, loss = Net(), objectives.CrossEntropy(LABELS)
    after = net.block(A).detach()
    g = gradient(lambda x: loss(net.head(net.last(x)), BATCH), after)
    pattern = (net.inside(A) > 0).double()
    back = ((g @ net.outside.weight) * pattern) @ net.inside.weight
    same(gradient(lambda a: loss(net(a), BATCH), A), (g + back).detach())


def test_before_a_layer_norm_it_is_scaled_by_its_sd_and_tangent() -> None:
    net, loss = Net(), objectives.CrossEntropy(LABELS)
    x = net.last(net.block(A)).detach()
    g = gradient(lambda x: loss(net.head(x), BATCH), x)
    sd = x.std(1, unbiased=False, keepdim=True)
    unit = (x - x.mean(1, keepdim=True)) / sd
    r = gradient(lambda f: loss(Output(f, logits(f)), BATCH), net.norm(x).detach()) * net.norm.weight
    same(g, ((r - r.mean(1, keepdim=True) - unit * (r * unit).mean(1, keepdim=True)) / sd).detach())
    torch.testing.assert_close((g * (x - x.mean(1, keepdim=True))).sum(1), torch.zeros(N).double())
    torch.testing.assert_close(g.sum(1), torch.zeros(N).double())


def test_the_norm_behind_a_plain_layer_norm_has_no_gradient() -> None:
    x = rand(N, DIM, seed=31)
    plain = nn.LayerNorm(DIM, eps=0.0, elementwise_affine=False)
    found = gradient(lambda x: of_features(objectives.FeatureNorm())(plain(x)), x)
    torch.testing.assert_close(found, torch.zeros_like(x), rtol=0, atol=1e-14)


def test_mean_pooling_gives_every_position_the_same_gradient() -> None:
    tokens, loss = rand(N, 5, DIM, seed=30), objectives.CrossEntropy(LABELS)
    found = gradient(lambda t: of_features(loss)(t.mean(1)), tokens)
    at_features = gradient(of_features(loss), tokens.mean(1))
    same(found, at_features[:, None].expand(-1, 5, -1) / 5)


def test_a_class_token_gives_other_positions_none() -> None:
    tokens = rand(N, 5, DIM, seed=30)
    found = gradient(lambda t: of_features(objectives.Entropy())(t[:, 0]), tokens)
    assert torch.equal(found[:, 1:], torch.zeros(N, 4, DIM).double())
    assert found[:, 0].abs().max() > 1e-3
