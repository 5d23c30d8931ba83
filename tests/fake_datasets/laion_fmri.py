"""A small LAION-fMRI: subject 3."""

from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pandas as pd
from PIL import Image

GRID = (3, 4, 2)
VOXELS = [(1, 0, 0), (2, 1, 0), (0, 3, 1)]  # where something was fitted, x fastest
NAMES = [f"shared_12rep_LAION_cluster_{i}_i0.jpg" for i in range(3)] + [f"LAION_cluster_{i}_p04.jpg" for i in range(5)]
HOME = "derivatives/glmsingle-tedana/sub-03"
START = f"{HOME}/sub-03_task-images_space-T1w_"


class FakeLAION:
    """Subject 3: sessions 1, 2 and 33."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        random = np.random.default_rng(0)
        self.betas, self.labels = {}, {}
        for session, count in ((1, 7), (2, 6), (33, 4)):
            self.betas[session] = random.standard_normal((*GRID, count)).astype(np.float32)
            self.labels[session] = [NAMES[i] for i in random.integers(0, len(NAMES), count)]
            self.write(session)
        self.rsquare = np.full(GRID, 0.0, np.float32)
        self.rsquare[0, 0, 0], self.rsquare[0, 1, 0] = np.nan, -1
        self.ceiling = np.zeros(GRID, np.float32)
        for voxel, percent in zip(VOXELS, (0.0, 30.0, 60.0), strict=True):
            self.rsquare[voxel], self.ceiling[voxel] = 5, percent
        self.put(f"{START}stat-rsquare_desc-R2mean_statmap.nii.gz", self.rsquare)
        self.put(f"{START}desc-Noiseceiling12rep_statmap.nii.gz", self.ceiling)

    def put(self, name: str, values: Any) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(values, np.diag([1.8, 1.8, 1.8, 1])), path)

    def stem(self, session: int) -> str:
        return f"{HOME}/ses-{session:02d}/func/sub-03_ses-{session:02d}_task-images_"

    def write(self, session: int, **changes: Any) -> None:
        betas = f"{self.stem(session)}space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz"
        self.put(betas, self.betas[session])
        count = len(self.labels[session])
        table = {"session": f"ses-{session:02d}", "run": 1 + np.arange(count) // 3, "beta_index": range(count)}
        trials = pd.DataFrame(table | {"label": self.labels[session]} | changes)
        trials.to_csv(self.folder / f"{self.stem(session)}desc-SingletrialBetas_trials.tsv", sep="\t", index=False)

    def stimuli(self) -> None:
        """Row 0 is transparent on its left."""
        home = self.folder / "stimuli"
        home.mkdir()
        table = {"image_name": NAMES[::-1], "dataset": "LAION", "participant": "", "unique_or_shared": "", "n_reps": 4}
        pd.DataFrame(table).to_csv(home / "task-images_metadata.csv", index=False)
        with h5py.File(home / "task-images_stimuli.h5", "w") as file:
            images = file.create_dataset("images", (len(NAMES),), h5py.vlen_dtype(np.uint8))
            for row in range(len(NAMES)):
                image = Image.new("RGBA" if row == 0 else "RGB", (4, 4), (10 * row, 0, 0))
                if row == 0:
                    image.paste((0, 0, 0, 0), (0, 0, 2, 4))
                image.save(packed := BytesIO(), format="PNG")
                images[row] = np.frombuffer(packed.getvalue(), np.uint8)
