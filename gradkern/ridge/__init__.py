"""Cross-validated ridge regression of many targets, each with its own penalty."""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern._device import computing_on as computing_on
    from gradkern.ridge._alphas import DEFAULT_ALPHAS as DEFAULT_ALPHAS
    from gradkern.ridge._alphas import EdgeCount as EdgeCount
    from gradkern.ridge._banded_cv import BandedRidgeCV as BandedRidgeCV
    from gradkern.ridge._classifier_cv import RidgeClassifierCV as RidgeClassifierCV
    from gradkern.ridge._cross_val import cross_val_predict as cross_val_predict
    from gradkern.ridge._cross_val import cross_val_score as cross_val_score
    from gradkern.ridge._cross_val import pearson_r as pearson_r
    from gradkern.ridge._cross_validation import CrossValidation as CrossValidation
    from gradkern.ridge._path import ridge_path as ridge_path
    from gradkern.ridge._ridge_cv import RidgeCV as RidgeCV
    from gradkern.ridge._variance_partition import VariancePartition as VariancePartition
    from gradkern.ridge._variance_partition import r2_split as r2_split
    from gradkern.ridge._variance_partition import variance_partition as variance_partition

__getattr__, __dir__, __all__ = lazy(__name__)
