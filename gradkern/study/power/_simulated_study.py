"""Studies of simulated brains: what they are made of, and the settings that their verdicts are measured with."""

from dataclasses import replace
from typing import Any

import numpy as np

from gradkern.encoding._nuisances import nuisances
from gradkern.features._features import Features
from gradkern.recordings._simulation.brain import Brain, simulate_brain
from gradkern.study._settings import Study, VerdictSettings

_CATEGORIES = 12
# more permutations raise the power and leave the level as it is
VERDICT_SETTINGS = VerdictSettings(permutations=19, bootstraps=100, subject_checks=False)


def simulated_study(
    brain: Brain, features: Features, seed: int, regions: str, every: int, image_statistics: Any = None
) -> Study:
    """Simulate fMRI and MEG of all subjects, and join them with the features.

    Parameters
    ----------
    image_statistics : [images, s], which some brains read, and which claims exclude
    regions, every : use sensors whose name has one of these letters in third place, and one in `every` of them
    """
    names = [layer for kind, layer in features if kind == "activation"]
    kinds = dict.fromkeys(kind for kind, _ in features if kind in ("activation", "gradient") or "gradient/" in kind)
    layers = {kind: [features[kind, layer].double().numpy() for layer in names] for kind in kinds}
    fmri, meg = simulate_brain(layers, replace(brain, seed=seed), extra=_extra(brain, features, image_statistics))
    sensors = [name for name in meg[0].targets["sensor"].unique() if name[2] in regions][::every]
    if not sensors:
        raise ValueError(f"regions must name some sensors, got {regions!r}")
    chosen = meg[0].targets["sensor"].isin(sensors).to_numpy()
    meg = [recording.select_targets(chosen, f"one in {every} over {regions}") for recording in meg]
    depth = np.linspace(0, 1, len(names))  # as the simulation has it
    return Study(
        layers,
        depth,
        fmri,
        meg,
        nuisances=nuisances(features).values,
        image_statistics=image_statistics,
        captured=features,
    )


def variant_of(brain: Brain) -> str:
    """The organisation with what is unusual about it: "forward, energy"."""
    unusual = [name for name, usual in ((brain.readout, "linear"), (brain.noise, "even")) if name != usual]
    strength = [f"gradients of strength {brain.strength:g}"] if brain.strength != 1 else []
    return ", ".join([brain.organisation, *unusual, *strength])


def _extra(brain: Brain, features: Features, image_statistics: Any) -> dict[str, Any]:
    """What the brain reads beside layers. Categories are groups of classes: of images that are shown, the predicted."""
    known: dict[str, Any] = {"loss": features.losses.double().numpy()}
    if "logits" in features.outputs:
        logits = features.outputs["logits"].double().numpy()
        known |= {"logits": logits, "categories": logits.argmax(1) % _CATEGORIES}
    if image_statistics is not None:
        known["image statistics"] = image_statistics
    missing = [name for name in brain.needs if name not in known]
    if missing:
        raise ValueError(f"features must have what {brain.organisation!r} reads, got no {missing[0]}")
    return {name: known[name] for name in brain.needs}
