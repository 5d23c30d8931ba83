"""The verdict of a simulated study: many of them tell how often each claim is supported, true or not."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pandas as pd

from gradkern.errors import naming
from gradkern.features._features import Features
from gradkern.recordings._simulation.brain import Brain
from gradkern.study._settings import VerdictSettings
from gradkern.study.claims._verdict import NOT_TESTED, SUPPORTED, verdict
from gradkern.study.power._rates import Outcome
from gradkern.study.power._simulated_study import VERDICT_SETTINGS, simulated_study, variant_of


@naming("simulated_verdict")
def simulated_verdict(
    brain: Brain,
    features: Features,
    settings: VerdictSettings | None = None,
    seed: int = 0,
    *,
    regions: str = "OT",
    every: int = 3,
    image_statistics: Any = None,
    only: Collection[str] | None = None,
) -> Outcome:
    """Simulate a brain, fMRI and MEG of all its subjects, and compute its verdict.

    Parameters
    ----------
    brain : what to simulate; its seed is replaced. Each image is shown once.
    features : of a capture; gradients are planted and tested as they are, not brought to unit length
    settings : of the verdict; its seed is replaced
    seed : of the brain, and of all permutations and resamplings
    regions : use MEG sensors whose name has one of these letters in third place (O occipital, P parietal, T temporal)
    every : use one in `every` of these sensors, because neighbours are alike
    image_statistics : [images, s], which some brains read, and which claims exclude
    only : ids of the claims to test; None: all

    Returns
    -------
    Outcome : by the claims' ids: whether each is supported, its estimate, and why it was not tested

    Raises
    ------
    ValueError : several repeats, every below 1, no sensors there, what `Study` refuses
    """
    if brain.repeats != 1:
        raise ValueError(f"brain.repeats must be 1, got {brain.repeats}")
    if every < 1:
        raise ValueError(f"every must be at least 1, got {every}")
    study = simulated_study(brain, features, seed, regions, every, image_statistics)
    table = verdict(study, replace(settings or VERDICT_SETTINGS, seed=seed), pd.DataFrame(), only=only).set_index("id")
    tested = table[table["conclusion"] != NOT_TESTED]
    return Outcome(
        variant_of(brain), len(study.features["activation"][0]), brain.subjects, brain.ceiling, seed,
        found={str(id): bool(conclusion == SUPPORTED) for id, conclusion in table["conclusion"].items()},
        values={str(id): float(value) for id, value in tested["estimate"].items()},
        refused={str(id): str(why) for id, why in table["why"].items() if why},
        rows={str(id): int(rows) for id, rows in table["rows"].items()},
    )  # fmt: skip
