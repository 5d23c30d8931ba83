"""A small CNeuroMod-THINGS: betas of three runs of subject 3 in sessions 2 and 10, in the published layout."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd

TRIALS = 8
RUNS = ((2, 1), (2, 2), (10, 1))
NAME = "sub-03_task-things_space-T1w_model-fitHrfGLMdenoiseRR_stats-trialBetas_desc-zscore_statseries.h5"


class FakeCNeuroMod:
    """`betas` [runs, trials, voxels] and `images` of each run, a path in the folder of the concept."""

    def __init__(self, folder: Path, old: bool = False) -> None:
        prefix = "things." if old else ""
        self.path = folder / f"THINGS/{prefix}glmsingle/sub-03/glmsingle/output/{NAME}"
        self.home = folder / f"THINGS/{prefix}fmriprep/sourcedata/things/sub-03"
        random = np.random.default_rng(0)
        self.mask = random.random((4, 3, 5)) < 0.4
        self.affine = np.diag([2.0, 2.0, 2.0, 1.0]) + np.array([[0, 0, 0, -9], [0, 0, 0, 5], [0, 0, 0, 7], [0] * 4])
        self.betas = random.standard_normal((3, TRIALS, int(self.mask.sum()))).astype(np.float32)
        words = [f"images_fmri/{word}/{word}_0{n}s.jpg" for word in ("camel", "bus", "yo-yo", "ant") for n in (2, 3, 4)]
        self.images = [[words[i] for i in random.permutation(12)[:TRIALS]] for _ in RUNS]
        self.write()

    def write(self) -> None:
        self.path.parent.mkdir(parents=True)
        with h5py.File(self.path, "w") as file:
            file["mask_array"], file["mask_affine"] = self.mask.astype(np.float64), self.affine
            for values, (session, run) in zip(self.betas, RUNS, strict=True):
                file[f"{session}/{run}/betas"] = values
        for number in range(3):
            self.write_events(number)

    def events_path(self, number: int) -> Path:
        session, run = RUNS[number]
        return self.home / f"ses-{session:03d}/func/sub-03_ses-{session:03d}_task-things_run-{run}_events.tsv"

    def write_events(self, number: int, **changes: object) -> None:
        session, run = RUNS[number]
        table = pd.DataFrame({
            "subject": "03", "session": f"ses-{session:03d}", "TrialNumber": range(1, TRIALS + 1),
            "image_path": self.images[number], "condition": "unseen", "test_image_nr": "None", "repetition": 1,
            "run": run,
            "onset": 3 + 4.47 * np.arange(TRIALS), "duration": 2.98, "response_txt": "",
        })  # fmt: skip
        path = self.events_path(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        table.assign(**changes).to_csv(path, sep="\t", index=False)
