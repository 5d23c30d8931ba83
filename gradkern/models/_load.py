"""Models by name, with their published preprocessing and stable layer names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gradkern.errors import naming
from gradkern.models._catalogue import CATALOGUE
from gradkern.models._row import BuildRequest, BuiltModel, Row
from gradkern.models._spec import LoadedModel, ModelSpec
from gradkern.models._wrap import wrap_model

__all__ = ["LoadedModel", "architecture", "load_model", "names"]


def names() -> list[str]:
    """Names of the models that `load_model` takes."""
    return list(CATALOGUE)


def load_model(
    name: str | nn.Module, weights: str | Path = "pretrained", *, seed: int = 0, config: Mapping[str, Any] | None = None
) -> LoadedModel:
    """Load a model by name, in eval mode, on the CPU; or describe a module of timm or of your own.

    Parameters
    ----------
    name : one of `gradkern models`, such as "efficientnet-lite0", "dinov3-vitb16", "clip-vit-large-14"; or any
        nn.Module, which is given a `spec` whose layers are its blocks, and is returned itself
    weights : "pretrained"; "random" for an untrained control, drawn from `seed`; or a .pth or .safetensors file or a
        folder of transformers, every key of which must match. A full checkpoint of DINO gives "dinov1-vits16" its
        head, teacher and center
    seed : of random weights
    config : fields of the configuration of transformers to change, for random weights or those of a file; for
        "dinov1-*" with random weights also "prototypes", "head_hidden_size" and "bottleneck_size", which add a head;
        for a module, fields of its spec (resolution, mean, std, layers, class_tokens, register_tokens, ...)

    Returns
    -------
    nn.Module with `.spec` (preprocessing, layer names, licence), which returns a `gradkern.objectives.Output`. Its
    forward also takes `bool_masked_pos` [n, patches] (dinov2, dinov3), `noise` [n, patches] (vit-mae) or
    `query_embeds` [n, queries, d] (owlvit)

    Raises
    ------
    ValueError : unknown name, unknown field, or weights that do not fit
    OSError : pretrained weights that are neither in the local cache nor available from the hub; a missing file
    ImportError : the packages that bring the model are not installed

    Examples
    --------
    >>> import torch, gradkern
    >>> model = gradkern.load_model(torch.nn.Sequential(torch.nn.Flatten(1), torch.nn.Linear(12, 3)))
    >>> model(torch.zeros(2, 3, 2, 2)).shape
    torch.Size([2, 3])
    """
    with naming("load_model"):
        if isinstance(name, nn.Module):
            return wrap_model(name, str(weights), config or {}).eval()
        if name not in CATALOGUE:
            raise ValueError(f"name must be one of {sorted(CATALOGUE)}, got {name!r}")
        if config and str(weights) == "pretrained":
            raise ValueError(f"config must be None with pretrained weights, whose sizes are fixed, got {dict(config)}")
        row = CATALOGUE[name]
        request = BuildRequest(name, str(weights), config or {}, row.source)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            built = row.builder.build(request)
        built.model.spec = _spec(row, request, built)
        return built.model.eval()


def architecture(name: str) -> LoadedModel:
    """Load a model on the meta device: it has names and shapes, but no weights."""
    with torch.device("meta"):
        return load_model(name, "random")


def _spec(row: Row, request: BuildRequest, built: BuiltModel) -> ModelSpec:
    model = built.model
    layers = tuple(f"blocks.{i}" for i in range(len(model.blocks)))
    has_tokens = model.class_tokens is not None
    side, shorter_side = built.resolution or row.resolution, row.preprocessing.shorter_side
    return ModelSpec(
        name=request.name,
        weights=request.weights,
        weights_sha256=built.weights_sha256,
        resolution=side,
        mean=row.preprocessing.mean,
        std=row.preprocessing.std,
        layers=layers,
        licence=row.source.licence,
        interpolation=row.preprocessing.interpolation,
        shorter_side=None if shorter_side is None else shorter_side * side // row.resolution,
        edges=model.edges,
        branches=tuple(f"{layer}.{branch}" for layer in layers for branch in model.branches_in),
        class_tokens=model.class_tokens,
        register_tokens=getattr(model.vision_config, "num_register_tokens", 0) if has_tokens else None,
        patch_size=model.vision_config.patch_size if has_tokens else None,
        citation=row.source.citation,
        gated=row.source.gated,
    )
