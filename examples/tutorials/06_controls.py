"""
Controls, and what they rule out
================================

A gradient is a function of the activations, so that it predicts a brain that has never computed one. Here are two
simulated brains, one without and one with gradients, and what each control of the gradient says about them.
"""

import matplotlib.pyplot as plt
import torch

import gradkern
from gradkern.encoding import FeatureSpace, control_spaces, score, unit_length
from gradkern.study.power import toy_features

torch.set_num_threads(1)

# %%
# Features of a toy network
# -------------------------
#
# Six blocks with random weights: activations, gradients of the cross-entropy with the class that the network thinks
# most likely, and every control that needs the model.

features = toy_features(300)
print(features)

# %%
# ===============================  ==================================================================================
# control                          what a gradient that predicts no better than it has not shown
# ===============================  ==================================================================================
# ``target-shuffled``              that the error matters, rather than the way back through the network
# ``random-cotangent``             that the direction of the error matters: a random one went the same way
# ``feedback-alignment``           that the weights of the way back matter
# ``sign-symmetric``               that more than the signs of these weights matters
# ``untrained``                    that anything learned matters
# ``image-permuted``               that the image matters (a check of the method)
# ``layer-permuted``               that the layer matters
# ``residualized-all-layers``      anything beyond a *linear* readout of the activations
# ===============================  ==================================================================================
#
# Two brains
# ----------
#
# Both respond to activations, shallow layers in low areas and deep ones in high areas. The second also responds to
# gradients. The noise ceiling of both is r = 0.8.

layers = sorted({layer for _, layer in features})
of_kind = {kind: [features[kind, layer].numpy() for layer in layers] for kind in ("activation", "gradient")}
of_kind["gradient"] = [unit_length(values) for values in of_kind["gradient"]]
brains = {}
for organisation in ("forward", "forward-then-backward"):
    brain = gradkern.recordings.Brain(
        organisation, subjects=1, repeats=2, vertices=100, silent=0, ceiling=0.8, times=(0.0, 0.1)
    )
    ((fmri,), _) = gradkern.simulate_brain(of_kind, brain)
    brains[organisation] = fmri.average_repeats()
print(brains["forward"])

# %%
# Scores of the gradient and its controls
# ---------------------------------------
#
# At one layer. ``control_spaces`` makes the controls that need no model; residuals are fitted anew within every fold.

layer = layers[3]
spaces = {
    FeatureSpace("toy", "none" if kind == "activation" else "cross-entropy", kind, name, None): (
        values.numpy() if kind == "activation" else unit_length(values.numpy())
    )
    for (kind, name), values in features.items()
}
gradient = {space: values for space, values in spaces.items() if space.kind == "gradient"}
made = control_spaces(gradient, spaces, ["image-permuted", "layer-permuted", "residualized-all-layers"])
chosen = {space: values for space, values in (spaces | made).items() if space.layer == layer}

results = {}
for organisation, recording in brains.items():
    scores = score(chosen, recording)
    results[organisation] = dict(
        zip(scores["kind"].to_numpy(), scores.r.mean(("fold", "target")).to_numpy(), strict=True)
    )

figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
for axis, (organisation, r) in zip(axes, results.items(), strict=True):
    axis.barh([kind.removeprefix("gradient/") for kind in r], list(r.values()), color="#5b7fa6")
    axis.axvline(0, color="grey", linewidth=0.8)
    axis.set(title=organisation, xlabel="mean held-out r")
axes[0].invert_yaxis()
plt.show()

# %%
# In the brain without gradients, the gradient predicts about as well as its controls do: they are functions of the
# same activations. In the brain with gradients it predicts more than each of those that the network gives.

for organisation, r in results.items():
    print(organisation)
    for kind, value in r.items():
        print(f"  {kind:36} r = {value:.2f}")

# %%
# Residuals of a regression on the activations predict the second brain nearly as well as the gradient itself, as they
# should. That they tell nothing of the first is no proof of anything either: a brain that reads activations
# *nonlinearly* passes this control without gradients. :doc:`07_beyond_activations` goes on.
