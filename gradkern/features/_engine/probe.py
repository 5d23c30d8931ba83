"""What a model gives for a few images, by which a later call sees that it is given the same model."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from gradkern.features._engine.backward import BackwardPasses
from gradkern.features._engine.calls import as_parts, tensors_in
from gradkern.features._engine.gradient_controls import Controls
from gradkern.features._engine.hooks import AllLayersRan, HookSettings, LayerHooks
from gradkern.features._engine.layout import as_matrices
from gradkern.features._engine.plan import CapturePlan, prepare_batch
from gradkern.kernels._sketch import Sketch

_SKETCH = Sketch(64)
_IMAGES = 2
_VALUES = 8  # of each sketch: any change moves them all
_APART = 1e-3  # of float32 features on two machines, far above rounding and far below another model
_APART_IN_HALF = 0.1


@torch.no_grad()
def probe(plan: CapturePlan) -> dict[str, list[float]]:
    """Some values of the layers' outputs, and of the model's where it is reached, for the first images."""
    values: dict[str, list[float]] = {}
    plan = replace(plan, controls=Controls())
    for i in range(min(_IMAGES, len(plan.images))):
        settings = HookSettings(plan.layers, ["activation"], 1, _of_output, stop_early=plan.objective is None)
        hooks = LayerHooks(settings, BackwardPasses(), nullcontext)
        evaluation = prepare_batch(plan, i, i + 1)
        outputs: list[Tensor] = []
        try:
            with hooks.registered():
                outputs = tensors_in(as_parts(evaluation.run_model(evaluation.batch.images.clone())))
        except AllLayersRan:
            pass
        kept = {f"{i}/{layer}": sketch[0] for (_, layer), sketch in hooks.sketches().items()}
        kept |= {f"{i}/output {k}": _of_output(t)[0] for k, t in enumerate(outputs) if _is_of_image(t)}
        values |= {name: [round(float(v), 9) for v in sketch] for name, sketch in kept.items()}
    return values


def probe_difference(stored: Mapping[str, Sequence[float]], now: Mapping[str, Sequence[float]], dtype: str) -> str:
    """Where two probes are of different models, and by how much; "" where they are of the same."""
    limit = _APART if dtype in ("float32", "float64") else _APART_IN_HALF
    for name in [name for name in stored if name in now]:
        a, b = (torch.tensor(list(values), dtype=torch.float64) for values in (stored[name], now[name]))
        apart = float((a - b).norm() / a.norm().clamp_min(1e-6))
        if not apart <= limit and not (a.isnan().any() and b.isnan().any()):
            image, _, layer = name.partition("/")
            return f"{layer} of image {image} differs by {apart:.1e} of its norm"
    return ""


def _of_output(x: Tensor, channels_last: bool = False) -> Tensor:
    x = x.detach() if x.is_floating_point() else x.detach().float()
    sketch: Tensor = _SKETCH(as_matrices(x))
    return sketch[:, :_VALUES].cpu()


def _is_of_image(tensor: Tensor) -> bool:
    return tensor.dim() > 1 and len(tensor) == 1 and tensor.is_floating_point()
