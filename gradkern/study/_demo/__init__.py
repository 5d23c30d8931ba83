"""`gradkern demo`: real photographs, a pretrained network, real fMRI responses, a report.

The demo scores features in its own way, for 115 images and two targets; studies use `gradkern.encoding.score`.
"""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.study._demo.layers import GRADIENT_KINDS as GRADIENT_KINDS
    from gradkern.study._demo.layers import layerwise_scores as layerwise_scores
    from gradkern.study._demo.run import run_demo as run_demo
    from gradkern.study._demo.scoring import DemoScoring as DemoScoring
    from gradkern.study._demo.scoring import HeldOut as HeldOut
    from gradkern.study._demo.scoring import predict as predict
    from gradkern.study._demo.scoring import r_with_interval as r_with_interval
    from gradkern.study._demo.scoring import score_features as score_features
    from gradkern.study._demo.simulated import SimulatedVerdicts as SimulatedVerdicts
    from gradkern.study._demo.simulated import Simulation as Simulation
    from gradkern.study._demo.simulated import simulated_verdicts as simulated_verdicts

__getattr__, __dir__, __all__ = lazy(__name__)
