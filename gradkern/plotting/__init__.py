"""Figures from scores. Nothing is computed here."""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.plotting._figures import extreme_images as extreme_images
    from gradkern.plotting._figures import predicted_against_measured as predicted_against_measured
    from gradkern.plotting._figures import score_map as score_map
    from gradkern.plotting._figures import scores_by_layer as scores_by_layer
    from gradkern.plotting._figures import specification_curve as specification_curve
    from gradkern.plotting._figures import verdict_estimates as verdict_estimates

__getattr__, __dir__, __all__ = lazy(__name__)
