"""DINO of 2021: its head, its teacher, and the names in its checkpoints."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from gradkern.models import _checkpoint as checkpoint
from gradkern.models._adapters import Adapter
from gradkern.models._transformers import TransformersBuilder
from gradkern.objectives._interface import Output

_HEAD_FIELDS = {"head_hidden_size": 2048, "bottleneck_size": 256, "prototypes": 65536}


class Prototypes(nn.Module):
    """A linear layer whose rows have the lengths `weight_g`, 1 in the published checkpoints."""

    def __init__(self, width: int, prototypes: int):
        super().__init__()
        self.weight_g = nn.Parameter(torch.empty(prototypes, 1))
        self.weight_v = nn.Parameter(torch.empty(prototypes, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight_g)
        nn.init.normal_(self.weight_v, std=self.weight_v.shape[1] ** -0.5)

    def forward(self, features: Tensor) -> Tensor:
        directions = self.weight_v / self.weight_v.norm(dim=1, keepdim=True)
        return nn.functional.linear(features, self.weight_g * directions)


class DinoHead(nn.Module):
    """A multilayer perceptron of three layers, normalisation to unit length, and prototypes."""

    def __init__(self, width: int, hidden: int, bottleneck: int, prototypes: int):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        self.last_layer = Prototypes(bottleneck, prototypes)

    def forward(self, features: Tensor) -> Tensor:
        projection: Tensor = self.last_layer(nn.functional.normalize(self.mlp(features), dim=-1))
        return projection


class Teacher(nn.Module):
    """A frozen copy of the student's architecture, with weights of its own."""

    def __init__(self, network: nn.Module, head: nn.Module):
        super().__init__()
        self.network, self.head = network, head
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Output:
        return _forward(self.network, self.head, images)


def _forward(network: Any, head: nn.Module | None, images: Tensor) -> Output:
    tokens = network(images).last_hidden_state
    return Output(tokens[:, 0], tokens=tokens, projection=None if head is None else head(tokens[:, 0]))


class DinoV1(Adapter):
    """`head`, `teacher` and `center` [1, prototypes] are None unless a full checkpoint brought them."""

    blocks_at = "layers"
    edges_at = ("embeddings", "layernorm")
    branches_in = ("attention.o_proj", "mlp")
    class_tokens = 1
    center: Tensor | None

    def __init__(self, network: Any):
        super().__init__(network)
        self.head: nn.Module | None = None
        self.register_buffer("center", None)
        # in a tuple: its parameters are not the model's, and no optimiser or capture shall meet them
        self._teacher: tuple[Teacher, ...] = ()

    @property
    def teacher(self) -> Teacher | None:
        return self._teacher[0] if self._teacher else None

    def add_head(self, head: nn.Module, teacher: Teacher, center: Tensor) -> None:
        self.head, self._teacher, self.center = head, (teacher,), center

    def add_random_head(self, sizes: Mapping[str, int]) -> None:
        """Add a head as at the beginning of training: the teacher is a copy of the student, the center is 0."""
        full = {**_HEAD_FIELDS, **sizes}
        head = DinoHead(
            self.network.config.hidden_size, full["head_hidden_size"], full["bottleneck_size"], full["prototypes"]
        )
        teacher = Teacher(copy.deepcopy(self.network), copy.deepcopy(head))
        self.add_head(head, teacher, torch.zeros(1, full["prototypes"]))

    def forward(self, images: Tensor) -> Output:
        return _forward(self.network, self.head, images)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        for teacher in self._teacher:  # `.to(device)` and `.double()` reach it here
            teacher._apply(fn, recurse)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


_RENAMED = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
}
_RENAMED_IN_BLOCK = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.o_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def _is_timm(state: Mapping[str, Any]) -> bool:
    return "patch_embed.proj.weight" in state


def _from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A ViT's weights under the names of transformers; other names stay, for the strict loader to report."""
    renamed = {}
    for key, value in state.items():
        if key.startswith("blocks.") and key.count(".") >= 3:
            _, block, inside = key.split(".", 2)
            module, _, kind = inside.rpartition(".")
            if module == "attn.qkv" and kind in ("weight", "bias"):
                for name, rows in zip("qkv", value.chunk(3), strict=True):
                    renamed[f"layers.{block}.attention.{name}_proj.{kind}"] = rows.contiguous()
            else:
                has_name = module in _RENAMED_IN_BLOCK
                renamed[f"layers.{block}.{_RENAMED_IN_BLOCK[module]}.{kind}" if has_name else key] = value
            continue
        module, _, kind = key.rpartition(".")
        renamed[_RENAMED.get(key) or (f"{_RENAMED[module]}.{kind}" if module in _RENAMED else key)] = value
    return renamed


def _is_full_checkpoint(state: Any) -> bool:
    return isinstance(state, Mapping) and {"student", "teacher", "dino_loss"} <= state.keys()


def _split_branch(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor], list[str]]:
    """The backbone and the head of a student or teacher, and the names that belong to neither."""
    backbone, head, others = {}, {}, []
    for key, value in state.items():
        bare = key.removeprefix("module.")
        if bare.startswith("backbone."):
            backbone[bare.removeprefix("backbone.")] = value
        elif bare.startswith("head."):
            head[bare.removeprefix("head.")] = value
        else:
            others.append(key)
    return _from_timm(backbone), head, others


def _head_for(state: Mapping[str, Tensor]) -> DinoHead | None:
    """A head of the sizes of its weights; None if weights are missing."""
    try:
        hidden, width = state["mlp.0.weight"].shape
        prototypes, bottleneck = state["last_layer.weight_v"].shape
    except KeyError:
        return None
    return DinoHead(width, hidden, bottleneck, prototypes)


def _from_full_checkpoint(architecture: str, config: Any, state: Mapping[str, Any], file: str) -> DinoV1:
    """Student, teacher and center of a full checkpoint of facebookresearch/"""
    roles = {}
    for role in ("student", "teacher"):
        backbone, head_state, others = _split_branch(state[role])
        named = f"{file}, {role}"
        network = checkpoint.network_from_state(architecture, config, backbone, f"{named}'s backbone")
        head = _head_for(head_state)
        if head is None:
            checkpoint.check_keys(
                f"{named}'s head", {"mlp.0.weight", "last_layer.weight_v"} - head_state.keys(), others
            )
            raise ValueError(f"{named} has no head of DINO")
        checkpoint.load_strictly(head, head_state, f"{named}'s head")
        checkpoint.check_keys(named, (), others)
        roles[role] = (network, head)
    loss = state["dino_loss"]
    checkpoint.check_keys(f"{file}, dino_loss", {"center"} - loss.keys(), loss.keys() - {"center"})
    prototypes = roles["student"][1].last_layer.weight_v.shape[0]
    center = loss["center"].float()
    if center.shape != (1, prototypes):
        raise ValueError(f"{file}: center must be [1, {prototypes}], got {list(center.shape)}")
    student, head = roles["student"]
    model = DinoV1(student)
    model.add_head(head, Teacher(*roles["teacher"]), center)
    return model


@dataclass(frozen=True)
class DinoV1Builder(TransformersBuilder):
    """Also gives random models a head, and reads checkpoints of timm and full checkpoints of facebookresearch/dino."""

    def with_random_weights(self, changes: Mapping[str, Any]) -> Adapter:
        head = {key: value for key, value in changes.items() if key in _HEAD_FIELDS}
        others = {key: value for key, value in changes.items() if key not in _HEAD_FIELDS}
        model = DinoV1(checkpoint.network_from_config(self.architecture, self.configuration(others)))
        if head:
            model.add_random_head(head)
        return model

    def from_state(self, state: Mapping[str, Any], file: str, changes: Mapping[str, Any]) -> Adapter:
        if head := sorted(_HEAD_FIELDS.keys() & changes.keys()):
            raise ValueError(f"config must not name {head} with weights of a file, which have these sizes")
        if _is_full_checkpoint(state):
            return _from_full_checkpoint(self.architecture, self.configuration(changes), state, file)
        return super().from_state(_from_timm(state) if _is_timm(state) else state, file, changes)
