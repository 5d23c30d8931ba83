"""Statistics of encoding scores: permutation tests, intervals, group tests, cluster tests, null maps."""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.stats._bootstrap import Resampling as Resampling
    from gradkern.stats._bootstrap import Scores as Scores
    from gradkern.stats._bootstrap import ScoreStream as ScoreStream
    from gradkern.stats._bootstrap import concatenate_targets as concatenate_targets
    from gradkern.stats._bootstrap import layer_scores as layer_scores
    from gradkern.stats._bootstrap import leave_out_images as leave_out_images
    from gradkern.stats._bootstrap import resample_images as resample_images
    from gradkern.stats._bootstrap import resampled_scores as resampled_scores
    from gradkern.stats._bootstrap import score_blocks as score_blocks
    from gradkern.stats._bootstrap import stack_layers as stack_layers
    from gradkern.stats._clusters import Cluster as Cluster
    from gradkern.stats._clusters import ClusterTest as ClusterTest
    from gradkern.stats._clusters import cluster_test as cluster_test
    from gradkern.stats._clusters import group_cluster_test as group_cluster_test
    from gradkern.stats._clusters import sensor_adjacency as sensor_adjacency
    from gradkern.stats._correlation import correlation as correlation
    from gradkern.stats._correlation import weighted_correlation as weighted_correlation
    from gradkern.stats._exchangeable import Permutations as Permutations
    from gradkern.stats._exchangeable import draw_permutations as draw_permutations
    from gradkern.stats._group_tests import Combined as Combined
    from gradkern.stats._group_tests import Fdr as Fdr
    from gradkern.stats._group_tests import SignFlip as SignFlip
    from gradkern.stats._group_tests import SubjectTest as SubjectTest
    from gradkern.stats._group_tests import combine as combine
    from gradkern.stats._group_tests import fdr as fdr
    from gradkern.stats._group_tests import sign_flip as sign_flip
    from gradkern.stats._group_tests import wilcoxon as wilcoxon
    from gradkern.stats._intervals import Crossed as Crossed
    from gradkern.stats._intervals import Interval as Interval
    from gradkern.stats._intervals import cross as cross
    from gradkern.stats._intervals import crossed_interval as crossed_interval
    from gradkern.stats._intervals import half_width as half_width
    from gradkern.stats._intervals import interval as interval
    from gradkern.stats._intervals import interval_p as interval_p
    from gradkern.stats._intervals import over_subjects as over_subjects
    from gradkern.stats._leave_one_out import LeaveOneOut as LeaveOneOut
    from gradkern.stats._leave_one_out import leave_one_out as leave_one_out
    from gradkern.stats._paired import PairedTest as PairedTest
    from gradkern.stats._paired import paired_test as paired_test
    from gradkern.stats._permutation import PermutationTest as PermutationTest
    from gradkern.stats._permutation import TargetGroup as TargetGroup
    from gradkern.stats._permutation import permutation_test as permutation_test
    from gradkern.stats._permutation import permutation_test_held_out as permutation_test_held_out
    from gradkern.stats._prevalence import Prevalence as Prevalence
    from gradkern.stats._prevalence import prevalence as prevalence
    from gradkern.stats._smooth_maps import SmoothMapTest as SmoothMapTest
    from gradkern.stats._smooth_maps import smooth_map_test as smooth_map_test
    from gradkern.stats._spatial_nulls import MapCorrelation as MapCorrelation
    from gradkern.stats._spatial_nulls import NullMaps as NullMaps
    from gradkern.stats._spatial_nulls import VariogramPairs as VariogramPairs
    from gradkern.stats._spatial_nulls import map_correlation as map_correlation
    from gradkern.stats._spatial_nulls import parcel_centers as parcel_centers
    from gradkern.stats._spatial_nulls import random_rotations as random_rotations
    from gradkern.stats._spatial_nulls import spin_maps as spin_maps
    from gradkern.stats._spatial_nulls import variogram as variogram
    from gradkern.stats._spatial_nulls import variogram_maps as variogram_maps
    from gradkern.stats._spatial_nulls import variogram_pairs as variogram_pairs

__getattr__, __dir__, __all__ = lazy(__name__)
