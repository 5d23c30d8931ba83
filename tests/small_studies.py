"""A study of a tiny model, 24 images and two small recordings, in files."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from PIL import Image
from torch import nn

import gradkern
from gradkern.recordings import Recording, save_recording

IMAGES, SIDE = 24, 8
# workers in other processes load this model of the catalogue in a second; tests in one process give a toy in its place
STUDY = """\
[images]
pictures = "pictures"

[models]
toy = {name = "efficientnet-lite0", weights = "random", layers = ["blocks.0", "blocks.2"]}

[capture]
sketch = 64
block = 12
batch_size = 4

[objectives]
norm = "FeatureNorm"
labelled = {name = "CrossEntropy", labels = "labels.csv"}

[recordings]
first = "first.h5"
second = "second.h5"

[encode]
folds = 3
block = 12
alphas = [0.1, 10.0]
"""


class Toy(nn.Module):
    """Three convolutions and logits."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh()), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)]
        )
        self.head = nn.Linear(4 * (SIDE - 6) ** 2, 5)

    def forward(self, images: torch.Tensor) -> gradkern.objectives.Output:
        for block in self.blocks:
            images = block(images)
        features = images.flatten(1)
        return gradkern.objectives.Output(features, self.head(features))


def toy(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Toy()
    spec = {
        "resolution": SIDE,
        "mean": (127.0, 127.0, 127.0),
        "std": (64.0, 64.0, 64.0),
        "layers": tuple(f"blocks.{i}" for i in range(3)),
    }
    return gradkern.load_model(model, config=spec)


def picture(number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, number]).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def write_picture(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def save_subject(
    path: Path,
    shown: Sequence[int],
    seed: int,
    targets: int = 12,
    names: bool = True,
    images: tuple[str, ...] = tuple(f"{i:03}.png" for i in range(IMAGES)),
) -> None:
    rng = np.random.default_rng(seed)
    recording = Recording(
        responses=rng.standard_normal((len(shown), targets)).astype(np.float32),
        presentations=pd.DataFrame({"image": list(shown)}),
        targets=pd.DataFrame({"label": [f"v{i}" for i in range(targets)], "roi": ["V1", "V2", "V4"] * (targets // 3)}),
        subject=path.stem,
        units="z",
        image_names=images if names else None,
    )
    save_recording(recording, path, overwrite=True)


def small_study(folder: Path, text: str = STUDY, change: Callable[[str], str] | None = None) -> Path:
    """The files of a study; the path of the study file is returned."""
    (folder / "pictures").mkdir(parents=True)
    for number in range(IMAGES):
        write_picture(folder / "pictures" / f"{number:03}.png", picture(number))
    pd.DataFrame({"name": [f"{i:03}.png" for i in range(IMAGES)], "label": np.arange(IMAGES) % 5}).to_csv(
        folder / "labels.csv", index=False
    )
    save_subject(folder / "first.h5", range(IMAGES), 1)
    save_subject(folder / "second.h5", range(4, IMAGES), 2)
    path = folder / "study.toml"
    path.write_text(change(text) if change else text)
    return path


def scores_of(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Every score of every fit of a study, by the name of its task."""
    found = {}
    for manifest in sorted((folder / "results" / "fit").glob("*/manifest.json")):
        with xr.open_dataset(manifest.with_name("scores.nc"), engine="h5netcdf") as scores:
            found[json.loads(manifest.read_text())["task"]] = {
                name: scores[name].values.copy() for name in scores.data_vars
            }
    return found
