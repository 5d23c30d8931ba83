"""
Your own MEG or EEG epochs
==========================

Epochs of mne become a recording if their metadata name the image of each trial. This page makes epochs of three
sensors, and asks when they are predicted by the features of the images.
"""

import matplotlib.pyplot as plt
import mne
import numpy as np
import pandas as pd
import torch

import gradkern

torch.set_num_threads(1)
mne.set_log_level("warning")
random = np.random.default_rng(0)

# %%
# Epochs
# ------
#
# Sixty images, each shown three times. The first sensor responds to them at 100 ms, the second at 200 ms, the third
# not at all. ``metadata`` has a row for each trial; the column ``picture`` says which image was shown.

IMAGES, REPEATS = 60, 3
features = random.standard_normal((IMAGES, 12)).astype(np.float32)
times = np.arange(-0.1, 0.5, 0.02)
courses = np.stack([np.exp(-(((times - peak) / 0.03) ** 2)) for peak in (0.1, 0.2)] + [0 * times])
readouts = random.standard_normal((12, 3)) / np.sqrt(12)
shown = np.concatenate([random.permutation(IMAGES) for _ in range(REPEATS)])
signal = (features[shown] @ readouts)[:, :, None] * courses
data = 1e-13 * (signal + random.standard_normal((len(shown), 3, len(times))))

info = mne.create_info(["MLO11", "MLT11", "MLF11"], sfreq=50.0, ch_types="mag")
epochs = mne.EpochsArray(data, info, tmin=times[0], verbose=False)
epochs.metadata = pd.DataFrame({"picture": [f"picture-{i:02d}" for i in shown]})

# %%
# A recording
# -----------
#
# Every sensor at every time is a target. Files (``-epo.fif``, also split ones) are read by
# ``gradkern.recordings.load_epochs``, piece by piece; raw files become epochs by ``epoch_raw``.

recording = gradkern.recordings.from_epochs(epochs, "picture", subject="sub-01", units="T")
print(recording)
print(recording.targets.head(3))

# %%
# Averaging repeats needs to know how much of the responses is signal. Where it is none, the noise ceiling is not a
# number.

means = recording.average_repeats()
print(gradkern.recordings.noise_ceiling(means))

# %%
# Scores over time
# ----------------

scores = gradkern.encoding.score({"features": features}, means)
r = scores.r.mean("fold").to_numpy().reshape(3, len(times))
figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
for name, course in zip(epochs.ch_names, r, strict=True):
    axis.plot(1000 * times, course, label=name)
axis.axhline(0, color="grey", linewidth=0.8)
axis.set(xlabel="ms after onset", ylabel="held-out r")
axis.legend()
plt.show()

# %%
# Latencies
# ---------
#
# The literature has several definitions of a latency, and they disagree where curves are flat or have two peaks. Name
# the one that you report.

curves = r[:2].clip(0)
for name in gradkern.hierarchy.ESTIMATORS:
    print(name)
print("peaks at (s):", np.round(gradkern.hierarchy.peak_latency(curves, times), 3))
print("centres at (s):", np.round(gradkern.hierarchy.center_latency(curves, times), 3))
