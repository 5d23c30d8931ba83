"""
A whole study from one file, and SLURM
======================================

Models, objectives, images, subjects and claims stand in one file. ``gradkern run`` cuts it into tasks, computes what
is missing, and keeps what is done: on a laptop, in several processes, or on a cluster.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

import gradkern

torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # of the jobs
folder = Path(tempfile.mkdtemp())

# %%
# Pictures and recordings
# -----------------------
#
# Images are files in a folder; a recording is a file of ``save_recording`` whose images have the names of these files.
# Here are forty photographs and the responses of Kay & Yeatman (2017) to them, and a made-up second subject with the
# same responses and noise. With data of your own, ``gradkern data save`` writes the recordings (:doc:`02_own_nifti`).

recording = gradkern.recordings.load("kay2017")
shown = recording.select_presentations(recording.image_ids < 40, "forty images are enough here")
names = tuple(f"photo-{i:03d}.png" for i in range(40))
(folder / "pictures").mkdir()
for i, name in enumerate(names):
    Image.fromarray(np.asarray(recording.images[i])).save(folder / "pictures" / name)


def save_subject(subject: str, noise: float) -> None:
    responses = np.asarray(shown.responses) + noise * np.random.default_rng(0).standard_normal((40, 2))
    gradkern.save_recording(
        gradkern.Recording(
            responses.astype(np.float32),
            pd.DataFrame({"image": shown.image_ids}),
            shown.targets,
            subject,
            shown.units,
            image_names=names,
        ),
        folder / f"{subject}.h5",
    )


save_subject("sub-01", noise=0.0)
save_subject("sub-02", noise=0.5)

# %%
# The file
# --------
#
# Paths are relative to the file. What can stand in it is in :doc:`/studies`.

STUDY = """
[images]
photos = "pictures"

[models]
lite = {name = "efficientnet-lite0", layers = ["blocks.7", "blocks.15"]}

[objectives]
norm = "FeatureNorm"

[recordings]
sub-01 = "sub-01.h5"
sub-02 = "sub-02.h5"
"""
(folder / "study.toml").write_text(STUDY)


def command(line: str) -> None:
    """Do what a line in a terminal does, in the folder of the study."""
    print("$", line)
    with contextlib.chdir(folder):
        status = gradkern.cli.main(line.split()[1:])
    if status:
        raise RuntimeError(f"{line} ended with {status}")


# %%
# What there is to do
# -------------------
#
# ``--dry-run`` lists the tasks and why each is needed. ``gradkern estimate study.toml`` adds what they cost.

command("gradkern run study.toml --dry-run")

# %%
# Run it
# ------
#
# In this process. The same command goes on where it was stopped; run again, it finds everything done.

command("gradkern run study.toml")
command("gradkern status study.toml")

# %%
# The scores of all models, objectives, kinds, layers and recordings are one table.

scores = pd.read_csv(folder / "study" / "scores.csv")
print(scores.groupby(["kind", "layer", "recording"])["r"].mean().round(2))

# %%
# A file that grows
# -----------------
#
# A second objective needs gradients of its own; activations and the first objective's tasks are kept.

(folder / "study.toml").write_text(STUDY.replace("[objectives]", '[objectives]\nentropy = "Entropy"'))
command("gradkern run study.toml --dry-run")

# %%
# Several processes, and SLURM
# ----------------------------
#
# ``gradkern run study.toml --executor processes`` starts a process for every core. On a cluster, say in the file what
# the jobs of each stage ask for:
#
# .. code-block:: toml
#
#    [executor]
#    kind = "slurm"
#    workers = 8                   # jobs of each stage
#    partition = "cpu"             # names of your cluster: sinfo
#    account = "lab"
#    memory = "16G"
#    minutes = 240
#    device = "cuda"
#    capture = {partition = "gpu", gres = "gpu:1"}   # captures on GPUs, fits on CPUs
#
# and start it from a login node, in a ``tmux`` or ``screen``:
#
# .. code-block:: sh
#
#    pip install 'gradkern[cluster]'
#    hf download facebook/dinov2-base    # weights, where there is a network
#    gradkern run study.toml --dry-run
#    gradkern run study.toml             # waits for the jobs; if it ends, they go on
#    gradkern status study.toml
#
# Every stage is an array of jobs after the one before it. Jobs that are preempted or out of time go back into the
# queue, and what they left undone is submitted again. Any other array system takes ``gradkern run study.toml --shard
# $INDEX/$COUNT`` in each of its jobs, and ``gradkern report study.toml`` at the end.
#
# Where a SLURM answers, this page now lets it do the rest (``TMPDIR`` must then be a disk that the nodes share):

has_slurm = shutil.which("sinfo") is not None and subprocess.run(["sinfo"], capture_output=True).returncode == 0
if has_slurm:
    jobs = "--set executor.workers=1 --set executor.memory=1G --set executor.minutes=10"
    command(f"gradkern run study.toml --executor slurm {jobs}")
else:
    print("no SLURM here")

# %%
# A verdict
# ---------
#
# ``[analyses] verdict = true`` in the file adds the claims of every model and objective (:doc:`08_verdict`), and
# ``hierarchy = {order = ["V1", "V2", "V4"]}`` says where the targets lie in the visual hierarchy.
