"""Which layer a target prefers, and how preference and latency are ordered along a hierarchy."""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.hierarchy._lag import lag_test as lag_test
    from gradkern.hierarchy._latency import ESTIMATORS as ESTIMATORS
    from gradkern.hierarchy._latency import Jackknife as Jackknife
    from gradkern.hierarchy._latency import Latency as Latency
    from gradkern.hierarchy._latency import TemporalScore as TemporalScore
    from gradkern.hierarchy._latency import TooFewLatencies as TooFewLatencies
    from gradkern.hierarchy._latency import area_latency as area_latency
    from gradkern.hierarchy._latency import center_latency as center_latency
    from gradkern.hierarchy._latency import corrected_f as corrected_f
    from gradkern.hierarchy._latency import flat_curves as flat_curves
    from gradkern.hierarchy._latency import jackknife as jackknife
    from gradkern.hierarchy._latency import jackknife_error as jackknife_error
    from gradkern.hierarchy._latency import onset_latency as onset_latency
    from gradkern.hierarchy._latency import peak_latency as peak_latency
    from gradkern.hierarchy._latency import plateau_latency as plateau_latency
    from gradkern.hierarchy._latency import quiet_curves as quiet_curves
    from gradkern.hierarchy._latency import temporal_score as temporal_score
    from gradkern.hierarchy._latency import time_courses as time_courses
    from gradkern.hierarchy._layer_courses import layer_time_courses as layer_time_courses
    from gradkern.hierarchy._layer_permutation import LayerPermutationTest as LayerPermutationTest
    from gradkern.hierarchy._layer_permutation import layer_permutation_test as layer_permutation_test
    from gradkern.hierarchy._layers import PREFERENCES as PREFERENCES
    from gradkern.hierarchy._layers import BestLayers as BestLayers
    from gradkern.hierarchy._layers import Preference as Preference
    from gradkern.hierarchy._layers import PreferredDepth as PreferredDepth
    from gradkern.hierarchy._layers import best_layers as best_layers
    from gradkern.hierarchy._layers import predicted_targets as predicted_targets
    from gradkern.hierarchy._layers import preferred_depth as preferred_depth
    from gradkern.hierarchy._maps import Measure as Measure
    from gradkern.hierarchy._maps import SubjectMap as SubjectMap
    from gradkern.hierarchy._maps import average_maps as average_maps
    from gradkern.hierarchy._maps import mirror_hemispheres as mirror_hemispheres
    from gradkern.hierarchy._maps import predictability as predictability
    from gradkern.hierarchy._maps import variogram_null_test as variogram_null_test
    from gradkern.hierarchy._regions import Regions as Regions
    from gradkern.hierarchy._spatial_score import HierarchyScores as HierarchyScores
    from gradkern.hierarchy._spatial_score import SpatialScore as SpatialScore
    from gradkern.hierarchy._spatial_score import SpatialVariant as SpatialVariant
    from gradkern.hierarchy._spatial_score import every_spatial_score as every_spatial_score
    from gradkern.hierarchy._spatial_score import spatial_score as spatial_score
    from gradkern.hierarchy._temporal_order import NO_ORDER as NO_ORDER
    from gradkern.hierarchy._temporal_order import OPPOSITE as OPPOSITE
    from gradkern.hierarchy._temporal_order import PREDICTED as PREDICTED
    from gradkern.hierarchy._temporal_order import UNDECIDED as UNDECIDED
    from gradkern.hierarchy._temporal_order import DirectionTest as DirectionTest
    from gradkern.hierarchy._temporal_order import TemporalOrderTest as TemporalOrderTest
    from gradkern.hierarchy._temporal_order import TimeCourses as TimeCourses
    from gradkern.hierarchy._temporal_order import slope as slope
    from gradkern.hierarchy._temporal_order import temporal_order_test as temporal_order_test
    from gradkern.hierarchy._values import euclidean_hierarchy as euclidean_hierarchy
    from gradkern.hierarchy._values import geodesic_hierarchy as geodesic_hierarchy
    from gradkern.hierarchy._values import rank_hierarchy as rank_hierarchy

__getattr__, __dir__, __all__ = lazy(__name__)
