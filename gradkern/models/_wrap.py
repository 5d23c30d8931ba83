"""Describes any module like a model of `load_model`: finds its blocks, and reads weights strictly."""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from torch import nn

from gradkern.models import _checkpoint as checkpoint
from gradkern.models._spec import LoadedModel, ModelSpec

_FIELDS = [field.name for field in fields(ModelSpec) if field.name not in ("weights", "weights_sha256")]

_MOST_STAGES = 5  # of a convolutional network


def wrap_model(module: nn.Module, weights: str, facts: Mapping[str, Any]) -> LoadedModel:
    """The module itself, with a `spec` whose fields are `facts`, and else those of models trained on ImageNet."""
    unknown = sorted(set(facts) - set(_FIELDS))
    if unknown:
        raise ValueError(f"config must name fields of a module's spec, {_FIELDS}, got {unknown}")
    if weights == "random":
        raise ValueError("weights must be 'pretrained' (those that the module has) or a file, got 'random'")
    digest = None
    if weights != "pretrained":
        files = checkpoint.files_of(Path(weights))
        checkpoint.load_strictly(module, checkpoint.read(files), Path(weights).name)
        digest = checkpoint.sha256(files)
    spec = ModelSpec(
        name=type(module).__name__,
        weights=weights,
        weights_sha256=digest,
        resolution=224,
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        layers=blocks_of(module),
        licence="unknown",
        channels_last=str(getattr(module, "output_fmt", "")).endswith("NHWC"),  # timm's word for it
    )
    module.spec = replace(spec, **facts)  # type: ignore[assignment]  # a module takes any attribute
    return module  # type: ignore[return-value]  # from here on it has what a LoadedModel has


def blocks_of(module: nn.Module) -> tuple[str, ...]:
    """Names of the blocks, () if there are none.

    Blocks are the children of the outermost lists of layers, if all children of a list have one class and have children
    themselves; of several such classes, the one with the most blocks counts. If they are few and consist of lists (the
    stages of a convolutional network), the blocks are the children of those lists.
    """
    outer = _lists(module)
    if 0 < len(outer) <= _MOST_STAGES:
        inner = [f"{stage}.{name}" for stage in outer for name in _lists(module.get_submodule(stage))]
        if len(inner) >= len(outer):
            return tuple(inner)
    return tuple(outer)


def _lists(module: nn.Module) -> list[str]:
    names_of_class: dict[type, list[str]] = {}
    inside: tuple[str, ...] = ()  # prefixes of the blocks so far: a list inside a block holds no blocks
    for name, child in module.named_modules():
        if not isinstance(child, nn.ModuleList | nn.Sequential) or len(child) == 0 or name.startswith(inside):
            continue
        kinds = {type(block) for block in child}
        has_children = next(child[0].children(), None) is not None
        if len(kinds) == 1 and has_children and not kinds & {nn.Sequential, nn.ModuleList}:
            names = [f"{name}.{i}" if name else str(i) for i in range(len(child))]
            names_of_class.setdefault(kinds.pop(), []).extend(names)
            inside += tuple(f"{block}." for block in names)
    most: list[str] = []
    for names in names_of_class.values():
        most = names if len(names) > len(most) else most
    return most
