"""The share of a capture's time that hashes and matched rows take: `python -m benchmarks.hashing`, on one thread.

CPU time of the process, in one run: of captures as they are, and inside them of the functions that hash images; then
of `encoding.matched_rows` for as many images.
"""

import json
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import gradkern
from gradkern.encoding import matched_rows
from gradkern.features._engine import images as engine_images
from gradkern.objectives import FeatureNorm

IMAGES, ROUNDS = 16, 3
MODEL = "efficientnet-lite0"


class Meter:
    """Adds up the CPU time of the functions that it stands in for."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Any) -> Any:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.process_time() - start

        return timed


def shares() -> dict[str, Any]:
    """Seconds of captures, of hashes inside them and of matching, and their share: median, least, greatest."""
    torch.set_num_threads(1)
    model = gradkern.load_model(MODEL)
    images = torch.randn(IMAGES, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    names = tuple(f"image_{i:04d}.png" for i in range(IMAGES))
    presentations = pd.DataFrame({"image": np.random.default_rng(0).permutation(IMAGES)})
    recording = gradkern.Recording(
        np.ones((IMAGES, 1), np.float32), presentations, pd.DataFrame({"label": ["a"]}), "s", "u", image_names=names
    )
    found = []
    for _ in range(ROUNDS):
        meter = Meter()
        original = engine_images.fingerprint_of_image, engine_images.StreamHash.add
        engine_images.fingerprint_of_image = meter.around(original[0])
        engine_images.StreamHash.add = meter.around(original[1])  # type: ignore[method-assign]
        try:
            start = time.process_time()
            features = gradkern.capture(
                model, images, FeatureNorm(), layers=list(model.spec.layers), sketch=gradkern.Sketch(1024),
                batch_size=16, progress=False, names=names,
            )  # fmt: skip
            capture = time.process_time() - start
        finally:
            engine_images.fingerprint_of_image, engine_images.StreamHash.add = original  # type: ignore[method-assign]
        start = time.process_time()
        matched_rows(features, recording)
        matching = time.process_time() - start
        found.append((capture, meter.seconds, matching, (meter.seconds + matching) / capture))
    names_of = ("capture_s", "hashing_s", "matching_s", "share")
    return {
        name: {"median": statistics.median(column), "min": min(column), "max": max(column)}
        for name, column in zip(names_of, zip(*found, strict=True), strict=True)
    }


def main() -> None:
    """Print the result, and write it to the file that is named."""
    git = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
    about = {"op": "hashing", "device": "AMD EPYC 2 cores", "commit": git.stdout.strip(), "torch": torch.__version__}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = {**about, "model": MODEL, "images": IMAGES, "threads": 1, **shares()}
    text = json.dumps(result, indent=1)
    print(text)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
