"""How often each test finds something in simulated studies, true or not."""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.study.power._rates import CLAIMS as CLAIMS
    from gradkern.study.power._rates import VERDICT as VERDICT
    from gradkern.study.power._rates import Claim as Claim
    from gradkern.study.power._rates import Outcome as Outcome
    from gradkern.study.power._rates import binomial_interval as binomial_interval
    from gradkern.study.power._rates import power_of as power_of
    from gradkern.study.power._rates import rates as rates
    from gradkern.study.power._rates import simulated_rates as simulated_rates
    from gradkern.study.power._simulated_verdict import VERDICT_SETTINGS as VERDICT_SETTINGS
    from gradkern.study.power._simulated_verdict import simulated_verdict as simulated_verdict
    from gradkern.study.power._single_tests import PowerSettings as PowerSettings
    from gradkern.study.power._single_tests import simulated_tests as simulated_tests
    from gradkern.study.power._toy_network import toy_features as toy_features

__getattr__, __dir__, __all__ = lazy(__name__)
