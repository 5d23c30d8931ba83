"""The claims that a study tests."""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.study.claims._beyond import beyond as beyond
    from gradkern.study.claims._claim import LEVEL as LEVEL
    from gradkern.study.claims._claim import Claim as Claim
    from gradkern.study.claims._claim import Expectation as Expectation
    from gradkern.study.claims._claim import Row as Row
    from gradkern.study.claims._decision import CANNOT_DECIDE as CANNOT_DECIDE
    from gradkern.study.claims._decision import NOT_FOUND as NOT_FOUND
    from gradkern.study.claims._decision import NOT_TESTED as NOT_TESTED
    from gradkern.study.claims._decision import SUPPORTED as SUPPORTED
    from gradkern.study.claims._prediction import better_prediction as better_prediction
    from gradkern.study.claims._prediction import linear_diagnostic as linear_diagnostic
    from gradkern.study.claims._prediction import prediction as prediction
    from gradkern.study.claims._registry import claims_of as claims_of
    from gradkern.study.claims._registry import claims_of_controls as claims_of_controls
    from gradkern.study.claims._scored import ScoredStudy as ScoredStudy
    from gradkern.study.claims._scored import Subject as Subject
    from gradkern.study.claims._scored import score_study as score_study
    from gradkern.study.claims._spatial import higher_areas as higher_areas
    from gradkern.study.claims._spatial import spatial_layer_permutation as spatial_layer_permutation
    from gradkern.study.claims._spatial import spatial_order as spatial_order
    from gradkern.study.claims._temporal import lag as lag
    from gradkern.study.claims._temporal import temporal_layer_permutation as temporal_layer_permutation
    from gradkern.study.claims._temporal import temporal_order as temporal_order
    from gradkern.study.claims._verdict import verdict as verdict

__getattr__, __dir__, __all__ = lazy(__name__)
