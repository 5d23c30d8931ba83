"""A study of simulated recordings of independent layers, as small as tests of the verdict allow."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gradkern import simulate_brain
from gradkern.recordings import Brain
from gradkern.study import Study, VerdictSettings

LAYERS, IMAGES, WIDTH = 4, 200, 8
SETTINGS = VerdictSettings(permutations=59, bootstraps=60, max_targets=150, max_locations=150)
DEPTH = np.linspace(0, 1, LAYERS)


def layers(seed: int) -> list[np.ndarray]:
    """Of independent layers: where they go can be told."""
    random = np.random.default_rng(seed)
    return [random.standard_normal((IMAGES, WIDTH)) for _ in range(LAYERS)]


ACTIVATIONS = layers(0)
# functions of the activations, half linear
GRADIENTS = [np.tanh(2 * (A + 0.5 * A[:, ::-1])) for A in ACTIVATIONS]
FEATURES = {"activation": ACTIVATIONS, "gradient": GRADIENTS}


# beyond nonlinear readouts of activations too
WITH_OWN = FEATURES | {"gradient": [0.5 * G + own for G, own in zip(GRADIENTS, layers(7), strict=True)]}


def study(
    organisation: str, features: Mapping[str, Any] = FEATURES, planted: Mapping[str, Any] = FEATURES, **brain: Any
) -> Study:
    sizes: dict[str, Any] = {"subjects": 2, "repeats": 2, "vertices": 120, "silent": 20, "ceiling": 0.8}
    made = Brain(organisation, **(sizes | brain))
    fmri, meg = simulate_brain(planted, made)
    occipital = [some.select_targets(some.targets["sensor"].str[2].eq("O").to_numpy(), "occipital") for some in meg]
    averaged = [[one.average_repeats() for one in some] for some in (fmri, occipital)]
    return Study(features, DEPTH, *averaged, hierarchy="depth")
