"""Weights from files, the hub or a seed; every key must match."""

import argparse
import hashlib
import json
import pickle
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradkern.models import _dino_v1 as dino
from gradkern.models._catalogue import Row

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


def files_of(path: Path) -> list[Path]:
    """The files that hold the weights at a path: itself, or those of a folder of transformers."""
    if path.is_file():
        return [path]
    if (path / _SINGLE).is_file():
        return [path / _SINGLE]
    if (path / _INDEX).is_file():
        index = json.loads((path / _INDEX).read_text())
        return [path / name for name in sorted(set(index["weight_map"].values()))]
    if path.is_dir():
        raise FileNotFoundError(f"load_model: folder {str(path)!r} holds neither {_SINGLE} nor {_INDEX}")
    raise FileNotFoundError(f"load_model: weights must be 'pretrained', 'random' or a file, got {str(path)!r}")


def sha256(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 24):
                digest.update(chunk)
    return digest.hexdigest()


def read(files: Iterable[Path]) -> Any:
    """What the files hold, on the CPU; no code of theirs runs."""
    state: dict[str, Any] = {}
    for file in files:
        state.update(_read_one(file))
    return state


def _read_one(file: Path) -> Mapping[str, Any]:
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
            f"load_model: {file.name} holds more than weights, or is damaged; unpickling it could run code, so it is "
            f"not read. Save its state_dict, best as .safetensors: {str(error).splitlines()[0]}"
        ) from error
    if not isinstance(loaded, Mapping):
        raise ValueError(f"load_model: {file.name} must hold a mapping of names to weights, got {type(loaded)}")
    return loaded


def check_keys(what: str, missing: Iterable[str], unexpected: Iterable[str], others: Iterable[str] = ()) -> None:
    """Raise a ValueError that lists the first ten of each, if there is any."""
    lists = {"missing": sorted(missing), "unexpected": sorted(unexpected), "of other shapes": sorted(others)}
    if any(lists.values()):
        said = [
            f"{len(keys)} keys {kind}: {', '.join(keys[:10])}{', ...' if len(keys) > 10 else ''}"
            for kind, keys in lists.items()
            if keys
        ]
        raise ValueError(f"load_model: {what} does not fit the model: {'; '.join(said)}")


def load_strictly(network: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Weights of a plain module."""
    own = network.state_dict()
    shapes = [key for key in own.keys() & state.keys() if own[key].shape != state[key].shape]
    check_keys(what, own.keys() - state.keys(), state.keys() - own.keys(), shapes)
    network.load_state_dict(state)


def network_of_row(row: Row, config: Any) -> nn.Module:
    """The architecture, with the weights that torch's generator gives."""
    import transformers

    extra = {"add_pooling_layer": False} if row.model == "ViTModel" else {}
    network: nn.Module = getattr(transformers, row.model)(config, **extra)
    return network


def network_from_state(row: Row, config: Any, state: Mapping[str, Any], what: str) -> nn.Module:
    """By way of transformers, which knows the names that its older checkpoints use."""
    strange = [key for key, value in state.items() if not isinstance(value, Tensor)]
    if strange:
        raise ValueError(f"load_model: {what} must hold tensors only, got {type(state[strange[0]])} at {strange[0]!r}")
    network, unexpected = _from_pretrained(row, None, what, config=config, state_dict=dict(state))
    check_keys(what, (), unexpected)
    return network


def network_from_hub(row: Row) -> tuple[nn.Module, str | None]:
    """The published weights and the digest of their file, from the local cache or the hub."""
    try:
        network, unexpected = _from_pretrained(row, row.hub, row.hub)
    except ValueError:  # it was had, and does not fit
        raise
    except Exception as error:  # which HTTP library fails, and how, depends on the version of huggingface_hub
        licence = f"{row.source.gated}, then " if row.source.gated else ""
        raise OSError(
            f"load_model: {row.hub} is not in the local cache and could not be had from the Hugging Face hub; "
            f"{licence}`hf download {row.hub}` where there is a network, or give weights=PATH "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        ) from error
    if unexpected:  # whoever loads a published model cannot mend it
        warnings.warn(
            f"load_model: {row.hub} holds {len(unexpected)} keys that the model does not use: "
            f"{', '.join(unexpected[:10])}",
            stacklevel=5,
        )
    return network, _cached_sha256(row.hub)


def _cached_sha256(hub: str) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    for name in (_SINGLE, _INDEX, "pytorch_model.bin"):
        found = try_to_load_from_cache(hub, name)
        if isinstance(found, str):
            return sha256(files_of(Path(found).parent) if name == _INDEX else [Path(found)])
    return None


def _from_pretrained(row: Row, source: str | None, what: str, **arguments: Any) -> tuple[nn.Module, list[str]]:
    """The network, whole, and the keys that it has no place for."""
    import transformers

    extra = {"add_pooling_layer": False} if row.model == "ViTModel" else {}
    quiet = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # what it would warn of is an error here
    try:
        network, report = getattr(transformers, row.model).from_pretrained(
            source,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # listed in the report, with the rest
            dtype=torch.float32,
            **arguments,
            **extra,
        )
    finally:
        transformers.logging.set_verbosity(quiet)
    shapes = [entry if isinstance(entry, str) else entry[0] for entry in report["mismatched_keys"]]
    # constants 0, 1, 2, ... that older checkpoints hold and transformers makes anew
    unexpected = sorted(key for key in report["unexpected_keys"] if not key.endswith("embeddings.position_ids"))
    check_keys(what, report["missing_keys"], unexpected if report["missing_keys"] else (), shapes)
    return network, unexpected


def load_full_dino(row: Row, config: Any, checkpoint: Mapping[str, Any], what: str) -> dino.DinoV1:
    """Student, teacher and center of a full checkpoint of facebookresearch/dino."""
    parts = {}
    for role in ("student", "teacher"):
        backbone, head_state, others = dino.split_branch(checkpoint[role])
        named = f"{what}, {role}"
        network = network_from_state(row, config, backbone, f"{named}'s backbone")
        head = dino.head_for(head_state)
        if head is None:
            check_keys(f"{named}'s head", {"mlp.0.weight", "last_layer.weight_v"} - head_state.keys(), others)
            raise ValueError(f"load_model: {named} has no head of DINO")
        load_strictly(head, head_state, f"{named}'s head")
        check_keys(named, (), others)
        parts[role] = (network, head)
    loss = checkpoint["dino_loss"]
    check_keys(f"{what}, dino_loss", {"center"} - loss.keys(), loss.keys() - {"center"})
    prototypes = parts["student"][1].last_layer.weight_v.shape[0]
    center = loss["center"].float()
    if center.shape != (1, prototypes):
        raise ValueError(f"load_model: {what}: center must be [1, {prototypes}], got {list(center.shape)}")
    student, head = parts["student"]
    model = dino.DinoV1(student)
    model.add_head(head, dino.Teacher(*parts["teacher"]), center)
    return model
