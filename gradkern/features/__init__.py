"""Activations, gradients and per-image weight gradients of any model, captured layer by layer."""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.errors import CoverageError as CoverageError
    from gradkern.features._capture import capture as capture
    from gradkern.features._engine.gradient_controls import CONTROLS as CONTROLS
    from gradkern.features._engine.hooks import KINDS as KINDS
    from gradkern.features._features import Features as Features
    from gradkern.features._given import given as given
    from gradkern.features._store import load_features as load_features

__getattr__, __dir__, __all__ = lazy(__name__)
