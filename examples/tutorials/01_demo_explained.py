"""
The demo, step by step
======================

``gradkern demo`` shows 115 photographs to a network and asks how well its activations and gradients predict the
responses of two regions of a brain. Here are its steps, with one objective and four of the sixteen blocks.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import gradkern

torch.set_num_threads(1)

# %%
# The recording
# -------------
#
# Kay & Yeatman (2017) measured responses of the visual word form area and the fusiform face area. The package holds
# them, with the images and the noise ceiling of each region.

recording = gradkern.recordings.load("kay2017")
print(recording)

ceiling = gradkern.recordings.noise_ceiling(recording)
for label, r in zip(recording.targets["label"], ceiling.r, strict=True):
    print(f"{label}: noise ceiling r = {r:.2f}")

# %%
# The network
# -----------
#
# ``load_model`` gives a network with the preprocessing of its authors, and with names and depths of its blocks.

model = gradkern.load_model("efficientnet-lite0")
images = model.spec.preprocess(list(np.asarray(recording.images)), whole=True)
layers = [model.spec.layers[i] for i in (3, 7, 11, 15)]
print(tuple(images.shape), layers)

# %%
# One forward and one backward pass
# ---------------------------------
#
# The objective is the norm of the features: one number for each image. ``capture`` takes each layer's activation and
# the gradient of that number with respect to all of the layer's parameters. Each becomes 1024 numbers by the same
# random map.

features = gradkern.capture(
    model,
    images,
    gradkern.objectives.FeatureNorm(),
    layers=layers,
    kinds=["activation", "weight_gradient"],
    progress=False,
)
print(features)

# %%
# Held-out scores
# ---------------
#
# Ridge regression predicts responses to images that it has not seen; every region has its own penalty, chosen within
# the training images. Gradients are scaled to unit length, so that an image with a large loss does not dominate.

r = {}
for (kind, layer), values in features.items():
    X = values.numpy()
    if kind == "weight_gradient":
        X = gradkern.encoding.unit_length(X)
    X = gradkern.encoding.unit_scale(X)
    r[kind, layer] = gradkern.cross_val_score(X, np.asarray(recording.responses), cv=5).mean(0)

grey = images.mean(1, keepdim=True)
pixels = torch.nn.functional.interpolate(grey, (16, 16), mode="bilinear", antialias=True).flatten(1).numpy()
r_pixels = gradkern.cross_val_score(gradkern.encoding.unit_scale(pixels), np.asarray(recording.responses), cv=5).mean(0)

# %%
# Gradients predict the face area well, and so do activations.

figure, axes = plt.subplots(1, 2, figsize=(8, 3), sharey=True, layout="constrained")
for column, axis in enumerate(axes):
    for kind in ("activation", "weight_gradient"):
        axis.plot([r[kind, layer][column] for layer in layers], "o-", label=kind.replace("_", " "))
    axis.axhline(ceiling.r[column], color="grey", linestyle="--", label="noise ceiling")
    axis.axhline(r_pixels[column], color="grey", linestyle=":", label="16 x 16 grey pixels")
    axis.set(title=recording.targets["label"][column], xticks=range(4), xticklabels=layers, xlabel="layer")
axes[0].set_ylabel("held-out r")
axes[1].legend(fontsize=8)
plt.show()

# %%
# This is no evidence that the brain computes gradients. A gradient is a function of the activations: whatever reads
# activations is predicted by gradients too. :doc:`Controls <06_controls>` and
# :doc:`conditional tests <07_beyond_activations>` are about what would be evidence.
#
# The demo itself takes four objectives, all sixteen blocks and both kinds of gradients, repeats the folds, and draws
# intervals: ``make demo``.
