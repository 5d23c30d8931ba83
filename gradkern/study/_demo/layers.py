"""The demo's scores of every layer, kind and objective, and of what they are compared with, in one Dataset."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from gradkern.encoding._transforms import unit_length
from gradkern.features._features import Features
from gradkern.recordings._noise_ceiling import noise_ceiling
from gradkern.recordings._recording import Recording
from gradkern.study._demo.scoring import DemoScoring, score_features

GRADIENT_KINDS = ("gradient", "weight_gradient")
SCALINGS = ("unit length", "raw")

Track = Callable[[Iterable[tuple[str, Any]]], Iterable[tuple[str, Any]]]


def layerwise_scores(
    captures: Sequence[Features],
    pixels: np.ndarray,
    recording: Recording,
    scoring: DemoScoring,
    track: Track = lambda features: features,
) -> xr.Dataset:
    """Score activations, gradients and weight gradients layer by layer.

    Parameters
    ----------
    captures : one for each objective, of the same images and layers; the first holds the activations as well
    pixels : [images, p], features to compare with
    track : function around the loop over feature spaces, to show progress

    Returns
    -------
    Dataset with r under the names activation [layer, target]; gradient and weight_gradient [objective, scaling,
    layer, target]; pixels and noise_ceiling [target]; and their 95 % intervals [..., bound] as NAME_interval. The
    scaling "unit length" divides each image's gradient by its norm, so that only its direction counts; "raw" does not.
    """
    layers = list(dict.fromkeys(layer for _, layer in captures[0]))
    objectives = [capture.objective for capture in captures]
    features: dict[str, Any] = {"pixels": pixels}
    features |= {f"activation/{layer}": captures[0]["activation", layer].numpy() for layer in layers}
    for kind in GRADIENT_KINDS:
        for capture in captures:
            for layer in layers:
                raw = capture[kind, layer].numpy()
                features[f"{kind}/{capture.objective}/unit length/{layer}"] = unit_length(raw)
                features[f"{kind}/{capture.objective}/raw/{layer}"] = raw
    scored = [score_features({name: X}, recording, scoring) for name, X in track(features.items())]
    flat = xr.concat(scored, "feature")
    result = xr.Dataset(
        {"noise_ceiling": ("target", noise_ceiling(recording).r)},
        coords={"objective": objectives, "scaling": list(SCALINGS), "layer": layers, "target": list(recording.labels)},
    )
    for suffix, values in (("", flat.r), ("_interval", flat.interval)):
        rest = values.dims[1:]
        result[f"pixels{suffix}"] = values.sel(feature="pixels", drop=True)
        names = [f"activation/{layer}" for layer in layers]
        result[f"activation{suffix}"] = (("layer", *rest), values.sel(feature=names).values)
        for kind in GRADIENT_KINDS:
            dims = ("objective", "scaling", "layer")
            table = [
                [values.sel(feature=[f"{kind}/{o}/{s}/{layer}" for layer in layers]).values for s in SCALINGS]
                for o in objectives
            ]
            result[f"{kind}{suffix}"] = ((*dims, *rest), np.array(table))
    return result
