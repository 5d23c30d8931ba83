"""Small models with the traps of real ones: in-place operations, BatchNorm, bare parameters, attention, tuples."""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Output(NamedTuple):
    features: Tensor
    logits: Tensor


class ConvNet(nn.Module):
    """Strided, grouped and depthwise convolutions; BatchNorm with statistics; ReLU in place behind every block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8))
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.Conv2d(8, 12, 1))
        self.overwrites_input = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(12, 12, 3, groups=2))
        self.head = nn.Linear(12, 10)
        for norm in self.modules():
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.normal_(norm.running_mean)
                nn.init.uniform_(norm.running_var, 0.5, 2)

    def forward(self, images: Tensor) -> Output:
        x = self.stem(images).relu_()
        x = self.block(x)
        x = self.overwrites_input(x)
        features = x.relu_().mean((2, 3))
        return Output(features, self.head(features))


class Block(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, 2, batch_first=True)
        self.scale = nn.Parameter(torch.randn(dim))
        self.mlp = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor, *, note: str = "") -> tuple[Tensor, str]:
        y = self.norm(x)
        x = x + self.scale * self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(x), note


class Transformer(nn.Module):
    """A class token, positions, LayerScale, attention; blocks return tuples and take keyword arguments."""

    def __init__(self, dim: int = 12, depth: int = 3) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, dim, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, dim))
        self.blocks = nn.ModuleList(Block(dim) for _ in range(depth))
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(dim, 10)

    def forward(self, images: Tensor) -> Output:
        x = self.patch(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        for block in self.blocks:
            x, _ = block(x, note="on")
        features = self.dropout(x[:, 0])
        return Output(features, self.head(features))
