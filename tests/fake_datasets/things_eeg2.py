"""A small THINGS-EEG2: the epochs of subject 4."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RANDOM = np.random.default_rng(0)


def write_eeg(folder: Path, bare: bool = False, **changes: Any) -> dict[str, NDArray[Any]]:
    (folder / "sub-04").mkdir()
    made = {}
    for name, images, repeats in (("training", 10, 4), ("test", 3, 8)):
        made[name] = RANDOM.standard_normal((images, repeats, 2, 5))
        content = {"preprocessed_eeg_data": made[name], "ch_names": ["O1", "O2"], "times": 0.01 * np.arange(5)}
        content |= changes if name == "test" else {}
        path = folder / "sub-04" / f"preprocessed_eeg_{name}.npy"
        if bare:
            path.write_bytes(pickle.dumps(content))
        else:
            np.save(path, np.array(content, dtype=object))
    return made
