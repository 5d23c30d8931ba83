"""
Your own NIfTI files and events
===============================

Two ways lead from files to a recording: time series with tables of events, which are sampled at a delay after each
onset, or response amplitudes (betas) of a general linear model of yours. This page makes small files of both kinds
and reads them; with your own, only the paths differ.
"""

import tempfile
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import torch

import gradkern

torch.set_num_threads(1)
folder = Path(tempfile.mkdtemp())
random = np.random.default_rng(0)

# %%
# Files
# -----
#
# Forty images, each shown once in each of two runs, every 6 seconds. A voxel answers with the lag of the blood flow,
# to some features of the image. Replace this section by your files.

IMAGES, VOXELS, TR = 40, (4, 4, 3), 2.0
features = random.standard_normal((IMAGES, 20)).astype(np.float32)
weights = random.standard_normal((20, *VOXELS))
affine = np.diag([2.0, 2.0, 2.0, 1.0])


def write_run(number: int) -> None:
    order = random.permutation(IMAGES)
    onsets = 8 + 6.0 * np.arange(IMAGES)
    times = TR * np.arange(round((onsets[-1] + 20) / TR))
    since = times[:, None] - onsets
    shape = np.where(since > 0, (since.clip(0) / 5) ** 3 * np.exp(3 - 3 * since.clip(0) / 5), 0)  # peaks after 5 s
    signal = np.moveaxis(shape @ np.tensordot(features[order], weights, 1).reshape(IMAGES, -1), 0, 1)
    noise = 3 * random.standard_normal(signal.shape)
    volume = (1000 + 10 * (signal + noise)).reshape(*VOXELS, -1).astype(np.float32)
    image = nibabel.Nifti1Image(volume, affine)
    image.header.set_zooms((2, 2, 2, TR))
    image.header.set_xyzt_units("mm", "sec")
    image.to_filename(folder / f"run-{number}_bold.nii.gz")
    names = [f"picture-{i:02d}.png" for i in order]
    events = pd.DataFrame({"onset": onsets, "duration": 2.0, "stim_file": names})
    events.to_csv(folder / f"run-{number}_events.tsv", sep="\t", index=False)


for run in (1, 2):
    write_run(run)
nibabel.Nifti1Image(np.ones(VOXELS, np.uint8), affine).to_filename(folder / "mask.nii.gz")
print(*sorted(path.name for path in folder.iterdir()), sep="\n")
print((folder / "run-1_events.tsv").read_text()[:100])

# %%
# Time series
# -----------
#
# ``load_bold`` takes each run with its events. The column ``stim_file`` names the images. Responses are sampled 5
# seconds after each onset, in percent of the run's mean. What does not fit together (a mask on another grid, a
# repetition time that header and sidecar state differently) is an error that quotes both.

runs = [(folder / f"run-{run}_bold.nii.gz", folder / f"run-{run}_events.tsv") for run in (1, 2)]
recording = gradkern.recordings.load_bold(
    runs, "stim_file", subject="sub-01", mask=folder / "mask.nii.gz", delay=5.0, sessions=[1, 2]
)
print(recording)

# %%
# Every image was shown twice, which tells how much of a response is signal. Means over repeats have a noise ceiling.

means = recording.zscore().average_repeats()
ceiling = gradkern.recordings.noise_ceiling(means)
print(ceiling)

# %%
# Scores
# ------
#
# Features have a row for each image. Here row i is image i; a capture has the names of its images, and its rows are
# then matched by these (:doc:`04_new_model`).

scores = gradkern.encoding.score({"features": features}, means)
print(scores)
print(f"median held-out r = {float(scores.r.mean('fold').median()):.2f}")
print(f"median of r / noise ceiling = {float(scores.r_normalised.mean('fold').median()):.2f}")

# %%
# Betas
# -----
#
# If you have fitted a general linear model, give ``load_betas`` one file for each session, with one volume for each
# presentation, and the images of each session in order.

betas = np.tensordot(features, weights, 1) + random.standard_normal((IMAGES, *VOXELS))
nibabel.Nifti1Image(np.moveaxis(betas, 0, -1).astype(np.float32), affine).to_filename(folder / "betas.nii.gz")
shown = [[f"picture-{i:02d}.png" for i in range(IMAGES)]]
from_betas = gradkern.recordings.load_betas(
    [folder / "betas.nii.gz"], shown, mask=folder / "mask.nii.gz", subject="sub-01"
)
print(from_betas)

# %%
# A whole data set in BIDS with the output of fMRIPrep is one call, ``gradkern.recordings.load_bids``. Save what you
# have read once, in a file that streams well; the commands ``gradkern encode`` and ``gradkern verdict`` read it.

gradkern.save_recording(means, folder / "sub-01.h5")
print(gradkern.load_recording(folder / "sub-01.h5").history[-1])
