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
    from gradkern.study.power._simulated_verdict import HOW as HOW
    from gradkern.study.power._simulated_verdict import judge_once as judge_once
    from gradkern.study.power._single_tests import How as How
    from gradkern.study.power._single_tests import study_once as study_once
    from gradkern.study.power._toy_network import toy_features as toy_features

__getattr__, __dir__, __all__ = lazy(__name__)
