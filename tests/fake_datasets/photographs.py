"""A folder of small photographs, a table of their labels, and a tiny model's configuration, for the command line."""

import json
from pathlib import Path

import numpy as np

COUNT = 8
MODEL = "vit-large-16"  # of which `write` makes the configuration of a tiny one, with 10 classes
CONFIGURATION = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 32,
    "patch_size": 8, "num_labels": 10,
}  # fmt: skip
LABELS = [3, 1, 4, 1, 5, 9, 2, 6]


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (24, 30, 3), dtype=np.uint8)


def names(count: int = COUNT) -> list[str]:
    return [f"{'ab'[number % 2]}/photo-{number:02d}.png" for number in range(count)]


def write(folder: Path, count: int = COUNT) -> Path:
    """photographs/ with `count` images in two folders, labels.csv in another order, and tiny.json."""
    from PIL import Image

    for number, name in enumerate(names(count)):
        path = folder / "photographs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(number)).save(path)
    rows = [f"{name},{LABELS[number % len(LABELS)]}" for number, name in enumerate(names(count))]
    (folder / "labels.csv").write_text("\n".join(["image,label", *reversed(rows), "c/other.png,0"]) + "\n")
    (folder / "tiny.json").write_text(json.dumps(CONFIGURATION))
    return folder
