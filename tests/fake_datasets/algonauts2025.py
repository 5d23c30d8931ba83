"""A small Algonauts 2025: samples of 1,000 parcels of subject 3, and the atlas, in the published layout."""

from pathlib import Path

import h5py
import nibabel
import numpy as np

SPACE = "space-MNI152NLin2009cAsym_atlas-Schaefer18_parcel-1000Par7Net"
FRIENDS = {"ses-002_task-s01e01a": 14, "ses-001_task-s01e02a": 16, "ses-010_task-s02e01d": 15}
MOVIE10 = {
    "ses-001_task-wolf01": 13,
    "ses-006_task-life01_run-1": 16,
    "ses-009_task-life01_run-2": 15,
}


class FakeAlgonauts:
    """`values` [samples, parcels] by the name of the run, and the `atlas` with its affine."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "algonauts_2025.competitors" / "fmri" / "sub-03"
        random = np.random.default_rng(0)
        self.values = {
            name: random.standard_normal((count, 1000)).astype(np.float32)
            for name, count in {**FRIENDS, **MOVIE10}.items()
        }
        (self.home / "func").mkdir(parents=True)
        (self.home / "atlas").mkdir()
        self.atlas = np.zeros((12, 11, 10), np.int16)
        self.atlas[:5] = random.permutation(np.r_[np.arange(1, 501), np.zeros(50, int)]).reshape(5, 11, 10)
        self.atlas[7:] = random.permutation(np.r_[np.arange(501, 1001), np.zeros(50, int)]).reshape(5, 11, 10)
        self.affine = np.array([[2.0, 0, 0, -11], [0, 2, 0, 4], [0, 0, 2, 5], [0, 0, 0, 1]])
        self.write()
        self.write_atlas()

    def path(self, stimuli: str) -> Path:
        described = "_desc-s123456" if stimuli == "friends" else ""
        return self.home / "func" / f"sub-03_task-{stimuli}_{SPACE}{described}_bold.h5"

    @property
    def atlas_path(self) -> Path:
        return self.home / "atlas" / f"sub-03_{SPACE}_desc-dseg_parcellation.nii.gz"

    def write(self) -> None:
        for stimuli, names in (("friends", FRIENDS), ("movie10", MOVIE10)):
            with h5py.File(self.path(stimuli), "w") as file:
                for name in names:
                    file[name] = self.values[name]

    def write_atlas(self) -> None:
        nibabel.save(nibabel.Nifti1Image(self.atlas, self.affine), self.atlas_path)
