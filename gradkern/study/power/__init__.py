"""How often each test finds something in simulated studies, true or not."""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.study.power._code import code_hash as code_hash
    from gradkern.study.power._code import source_hash as source_hash
    from gradkern.study.power._rates import EARLIER_CODE as EARLIER_CODE
    from gradkern.study.power._rates import ENOUGH as ENOUGH
    from gradkern.study.power._rates import SIMULATED_CLAIMS as SIMULATED_CLAIMS
    from gradkern.study.power._rates import SINGLE_TESTS as SINGLE_TESTS
    from gradkern.study.power._rates import Outcome as Outcome
    from gradkern.study.power._rates import Power as Power
    from gradkern.study.power._rates import binomial_interval as binomial_interval
    from gradkern.study.power._rates import is_current as is_current
    from gradkern.study.power._rates import power_of as power_of
    from gradkern.study.power._rates import rates as rates
    from gradkern.study.power._rates import simulated_rates as simulated_rates
    from gradkern.study.power._simulated_study import VERDICT_SETTINGS as VERDICT_SETTINGS
    from gradkern.study.power._simulated_study import variant_of as variant_of
    from gradkern.study.power._simulated_verdict import simulated_verdict as simulated_verdict
    from gradkern.study.power._single_tests import PowerSettings as PowerSettings
    from gradkern.study.power._single_tests import simulated_tests as simulated_tests
    from gradkern.study.power._toy_network import toy_features as toy_features

__getattr__, __dir__, __all__ = lazy(__name__)
