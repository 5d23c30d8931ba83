"""The verdict of a simulated study: many of them tell how often each claim is supported, true or not."""

from dataclasses import replace

import numpy as np
import pandas as pd

from gradkern.encoding._nuisances import nuisances
from gradkern.features._features import Features
from gradkern.recordings._simulation.brain import Brain, simulate_brain
from gradkern.study._settings import Study, VerdictSettings
from gradkern.study.claims._verdict import NOT_TESTED, SUPPORTED, verdict
from gradkern.study.power._rates import Outcome

# with more permutations power is higher, and levels are the same
VERDICT_SETTINGS = VerdictSettings(permutations=19, bootstraps=100)


def simulated_verdict(
    brain: Brain,
    features: Features,
    how: VerdictSettings | None = None,
    seed: int = 0,
    *,
    regions: str = "OT",
    every: int = 3,
) -> Outcome:
    """Simulate a brain, fMRI and MEG of all its subjects, and give its verdict.

    Parameters
    ----------
    brain : what to simulate; its seed is replaced. Each image is shown once.
    features : of a capture; gradients are planted and judged as they are, not brought to unit length
    how : how claims are tested; its seed is replaced
    seed : of the brain, and of all permutations and resamplings
    regions : of the MEG, the sensors whose name has one of these letters in third place (O occipital, P parietal, T
        temporal)
    every : of these, one in so many; neighbours are alike

    Returns
    -------
    Outcome : whether each claim is supported, its estimate, and why it was not tested

    Raises
    ------
    ValueError : several repeats, every below 1, no sensors there, what `Study` refuses
    """
    if brain.repeats != 1:
        raise ValueError(f"simulated_verdict: brain.repeats must be 1, got {brain.repeats}")
    if every < 1:
        raise ValueError(f"simulated_verdict: every must be at least 1, got {every}")
    names = [layer for kind, layer in features if kind == "activation"]
    kinds = dict.fromkeys(kind for kind, _ in features if kind in ("activation", "gradient") or "gradient/" in kind)
    layers = {kind: [features[kind, layer].double().numpy() for layer in names] for kind in kinds}
    fmri, meg = simulate_brain(layers, replace(brain, seed=seed))
    sensors = [name for name in meg[0].targets["sensor"].unique() if name[2] in regions][::every]
    if not sensors:
        raise ValueError(f"simulated_verdict: regions must name some sensors, got {regions!r}")
    here = meg[0].targets["sensor"].isin(sensors).to_numpy()
    meg = [one.select_targets(here, f"one in {every} over {regions}") for one in meg]
    depth = np.linspace(0, 1, len(names))  # as the simulation has it
    study = Study(layers, depth, fmri, meg, nuisances=nuisances(features).values)
    table = verdict(study, replace(how or VERDICT_SETTINGS, seed=seed), pd.DataFrame()).set_index("claim")
    tested = table[table["conclusion"] != NOT_TESTED]
    return Outcome(
        brain.organisation, len(layers["activation"][0]), brain.subjects, brain.ceiling, seed,
        found={str(claim): bool(said == SUPPORTED) for claim, said in table["conclusion"].items()},
        values={str(claim): float(value) for claim, value in tested["estimate"].items()},
        refused={str(claim): str(why) for claim, why in table["why"].items() if why},
        rows={str(claim): int(rows) for claim, rows in table["rows"].items()},
    )  # fmt: skip
