"""A small BIDS data set with the derivatives of fMRIPrep."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiMetaData

GRID, SPACE = (3, 3, 2), "MNI152NLin2009cAsym"


def write_bids(folder: Path, surfaces: bool = False) -> None:
    """Two sessions of two runs, and a run of another task."""
    random = np.random.default_rng(0)
    inside = np.zeros(GRID, np.uint8)
    inside[1:, 1, :] = 1
    for session in ("early", "late"):
        raw = folder / "sub-07" / f"ses-{session}" / "func"
        done = folder / "derivatives" / "fmriprep" / "sub-07" / f"ses-{session}" / "func"
        raw.mkdir(parents=True)
        done.mkdir(parents=True)
        for name in (f"task-images_run-{run}" for run in (1, 2)):
            stem = f"sub-07_ses-{session}_{name}"
            table = pd.DataFrame({"onset": [1.0, 9.0], "stim_file": [f"{session}.png", "b.png"]})
            table.to_csv(raw / f"{stem}_events.tsv", sep="\t", index=False)
            if surfaces:
                for side in "LR":
                    rows = (100 + random.standard_normal((15, 4))).astype(np.float32)
                    meta = GiftiMetaData({"TimeStep": "2000.0"})
                    arrays = [GiftiDataArray(row, datatype="float32", meta=meta) for row in rows]
                    nibabel.save(
                        GiftiImage(darrays=arrays), done / f"{stem}_hemi-{side}_space-fsaverage5_bold.func.gii"
                    )
                continue
            image = nibabel.Nifti1Image((100 + random.standard_normal((*GRID, 15))).astype(np.float32), np.eye(4))
            image.header.set_zooms((2, 2, 2, 2.0))
            image.header.set_xyzt_units("mm", "sec")
            start = done / f"{stem}_space-{SPACE}_res-2"
            nibabel.save(image, f"{start}_desc-preproc_bold.nii.gz")
            nibabel.save(nibabel.Nifti1Image(inside, np.eye(4)), f"{start}_desc-brain_mask.nii.gz")
            Path(f"{start}_desc-preproc_bold.json").write_text(json.dumps({"StartTime": 0.9}))
        (raw / f"sub-07_ses-{session}_task-rest_run-1_events.tsv").write_text("onset\n")
