"""Controls of captured gradients, as feature spaces of their own that are scored beside them.

A control of kind "gradient" has the kind "gradient/NAME":

"raw", "unit-length"        each image's gradient as it was captured, or divided by its norm: what "gradient" is not
"residualized-same-layer"   its residuals after a ridge regression on the activations of its layer, fitted anew on the
                            training images of every outer fold: see `residualize`
"residualized-all-layers"   the same, on the activations of all captured layers of the model
"image-permuted"            every image has the gradient of another image
"layer-permuted"            every layer has the gradient of another layer
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from gradkern.encoding._residualize import Residualized
from gradkern.encoding._spaces import NO_OBJECTIVE, Derived, FeatureSpace, unit_gradients
from gradkern.encoding._transforms import image_permuted, layer_permuted
from gradkern.errors import naming

CONTROLS = (
    "raw",
    "unit-length",
    "residualized-same-layer",
    "residualized-all-layers",
    "image-permuted",
    "layer-permuted",
)
COVARIATES = ("same-layer", "all-layers")


def activations_for(gradient: FeatureSpace, captured: Mapping[FeatureSpace, Any], layers: str) -> Any:
    """Activations of a gradient's model: [images, a] of the same layer, or a list of those of all layers.

    Raises
    ------
    ValueError : they were not captured
    """
    of_model = {space.layer: values for space, values in captured.items() if _is_activation(space, gradient.model)}
    if not of_model or (layers == "same-layer" and gradient.layer not in of_model):
        raise ValueError(
            f"captured must hold the activations of {layers.replace('-', ' ')} for {gradient}, got those of layers "
            f"{list(of_model)}"
        )
    return of_model[gradient.layer] if layers == "same-layer" else list(of_model.values())


@naming("control_spaces")
def control_spaces(
    spaces: Mapping[FeatureSpace, Any], captured: Mapping[FeatureSpace, Any], controls: Sequence[str], seed: int = 0
) -> dict[FeatureSpace, Any]:
    """Make controls of every gradient among feature spaces; nothing is computed before it is read.

    Parameters
    ----------
    spaces : the feature spaces to be scored
    captured : all of `join_captures`, because residuals may need activations that are not scored themselves
    controls : some of CONTROLS (the spelling "residualised-..." of earlier versions is taken too)
    seed : of the permutations of images and layers

    Returns
    -------
    FeatureSpace -> [images, d]; those of "residualized-..." are `Residualized`, which `score` fits anew in every fold

    Raises
    ------
    ValueError : an unknown control, a control twice, no gradients, activations that were not captured, a single layer
        to permute
    """
    gradients = {space: values for space, values in spaces.items() if space.kind != "activation"}
    names = [control.replace("residualised", "residualized") for control in controls]
    if unknown := [name for name in names if name not in CONTROLS]:
        raise ValueError(f"controls must be some of {', '.join(CONTROLS)}, got {unknown[0]!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"controls must be named once each, got {list(controls)}")
    if names and not gradients:
        raise ValueError(f"spaces must hold gradients, got only {[str(space) for space in spaces]}")
    return {
        FeatureSpace(space.model, space.objective, f"{space.kind}/{name}", space.layer, space.depth): values
        for name in names
        for space, values in _control(name, gradients, captured, seed).items()
    }


def _control(
    name: str, gradients: Mapping[FeatureSpace, Any], captured: Mapping[FeatureSpace, Any], seed: int
) -> dict[FeatureSpace, Any]:
    """One control of all gradients, under their own names."""
    family, _, layers = name.partition("-")
    if name == "layer-permuted":
        return _layers_permuted(gradients, seed)
    if name == "image-permuted":
        permute = partial(image_permuted, seed=seed)
        return {space: Derived(values, tuple(values.shape), permute) for space, values in gradients.items()}
    if family == "residualized":
        return {
            space: Residualized(values, activations_for(space, captured, layers)) for space, values in gradients.items()
        }
    as_captured = {space: captured[space] for space in gradients}
    return unit_gradients(as_captured) if name == "unit-length" else as_captured


def _layers_permuted(gradients: Mapping[FeatureSpace, Any], seed: int) -> dict[FeatureSpace, Any]:
    """Layers change places within each model, objective and kind."""
    groups: dict[tuple[str, str, str], dict[str, FeatureSpace]] = defaultdict(dict)
    for space in gradients:
        groups[space.model, space.objective, space.kind][space.layer] = space
    return {
        layers[name]: values
        for layers in groups.values()
        for name, values in layer_permuted({layer: gradients[space] for layer, space in layers.items()}, seed).items()
    }


def _is_activation(space: FeatureSpace, model: str) -> bool:
    return (space.model, space.objective, space.kind) == (model, NO_OBJECTIVE, "activation")
