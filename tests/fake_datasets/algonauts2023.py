"""A small Algonauts 2023: the training split of subject 3."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RANDOM = np.random.default_rng(0)


def write_algonauts(folder: Path, images: int = 12) -> NDArray[Any]:
    split = folder / "subj03" / "training_split"
    (split / "training_fmri").mkdir(parents=True)
    (split / "training_images").mkdir()
    values = RANDOM.standard_normal((12, 9)).astype(np.float32)
    np.save(split / "training_fmri" / "lh_training_fmri.npy", values[:, :5])
    np.save(split / "training_fmri" / "rh_training_fmri.npy", values[:, 5:])
    for number in range(images):
        name = f"train-{number + 1:04d}_nsd-{7 * number + 13:05d}.png"
        Image.new("RGB", (3, 3), (number, 0, 0)).save(split / "training_images" / name)
    return values
