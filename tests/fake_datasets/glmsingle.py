"""Small output folders of GLMsingle, in every container."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat

from gradkern.recordings import load_glmsingle

GRID, ORDER = (3, 4, 2), np.array([2, 0, 1, 1, 3, 0, 2, 3, 4])  # of conditions, from 0
TYPED = "TYPED_FITHRF_GLMDENOISE_RR"
CONTAINERS = ["npy", "hdf5", "mat v5", "mat v7.3"]


def mat73(path: Path, content: dict[str, Any]) -> None:
    """As MATLAB's save -v7.3 writes it: HDF5 behind a header of 512 bytes, axes reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in content.items():
            file[name] = np.asarray(value).T
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


class FakeGLMsingle:
    """Nine trials in two runs."""

    def __init__(self, folder: Path, container: str, grid: tuple[int, ...] = GRID) -> None:
        self.folder, self.container = folder, container
        random = np.random.default_rng(0)
        self.betas = random.standard_normal((*grid, len(ORDER))).astype(np.float32)
        self.rsquare = random.uniform(0, 60, grid).astype(np.float32)
        self.write()
        self.design(ORDER)

    @property
    def path(self) -> Path:
        return self.folder / f"{TYPED}.{self.container.split()[0]}"

    def write(self, **changes: Any) -> None:
        name = "modelmd" if "mat" in self.container else "betasmd"
        content = {name: self.betas, "R2": self.rsquare, "meanvol": np.ones(3)} | changes
        content = {key: value for key, value in content.items() if value is not None}
        if self.container == "npy":
            np.save(self.path, content)
        elif self.container == "hdf5":
            with h5py.File(self.path, "w") as file:
                for key, value in content.items():
                    file.create_dataset(key, data=value)
        else:
            (savemat if self.container == "mat v5" else mat73)(self.path, content)

    def design(self, order: NDArray[Any], runs: tuple[int, ...] = (5, 4)) -> None:
        if "mat" in self.container:
            content = {"stimorder": order[None] + 1.0, "numtrialrun": np.array(runs, float)[None]}
            (savemat if self.container == "mat v5" else mat73)(self.folder / "DESIGNINFO.mat", content)
        else:
            np.save(self.folder / "DESIGNINFO.npy", {"stimorder": list(order), "numtrialrun": list(runs)})

    def load(self, **options: Any) -> Any:
        return load_glmsingle(self.folder, **{"subject": "s", "allow_pickle": True} | options)

    def at(self, targets: Any) -> NDArray[Any]:
        """[trials, targets], by the targets' places."""
        return np.stack([self.betas[tuple(place)] for place in targets[["i", "j", "k"]].to_numpy()], 1)
