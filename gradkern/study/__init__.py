"""A study from its file: what was captured and recorded, the claims it tests, and its report."""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.study import claims as claims
    from gradkern.study import power as power
    from gradkern.study import report as report
    from gradkern.study import runner as runner
    from gradkern.study._derived_hierarchy import DerivedHierarchy as DerivedHierarchy
    from gradkern.study._derived_hierarchy import parse_hierarchy as parse_hierarchy
    from gradkern.study._means import region_means as region_means
    from gradkern.study._means import subject_mean as subject_mean
    from gradkern.study._multiverse import Estimate as Estimate
    from gradkern.study._multiverse import multiverse as multiverse
    from gradkern.study._multiverse import survival as survival
    from gradkern.study._settings import COVARIATES as COVARIATES
    from gradkern.study._settings import Study as Study
    from gradkern.study._settings import VerdictSettings as VerdictSettings
    from gradkern.study._study_description import StudyDescription as StudyDescription
    from gradkern.study._study_description import parse_study as parse_study
    from gradkern.study._study_file import StudyFile as StudyFile
    from gradkern.study._study_file import load_study as load_study
    from gradkern.study._study_file import read_study as read_study
    from gradkern.study._subject_checks import subject_checks as subject_checks
    from gradkern.study._variants import FeatureSet as FeatureSet
    from gradkern.study._variants import StudyVariants as StudyVariants
    from gradkern.study._variants import choices as choices
    from gradkern.study._variants import verdict_multiverse as verdict_multiverse
    from gradkern.study.claims._verdict import verdict as verdict
    from gradkern.study.runner._run import run as run

__getattr__, __dir__, __all__ = lazy(__name__)
