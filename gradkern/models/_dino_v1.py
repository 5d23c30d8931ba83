"""DINO of 2021: its head, its teacher, and the names of its checkpoints."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from gradkern.models._adapters import Adapter
from gradkern.objectives._interface import Output

HEAD_FIELDS = {"head_hidden_size": 2048, "bottleneck_size": 256, "prototypes": 65536}


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
    """Three layers, a unit sphere, prototypes."""

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
    """Frozen; gives what the student does."""

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
        # in a tuple: its parameters are not the model's, no optimiser and no capture shall meet them
        self._teacher: tuple[Teacher, ...] = ()

    @property
    def teacher(self) -> Teacher | None:
        return self._teacher[0] if self._teacher else None

    def add_head(self, head: nn.Module, teacher: Teacher, center: Tensor) -> None:
        self.head, self._teacher, self.center = head, (teacher,), center

    def add_random_head(self, sizes: Mapping[str, int]) -> None:
        """As training begins: the teacher is a copy of the student, the center 0."""
        full = {**HEAD_FIELDS, **sizes}
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


def is_timm(state: Mapping[str, Any]) -> bool:
    return "patch_embed.proj.weight" in state


def from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A ViT's weights under the names of transformers; names that are none of a ViT's stay, for the strict loader."""
    renamed = {}
    for key, value in state.items():
        if key.startswith("blocks.") and key.count(".") >= 3:
            _, block, part = key.split(".", 2)
            part, _, kind = part.rpartition(".")
            if part == "attn.qkv" and kind in ("weight", "bias"):
                for name, piece in zip("qkv", value.chunk(3), strict=True):
                    renamed[f"layers.{block}.attention.{name}_proj.{kind}"] = piece.contiguous()
            else:
                known = part in _RENAMED_IN_BLOCK
                renamed[f"layers.{block}.{_RENAMED_IN_BLOCK[part]}.{kind}" if known else key] = value
            continue
        part, _, kind = key.rpartition(".")
        renamed[_RENAMED.get(key) or (f"{_RENAMED[part]}.{kind}" if part in _RENAMED else key)] = value
    return renamed


def is_full_checkpoint(loaded: Any) -> bool:
    return isinstance(loaded, Mapping) and {"student", "teacher", "dino_loss"} <= loaded.keys()


def split_branch(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor], list[str]]:
    """A student's or teacher's backbone, its head, and the names that are of neither."""
    backbone, head, others = {}, {}, []
    for key, value in state.items():
        bare = key.removeprefix("module.")
        if bare.startswith("backbone."):
            backbone[bare.removeprefix("backbone.")] = value
        elif bare.startswith("head."):
            head[bare.removeprefix("head.")] = value
        else:
            others.append(key)
    return from_timm(backbone), head, others


def head_for(state: Mapping[str, Tensor]) -> DinoHead | None:
    """A head of the sizes that its weights have; None if they do not say."""
    try:
        hidden, width = state["mlp.0.weight"].shape
        prototypes, bottleneck = state["last_layer.weight_v"].shape
    except KeyError:
        return None
    return DinoHead(width, hidden, bottleneck, prototypes)
