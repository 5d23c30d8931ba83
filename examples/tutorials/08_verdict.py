"""
A verdict, and how to read it
=============================

A verdict is a table: a row for each claim, with its estimate, interval, p value, the power of its test, and one of
four conclusions. This page makes a small study of simulated brains and reads its rows.
"""

import json
from io import BytesIO

import matplotlib.pyplot as plt
import numpy as np
import torch

import gradkern
from gradkern.encoding import unit_length
from gradkern.study import Study, VerdictSettings, verdict
from gradkern.study.claims import claims_of
from gradkern.study.power import toy_features

torch.set_num_threads(1)

# %%
# A study
# -------
#
# Features of a toy network, and three subjects whose brains respond to its activations and gradients. ``hierarchy``
# names the column of the targets that says how high each is in the visual hierarchy.

features = toy_features(240, layers=4)
layers = sorted({layer for _, layer in features})
kinds = {
    "activation": [features["activation", layer].numpy() for layer in layers],
    "gradient": [unit_length(features["gradient", layer].numpy()) for layer in layers],
    "gradient/target-shuffled": [unit_length(features["gradient/target-shuffled", layer].numpy()) for layer in layers],
}
brain = gradkern.recordings.Brain(
    "forward-then-backward", subjects=3, repeats=2, vertices=80, silent=10, ceiling=0.8, times=(0.0, 0.1)
)
fmri, _ = gradkern.simulate_brain(kinds, brain)
study = Study(
    kinds,
    np.linspace(0, 1, len(layers)),
    fmri=[subject.average_repeats() for subject in fmri],
    hierarchy="depth",
    captured=features,
)
print(study)

# %%
# Its claims
# ----------
#
# What can be tested depends on what the study has: without labels, no claim excludes labels.

for claim in claims_of(study):
    if claim.modality == "fMRI":
        print(f"{claim.id}\n  {claim.text}")

# %%
# Five of them
# ------------
#
# A whole verdict takes minutes; ``only`` picks claims. (On the command line: ``gradkern verdict STUDY.toml``.)

table = verdict(
    study,
    VerdictSettings(permutations=199, bootstraps=100, subject_checks=False),
    only=[
        "gradient-predicts-fmri",
        "gradient-predicts-fmri-more-than:target-shuffled",
        "gradient-predicts-fmri-beyond:linear-activations",
        "gradient-predicts-fmri-beyond:activations",
        "gradient-predicts-fmri-beyond:everything",
    ],
)
for row in table.to_dict("records"):
    print(f"{row['claim']}\n  {row['conclusion']}: {row['estimate']:.3f} {row['units']}, p = {row['p']:.3f}")

# %%
# How to read a row
# -----------------
#
# - **The claim to report** is "beyond all that is excluded together". "Gradients predict fMRI" is true of every brain
#   that responds to images, with gradients or without.
# - **supported, not found, cannot decide, not tested.** "Not found" is said only where the test finds such an effect
#   in at least half of the simulated studies; else the row says "cannot decide", and so it does where the test finds
#   the effect in simulated brains that do not have it. "Not tested" has its reason.
# - **The estimate** has units: r, or the share of variance that gradients add, which is a lower bound.
# - **The subjects** stand beside the mean, and "flag" names one that carries the result alone.
# - **Wrong if** says in which case the claim is wrong although supported.

row = table.set_index("id").loc["gradient-predicts-fmri-beyond:everything"]
for column in ("conclusion", "estimate", "low", "high", "p", "smallest p", "why", "wrong if"):
    value = row[column]
    print(f"{column:12} {value if isinstance(value, str) else round(value, 3)}")
for column in ("by subject", "by layer"):
    print(column, {name: round(value, 3) for name, value in json.loads(row[column]).items()})

# %%
# The responses of these brains do contain gradients, and p is small; but a study of this size finds as much in
# simulated brains without them, and the row says so. More images and subjects decide: :doc:`/power`.
#
# The same as a figure; small ticks are the subjects.

picture = BytesIO()
gradkern.plotting.verdict_estimates(table).savefig(picture, dpi=110)
picture.seek(0)
pixels = plt.imread(picture)
figure, axis = plt.subplots(figsize=(pixels.shape[1] / 110, pixels.shape[0] / 110), layout="constrained")
axis.imshow(pixels)
axis.axis("off")
plt.show()
