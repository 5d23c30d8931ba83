"""Controls of feature spaces that an analysis can make of what was captured, as feature spaces of their own.

A control of "gradient" has the kind "gradient/NAME":

"raw", "unit-length"        each image's gradient as it was captured, or divided by its norm: what the kind is not
"residualised-same-layer"   less what a ridge over the activations of its layer predicts, fitted anew on the training
                            images of every outer fold: see `controls.residualize`
"residualised-all-layers"   the same, of the activations of all captured layers of the model
"image-permuted"            every image with the gradient of another image
"layer-permuted"            every layer with the gradient of another layer
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.encoding._controls import image_permuted, layer_permuted, residualize
from gradkern.encoding._spaces import NO_OBJECTIVE, Derived, Space, unit_gradients

CONTROLS = (
    "raw",
    "unit-length",
    "residualised-same-layer",
    "residualised-all-layers",
    "image-permuted",
    "layer-permuted",
)
GIVEN = ("same-layer", "all-layers")


@dataclass(frozen=True, eq=False)
class Residualized:
    """Features [images, d] less what others predict of them, which differs from fold to fold: it has no values alone.

    Parameters
    ----------
    values : [images, d]
    given : [images, a], or a list of such, as A of `controls.residualize`
    then : what is done to what is left [n, d]; None: nothing
    width : columns after that; None: d
    """

    values: Any
    given: Any
    then: Callable[[np.ndarray], np.ndarray] | None = None
    width: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        own = tuple(self.values.shape)
        return own if self.width is None else (own[0], self.width)

    def __len__(self) -> int:
        return self.shape[0]


def residualized(
    spaces: Mapping[str, Residualized], images: NDArray[np.int64], train: NDArray[np.int64], groups: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    """What is left of each, [n, d], fitted on some of the images that were shown.

    Parameters
    ----------
    images : [n], rows of the features, each image once
    train : places in `images`
    groups : [n], labels that are kept together when alphas are chosen
    """
    alike: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for name, each in spaces.items():
        alike[tuple(map(id, each.given)) if isinstance(each.given, list) else (id(each.given),)].append(name)
    left: dict[str, NDArray[Any]] = {}
    for names in alike.values():  # side by side: activations are factored once
        given = spaces[names[0]].given
        A = [np.asarray(part)[images] for part in given] if isinstance(given, list) else np.asarray(given)[images]
        G = {id(each.values): np.asarray(each.values)[images] for each in map(spaces.__getitem__, names)}
        found = residualize(np.hstack(list(G.values())), A, train, groups=groups)
        edges = np.cumsum([part.shape[1] for part in G.values()])[:-1]
        parts = dict(zip(G, np.split(found, edges, axis=1), strict=True))
        for name in names:
            part, then = parts[id(spaces[name].values)], spaces[name].then
            left[name] = part if then is None else then(part)
    return left


def activations_beside(space: Space, captured: Mapping[Space, Any], which: str) -> Any:
    """Activations of the model of a gradient: [images, a] of the same layer, or a list of those of all layers.

    Raises
    ------
    ValueError : none were captured
    """
    of_model = {each.layer: values for each, values in captured.items() if _activates(each, space.model)}
    if not of_model or (which == "same-layer" and space.layer not in of_model):
        raise ValueError(
            f"activations_beside: captured must hold the activations of {which.replace('-', ' ')} for {space}, got "
            f"those of layers {list(of_model)}"
        )
    return of_model[space.layer] if which == "same-layer" else list(of_model.values())


def control_spaces(
    spaces: Mapping[Space, Any], captured: Mapping[Space, Any], controls: Sequence[str], seed: int = 0
) -> dict[Space, Any]:
    """Controls of every gradient among feature spaces; nothing is computed before it is read.

    Parameters
    ----------
    spaces : as they are scored
    captured : all of `join_captures`: other layers' activations may be needed that are not scored themselves
    controls : some of CONTROLS
    seed : of the orders of images and layers

    Returns
    -------
    name -> [images, d]; those of "residualised-..." are `Residualized`, which `score` knows

    Raises
    ------
    ValueError : an unknown control, one twice, no gradients to control, activations that were not captured, one layer
        only to permute
    """
    gradients = {space: values for space, values in spaces.items() if space.kind != "activation"}
    if unknown := [each for each in controls if each not in CONTROLS]:
        raise ValueError(f"control_spaces: controls must be some of {', '.join(CONTROLS)}, got {unknown[0]!r}")
    if len(set(controls)) < len(controls):
        raise ValueError(f"control_spaces: controls must be named once each, got {list(controls)}")
    if controls and not gradients:
        raise ValueError(f"control_spaces: spaces must hold gradients, got only {[str(space) for space in spaces]}")
    found: dict[Space, Any] = {}
    for control in controls:
        made = _made(control, gradients, captured, seed)
        found |= {_called(space, control): values for space, values in made.items()}
    return found


def _made(control: str, gradients: Mapping[Space, Any], captured: Mapping[Space, Any], seed: int) -> dict[Space, Any]:
    kind, _, which = control.partition("-")
    if control == "layer-permuted":
        return _other_layers(gradients, seed)
    if control == "image-permuted":
        return _each(gradients, partial(image_permuted, seed=seed))
    if kind == "residualised":
        return {
            space: Residualized(values, activations_beside(space, captured, which))
            for space, values in gradients.items()
        }
    as_captured = {space: captured[space] for space in gradients}
    return unit_gradients(as_captured) if control == "unit-length" else as_captured


def _each(spaces: Mapping[Space, Any], how: Callable[[Any], Any]) -> dict[Space, Any]:
    return {space: Derived(values, tuple(values.shape), how) for space, values in spaces.items()}


def _other_layers(gradients: Mapping[Space, Any], seed: int) -> dict[Space, Any]:
    """Within each model, objective and kind."""
    groups: dict[tuple[str, str, str], dict[str, Space]] = defaultdict(dict)
    for space in gradients:
        groups[space.model, space.objective, space.kind][space.layer] = space
    return {
        layers[name]: values
        for layers in groups.values()
        for name, values in layer_permuted({layer: gradients[each] for layer, each in layers.items()}, seed).items()
    }


def _called(space: Space, control: str) -> Space:
    return Space(space.model, space.objective, f"{space.kind}/{control}", space.layer, space.depth)


def _activates(space: Space, model: str) -> bool:
    return (space.model, space.objective, space.kind) == (model, NO_OBJECTIVE, "activation")
