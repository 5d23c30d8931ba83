"""gradkern: a vision model's activations and backpropagated gradients, mapped onto brain responses.

The names of everyday use stand here, and every package as an attribute: `gradkern.stats.permutation_test` works after
`import gradkern`. `import gradkern` itself loads the native operations, torch and NumPy, and nothing else.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING

from gradkern._extras import explain_missing_packages as _explain_missing_packages
from gradkern._lazy import lazy
from gradkern.kernels import ops as _ops  # noqa: F401  # torch.ops.gradkern is there from now on

if TYPE_CHECKING:
    from gradkern import cli as cli
    from gradkern import encoding as encoding
    from gradkern import errors as errors
    from gradkern import features as features
    from gradkern import hierarchy as hierarchy
    from gradkern import kernels as kernels
    from gradkern import models as models
    from gradkern import objectives as objectives
    from gradkern import plotting as plotting
    from gradkern import recordings as recordings
    from gradkern import ridge as ridge
    from gradkern import stats as stats
    from gradkern import study as study
    from gradkern.features._capture import capture as capture
    from gradkern.features._features import Features as Features
    from gradkern.features._store import load_features as load_features
    from gradkern.kernels._sketch import Sketch as Sketch
    from gradkern.kernels._sketch import sketch as sketch
    from gradkern.kernels._weight_sketch import sketch_conv as sketch_conv
    from gradkern.kernels._weight_sketch import sketch_outer as sketch_outer
    from gradkern.models._load import load_model as load_model
    from gradkern.models._untrained import untrained as untrained
    from gradkern.recordings._recording import Recording as Recording
    from gradkern.recordings._saved import load_recording as load_recording
    from gradkern.recordings._saved import save_recording as save_recording
    from gradkern.recordings._simulation.brain import simulate_brain as simulate_brain
    from gradkern.ridge._banded_cv import BandedRidgeCV as BandedRidgeCV
    from gradkern.ridge._classifier_cv import RidgeClassifierCV as RidgeClassifierCV
    from gradkern.ridge._cross_val import cross_val_predict as cross_val_predict
    from gradkern.ridge._cross_val import cross_val_score as cross_val_score
    from gradkern.ridge._path import ridge_path as ridge_path
    from gradkern.ridge._ridge_cv import RidgeCV as RidgeCV
    from gradkern.ridge._variance_partition import variance_partition as variance_partition

_explain_missing_packages()
__version__ = version("gradkern")
__getattr__, __dir__, __all__ = lazy(__name__)
