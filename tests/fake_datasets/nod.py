"""A small NOD: betas of two sessions, and MEG and EEG epochs, of one subject on the same ImageNet images."""

from pathlib import Path
from typing import Any

import mne
import nibabel
import numpy as np
import pandas as pd
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, ScalarAxis
from numpy.typing import NDArray

NAMES = tuple(f"n{1440764 + 3 * (i % 5):08d}_{100 + i}" for i in range(12))
SETS = {"fmri": "ds004496", "meg": "ds005810", "eeg": "ds005811"}
VERTICES = 7


class FakeNOD:
    """`betas` are [runs, trials, vertices] and `epochs` [trials, sensors, times], with the images of `order`."""

    def __init__(self, folder: Path, subject: int = 3, words: bool = False) -> None:
        self.folder, self.subject = folder, f"sub-{subject:02d}"
        random = np.random.default_rng(0)
        self.runs = [(1, 1, [3, 0, 5]), (1, 2, [1, 2, 4]), (1, 10, [8, 6, 7]), (2, 1, [11, 9, 10])]
        self.betas = random.standard_normal((4, 3, VERTICES)).astype(np.float32)
        for values, (session, run, order) in zip(self.betas, self.runs, strict=True):
            self.write_run(session, run, order, values)
        self.order = random.permutation(10)  # the epochs lack two images
        self.epochs = {kind: random.standard_normal((10, 3, 5)) * 1e-6 for kind in ("meg", "eeg")}
        for kind, values in self.epochs.items():
            self.write_epochs(kind, values, words)

    def place(self, session: int, run: int, ending: str) -> Path:
        name = f"ses-imagenet{session:02d}_task-imagenet_run-{run}"
        return self.folder / SETS["fmri"] / f"derivatives/ciftify/{self.subject}/results" / name / f"{name}_{ending}"

    def write_run(self, session: int, run: int, order: list[int], values: NDArray[Any], names: Any = None) -> None:
        left = BrainModelAxis.from_surface([0, 2, 3, 5], 6, "CortexLeft")
        models = left + BrainModelAxis.from_surface([1, 2, 4], 6, "CortexRight")
        path = self.place(session, run, "beta.dscalar.nii")
        path.parent.mkdir(parents=True, exist_ok=True)
        maps = ScalarAxis(names or [f"{NAMES[i]}.JPEG" for i in order])
        nibabel.save(Cifti2Image(values, (maps, models)), path)
        self.place(session, run, "label.txt").write_text("".join(f"{NAMES[i]}.JPEG\n" for i in order))
        raw = self.folder / SETS["fmri"] / self.subject / f"ses-imagenet{session:02d}" / "func"
        raw.mkdir(parents=True, exist_ok=True)
        shown = [f"{4 * at}\t1\timagenet/{NAMES[i][:9]}/{NAMES[i]}.JPEG\n" for at, i in enumerate(sorted(order))]
        events = raw / f"{self.subject}_ses-imagenet{session:02d}_task-imagenet_run-{run:02d}_events.tsv"
        events.write_text("onset\tduration\tstim_file\n" + "".join(shown))

    def epochs_path(self, kind: str) -> Path:
        return self.folder / SETS[kind] / f"derivatives/preprocessed/epochs/{self.subject}_{kind}_epo.fif"

    def write_epochs(self, kind: str, values: NDArray[Any], words: bool) -> None:
        table = pd.DataFrame(
            {
                "image_id": [NAMES[i] for i in self.order],
                "session": ["ImageNet01"] * 5 + ["ImageNet02"] * 5,
                "run": [1, 1, 1, 2, 2] * 2,
                "stim_is_animate": [str(i % 2 == 0) if words else bool(i % 2 == 0) for i in self.order],
            }
        )
        path = self.epochs_path(kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        info = mne.create_info(3, 250.0, "mag" if kind == "meg" else "eeg")
        mne.EpochsArray(values, info, metadata=table, verbose="error").save(path, verbose="error")
