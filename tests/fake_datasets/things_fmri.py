"""A small THINGS-fMRI: the tables of subject 2."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd

RANDOM = np.random.default_rng(0)


class FakeThingsFMRI:
    """6 voxels, 20 training images, 4 test images shown 5 times."""

    start = "betas_csv/sub-02_"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "betas_csv").mkdir()
        stimuli = [f"thing{i}_01b.jpg" for i in range(20)] + [f"probe{i}_14s.jpg" for i in range(4)] * 5
        self.trials = pd.DataFrame(
            {
                "trial_type": ["train"] * 20 + ["test"] * 20,
                "session": np.arange(40) % 2 + 1,
                "run": 1,
                "subject_id": 2,
                "trial_id": np.arange(40),
                "stimulus": stimuli,
                "concept": [name.rpartition("_")[0] for name in stimuli],
            }
        )
        self.voxels = pd.DataFrame(
            {
                "voxel_id": np.arange(6),
                "voxel_x": np.arange(6) + 10,
                "voxel_y": 20,
                "voxel_z": 30,
                "nc_singletrial": [0.0, 10.0, 20.0, 50.0, 80.0, np.nan],
                "V1": [1, 1, 0, 0, 0, 0],
            }
        )
        self.betas = RANDOM.standard_normal((6, 40))
        self.write()

    def write(self) -> None:
        self.trials.to_csv(self.folder / f"{self.start}StimulusMetadata.csv", index=False)
        self.voxels.to_csv(self.folder / f"{self.start}VoxelMetadata.csv", index=False)
        with h5py.File(self.folder / f"{self.start}ResponseData.h5", "w") as file:
            group = file.create_group("ResponseData")  # as pandas' to_hdf writes it
            group.attrs["nblocks"] = 2
            group["block0_values"], group["block1_values"] = self.betas, np.arange(6)[:, None]
