"""
A new objective
===============

The gradient that is captured is that of an objective: a function with one loss for each image. This page writes
three: a function, one that describes itself, and one whose targets can be shuffled, which gives it a control of its
own.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

import gradkern

torch.set_num_threads(1)
torch.manual_seed(0)
images = torch.randn(24, 3, 16, 16)
model = torch.nn.Sequential(
    torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(392, 10)
)
options = {"layers": ["0", "1"], "sketch": gradkern.Sketch(64), "progress": False}

# %%
# A function
# ----------
#
# It gets the model's output and the batch (``batch.images``, ``batch.index``), and returns one number for each image.
# The sum over the batch is differentiated, so that no image's gradient depends on the images beside it.


def margin(output: torch.Tensor, batch: Any) -> torch.Tensor:
    best = output.topk(2, dim=1).values
    return best[:, 0] - best[:, 1]


features = gradkern.capture(model, images, margin, **options)
print(features.objective)

# %%
# An objective that describes itself
# ----------------------------------
#
# A dataclass below ``Objective`` has its settings in the provenance of everything that is computed from it. ``exact``
# says whether it is the formula that the model was trained with, or a surrogate.


@dataclass(frozen=True)
class Energy(gradkern.objectives.Objective):
    """-T log sum_c exp(z_c / T): the energy of an image."""

    temperature: float = 1.0
    name: str = "energy"
    exact: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("logits",)

    def __call__(self, output: Any, batch: Any) -> torch.Tensor:
        logits = getattr(output, "logits", output)
        return -self.temperature * (logits / self.temperature).logsumexp(1)


features = gradkern.capture(model, images, Energy(temperature=2.0), **options)
print(features.objective)

# %%
# With a target
# -------------
#
# If the objective compares the output with a target, say how the target is made and how it is compared: then
# ``"gradient/target-shuffled"`` can be captured, the gradient towards the target of another image. A brain that
# computes gradients of this objective is predicted by the gradient and less by this control.


@dataclass(frozen=True, eq=False)
class Regression(gradkern.objectives.TargetObjective):
    """Squared error against a vector for each image: ratings, coordinates, another network's features."""

    vectors: torch.Tensor
    name: str = "regression"
    exact: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("logits",)

    def targets(self, output: Any, batch: Any) -> torch.Tensor:
        return self.vectors[batch.index]

    def losses(self, output: Any, batch: Any, targets: torch.Tensor) -> torch.Tensor:
        return (getattr(output, "logits", output) - targets).square().sum(1)


ratings = torch.randn(24, 10)
features = gradkern.capture(
    model, images, Regression(ratings), kinds=["activation", "gradient", "gradient/target-shuffled"], **options
)
print(features)

# %%
# By hand
# -------
#
# The gradient of the squared error at the output is twice the difference. At the first layer it goes back through the
# weights behind it; autograd on one image agrees with the row of the capture.

outputs = []
hook = model[0].register_forward_hook(lambda module, arguments, output: outputs.append(output))
loss = (model(images[5:6]) - ratings[5]).square().sum()
hook.remove()
(gradient,) = torch.autograd.grad(loss, outputs)
by_hand = gradkern.sketch(gradient.flatten(1), 64)  # a feature map is one row
print("largest difference:", float((by_hand[0] - features["gradient", "0"][5]).abs().max()))
