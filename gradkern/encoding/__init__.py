"""Feature spaces scored against recordings: encoding models, their controls, unique variance, RSA and CKA.

Most studies need `join_captures`, whose names are `FeatureSpace`, then `score`, `unique_scores` or `rsa_scores`, and
`save_scores` and `load_scores`.
"""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.encoding._conditional import ResponseModel as ResponseModel
    from gradkern.encoding._conditional import conditional_test as conditional_test
    from gradkern.encoding._conditional import response_model as response_model
    from gradkern.encoding._conditional_result import ConditionalGroup as ConditionalGroup
    from gradkern.encoding._conditional_result import ConditionalTest as ConditionalTest
    from gradkern.encoding._conditional_result import pooled as pooled
    from gradkern.encoding._confounds import Confounds as Confounds
    from gradkern.encoding._confounds import confounds as confounds
    from gradkern.encoding._control_spaces import CONTROLS as CONTROLS
    from gradkern.encoding._control_spaces import control_spaces as control_spaces
    from gradkern.encoding._dimension import DimensionMatching as DimensionMatching
    from gradkern.encoding._dimension import EffectiveRank as EffectiveRank
    from gradkern.encoding._dimension import effective_rank as effective_rank
    from gradkern.encoding._dimension import match_dimension as match_dimension
    from gradkern.encoding._dimension import match_spaces as match_spaces
    from gradkern.encoding._folds import inner_groups as inner_groups
    from gradkern.encoding._folds import outer_folds as outer_folds
    from gradkern.encoding._image_statistics import image_statistics as image_statistics
    from gradkern.encoding._maps import STATISTICS as STATISTICS
    from gradkern.encoding._maps import ScoreMaps as ScoreMaps
    from gradkern.encoding._maps import score_maps as score_maps
    from gradkern.encoding._matching import aligned as aligned
    from gradkern.encoding._matching import in_rows_of as in_rows_of
    from gradkern.encoding._matching import matched_rows as matched_rows
    from gradkern.encoding._nuisances import nuisances as nuisances
    from gradkern.encoding._permutation_scores import PermutationSettings as PermutationSettings
    from gradkern.encoding._permutation_scores import join_targets as join_targets
    from gradkern.encoding._permutation_scores import permutation_scores as permutation_scores
    from gradkern.encoding._residualize import Residualized as Residualized
    from gradkern.encoding._residualize import Residualizer as Residualizer
    from gradkern.encoding._residualize import residualize as residualize
    from gradkern.encoding._residualize import residualize_spaces as residualize_spaces
    from gradkern.encoding._rsa import RDMCeiling as RDMCeiling
    from gradkern.encoding._rsa import Similarity as Similarity
    from gradkern.encoding._rsa import centered_products as centered_products
    from gradkern.encoding._rsa import compare_rdms as compare_rdms
    from gradkern.encoding._rsa import linear_cka as linear_cka
    from gradkern.encoding._rsa import rdm as rdm
    from gradkern.encoding._rsa import rdm_ceiling as rdm_ceiling
    from gradkern.encoding._rsa import upper_triangle as upper_triangle
    from gradkern.encoding._rsa_scores import RSASettings as RSASettings
    from gradkern.encoding._rsa_scores import best_layers_by_measure as best_layers_by_measure
    from gradkern.encoding._rsa_scores import rsa_scores as rsa_scores
    from gradkern.encoding._scale import unit_scale as unit_scale
    from gradkern.encoding._score import ceiling_of as ceiling_of
    from gradkern.encoding._score import score as score
    from gradkern.encoding._score_model import score_model as score_model
    from gradkern.encoding._share_courses import share_time_courses as share_time_courses
    from gradkern.encoding._spaces import FeatureSpace as FeatureSpace
    from gradkern.encoding._spaces import coordinates as coordinates
    from gradkern.encoding._spaces import join_captures as join_captures
    from gradkern.encoding._spaces import unit_gradients as unit_gradients
    from gradkern.encoding._store import is_up_to_date as is_up_to_date
    from gradkern.encoding._store import load_scores as load_scores
    from gradkern.encoding._store import save_scores as save_scores
    from gradkern.encoding._transforms import image_permuted as image_permuted
    from gradkern.encoding._transforms import layer_permuted as layer_permuted
    from gradkern.encoding._transforms import unit_length as unit_length
    from gradkern.encoding._unique import UniqueVariance as UniqueVariance
    from gradkern.encoding._unique import partial_permutation_test as partial_permutation_test
    from gradkern.encoding._unique import unique_variance as unique_variance
    from gradkern.encoding._unique_scores import UNIQUE_VARIABLES as UNIQUE_VARIABLES
    from gradkern.encoding._unique_scores import UniqueVarianceSettings as UniqueVarianceSettings
    from gradkern.encoding._unique_scores import unique_scores as unique_scores

__getattr__, __dir__, __all__ = lazy(__name__)
