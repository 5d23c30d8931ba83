"""Capture against the obvious: one image at a time, torch.autograd.grad, then the reference sketch."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradkern
from gradkern import Sketch, objectives
from gradkern.features._engine.layout import parameter_matrix, segments
from gradkern.kernels import reference
from tests.toy_models import ConvNet, Transformer

N = 5
SKETCH = Sketch(256, seed=3)
MODELS = {
    "convnet": (ConvNet, ("stem", "block", "overwrites_input", "head"), objectives.CrossEntropy()),
    "transformer": (Transformer, ("patch", "blocks.0", "blocks.1", "blocks.2"), objectives.Entropy()),
    "leaf layers": (Transformer, ("blocks.0.mlp.1", "blocks.1.norm", "blocks.2.attention"), objectives.FeatureNorm()),
    "nested layers": (ConvNet, ("stem", "stem.0", "block.1"), objectives.KLToUniform()),
}
ALL = ("activation", "gradient", "weight_gradient")


@pytest.fixture
def images() -> Tensor:
    return torch.randn(N, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def build(name: str, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, tuple[str, ...], object]:
    torch.manual_seed(1)
    make, layers, objective = MODELS[name]
    return make().to(dtype), layers, objective


def batch_of_one(model: nn.Module, layers, objective, image: Tensor) -> dict[tuple[str, str], Tensor]:
    """Obviously correct, but slow: every kind at every layer for one image, sketched by the reference, float64."""
    outputs: dict[str, Tensor] = {}
    values: dict[tuple[str, str], Tensor] = {}

    def keep(name: str):
        def hook(module, args, output):
            output = output[0] if isinstance(output, tuple) else output
            values["activation", name] = as_reference(output.detach().clone())
            outputs[name] = output
            rest = output.clone()  # the model may overwrite it in place
            return (rest, "on") if name.count(".") == 1 and name.startswith("blocks.") else rest

        return hook

    model.eval()
    handles = [
        model.get_submodule(name).register_forward_hook(keep(name))
        for name in layers
        if not isinstance(model.get_submodule(name), nn.MultiheadAttention)
    ]
    try:
        loss = objective(model(image), None).sum()
    finally:
        for handle in handles:
            handle.remove()
    for name in outputs:
        (gradient,) = torch.autograd.grad(loss, outputs[name], retain_graph=True)
        values["gradient", name] = as_reference(gradient)
    for name in layers:
        parameters = list(model.get_submodule(name).parameters())
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
        total, first = torch.zeros(1, SKETCH.k).double(), 0
        for gradient in gradients:
            rows, cols = parameter_matrix(gradient)
            total += reference.sketch(gradient.reshape(1, rows, cols), SKETCH.k, SKETCH.seed, 1, first)
            first += segments(rows, cols)
        values["weight_gradient", name] = total
    return values


def as_reference(x: Tensor) -> Tensor:
    matrix = x if x.dim() == 3 else x.reshape(1, 1, -1)
    return reference.sketch(matrix, SKETCH.k, SKETCH.seed)


def truth(name: str, images: Tensor) -> dict[tuple[str, str], Tensor]:
    model, layers, objective = build(name, torch.float64)
    rows = [batch_of_one(model, layers, objective, image[None].double()) for image in images]
    return {key: torch.cat([row[key] for row in rows]) for key in rows[0]}


@pytest.mark.parametrize("batch_size", [1, 2, 5, 9])
@pytest.mark.parametrize("name", MODELS)
def test_every_kind_equals_autograd_one_image_at_a_time(name: str, batch_size: int, images: Tensor) -> None:
    model, layers, objective = build(name)
    features = gradkern.capture(
        model, images, objective, layers=layers, kinds=ALL, sketch=SKETCH, batch_size=batch_size
    )
    assert set(features) == {(kind, layer) for kind in ALL for layer in layers}
    expected = truth(name, images)
    for key, values in expected.items():
        assert features[key].shape == (N, SKETCH.k)
        error = (features[key] - values).abs().max()
        assert error <= 2e-5 * values.abs().max() + 1e-7, key


def test_float64_is_computed_in_float64(images: Tensor) -> None:
    model, layers, objective = build("convnet", torch.float64)
    features = gradkern.capture(model, images.double(), objective, layers=layers, kinds=ALL, sketch=SKETCH)
    for key, values in truth("convnet", images).items():
        scale = values.abs().max()
        assert (features[key] - values).abs().max() <= 1e-6 * scale, key
    assert features.dtype == "float64"


def test_autocast_stays_near(images: Tensor) -> None:
    model, layers, objective = build("transformer")
    kinds = ("activation", "gradient", "weight_gradient")
    options = {"layers": layers, "kinds": kinds, "sketch": SKETCH}
    half = gradkern.capture(model, images, objective, dtype=torch.bfloat16, **options)
    full = gradkern.capture(model, images, objective, **options)
    assert half.dtype == "bfloat16"
    for key in full:
        assert not torch.equal(half[key], full[key])
        assert (half[key] - full[key]).norm() < 0.1 * full[key].norm(), key


def test_losses_and_order_of_images(images: Tensor) -> None:
    model, layers, objective = build("convnet")
    features = gradkern.capture(model, list(images), objective, layers=layers, batch_size=2)
    assert features.objective == "cross-entropy"
    torch.testing.assert_close(features.losses, objective(model.eval()(images), None).detach())
    reverse = gradkern.capture(model, images.flip(0), objective, layers=layers, batch_size=5)
    for key in features:
        torch.testing.assert_close(reverse[key].flip(0), features[key], rtol=1e-4, atol=1e-5)


def test_labels_follow_the_batches(images: Tensor) -> None:
    model, layers, _ = build("convnet")
    labels = torch.tensor([3, 1, 4, 1, 5])
    objective = objectives.CrossEntropy(labels)
    features = gradkern.capture(model, images, objective, layers=layers, batch_size=2)
    expected = nn.functional.cross_entropy(model.eval()(images).logits, labels, reduction="none")
    torch.testing.assert_close(features.losses, expected.detach())


def test_the_model_is_left_as_it_was(images: Tensor) -> None:
    model, layers, objective = build("convnet")
    model.train()
    model.stem[1].eval()
    model.head.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradkern.capture(model, images, objective, layers=layers, kinds=ALL)
    assert model.training
    assert not model.stem[1].training
    assert not model.head.weight.requires_grad
    assert model.head.bias.requires_grad
    assert all(p.grad is None for p in model.parameters())
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(RuntimeError):
        gradkern.capture(model, images * float("nan"), objective, layers=layers)
    assert model.training
    assert all(not m._forward_hooks for m in model.modules())


def test_no_gradient_is_left_behind(images: Tensor) -> None:
    model, layers, _ = build("convnet")
    head = nn.Linear(10, 1)
    images.requires_grad_()
    gradkern.capture(model, images, lambda output, batch: head(output.logits)[:, 0], layers=layers, kinds=ALL)
    assert images.grad is None
    assert head.weight.grad is None


class Normed(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.before, self.norm = model, nn.Identity(), nn.LayerNorm(12, elementwise_affine=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.before(self.model(x).features)).pow(3)


def test_the_gradient_before_a_layer_norm_is_orthogonal_to_its_input(images: Tensor) -> None:
    model, _, _ = build("transformer", torch.float64)
    features = gradkern.capture(
        Normed(model).double(), images.double(), lambda out, batch: out.sum(1), layers=["before"], tokens="mean",
        sketch="raw",
    )  # fmt: skip
    x, g = features["activation", "before"], features["gradient", "before"]
    centred = x - x.mean(1, keepdim=True)
    assert g.norm(dim=1).min() > 0
    assert ((centred * g).sum(1).abs() <= 1e-5 * centred.norm(dim=1) * g.norm(dim=1)).all()


def test_blocks_are_the_default_layers(images: Tensor) -> None:
    model, layers, objective = build("transformer")
    model.spec = type("Spec", (), {"layers": layers})()
    assert list(gradkern.capture(model, images, objective)) == [
        (kind, layer) for kind in ("activation", "gradient") for layer in layers
    ]


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.unused, self.aside = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.aside(x.mean((2, 3)))
        return self.layer(self.layer(x.mean((2, 3))))


class Mixing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x - x.mean(0))


class Reshaped(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(self.shape)


class Rounded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.long()


def sequential(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), *layers)


def loss(output, batch) -> Tensor:
    return (output if isinstance(output, Tensor) else output.logits).square().sum(1)


IMAGES = torch.randn(3, 3, 16, 16)
ERRORS = [
    ({"layers": ["blok"]}, ValueError, r"layers must name modules of the model, got 'blok'; near names: .*block"),
    ({"layers": ["zzzzzz"]}, ValueError, "got 'zzzzzz'; the first are: stem, stem.0"),
    ({"layers": None}, ValueError, "layers must name modules of the model, got None"),
    ({"layers": "stem"}, ValueError, "layers must be a sequence of at least one name, got 'stem'"),
    ({"layers": ["stem", "stem"]}, ValueError, "layers must not repeat a name"),
    (
        {"kinds": ["activations"]},
        ValueError,
        r"kinds must be some of \['activation', 'gradient', 'weight_gradient', .*\]",
    ),
    ({"batch_size": 0}, ValueError, "batch_size must be an integer of at least 1, got 0"),
    ({"images": [IMAGES[0], IMAGES[1, :, 1:]]}, ValueError, r"must have one size, got \[3, 16, 16\] for image 0 and"),
    ({"images": []}, ValueError, "images must hold at least one image"),
    ({"images": IMAGES[0]}, ValueError, r"images must be \[N, 3, h, w\], got shape \[3, 16, 16\]"),
    ({"images": IMAGES.byte()}, ValueError, "images must be floating point and preprocessed, got torch.uint8"),
    ({"images": ["a.jpg"]}, ValueError, r"image 0 must be a tensor \[3, h, w\], got str"),
    ({"images": [np.zeros((16, 16))]}, ValueError, r"image 0 must be \[3, h, w\], got shape \[16, 16\]"),
    ({"device": "meta"}, ValueError, r"device must be where the model is, cpu, got meta; call model.to\('meta'\)"),
    ({"dtype": torch.float64}, ValueError, "dtype must be torch.float32 .the model's. or a half type"),
    ({"objective": lambda o, b: o.logits.sum()}, ValueError, r"one loss per image, \[1\], got \[\]"),
    ({"objective": lambda o, b: 1.0}, ValueError, r"one loss per image, \[1\], got float"),
    (
        {"objective": lambda o, b: torch.zeros(len(b.images), requires_grad=True) * 1},
        RuntimeError,
        "the objective's gradient never reached layer 'stem'",
    ),
    (
        {"objective": lambda o, b: torch.zeros(len(b.images))},
        RuntimeError,
        "the objective does not depend on any of the layers",
    ),
    ({"model": "resnet18"}, TypeError, r"capture: model must be a torch\.nn\.Module, got 'resnet18' \(str\)"),
    ({"model": ConvNet}, TypeError, r"capture: model must be a torch\.nn\.Module, got the class ConvNet"),
    ({"objective": "entropy"}, TypeError, r"capture: objective must be .*, got 'entropy' \(str\)"),
    ({"objective": objectives.Entropy}, TypeError, "capture: objective must be .*, got the class Entropy"),
    ({"layers": [0]}, ValueError, r"capture: layers must be names of modules, got 0 \(int\)"),
    ({"layers": 3}, ValueError, "capture: layers must be a sequence of at least one name, got 3"),
    ({"device": "gpu7"}, ValueError, "capture: device must be a torch device .*, got 'gpu7'"),
    ({"images": IMAGES * float("inf")}, RuntimeError, "activation of layer 'stem' is not finite for image 0"),
    (
        {"model": nn.Sequential(Reshaped(-1, 3, 8, 16), Reshaped(-1, 768)), "layers": ["0"]},
        RuntimeError,
        r"layer '0' must return a row for each image, got shape \[2, 3, 8, 16\] for 1 image; name the layer around it",
    ),
    (
        {"model": sequential(Rounded()), "layers": ["2"]},
        RuntimeError,
        r"layer '2' must return a floating-point tensor, got torch.int64",
    ),
    ({"model": Twice(), "layers": ["layer"]}, RuntimeError, "layer 'layer' ran twice in one forward pass"),
    ({"model": Twice(), "layers": ["unused"]}, RuntimeError, "layer 'unused' did not run in the forward pass"),
    ({"model": Twice(), "layers": ["aside"]}, RuntimeError, "does not depend on any of the layers"),
    (
        {"model": sequential(Mixing()), "layers": ["2"], "kinds": ["weight_gradient"]},
        RuntimeError,
        "layer '2': run on one image alone, the model gives another weight_gradient than in the batch",
    ),
    (
        {"model": sequential(nn.ReLU()), "layers": ["2"], "kinds": ["weight_gradient"]},
        ValueError,
        "'2' has no parameters",
    ),
    (
        {"model": sequential(nn.LSTM(3, 3)), "layers": ["2"], "objective": lambda o, b: o[0].sum(1)},
        RuntimeError,
        "layer '2': run on one image alone, the model gives another activation",  # rows are steps of one sequence
    ),
]


@pytest.mark.parametrize(("changes", "error", "message"), ERRORS, ids=[str(i) for i in range(len(ERRORS))])
def test_bad_input_is_named(changes, error, message) -> None:
    torch.manual_seed(0)
    given = {"model": ConvNet(), "images": IMAGES, "objective": loss, "layers": ["stem"]} | changes
    model, images, objective = (given.pop(name) for name in ("model", "images", "objective"))
    with pytest.raises(error, match=message):
        gradkern.capture(model, images, objective, **given)


def test_objectives_say_what_they_need() -> None:
    with pytest.raises(TypeError, match=r"the model's output must be a tensor or have \.features, got dict"):
        objectives.FeatureNorm()({}, None)
    with pytest.raises(ValueError, match=r"logits must be \[n, d\], got shape \[3\]"):
        objectives.Entropy()(torch.zeros(3), None)


def test_objectives_are_their_formulas() -> None:
    logits = torch.randn(4, 10).double()
    p = logits.softmax(1)
    uniform = torch.full_like(p, 0.1)
    torch.testing.assert_close(objectives.Entropy()(logits, None), -(p * p.log()).sum(1))
    torch.testing.assert_close(objectives.KLToUniform()(logits, None), (uniform * (uniform / p).log()).sum(1))
    torch.testing.assert_close(objectives.CrossEntropy()(logits, None), -p.max(1).values.log())
    torch.testing.assert_close(objectives.FeatureNorm()(logits, None), logits.square().sum(1).sqrt())


def test_missing_feature_is_named(images: Tensor) -> None:
    model, _, objective = build("convnet")
    features = gradkern.capture(model, images, objective, layers=["stem"], kinds=["activation"])
    with pytest.raises(KeyError, match=r"no feature \('gradient', 'stem'\); there are \[\('activation', 'stem'\)\]"):
        features["gradient", "stem"]
