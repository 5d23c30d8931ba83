"""Figures, a function each. They only draw: every number is computed elsewhere."""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.plotting._claims import estimates_by_layer as estimates_by_layer
    from gradkern.plotting._claims import specification_curve as specification_curve
    from gradkern.plotting._claims import verdict_estimates as verdict_estimates
    from gradkern.plotting._cortex import CortexView as CortexView
    from gradkern.plotting._cortex import cortex_map as cortex_map
    from gradkern.plotting._courses import layer_map as layer_map
    from gradkern.plotting._courses import scores_by_depth as scores_by_depth
    from gradkern.plotting._courses import scores_by_time as scores_by_time
    from gradkern.plotting._images import extreme_images as extreme_images
    from gradkern.plotting._images import predicted_against_measured as predicted_against_measured
    from gradkern.plotting._layers import score_map as score_map
    from gradkern.plotting._layers import scores_by_layer as scores_by_layer
    from gradkern.plotting._order import depth_by_hierarchy as depth_by_hierarchy
    from gradkern.plotting._order import latency_by_depth as latency_by_depth
    from gradkern.plotting._own_cortex import Cortex as Cortex
    from gradkern.plotting._sensors import topomaps as topomaps
    from gradkern.plotting._shares import controls_beside as controls_beside
    from gradkern.plotting._shares import variance_shares as variance_shares
    from gradkern.plotting._style import save as save
    from gradkern.plotting._volumes import volume_map as volume_map

__getattr__, __dir__, __all__ = lazy(__name__)
