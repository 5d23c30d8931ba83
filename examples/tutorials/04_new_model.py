"""
A new model
===========

Any ``torch.nn.Module`` can be captured. This page takes a small network of its own, describes it, captures it by the
names of its images, and shows what happens if something is left out.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import gradkern

torch.set_num_threads(1)

# %%
# A model and images
# ------------------
#
# Twelve pictures in a folder, and a network of three blocks with a class token that none of its layers owns.


class Block(torch.nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(width)
        self.mlp = torch.nn.Sequential(
            torch.nn.Linear(width, 2 * width), torch.nn.GELU(), torch.nn.Linear(2 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.mlp(self.norm(x))


class Network(torch.nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.patches = torch.nn.Conv2d(3, width, 8, stride=8)
        self.token = torch.nn.Parameter(torch.randn(1, 1, width))
        self.blocks = torch.nn.ModuleList(Block(width) for _ in range(3))
        self.head = torch.nn.Linear(width, 10)

    def reset_parameters(self) -> None:
        torch.nn.init.normal_(self.token)  # for `untrained`; all other parameters belong to layers that have one

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(1))


torch.manual_seed(0)
folder = Path(tempfile.mkdtemp())
random = np.random.default_rng(0)
for number in range(12):
    pixels = random.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / f"picture-{number:02d}.png")

# %%
# A description
# -------------
#
# ``load_model`` finds the blocks and gives the module a ``spec``: names and depths of the layers, and the
# preprocessing. What it cannot know, ``config`` says.

model = gradkern.load_model(
    Network(),
    config={"resolution": 32, "mean": (127.5,) * 3, "std": (127.5,) * 3, "class_tokens": 1, "register_tokens": 0},
)
print(model.spec)
print(model.spec.preprocessing())

# %%
# A capture
# ---------
#
# ``prepared`` loads an image when its batch comes and hands on its name, by which the rows of the features are
# matched with recordings. Pooled or single tokens are an option: here the class token and the mean over all
# positions.

pictures, names = gradkern.recordings.folder_images(folder)
images = model.spec.prepared(pictures, names)
features = gradkern.capture(
    model,
    images,
    gradkern.objectives.CrossEntropy(),
    tokens=["class", "mean"],
    sketch=gradkern.Sketch(64),
    progress=False,
)
print(features)
print(features["gradient", "blocks.1"].shape)

# %%
# With ``out=FOLDER`` a capture is written as it is made, and the same call goes on where an earlier one stopped.
#
# Weight gradients of all parameters
# ----------------------------------
#
# ``weight_gradient`` of a layer is the gradient with respect to all parameters under it, for each image. In every
# capture, the first image is run alone by autograd and compared with its row of the batch.

weights = gradkern.capture(
    model,
    images,
    gradkern.objectives.CrossEntropy(),
    kinds=["weight_gradient"],
    sketch=gradkern.Sketch(64),
    progress=False,
)
print(weights["weight_gradient", "blocks.0"].shape, weights.facts["alone_against_batch"])

# %%
# What no rule covers is an error
# -------------------------------
#
# An LSTM returns several results, so that no image's part of its gradient can be told from the others'. The capture
# says so, instead of leaving these parameters out.


class Recurrent(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rows = torch.nn.LSTM(96, 16, batch_first=True)
        self.head = torch.nn.Linear(16, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.rows(images.transpose(1, 2).flatten(2))[0].mean(1))


tensors = torch.randn(12, 3, 32, 32)
try:
    gradkern.capture(
        Recurrent(), tensors, gradkern.objectives.Entropy(), layers=["rows"], kinds=["weight_gradient"], progress=False
    )
except gradkern.features.CoverageError as error:
    print(error)

# %%
# ``batch_size=1`` needs no rule, and activations and their gradients need none either.
#
# The untrained copy
# ------------------
#
# A model whose parameters were drawn anew is the first control of everything that was learned. Its features are
# captured in the same way.

before_training = gradkern.untrained(model, seed=0)
print((before_training.head.weight - model.head.weight).abs().max() > 0)
