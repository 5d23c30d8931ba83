"""What a capture keeps of the model's output and of the objective's labels, in memory and in files."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradkern
from gradkern import Sketch, objectives
from tests.toy_models import ConvNet

N = 7
IMAGES = torch.randn(N, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(N) % 10
ASK: dict[str, Any] = {"layers": ["stem", "block"], "sketch": Sketch(64), "batch_size": 3}


class Wide(nn.Module):
    """Embedding, projection of any width, features, no logits."""

    def __init__(self, prototypes: int) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.stem, self.block = nn.Linear(48, 8), nn.Linear(8, 8)
        self.head = nn.Linear(8, prototypes)

    def forward(self, images: Tensor) -> objectives.Output:
        x = self.block(self.stem(images.flatten(1)[:, :48]).tanh())
        return objectives.Output(features=x, projection=self.head(x), embedding=x[:, :4])


@pytest.fixture(scope="module")
def model() -> ConvNet:
    torch.manual_seed(1)
    return ConvNet().eval()


@pytest.mark.parametrize(
    "kinds", [("gradient",), ("activation", "weight_gradient"), ("gradient/feedback-alignment", "activation")]
)
@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_logits_are_the_models(model: ConvNet, kinds: tuple[str, ...], batch_size: int) -> None:
    features = gradkern.capture(
        model, IMAGES, objectives.CrossEntropy(), kinds=kinds, **ASK | {"batch_size": batch_size}
    )
    assert list(features.outputs) == ["logits"]
    logits = features.outputs["logits"]
    assert (logits.dtype, logits.device.type, logits.requires_grad) == (torch.float32, "cpu", False)
    torch.testing.assert_close(logits, model(IMAGES).logits.detach())
    assert {kind for kind, _ in features} == set(kinds)
    assert features.labels is not None
    assert features.labels.dtype == torch.int64
    assert torch.equal(features.labels, logits.argmax(1))
    loss = nn.functional.cross_entropy(logits, features.labels, reduction="none")
    torch.testing.assert_close(features.losses, loss)


def test_labels_are_those_of_the_objective(model: ConvNet) -> None:
    given = gradkern.capture(model, IMAGES, objectives.CrossEntropy(LABELS), **ASK)
    assert torch.equal(given.labels, LABELS)
    soft = torch.full((N, 10), 0.02) + 0.8 * torch.eye(10)[LABELS]
    assert torch.equal(gradkern.capture(model, IMAGES, objectives.CrossEntropy(soft), **ASK).labels, soft)
    text = torch.randn(5, 4)
    contrastive = objectives.Contrastive(text, LABELS % 5)
    features = gradkern.capture(Wide(6), IMAGES, contrastive, **ASK)
    assert torch.equal(features.labels, LABELS % 5)
    assert list(features.outputs) == ["embedding"]
    for objective in (objectives.Entropy(), objectives.FeatureNorm(), lambda output, batch: output.logits.sum(1)):
        assert gradkern.capture(model, IMAGES, objective, **ASK).labels is None


def test_outputs_are_what_the_objective_reads(model: ConvNet) -> None:
    features = gradkern.capture(model, IMAGES, objectives.FeatureNorm(), **ASK)
    assert set(features.outputs) == {"logits", "features"}
    torch.testing.assert_close(features.outputs["features"].norm(dim=1), features.losses)
    distilled = gradkern.capture(Wide(12), IMAGES, objectives.SelfDistillation(), **ASK)
    assert list(distilled.outputs) == ["projection"]
    assert distilled.labels is None  # the teacher's probabilities of each crop are none
    torch.testing.assert_close(distilled.outputs["projection"], Wide(12)(IMAGES).projection.detach())


@pytest.mark.parametrize(("prototypes", "name"), [(4096, "projection"), (4097, "features")])
def test_what_is_too_wide_gives_way_to_the_features(prototypes: int, name: str) -> None:
    features = gradkern.capture(Wide(prototypes), IMAGES, objectives.SelfDistillation(), **ASK)
    assert list(features.outputs) == [name]


def test_a_bare_tensor_is_named_by_the_objective() -> None:
    bare = nn.Sequential(nn.Flatten(1), nn.Linear(768, 5))
    ask = {**ASK, "layers": ["1"]}
    by_ours = gradkern.capture(bare, IMAGES, objectives.FeatureNorm(), **ask)
    assert list(by_ours.outputs) == ["features"]
    by_own = gradkern.capture(bare, IMAGES, lambda output, batch: output.square().sum(1), **ask)
    assert list(by_own.outputs) == ["output"]
    for features in (by_ours, by_own):
        torch.testing.assert_close(next(iter(features.outputs.values())), bare(IMAGES).detach())


def test_without_an_objective_or_a_matrix_there_are_none(model: ConvNet) -> None:
    features = gradkern.capture(model, IMAGES, None, kinds=["activation"], **ASK)
    assert features.outputs == {}
    assert features.labels is None
    maps = nn.Sequential(nn.Conv2d(3, 4, 3))
    features = gradkern.capture(
        maps, IMAGES, lambda output, batch: output.flatten(1).norm(dim=1), **ASK | {"layers": ["0"]}
    )
    assert features.outputs == {}


def test_half_precision_is_kept_in_float32(model: ConvNet) -> None:
    features = gradkern.capture(model, IMAGES, objectives.CrossEntropy(), dtype=torch.bfloat16, **ASK)
    logits = features.outputs["logits"]
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, model(IMAGES).logits.detach(), rtol=0.05, atol=0.1)


# In files.


class Interrupted:
    """Images of which one cannot be read the first time that the model needs it."""

    def __init__(self, images: Tensor, at: int) -> None:
        self.images, self.at, self.is_read = images, at, False

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        if index == self.at and not self.is_read:
            self.is_read = True
            raise KeyboardInterrupt
        return self.images[index]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))


def equal(first: gradkern.features.Features, second: gradkern.features.Features) -> bool:
    same = first.outputs.keys() == second.outputs.keys() and torch.equal(first.labels, second.labels)
    return same and all(torch.equal(values, second.outputs[name]) for name, values in first.outputs.items())


def test_files_hold_outputs_and_go_on_after_an_interruption(model: ConvNet, tmp_path: Path) -> None:
    objective = objectives.CrossEntropy(LABELS)
    memory = gradkern.capture(model, IMAGES, objective, **ASK)
    with pytest.raises(KeyboardInterrupt):
        gradkern.capture(model, Interrupted(IMAGES, 5), objective, out=tmp_path / "run", **ASK)
    assert json.loads((tmp_path / "run" / "capture.json").read_text())["done"] == 3
    finished = gradkern.capture(model, IMAGES, objective, out=tmp_path / "run", **ASK)
    loaded = gradkern.load_features(tmp_path / "run")
    for features in (finished, loaded):
        assert equal(features, memory)
        assert set(features) == set(memory)
    assert np.load(tmp_path / "run" / "outputs-logits.npy").shape == (N, 10)


def as_version_1(folder: Path) -> None:
    """A folder as it was before outputs were kept."""
    state = json.loads((folder / "capture.json").read_text())
    state["arrays"] = [key for key in state["arrays"] if key[0] not in ("outputs", "labels")]
    (folder / "capture.json").write_text(json.dumps({**state, "version": 1}))
    for path in (*folder.glob("outputs*.npy"), *folder.glob("labels*.npy")):
        path.unlink()


@pytest.mark.parametrize("is_finished", [True, False])
def test_folders_of_earlier_versions_are_read_and_gone_on_with(
    model: ConvNet, tmp_path: Path, is_finished: bool, recwarn: pytest.WarningsRecorder
) -> None:
    objective, run = objectives.CrossEntropy(LABELS), tmp_path / "run"
    if is_finished:
        gradkern.capture(model, IMAGES, objective, out=run, **ASK)
    else:
        with pytest.raises(KeyboardInterrupt):
            gradkern.capture(model, Interrupted(IMAGES, 5), objective, out=run, **ASK)
    as_version_1(run)
    features = gradkern.capture(model, IMAGES, objective, out=run, **ASK)
    said = [str(warning.message) for warning in recwarn if "earlier version" in str(warning.message)]
    assert len(said) == (0 if is_finished else 1)
    if said:
        assert "goes on without outputs-logits, labels" in said[0]
    memory = gradkern.capture(model, IMAGES, objective, **ASK)
    for old in (features, gradkern.load_features(run)):
        assert (old.outputs, old.labels) == ({}, None)
        assert set(old) == set(memory)
        torch.testing.assert_close(old.losses, memory.losses)
        torch.testing.assert_close(old["gradient", "block"], memory["gradient", "block"])


EARLIER = Path(__file__).parent / "earlier_captures"  # of the model, images and objective below, by those versions


@pytest.mark.parametrize("version", [1, 2, 3])
def test_files_of_every_version_are_read(tmp_path: Path, version: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))
    images = torch.arange(4 * 48).reshape(4, 3, 4, 4) / 400
    ask: dict[str, Any] = {"layers": ["1"], "sketch": Sketch(64), "batch_size": 2, "progress": False}
    now = gradkern.capture(model, images, objectives.FeatureNorm(), **ask)
    folder = tmp_path / "run"
    if version == 3:
        gradkern.capture(model, images, objectives.FeatureNorm(), out=folder, **ask)
    else:
        shutil.copytree(EARLIER / f"version-{version}", folder)
    assert json.loads((folder / "capture.json").read_text())["version"] == version
    stored = gradkern.load_features(folder)
    assert set(stored) == set(now)
    for key, values in now.items():
        torch.testing.assert_close(stored[key], values)
    torch.testing.assert_close(stored.losses, now.losses)
    assert list(stored.outputs) == (["features"] if version >= 2 else [])
    assert stored.images.hashes == (now.images.hashes if version >= 3 else None)
    assert stored.images.names is None
    if version < 3:
        with pytest.raises(FileExistsError, match="earlier versions hashed less of a model"):
            gradkern.capture(model, images, objectives.FeatureNorm(), out=folder, **ask)
