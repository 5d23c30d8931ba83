"""What a capture takes of which model, and each of its batches, ready to run."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from gradkern.features._engine.feedback_alignment import FeedbackAlignment
from gradkern.features._engine.gradient_controls import (
    FEEDBACK,
    RANDOM_COTANGENT,
    SIGN_SYMMETRIC,
    TARGET_SHUFFLED,
    Controls,
    Loss,
    ObjectiveOutput,
    entropy_of,
)
from gradkern.features._engine.images import ImageSource
from gradkern.features._engine.kept import KeptTensors
from gradkern.features._engine.outputs import kept_outputs
from gradkern.features._engine.tokens import Reduction
from gradkern.features._engine.weight_gradients import ParameterLayout, parameter_layout
from gradkern.objectives._interface import Batch, ObjectiveFunction, Prepared


@dataclass(frozen=True)
class CapturePlan:
    """What is captured of which model and images. Nothing of it changes while the capture runs.

    Attributes
    ----------
    model, objective : as given to `capture`
    images : loaded when they are needed
    layers : name -> module
    kinds : what is taken at each layer
    reduction : which tokens are taken, and the sketch
    controls : null versions of the gradient
    device, dtype : of the images that the model is given
    parameters : the layers' parameters
    feedback : kind -> the mode that sends its gradient back through feedback weights
    kept : what the model keeps beside its parameters before every pass; None: it is not put back between passes
    first_index : of image 0 among all images of a study, by which objectives draw and read their tables
    tables : attributes that the model computed from parameters before the capture, and keeps -> their names
    """

    model: nn.Module
    images: ImageSource
    objective: ObjectiveFunction | None
    layers: Mapping[str, nn.Module]
    kinds: tuple[str, ...]
    reduction: Reduction
    controls: Controls
    device: torch.device
    dtype: torch.dtype
    first_index: int = 0
    kept: KeptTensors | None = None
    tables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parameters: ParameterLayout = field(init=False)
    feedback: Mapping[str, FeedbackAlignment] = field(init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.images, ImageSource):
            object.__setattr__(self, "images", ImageSource(self.images))
        if "weight_gradient" in self.kinds:
            for name, module in self.layers.items():
                if next(module.parameters(), None) is None:
                    raise ValueError(f"layer {name!r} has no parameters, so it has no weight_gradient")
        feedback = {
            kind: FeedbackAlignment(self.model, self.controls.seed, sign_symmetric=kind == SIGN_SYMMETRIC)
            for kind in self.kinds
            if kind in FEEDBACK
        }
        object.__setattr__(self, "parameters", parameter_layout(self.layers))
        object.__setattr__(self, "feedback", feedback)

    @property
    def shared_kinds(self) -> tuple[str, ...]:
        """Kinds that one forward pass serves; the others have feedback weights, and a forward pass of their own."""
        return tuple(kind for kind in self.kinds if kind not in FEEDBACK)

    @property
    def watches_calls(self) -> bool:
        """Whether calls inside the layers are watched: what the model keeps must not hide one."""
        return "weight_gradient" in self.kinds or bool(self.feedback)

    @property
    def channels_last(self) -> bool:
        return bool(getattr(getattr(self.model, "spec", None), "channels_last", False))


@dataclass(frozen=True)
class BatchEvaluation:
    """A batch, ready for the forward pass of the model and for the objective.

    Attributes
    ----------
    model, objective : of the plan
    batch : the images, with the context that the objective prepared
    inputs : further arguments of the model's forward
    control_losses : kind of cotangent -> the loss that it belongs to
    control_seed : of random cotangents
    """

    model: nn.Module
    objective: ObjectiveFunction | None
    batch: Batch
    inputs: Mapping[str, Tensor]
    control_losses: Mapping[str, Loss]
    control_seed: int

    def run_model(self, images: Tensor) -> Any:
        """The model's output for the images of the batch, or for a copy of them that it may write into."""
        return self.model(images, **self.inputs)

    def evaluate(self, output: Any) -> ObjectiveOutput:
        n = len(self.batch.images)
        if self.objective is None:
            return ObjectiveOutput(self.batch.images.new_zeros(n), output, self.batch)
        losses = self.objective(output, self.batch)
        if not isinstance(losses, Tensor) or losses.shape != (n,):
            got = list(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise ValueError(f"objective must return one loss per image, [{n}], got {got}")
        return ObjectiveOutput(
            losses, output, self.batch, self.control_seed, self.control_losses, entropy_of(output, n),
            kept_outputs(output, self.objective, self.batch),
        )  # fmt: skip


@torch.no_grad()
def prepare_batch(
    plan: CapturePlan, start: int, stop: int, following: tuple[int, int] | None = None
) -> BatchEvaluation:
    """Images [start, stop) on the model's device, with what the objective and the controls prepare.

    The images of the batch that follows are loaded while this one is computed.
    """
    images = _to_model(plan, plan.images.batch(start, stop))
    batch, prepared = _prepare(plan, Batch(images, torch.arange(start, stop, device="cpu") + plan.first_index))
    evaluation = BatchEvaluation(
        plan.model, plan.objective, batch, prepared.inputs, _control_losses(plan, batch), plan.controls.seed
    )
    if following is not None:
        plan.images.read_ahead(*following, pinned=plan.device.type == "cuda")
    return evaluation


def _to_model(plan: CapturePlan, images: Tensor) -> Tensor:
    # beside what is computed, where they are pinned
    images = images.detach().to(plan.device, plan.dtype, non_blocking=plan.device.type == "cuda")
    return images.clone() if images.is_inference() else images


def _prepare(plan: CapturePlan, batch: Batch) -> tuple[Batch, Prepared]:
    """The batch with its context, and what else the model is to be given."""
    prepare = getattr(plan.objective, "prepare", None)
    if prepare is None:
        return batch, Prepared()
    prepared: Prepared = prepare(plan.model, replace(batch, images=batch.images.clone()))
    return replace(batch, context=prepared.context), prepared


def _control_losses(plan: CapturePlan, batch: Batch) -> dict[str, Loss]:
    """The losses whose gradients at the output the cotangents of controls are, or have the norm of."""
    objective: Any = plan.objective
    losses: dict[str, Loss] = {}
    if RANDOM_COTANGENT in plan.controls.kinds:
        losses[RANDOM_COTANGENT] = lambda output: objective(output, batch)
    if plan.controls.others is not None:
        places = plan.controls.others[batch.index - plan.first_index]
        images = _to_model(plan, plan.images.at(places.tolist()))
        others, prepared = _prepare(plan, Batch(images, places + plan.first_index))
        reads_output = getattr(objective, "reads_output", True)
        output = plan.model(others.images.clone(), **prepared.inputs) if reads_output else None
        targets = objective.targets(output, others)
        losses[TARGET_SHUFFLED] = lambda output: objective.losses(output, batch, targets)
    return losses
