"""gradkern: a vision model's activations and backpropagated gradients, mapped onto brain responses.

Primitives are imported with the package (torch and numpy only); the other public names load when first used.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from gradkern.sketch import Sketch, sketch
from gradkern.weight_sketch import sketch_conv, sketch_outer

if TYPE_CHECKING:
    from gradkern.encoding.banded import BandedRidgeCV
    from gradkern.encoding.classifier import RidgeClassifierCV
    from gradkern.encoding.partition import variance_partition
    from gradkern.encoding.path import ridge_path
    from gradkern.encoding.ridge import RidgeCV
    from gradkern.encoding.scores import cross_val_score
    from gradkern.recordings.recording import Recording
    from gradkern.recordings.simulation import simulate_brain
    from gradkern.vision import objectives
    from gradkern.vision.capture import capture
    from gradkern.vision.features import Features
    from gradkern.vision.models import load_model

__version__ = version("gradkern")

__all__ = [
    "Sketch",
    "sketch",
    "sketch_conv",
    "sketch_outer",
    "capture",
    "Features",
    "load_model",
    "objectives",
    "RidgeCV",
    "RidgeClassifierCV",
    "ridge_path",
    "cross_val_score",
    "BandedRidgeCV",
    "variance_partition",
    "Recording",
    "simulate_brain",
]

_HOMES = {
    "capture": "gradkern.vision.capture",
    "Features": "gradkern.vision.features",
    "load_model": "gradkern.vision.models",
    "objectives": "gradkern.vision.objectives",
    "RidgeCV": "gradkern.encoding.ridge",
    "RidgeClassifierCV": "gradkern.encoding.classifier",
    "ridge_path": "gradkern.encoding.path",
    "cross_val_score": "gradkern.encoding.scores",
    "BandedRidgeCV": "gradkern.encoding.banded",
    "variance_partition": "gradkern.encoding.partition",
    "Recording": "gradkern.recordings.recording",
    "simulate_brain": "gradkern.recordings.simulation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gradkern' has no attribute {name!r}")
    home = import_module(_HOMES[name])
    return home if name == "objectives" else getattr(home, name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
