"""One forward and one backward: hooks sketch each tensor of interest as soon as it exists, and let it go."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradkern.features._engine.autograd_entry import Entry
from gradkern.features._engine.feedback_alignment import Feedback
from gradkern.features._engine.function_mode import Recorder, Trace, Watch
from gradkern.features._engine.gradient_controls import CONTROLS, COTANGENTS, FEEDBACK, Judged
from gradkern.features._engine.layout import channels_last, first_tensor
from gradkern.features._engine.weight_gradients import LayerGradients
from gradkern.features._features import Key

KINDS = ("activation", "gradient", "weight_gradient", *CONTROLS)
_OF_OUTPUTS = ("gradient", *CONTROLS)  # gradients at the layers' outputs

Forward = Callable[[nn.Module], Judged]  # runs the model and the objective


class Enough(Exception):
    """Every layer has run, and nothing else is wanted of the forward pass."""


@dataclass
class Pass:
    """What one forward and backward gave."""

    sketches: dict[Key, Tensor] = field(default_factory=dict)  # [n, k] on the CPU
    losses: Tensor | None = None
    entropy: Tensor | None = None  # of the prediction, where there is one
    reached: set[int] = field(default_factory=set)  # ids of parameters with a gradient
    uncovered: dict[str, str] = field(default_factory=dict)  # parameter -> the function without a rule


class Taps:
    """A context: hooks on the named layers while it is open."""

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str],
        kinds: Sequence[str],
        gradients: LayerGradients,
        reduce: Callable[[Tensor, bool], Tensor],
    ):
        self.model = model
        self.layers = {name: model.get_submodule(name) for name in layers}
        self.kinds = kinds
        self.gradients = gradients
        self.reduce = reduce
        self._channels_last = bool(getattr(getattr(model, "spec", None), "channels_last", False))
        self.scale = 1.0  # of the losses, so that float16 gradients do not underflow; taken off again
        self.stop_early = False  # as soon as the deepest layer has run
        self.feedback: dict[str, Feedback] = {}  # of the controls that have other weights on the way back
        self.trace: Trace = []  # of one image
        self._watch: Recorder | Watch | None = None
        self._now = Pass()
        self._wanted: Sequence[str] = ()  # kinds of the pass that runs
        self._kind = ""  # of gradient, that the backward pass which runs brings
        self._handles: list[RemovableHandle] = []
        self._entry = Entry()
        self._ran: set[str] = set()
        self._off = False
        self._n = 0
        if "weight_gradient" in kinds:
            for name, module in self.layers.items():
                if next(module.parameters(), None) is None:
                    raise ValueError(f"capture: layer {name!r} has no parameters, so it has no weight_gradient")

    def __enter__(self) -> "Taps":
        try:
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    self._handles.append(module.register_forward_hook(self._contiguous))
            for name, module in self.layers.items():
                self._handles.append(module.register_forward_hook(self._after(name)))
        except BaseException:  # a scripted module takes no hook
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._watch = None

    @contextmanager
    def off(self) -> Iterator[None]:
        """The model may be run without being tapped."""
        self._off = True
        try:
            yield
        finally:
            self._off = False

    def leave_model(self) -> None:
        """The objective is next: its calls need not be the same for one image and for several."""
        if self._watch is not None:
            self._watch.outside = True

    def alone(self, forward: Forward, place: torch.device) -> Pass:
        """One image: autograd's own gradients of the parameters, and a record of every call."""
        self._n = 1
        return self._with_feedback(self._alone(forward, place), forward)

    def together(self, forward: Forward, n: int, place: torch.device) -> Pass:
        """A batch of n > 1 images. With weight gradients, `alone` was called before."""
        self._n = n
        return self._with_feedback(self._together(forward, place), forward)

    def _alone(self, forward: Forward, place: torch.device) -> Pass:
        if "weight_gradient" not in self.kinds:
            return self._run(forward, None, self._shared)
        if not self.trace:
            with self.off(), torch.no_grad():
                forward(self.model)  # what a model computes once and keeps (rotary positions) is then no call of ours
        self.gradients.start(1, place)
        recorder = Recorder()
        with self._trainable() as parameters:
            done = self._run(forward, recorder, self._shared, parameters)
        self.trace = recorder.trace
        for name in self.gradients.unreached():
            raise RuntimeError(f"capture: the objective's gradient never reached a parameter of layer {name!r}")
        return self._with_weight_gradients(done)

    def _together(self, forward: Forward, place: torch.device) -> Pass:
        if "weight_gradient" not in self.kinds:
            return self._run(forward, None, self._shared)
        self.gradients.start(self._n, place)
        watch = Watch(self.gradients, self.trace, self._n, self._entry)
        done = self._run(forward, watch, self._shared)
        done.uncovered = watch.uncovered
        return self._with_weight_gradients(done)

    @property
    def _shared(self) -> list[str]:
        """Kinds that one forward pass serves; the others have weights of their own on the way back."""
        return [kind for kind in self.kinds if kind not in FEEDBACK]

    def _with_feedback(self, done: Pass, forward: Forward) -> Pass:
        for kind, feedback in self.feedback.items():
            with feedback.running():
                again = self._run(forward, None, [kind])
            done.sketches.update(again.sketches)
            done.losses, done.entropy = again.losses, again.entropy
        return done

    def _run(
        self, forward: Forward, watch: Recorder | Watch | None, kinds: Sequence[str], parameters: Sequence[Tensor] = ()
    ) -> Pass:
        self._now, self._ran, self._watch, self._wanted = Pass(), set(), watch, kinds
        if not kinds:
            return self._now
        self._entry.used = False
        needs_gradient = set(kinds) != {"activation"}
        with torch.set_grad_enabled(needs_gradient):
            try:
                with watch if watch is not None else torch.no_grad() if not needs_gradient else _nothing():
                    judged = forward(self.model)
            except Enough:
                return self._now
            self._check_ran()
            if needs_gradient:
                if not judged.losses.requires_grad or not (self._entry.used or parameters):
                    if isinstance(watch, Watch) and watch.uncovered:
                        return self._now  # nothing was seen that has a rule
                    raise RuntimeError(
                        "capture: the objective does not depend on any of the layers (or its losses are detached)"
                    )
                self._backward(judged, [self._entry.start, *parameters])
        self._check_reached()
        self._now.losses, self._now.entropy = judged.losses.detach().float().cpu(), judged.entropy
        return self._now

    def _backward(self, judged: Judged, inputs: list[Tensor]) -> None:
        """Back from the losses, then from the cotangents of the controls: over one graph, kept until the last.

        Only to the inputs: nothing of the caller's (an objective's own parameters, say) gets a .grad.
        """
        controls = [kind for kind in self._wanted if kind in COTANGENTS]
        others = [kind for kind in self._wanted if kind not in ("activation", *COTANGENTS)]
        if others:
            self._kind = others[0] if others[0] in FEEDBACK else "gradient"
            losses = judged.losses.sum() * self.scale
            torch.autograd.backward(losses, inputs=inputs, retain_graph=bool(controls))
        if isinstance(self._watch, Watch):
            self._watch.finished = True
        for kind in controls:
            self._kind = kind
            at, back = judged.cotangents(kind, self.scale)
            torch.autograd.backward(at, back, inputs=inputs, retain_graph=kind != controls[-1])

    @contextmanager
    def _trainable(self) -> Iterator[list[Tensor]]:
        """The layers' parameters take a gradient, which is sketched and dropped as soon as it is whole."""
        parameters = list(self.gradients.parameters.values())

        def take(parameter: Tensor) -> None:
            if parameter.grad is not None:
                gradient, parameter.grad = parameter.grad, None
                if self._kind == "gradient":  # of the objective, not a control
                    self.gradients.add(parameter, gradient[None])

        handles = []
        given = [parameter.grad for parameter in parameters]
        try:
            for parameter in parameters:
                parameter.grad = None
                parameter.requires_grad_(parameter.is_floating_point())
                handles.append(parameter.register_post_accumulate_grad_hook(take))  # type: ignore[no-untyped-call]
            yield [parameter for parameter in parameters if parameter.requires_grad]
        finally:
            for handle in handles:
                handle.remove()
            for parameter, gradient in zip(parameters, given, strict=True):
                parameter.requires_grad_(False)
                parameter.grad = gradient

    def _with_weight_gradients(self, done: Pass) -> Pass:
        done.reached = set(self.gradients.reached)
        for name, total in self.gradients.totals.items():
            done.sketches["weight_gradient", name] = total.cpu() / self.scale
        return done

    def _after(self, name: str) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            if self._off:
                return None
            with self._unwatched():
                return self._tap(name, args, output)

        return hook

    def _contiguous(self, module: nn.Module, args: Any, output: Tensor) -> None:
        """The gradient at the output of batch norm, for one image.

        In eval mode torch 2.13 takes a wrong gradient through it on the CPU, where the channels are laid out last: of
        convolutions that become tokens, say.
        """
        with self._unwatched():
            if len(output) == 1 and output.requires_grad:
                output.register_hook(lambda gradient: gradient.contiguous())  # type: ignore[no-untyped-call]

    @contextmanager
    def _unwatched(self) -> Iterator[None]:
        if self._watch is not None:
            self._watch.paused = True
        try:
            yield
        finally:
            if self._watch is not None:
                self._watch.paused = False

    def _tap(self, name: str, args: tuple[Any, ...], output: Any) -> Any:
        """Sketch the output; returns what the model is to go on with, or None for the output itself."""
        tensors_wanted = set(self._wanted) - {"weight_gradient"}
        if name in self._ran and tensors_wanted:
            raise RuntimeError(f"capture: layer {name!r} ran twice in one forward pass; name a layer that runs once")
        self._ran.add(name)
        if not tensors_wanted:
            return None
        tensor = first_tensor(output)
        if tensor is None or not tensor.is_floating_point():
            raise RuntimeError(
                f"capture: layer {name!r} must return a floating-point tensor, got "
                f"{type(output).__name__ if tensor is None else tensor.dtype}"
            )
        if tensor.dim() < 2 or len(tensor) != self._n:
            raise RuntimeError(
                f"capture: layer {name!r} must return a row for each image, got shape {list(tensor.shape)} for "
                f"{self._n} {'images' if self._n > 1 else 'image'}; name the layer around it"
            )
        if "activation" in self._wanted:
            self._put("activation", name, tensor)
        if self.stop_early and len(self._ran) == len(self.layers):
            raise Enough
        if not set(_OF_OUTPUTS) & set(self._wanted):
            return None
        replaced = None
        if not tensor.requires_grad:
            tensor = self._entry(tensor)  # the shallowest layer
            replaced = _with_first(output, tensor)
        elif any(tensor is given for given in args):
            tensor = tensor.view_as(tensor)  # the layer passes its input on: the gradient is to be of this way alone
            replaced = _with_first(output, tensor)
        tensor.register_hook(lambda gradient: self._put_gradient(name, gradient))  # type: ignore[no-untyped-call]
        return replaced

    def _put_gradient(self, name: str, gradient: Tensor) -> None:
        if self._kind in self._wanted:  # else the pass is for weight gradients alone
            self._put(self._kind, name, gradient, self.scale)

    def _put(self, kind: str, name: str, tensor: Tensor, scale: float = 1.0) -> None:
        last = channels_last(self.layers[name], tensor, self._channels_last)
        self._now.sketches[kind, name] = self.reduce(tensor.detach(), last).cpu() / scale

    def _check_ran(self) -> None:
        for name in self.layers:
            if name not in self._ran and set(self._wanted) != {"weight_gradient"}:
                raise RuntimeError(f"capture: layer {name!r} did not run in the forward pass")

    def _check_reached(self) -> None:
        for kind in set(_OF_OUTPUTS) & set(self._wanted):
            for name in self.layers:
                if (kind, name) not in self._now.sketches:
                    raise RuntimeError(f"capture: the objective's gradient never reached layer {name!r}")


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _with_first(output: Any, tensor: Tensor) -> Any:
    if isinstance(output, Tensor):
        return tensor
    if isinstance(output, dict):
        output[next(iter(output))] = tensor
        return output
    if hasattr(output, "_fields"):
        return type(output)(tensor, *output[1:])
    return type(output)((tensor, *output[1:]))
