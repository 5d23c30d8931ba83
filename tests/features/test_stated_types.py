"""Types are stated: no default of torch changes a feature, integers of NumPy are integers, seeds end at 2^63."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradkern
from gradkern import Sketch, objectives
from tests.features.image_truth import squares

KINDS = ["activation", "gradient", "weight_gradient", "gradient/random-cotangent", "gradient/feedback-alignment"]


def model() -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 4, 3, dtype=torch.float32), nn.Flatten(), nn.Linear(144, 5, dtype=torch.float32))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float32) * 0.1)
    return made.eval()


def images() -> Tensor:
    return torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float32)


@pytest.fixture
def default() -> Iterator[None]:
    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.usefixtures("default")
def test_the_default_type_changes_nothing(dtype: torch.dtype, tmp_path) -> None:
    ask = {"layers": ["0", "2"], "kinds": KINDS, "sketch": Sketch(64), "progress": False}
    X, Y = (np.random.default_rng(seed).standard_normal((60, 8)).astype("f4") for seed in (0, 1))

    def everything(name: str) -> dict[object, Tensor]:
        found = gradkern.capture(model(), images(), squares, **ask)
        stored = gradkern.capture(model(), images(), squares, out=tmp_path / name, **ask)
        spec = gradkern.load_model("efficientnet-lite0", "random").spec
        return {
            **found,
            **{("stored", *key): values for key, values in stored.items()},
            "losses": found.losses,
            "r": torch.from_numpy(gradkern.cross_val_score(X, Y)),
            "image": spec.preprocess([np.arange(192, dtype=np.uint8).reshape(8, 8, 3)]),
        }

    expected = everything("float32")
    torch.set_default_dtype(dtype)
    for key, values in everything("other").items():
        assert values.dtype == expected[key].dtype, key
        assert torch.equal(values, expected[key]), key


def test_the_default_device_changes_nothing() -> None:
    expected = gradkern.capture(model(), images(), squares, layers=["0"], kinds=KINDS)
    made, pictures = model(), images()
    with torch.device("meta"):
        features = gradkern.capture(made, pictures, squares, layers=["0"], kinds=KINDS)
    for key, values in expected.items():
        assert torch.equal(values, features[key]), key


def test_integers_of_numpy_are_integers() -> None:
    ask = {"layers": ["2"], "kinds": ["gradient/random-cotangent"]}
    expected = gradkern.capture(model(), images(), squares, batch_size=2, control_seed=3, sketch=Sketch(64, 5), **ask)
    found = gradkern.capture(
        model(), images(), squares, batch_size=np.int64(2), control_seed=np.uint8(3),
        sketch=Sketch(np.int32(64), np.int16(5), np.int8(1)), **ask,
    )  # fmt: skip
    assert torch.equal(expected["gradient/random-cotangent", "2"], found["gradient/random-cotangent", "2"])
    weights = [gradkern.untrained(model(), seed)[2].weight for seed in (4, np.int64(4))]
    assert torch.equal(*weights)
    assert objectives.SelfDistillation(seed=np.int64(7)).facts["seed"] == 7


@pytest.mark.parametrize("seed", [2**63, 2**64, -1])
def test_a_seed_that_is_too_large_is_a_value_error(seed: int) -> None:
    ask = {"layers": ["2"], "kinds": ["gradient/random-cotangent"], "control_seed": seed}
    for call in (
        lambda: gradkern.capture(model(), images(), squares, **ask),
        lambda: gradkern.untrained(model(), seed),
        lambda: Sketch(64, seed),
        lambda: gradkern.sketch(torch.ones(2, 80), 64, seed=seed),
    ):
        with pytest.raises(ValueError, match="seed must"):
            call()


@pytest.mark.parametrize("batch_size", [2.0, True, 0, "2"])
def test_what_is_no_integer_is_refused(batch_size: object) -> None:
    with pytest.raises(ValueError, match="batch_size must be an integer of at least 1, got"):
        gradkern.capture(model(), images(), squares, layers=["2"], batch_size=batch_size)
