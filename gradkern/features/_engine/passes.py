"""One forward pass and the backward passes over it, for an image alone or for a batch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from gradkern.features._engine.backward import BackwardPasses
from gradkern.features._engine.calls import Trace, as_parts, tensors_in
from gradkern.features._engine.function_mode import CallRecorder, ModelCalls, WeightGradientMode
from gradkern.features._engine.gradient_controls import COTANGENTS, FEEDBACK, ObjectiveOutput
from gradkern.features._engine.hooks import AllLayersRan, HookSettings, LayerHooks
from gradkern.features._engine.image_by_image import RowOrder
from gradkern.features._engine.model_state import ContiguousGradients
from gradkern.features._engine.plan import BatchEvaluation, CapturePlan, prepare_batch
from gradkern.features._engine.reader import ending, on_host
from gradkern.features._engine.weight_gradients import LayerGradients, ParameterLayout
from gradkern.features._features import Key


@dataclass(frozen=True)
class PassSettings:
    """How the passes of a capture are run; the first batch decides it.

    Attributes
    ----------
    loss_scale : factor of the losses, so that float16 gradients do not underflow; features are divided by it
    left_out : names of parameters whose gradient is left out of weight_gradient
    plain_attention : whether attention is computed by plain products instead of a fused kernel
    copies_images : whether the model is given a copy of the images, because it may write into its input
    row_order : in which calls the rows of a batch are positions first, then images
    """

    loss_scale: float = 1.0
    left_out: frozenset[str] = frozenset()
    plain_attention: bool = False
    copies_images: bool = True
    row_order: RowOrder = field(default_factory=RowOrder)

    def attention(self) -> AbstractContextManager[Any]:
        return sdpa_kernel(SDPBackend.MATH) if self.plain_attention else nullcontext()


@dataclass(frozen=True)
class Pass:
    """The results of one forward pass and the backward passes over it.

    Attributes
    ----------
    sketches : (kind, layer) -> [n, k]
    losses, entropy : [n]; None where there are none
    kept : what the model returned and the objective's labels, as they are stored
    reached : names of parameters that have had a gradient
    uncovered : names of parameters whose gradient no rule gives -> why
    trace : the model's calls; empty for a batch, and where no weight gradients are wanted
    loss_scale : the loss scale at which no gradient overflowed
    writes_input : whether the model wrote into its input
    overwritten : layers that return their input, which the model then overwrote
    """

    sketches: Mapping[Key, Tensor] = field(default_factory=dict)
    losses: Tensor | None = None
    entropy: Tensor | None = None
    kept: Mapping[Key, Tensor] = field(default_factory=dict)
    reached: frozenset[str] = frozenset()
    uncovered: Mapping[str, str] = field(default_factory=dict)
    trace: Trace = ()
    loss_scale: float = 1.0
    writes_input: bool = False
    overwritten: tuple[str, ...] = ()

    def on_host(self) -> "Pass":
        """The results on the CPU: while they are computed, the host waits for nothing."""
        single = {name: value for name in ("losses", "entropy") if (value := getattr(self, name)) is not None}
        copies = on_host({**self.sketches, **self.kept, **{(name, ""): value for name, value in single.items()}})
        return replace(
            self,
            sketches={key: copies[key] for key in self.sketches},
            kept={key: copies[key] for key in self.kept},
            losses=copies.get(("losses", "")),
            entropy=copies.get(("entropy", "")),
        )


def run_in_turn(
    plan: CapturePlan, settings: PassSettings, spans: Sequence[tuple[int, int]], trace: Trace = ()
) -> Iterator[Pass]:
    """Run images [start, stop) of each span; each pass begins with the loss scale of the one before it.

    `trace` is that of one image alone, which batches of several images need for weight gradients. The images of the
    next span are loaded meanwhile.
    """
    with ending(plan.images.reader):
        for (start, stop), following in zip_longest(spans, spans[1:]):
            result = run_images(plan, settings, start, stop, trace, following)
            settings = replace(settings, loss_scale=result.loss_scale)
            yield result


def run_images(
    plan: CapturePlan,
    settings: PassSettings,
    start: int,
    stop: int,
    trace: Trace = (),
    following: tuple[int, int] | None = None,
) -> Pass:
    """Run images [start, stop); in float16, again with a smaller loss scale until no gradient overflows.

    Images of the span that follows are loaded meanwhile.
    """
    while True:
        with settings.attention(), ContiguousGradients() if stop - start == 1 else nullcontext():
            run = _Run(plan, settings, prepare_batch(plan, start, stop, following))
            result = (run.single() if stop - start == 1 else run.batch(trace)).on_host()
        if plan.kept is not None:
            plan.kept.put_back()
        gradients = [value for (kind, _), value in result.sketches.items() if kind != "activation"]
        if settings.loss_scale <= 1 or all(bool(value.isfinite().all()) for value in gradients):
            return replace(result, loss_scale=settings.loss_scale)
        settings = replace(settings, loss_scale=max(1.0, settings.loss_scale / 4))


@torch.no_grad()
def warm_up(plan: CapturePlan) -> Tensor:
    """Run one image: what a model computes once and keeps (rotary positions) is then no call of a recorded pass.

    Returns its loss, [1].
    """
    evaluation = prepare_batch(plan, 0, 1)
    losses = evaluation.evaluate(evaluation.run_model(evaluation.batch.images.clone())).losses
    if plan.kept is not None:
        plan.kept.put_back()
    return losses.float().cpu()


@dataclass(frozen=True)
class _Run:
    plan: CapturePlan
    settings: PassSettings
    evaluation: BatchEvaluation

    def single(self) -> Pass:
        """One image: autograd's own gradients of the parameters, and a record of every call."""
        kinds, backward = self.plan.shared_kinds, BackwardPasses()
        if "weight_gradient" not in kinds:
            return self._with_feedback(self._forward_backward(kinds, backward))
        gradients, recorder = self._layer_gradients(), CallRecorder()

        def take(parameter: Tensor, gradient: Tensor) -> None:
            if backward.kind == "gradient":  # of the objective, not a control's
                gradients.add(parameter, gradient[None])

        with _trainable(self.plan.parameters, take) as parameters:
            result = self._forward_backward(kinds, backward, recorder, parameters)
        for name in gradients.unreached_layers():
            raise RuntimeError(f"the objective's gradient never reached a parameter of layer {name!r}")
        result = replace(self._with_weights(result, gradients), uncovered=gradients.without_sketch())
        return self._with_feedback(replace(result, trace=recorder.trace()))

    def batch(self, trace: Trace) -> Pass:
        """Several images: rules give each image's gradient of the parameters."""
        kinds, backward = self.plan.shared_kinds, BackwardPasses()
        if "weight_gradient" not in kinds:
            return self._with_feedback(self._forward_backward(kinds, backward))
        gradients = self._layer_gradients()
        mode = WeightGradientMode(gradients, trace, backward, self.settings.row_order)
        result = self._forward_backward(kinds, backward, mode)
        return self._with_feedback(replace(self._with_weights(result, gradients), uncovered=mode.uncovered()))

    def _layer_gradients(self) -> LayerGradients:
        plan, n = self.plan, len(self.evaluation.batch.images)
        return LayerGradients(plan.parameters, plan.reduction.map, n, plan.device, self.settings.left_out)

    def _with_weights(self, result: Pass, gradients: LayerGradients) -> Pass:
        scale = self.settings.loss_scale
        sketches = {("weight_gradient", name): total / scale for name, total in gradients.totals().items()}
        return replace(result, sketches={**result.sketches, **sketches}, reached=gradients.reached_names())

    def _with_feedback(self, result: Pass) -> Pass:
        """Add the kinds whose gradient goes back through feedback weights."""
        for kind, feedback in self.plan.feedback.items():
            with feedback.running():
                other = self._forward_backward([kind], BackwardPasses())
            sketches = {**result.sketches, **other.sketches}
            writes = result.writes_input or other.writes_input
            result = replace(
                result, sketches=sketches, losses=other.losses, entropy=other.entropy, kept=other.kept,
                writes_input=writes,
            )  # fmt: skip
        return result

    def _forward_backward(
        self,
        kinds: Sequence[str],
        backward: BackwardPasses,
        calls: ModelCalls | None = None,
        parameters: Sequence[Tensor] = (),
    ) -> Pass:
        if not kinds:
            return Pass()
        images = self.evaluation.batch.images
        images = images.clone() if self.settings.copies_images else images
        version = images._version
        result = self._hooked(images, kinds, backward, calls, parameters)
        return replace(result, writes_input=images._version != version)

    def _hooked(
        self,
        images: Tensor,
        kinds: Sequence[str],
        backward: BackwardPasses,
        calls: ModelCalls | None,
        parameters: Sequence[Tensor],
    ) -> Pass:
        hooks = LayerHooks(self._hook_settings(kinds), backward, calls.paused if calls else nullcontext)
        needs_gradient = set(kinds) != {"activation"}
        with torch.set_grad_enabled(needs_gradient):
            try:
                with hooks.registered():
                    objective = self._forward(images, calls)
            except AllLayersRan:
                return Pass(hooks.sketches())
            hooks.check_ran()
            if needs_gradient:
                if not objective.losses.requires_grad or not (backward.entry.is_used or parameters):
                    if isinstance(calls, WeightGradientMode) and calls.uncovered():
                        return Pass(hooks.sketches())  # no call that was seen has a rule
                    raise RuntimeError(_no_gradient(objective))
                first = calls if not self.settings.row_order.is_known else None
                leaves = first.leaves() if isinstance(first, WeightGradientMode) else parameters
                self._backward(objective, kinds, backward, leaves)
                if isinstance(first, WeightGradientMode):
                    first.note_leaks()
        hooks.check_reached()
        losses = objective.losses.detach().float()
        overwritten = tuple(hooks.overwritten())
        return Pass(hooks.sketches(), losses, objective.entropy, objective.kept, overwritten=overwritten)

    def _hook_settings(self, kinds: Sequence[str]) -> HookSettings:
        plan = self.plan
        return HookSettings(
            layers=plan.layers, kinds=kinds, n=len(self.evaluation.batch.images), reduce=plan.reduction,
            channels_last=plan.channels_last, loss_scale=self.settings.loss_scale, stop_early=plan.objective is None,
        )  # fmt: skip

    def _forward(self, images: Tensor, calls: ModelCalls | None) -> ObjectiveOutput:
        if calls is None:
            return self.evaluation.evaluate(self.evaluation.run_model(images))
        with calls:
            output = self.evaluation.run_model(images)
        with calls.around_objective():
            return self.evaluation.evaluate(output)

    def _backward(
        self, objective: ObjectiveOutput, kinds: Sequence[str], backward: BackwardPasses, parameters: Sequence[Tensor]
    ) -> None:
        """Back from the losses, then from the cotangents of the controls."""
        controls = [kind for kind in kinds if kind in COTANGENTS]
        others = [kind for kind in kinds if kind not in ("activation", *COTANGENTS)]
        if others:
            kind = others[0] if others[0] in FEEDBACK else "gradient"
            losses = objective.losses.sum() * self.settings.loss_scale
            backward.run(kind, [losses], None, parameters, is_last=not controls)
        for kind in controls:
            tensors, cotangents = objective.cotangents(kind, self.settings.loss_scale)
            backward.run(kind, tensors, cotangents, parameters, is_last=kind == controls[-1])


def _no_gradient(objective: ObjectiveOutput) -> str:
    """Why nothing leads back from the losses."""
    message = "the objective does not depend on any of the layers"
    if any(tensor.requires_grad for tensor in tensors_in(as_parts(objective.output))):
        return f"{message}: the model's output does, but the losses are constant or detached from it"
    return f"{message}: the model's output does not, so the model detaches it, or goes on without gradient, behind them"


@contextmanager
def _trainable(layout: ParameterLayout, take: Callable[[Tensor, Tensor], None]) -> Iterator[list[Tensor]]:
    """The layers' parameters have a gradient, which `take` is given and which is dropped as soon as it is whole."""
    parameters = list(layout.parameters.values())

    def hook(parameter: Tensor) -> None:
        if parameter.grad is not None:
            gradient, parameter.grad = parameter.grad, None
            take(parameter, gradient)

    handles = []
    gradients = [parameter.grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.grad = None
            if parameter.is_floating_point() or parameter.is_complex():
                parameter.requires_grad_()
                handles.append(parameter.register_post_accumulate_grad_hook(hook))  # type: ignore[no-untyped-call]
        yield [parameter for parameter in parameters if parameter.requires_grad]
    finally:
        for handle in handles:
            handle.remove()
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.requires_grad_(False)
            parameter.grad = gradient
