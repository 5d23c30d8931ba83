"""A small study in files: two captures of one model, and saved recordings of two subjects, for the command line."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from gradkern import Recording, Sketch, capture
from gradkern.recordings import save_recording

IMAGES = 30


def _square(output: Any, batch: Any) -> Any:
    return output.square().sum(1)


def _cube(output: Any, batch: Any) -> Any:
    return output.pow(3).sum(1)


def write(folder: Path) -> Path:
    """Captures "square" and "cube" of one model, and recordings of two subjects, "s1.h5" and "s2.h5"."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(1))
    images = torch.randn(IMAGES, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for name, objective in (("square", _square), ("cube", _cube)):
        capture(model, images, objective, layers=["0", "1"], sketch=Sketch(64), out=folder / name, progress=False)
    for subject in (1, 2):
        save_recording(recording(f"sub {subject}", subject), folder / f"s{subject}.h5")
    return folder


def recording(subject: str = "sub 1", seed: int = 1) -> Recording:
    random = np.random.default_rng(seed)
    ids = np.tile(np.arange(IMAGES), 2)
    return Recording(
        responses=random.standard_normal((len(ids), 5)).astype(np.float32),
        presentations=pd.DataFrame({"image": ids, "session": np.repeat([1, 2], IMAGES)}),
        targets=pd.DataFrame({"label": list("abcde"), "roi": ["V1", "V1", "V1", "", "V4"]}),
        subject=subject,
        units="z",
    )


def arguments(folders: Path, output: Path, *more: str, command: str = "encode") -> list[str]:
    """Arguments of `gradkern encode` or `gradkern similarity` for all of the study."""
    features = ["--features", str(folders / "square"), str(folders / "cube")]
    recordings = ["--recordings", str(folders / "s1.h5"), str(folders / "s2.h5")]
    return [command, *features, *recordings, "--output", str(output), *more]
