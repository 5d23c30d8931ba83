"""
Is it beyond the activations?
=============================

That gradients predict responses *beyond the activations* is the claim that matters, and it is easily fooled: by
brains that read activations nonlinearly. Three simulated brains, two tests.
"""

import numpy as np
import torch

import gradkern
from gradkern.encoding import confounds, partial_permutation_test, response_model, unit_length
from gradkern.study.power import toy_features

torch.set_num_threads(1)

# %%
# Three brains
# ------------
#
# One reads activations linearly, one reads their squares (the energy of a linear readout), and one reads activations
# and gradients. 400 images, a noise ceiling of r = 0.8.

features = toy_features(400, layers=4)
layers = sorted({layer for _, layer in features})
activations = [features["activation", layer].numpy() for layer in layers]
gradients = [unit_length(features["gradient", layer].numpy()) for layer in layers]


def responses(organisation: str, readout: str) -> np.ndarray:
    """Mean responses of one simulated subject, [images, targets]."""
    brain = gradkern.recordings.Brain(
        organisation, readout=readout, subjects=1, repeats=2, vertices=80, silent=0, ceiling=0.8, times=(0.0, 0.1)
    )
    ((fmri,), _) = gradkern.simulate_brain({"activation": activations, "gradient": gradients}, brain)
    return np.asarray(fmri.average_repeats().responses, dtype=np.float64)


brains = {
    "linear, no gradients": responses("forward", "linear"),
    "energy, no gradients": responses("forward", "energy"),
    "with gradients": responses("forward-then-backward", "linear"),
}

# %%
# A linear test
# -------------
#
# ``partial_permutation_test`` removes what is linear in all activations from responses and gradients, and permutes
# the images. It is exact for linear readouts, and for nothing else.

layer = 2
everything = np.concatenate(activations, axis=1)
for name, Y in brains.items():
    pooled = {"all targets": np.ones(Y.shape[1], bool)}
    test = partial_permutation_test(gradients[layer], everything, Y, permutations=199, target_groups=pooled)
    print(f"{name:22} p of all targets = {test.target_groups['all targets'].p:.3f}")

# %%
# The conditional test
# --------------------
#
# ``confounds`` collects what a response may read instead of a gradient: linear, squared, rectified and smooth
# readouts of the activations of all layers, the outputs, the labels, how difficult an image is. ``response_model``
# estimates which of these the responses read; the test asks whether they are nearer to a linear readout of the
# gradients than such readouts, drawn at random, would be.

excluded = confounds(features)
print(excluded)

for name, Y in brains.items():
    model = response_model(excluded, Y)
    test = model.test(gradients[layer], permutations=199)
    print(f"{name:22} share of variance = {test.share:+.3f}   p = {test.p:.3f}")

# %%
# What the responses of the last brain read, as the model estimates it:

print(model)

# %%
# What remains
# ------------
#
# No finite list of confounds makes this exact. In simulations the level is not held everywhere: see the rates in
# :doc:`/power`. A response that reads something that is not in the list, and near to the gradients, can be taken for
# one: give what you know as ``confounds(..., user={"name": matrix})``. And one single readout is not the average of
# many: test many targets together.
