"""Figures, a function each. They only draw: every number is computed elsewhere."""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.plotting._claims import estimates_by_layer as estimates_by_layer
    from gradkern.plotting._claims import specification_curve as specification_curve
    from gradkern.plotting._claims import verdict_estimates as verdict_estimates
    from gradkern.plotting._images import extreme_images as extreme_images
    from gradkern.plotting._images import predicted_against_measured as predicted_against_measured
    from gradkern.plotting._layers import score_map as score_map
    from gradkern.plotting._layers import scores_by_layer as scores_by_layer

__getattr__, __dir__, __all__ = lazy(__name__)
