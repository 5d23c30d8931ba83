"""Weights from files or from the hub; every key must match."""

import argparse
import hashlib
import json
import pickle
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


def files_of(path: Path) -> list[Path]:
    """The files that hold the weights at a path: the path itself, or those of a folder of transformers."""
    if path.is_file():
        return [path]
    if (path / _SINGLE).is_file():
        return [path / _SINGLE]
    if (path / _INDEX).is_file():
        index = json.loads((path / _INDEX).read_text())
        return [path / name for name in sorted(set(index["weight_map"].values()))]
    if path.is_dir():
        raise FileNotFoundError(f"folder {str(path)!r} holds neither {_SINGLE} nor {_INDEX}")
    raise FileNotFoundError(f"weights must be 'pretrained', 'random' or a file, got {str(path)!r}")


def sha256(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 24):
                digest.update(chunk)
    return digest.hexdigest()


def read(files: Iterable[Path]) -> Any:
    """The contents of the files, on the CPU. No code in them is run."""
    state: dict[str, Any] = {}
    for file in files:
        state.update(_read_file(file))
    return state


def _read_file(file: Path) -> Mapping[str, Any]:
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        tensors: dict[str, Tensor] = load_file(file)
        return tensors
    try:
        # full checkpoints of DINO carry the arguments of their training; a Namespace is a dict with another name
        with torch.serialization.safe_globals([argparse.Namespace]):
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{file.name} holds more than weights, or is damaged; unpickling it could run code, so it is "
            f"not read. Save its state_dict, best as .safetensors: {str(error).splitlines()[0]}"
        ) from error
    if not isinstance(loaded, Mapping):
        raise ValueError(f"{file.name} must hold a mapping of names to weights, got {type(loaded)}")
    return loaded


def check_keys(what: str, missing: Iterable[str], unexpected: Iterable[str], others: Iterable[str] = ()) -> None:
    """Raise a ValueError that lists the first ten keys of each sort, if there are any."""
    lists = {"missing": sorted(missing), "unexpected": sorted(unexpected), "of other shapes": sorted(others)}
    if any(lists.values()):
        problems = [
            f"{len(keys)} keys {kind}: {', '.join(keys[:10])}{', ...' if len(keys) > 10 else ''}"
            for kind, keys in lists.items()
            if keys
        ]
        raise ValueError(f"{what} does not fit the model: {'; '.join(problems)}")


def load_strictly(network: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load weights into a plain module."""
    own = network.state_dict()
    shapes = [key for key in own.keys() & state.keys() if own[key].shape != state[key].shape]
    check_keys(what, own.keys() - state.keys(), state.keys() - own.keys(), shapes)
    network.load_state_dict(state)


def network_from_config(architecture: str, config: Any) -> nn.Module:
    """A model of transformers, with the weights that torch's generator gives."""
    import transformers

    network: nn.Module = getattr(transformers, architecture)(config, **_arguments(architecture))
    return network


def network_from_state(architecture: str, config: Any, state: Mapping[str, Any], what: str) -> nn.Module:
    """A model with the weights of a file, read by transformers, which knows the names in its older checkpoints."""
    others = [key for key, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise ValueError(f"{what} must hold tensors only, got {type(state[others[0]])} at {others[0]!r}")
    network, unexpected = _from_pretrained(architecture, None, what, config=config, state_dict=dict(state))
    check_keys(what, (), unexpected)
    return network


def network_from_hub(hub: str, architecture: str, gated: str | None) -> tuple[nn.Module, str | None]:
    """The published weights and the digest of their file, from the local cache or the hub."""
    try:
        network, unexpected = _from_pretrained(architecture, hub, hub)
    except ValueError:  # the weights were found, and do not fit
        raise
    except Exception as error:  # which HTTP library fails, and how, depends on the version of huggingface_hub
        licence = f"{gated}, then " if gated else ""
        raise OSError(
            f"{hub} is not in the local cache and could not be downloaded from the Hugging Face hub; "
            f"{licence}`hf download {hub}` where there is a network, or give weights=PATH "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        ) from error
    if unexpected:  # whoever loads a published model cannot mend it
        warnings.warn(
            f"load_model: {hub} holds {len(unexpected)} keys that the model does not use: {', '.join(unexpected[:10])}",
            stacklevel=4,
        )
    return network, _cached_sha256(hub)


def _cached_sha256(hub: str) -> str | None:
    files = cached_files(hub)
    return sha256(files) if files else None


def cached_files(hub: str) -> list[Path]:
    """The files of published weights in the local cache of the hub; none where they were not downloaded."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return []
    for name in (_SINGLE, _INDEX, "pytorch_model.bin"):
        path = try_to_load_from_cache(hub, name)
        if isinstance(path, str):
            return files_of(Path(path).parent) if name == _INDEX else [Path(path)]
    return []


def _arguments(architecture: str) -> dict[str, Any]:
    return {"add_pooling_layer": False} if architecture == "ViTModel" else {}


def _from_pretrained(architecture: str, source: str | None, what: str, **arguments: Any) -> tuple[nn.Module, list[str]]:
    """The network with all of its weights, and the keys that it does not use."""
    import transformers

    with quiet():  # what transformers would warn of is an error here
        network, report = getattr(transformers, architecture).from_pretrained(
            source,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # listed in the report, with the rest
            dtype=torch.float32,
            **arguments,
            **_arguments(architecture),
        )
    shapes = [entry if isinstance(entry, str) else entry[0] for entry in report["mismatched_keys"]]
    # constants 0, 1, 2, ... that older checkpoints hold and transformers creates itself
    unexpected = sorted(key for key in report["unexpected_keys"] if not key.endswith("embeddings.position_ids"))
    check_keys(what, report["missing_keys"], unexpected if report["missing_keys"] else (), shapes)
    return network, unexpected


@contextmanager
def quiet() -> Iterator[None]:
    """No messages of transformers and of the hub; their bars on a terminal alone."""
    from huggingface_hub.utils import logging as of_hub
    from transformers import logging as of_transformers

    before = of_transformers.get_verbosity(), of_hub.get_verbosity()
    has_bars = of_transformers.is_progress_bar_enabled()
    of_transformers.set_verbosity_error()
    of_hub.set_verbosity_error()
    if sys.stderr is None or not sys.stderr.isatty():
        of_transformers.disable_progress_bar()
    try:
        yield
    finally:
        of_transformers.set_verbosity(before[0])
        of_hub.set_verbosity(before[1])
        if has_bars:
            of_transformers.enable_progress_bar()
