"""A study file with one capture and one recording, small enough that its verdict takes a second or two."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

import gradkern
from gradkern import Recording, Sketch
from gradkern.recordings import save_recording


def write(home: Path) -> Path:
    """study.toml, the capture `c` and the recording own.h5."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh(), torch.nn.Flatten(1))
    images, loss = torch.randn(30, 3, 8, 8), gradkern.objectives.FeatureNorm()
    gradkern.capture(model, images, loss, layers=["0", "1", "2"], sketch=Sketch(64), out=home / "c", progress=False)
    recording = Recording(
        responses=np.random.default_rng(0).standard_normal((30, 6)).astype(np.float32),
        presentations=pd.DataFrame({"image": np.arange(30)}),
        targets=pd.DataFrame({"label": list("abcdef"), "roi": ["V1", "V1", "V2", "V2", "V4", "V4"]}),
        subject="subject 1",
        units="z",
    )
    save_recording(recording, home / "own.h5")
    (home / "study.toml").write_text(
        'layers = ["0", "1", "2"]\ndepth = [0, 0.5, 1]\naxis = {order = ["V1", "V2", "V4"]}\nfeatures.x = "c"\n'
        'fmri.x = ["own.h5"]\n[judging]\npermutations = 19\n'
    )
    return home
