"""Objectives: one loss per image, whose gradient is captured.

An objective is any callable `objective(output, batch) -> [n]`. A model's output is its logits, or an object with
`logits` and `features` (what every model of `load_model` returns). Losses are summed over the batch, so an image's
gradient does not depend on the images beside it. Everything random is drawn from (seed, image index) alone.

The objectives of this package describe themselves: `name`, `exact` (False for a surrogate, which is not the loss that
the model was trained with), `needs` (the fields of the output that they read) and `facts` (all settings, for
provenance).
"""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.objectives._augment import crops as crops
    from gradkern.objectives._base import Objective as Objective
    from gradkern.objectives._base import TargetObjective as TargetObjective
    from gradkern.objectives._base import facts_of as facts_of
    from gradkern.objectives._base import name_of as name_of
    from gradkern.objectives._by_name import named_objective as named_objective
    from gradkern.objectives._by_name import objective_classes as objective_classes
    from gradkern.objectives._contrastive import Contrastive as Contrastive
    from gradkern.objectives._contrastive import SigmoidContrastive as SigmoidContrastive
    from gradkern.objectives._detection import Detection as Detection
    from gradkern.objectives._distillation import SelfDistillation as SelfDistillation
    from gradkern.objectives._distillation import SelfDistillationSurrogate as SelfDistillationSurrogate
    from gradkern.objectives._interface import Batch as Batch
    from gradkern.objectives._interface import ObjectiveFunction as ObjectiveFunction
    from gradkern.objectives._interface import Output as Output
    from gradkern.objectives._interface import Prepared as Prepared
    from gradkern.objectives._logits import CrossEntropy as CrossEntropy
    from gradkern.objectives._logits import Entropy as Entropy
    from gradkern.objectives._logits import FeatureNorm as FeatureNorm
    from gradkern.objectives._logits import KLToUniform as KLToUniform
    from gradkern.objectives._masked import MaskedAutoencoder as MaskedAutoencoder
    from gradkern.objectives._masked import MaskedPatchSurrogate as MaskedPatchSurrogate

__getattr__, __dir__, __all__ = lazy(__name__)
