"""Feature spaces scored against recordings: encoding models, their controls, unique variance, RSA."""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.encoding._control_spaces import CONTROLS as CONTROLS
    from gradkern.encoding._control_spaces import Residualized as Residualized
    from gradkern.encoding._control_spaces import control_spaces as control_spaces
    from gradkern.encoding._control_spaces import residualized as residualized
    from gradkern.encoding._controls import EffectiveRank as EffectiveRank
    from gradkern.encoding._controls import Residualizer as Residualizer
    from gradkern.encoding._controls import effective_rank as effective_rank
    from gradkern.encoding._controls import image_permuted as image_permuted
    from gradkern.encoding._controls import layer_permuted as layer_permuted
    from gradkern.encoding._controls import match_dimension as match_dimension
    from gradkern.encoding._controls import nuisances as nuisances
    from gradkern.encoding._controls import residualize as residualize
    from gradkern.encoding._controls import unit_length as unit_length
    from gradkern.encoding._folds import inner_groups as inner_groups
    from gradkern.encoding._folds import outer_folds as outer_folds
    from gradkern.encoding._matched_dimension import DimensionMatching as DimensionMatching
    from gradkern.encoding._matched_dimension import matched as matched
    from gradkern.encoding._rsa import RDMCeiling as RDMCeiling
    from gradkern.encoding._rsa import Similarity as Similarity
    from gradkern.encoding._rsa import centred_products as centred_products
    from gradkern.encoding._rsa import compare_rdms as compare_rdms
    from gradkern.encoding._rsa import linear_cka as linear_cka
    from gradkern.encoding._rsa import rdm as rdm
    from gradkern.encoding._rsa import rdm_ceiling as rdm_ceiling
    from gradkern.encoding._rsa import upper_triangle as upper_triangle
    from gradkern.encoding._rsa_scores import RSASettings as RSASettings
    from gradkern.encoding._rsa_scores import best_layers_by_measure as best_layers_by_measure
    from gradkern.encoding._rsa_scores import similarity_scores as similarity_scores
    from gradkern.encoding._scale import unit_scale as unit_scale
    from gradkern.encoding._score import ceiling_of as ceiling_of
    from gradkern.encoding._score import score as score
    from gradkern.encoding._spaces import Space as Space
    from gradkern.encoding._spaces import coordinates as coordinates
    from gradkern.encoding._spaces import join_captures as join_captures
    from gradkern.encoding._spaces import unit_gradients as unit_gradients
    from gradkern.encoding._store import is_up_to_date as is_up_to_date
    from gradkern.encoding._store import load_scores as load_scores
    from gradkern.encoding._store import save_scores as save_scores
    from gradkern.encoding._unique import UniqueVariance as UniqueVariance
    from gradkern.encoding._unique import partial_permutation_test as partial_permutation_test
    from gradkern.encoding._unique import unique_variance as unique_variance
    from gradkern.encoding._unique_scores import BY_TARGET as BY_TARGET
    from gradkern.encoding._unique_scores import UniqueVarianceSettings as UniqueVarianceSettings
    from gradkern.encoding._unique_scores import unique_scores as unique_scores

__getattr__, __dir__, __all__ = lazy(__name__)
