"""A small BOLD5000: subject 4."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from gradkern.recordings._readers import BOLD5000_SESSIONS as SESSIONS

GRID, AFFINE = (3, 4, 2), np.diag([2.0, 2.0, 2.0, 1.0])
NAMES = ("COCO_train2014_000000000001.jpg", "n01440764_7.JPEG", "airport1.jpg", "bakery2.jpg")
VOXELS = [(1, 0, 0), (2, 1, 0), (0, 3, 1)]  # of the mask, x fastest


def put(path: Path, values: Any, affine: Any = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)


class FakeBOLD5000:
    """Subject 4: nine sessions of five or six trials."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        random = np.random.default_rng(0)
        self.counts = [5 + session % 2 for session in range(SESSIONS[3])]
        self.betas = [random.standard_normal((*GRID, count)).astype(np.float32) for count in self.counts]
        for number, values in enumerate(self.betas, 1):
            put(self.file(number), values, np.eye(4))  # the published files have a wrong affine
        self.names = [NAMES[i] for i in random.integers(0, 4, sum(self.counts))]
        self.names[: len(NAMES)] = NAMES
        (folder / "CSI4_imgnames.txt").write_text("\n".join(self.names) + "\n")
        inside = np.zeros(GRID, np.uint8)
        for voxel in VOXELS:
            inside[voxel] = 1
        put(folder / "CSI4_brainmask.nii.gz", inside)

    def file(self, session: int, kind: str = "TYPED-FITHRF-GLMDENOISE-RR") -> Path:
        return self.folder / f"CSI4_GLMbetas-{kind}_ses-{session:02d}.nii.gz"

    def expected(self, sessions: list[int]) -> Any:
        return np.concatenate([np.stack([self.betas[s - 1][v] for v in VOXELS], 1) for s in sessions])
