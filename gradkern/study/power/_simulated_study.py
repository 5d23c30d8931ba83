"""Studies of simulated brains: what they are made of, and the settings that their verdicts are measured with."""

from dataclasses import replace

import numpy as np

from gradkern.encoding._nuisances import nuisances
from gradkern.features._features import Features
from gradkern.recordings._simulation.brain import Brain, simulate_brain
from gradkern.study._settings import Study, VerdictSettings

# more permutations raise the power and leave the level as it is
VERDICT_SETTINGS = VerdictSettings(permutations=19, bootstraps=100, subject_checks=False)


def simulated_study(brain: Brain, features: Features, seed: int, regions: str, every: int) -> Study:
    """Simulate fMRI and MEG of all subjects, and join them with the features.

    Parameters
    ----------
    regions, every : use sensors whose name has one of these letters in third place, and one in `every` of them
    """
    names = [layer for kind, layer in features if kind == "activation"]
    kinds = dict.fromkeys(kind for kind, _ in features if kind in ("activation", "gradient") or "gradient/" in kind)
    layers = {kind: [features[kind, layer].double().numpy() for layer in names] for kind in kinds}
    fmri, meg = simulate_brain(layers, replace(brain, seed=seed))
    sensors = [name for name in meg[0].targets["sensor"].unique() if name[2] in regions][::every]
    if not sensors:
        raise ValueError(f"regions must name some sensors, got {regions!r}")
    chosen = meg[0].targets["sensor"].isin(sensors).to_numpy()
    meg = [recording.select_targets(chosen, f"one in {every} over {regions}") for recording in meg]
    depth = np.linspace(0, 1, len(names))  # as the simulation has it
    return Study(layers, depth, fmri, meg, nuisances=nuisances(features).values)
