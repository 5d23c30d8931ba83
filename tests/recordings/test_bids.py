"""Preprocessed runs of BIDS data sets, on small folders as fMRIPrep lays them out."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiMetaData

from gradkern.recordings import load_bids, load_bold
from tests.fake_datasets.bids import GRID, SPACE, write_bids


def test_runs_are_found_with_their_events_sessions_mask_and_start(tmp_path: Path) -> None:
    write_bids(tmp_path)
    found = load_bids(tmp_path, "07", "images", "stim_file", space=SPACE)
    assert found.presentations["session"].tolist() == [1] * 4 + [2] * 4
    assert found.presentations["run"].tolist() == [1, 1, 2, 2, 1, 1, 2, 2]
    assert found.image_names == ("b.png", "early.png", "late.png")
    assert len(found.labels) == 4
    runs = []
    for session in ("early", "late"):
        for run in (1, 2):
            stem = f"ses-{session}/func/sub-07_ses-{session}_task-images_run-{run}"
            bold = tmp_path / "derivatives/fmriprep/sub-07" / f"{stem}_space-{SPACE}_res-2_desc-preproc_bold.nii.gz"
            runs.append((bold, tmp_path / "sub-07" / f"{stem}_events.tsv"))
    mask = Path(str(runs[0][0]).replace("preproc_bold", "brain_mask"))
    alone = load_bold(runs, "stim_file", mask=mask, subject="x", start_time=0.9)
    np.testing.assert_array_equal(np.asarray(found.responses), np.asarray(alone.responses))


def test_hemispheres_are_found_as_pairs(tmp_path: Path) -> None:
    write_bids(tmp_path, surfaces=True)
    found = load_bids(tmp_path, "07", "images", "stim_file", space="fsaverage5")
    assert found.labels == (*(f"left.{i}" for i in range(4)), *(f"right.{i}" for i in range(4)))


def test_what_is_missing_or_more_than_one_is_named(tmp_path: Path) -> None:
    write_bids(tmp_path)
    there = "which has events of the subjects 07 and the tasks images, rest"
    with pytest.raises(
        FileNotFoundError, match=rf"sub-08_\[ses-\*_\]task-images_.*events.tsv is missing in .*, {there}"
    ):
        load_bids(tmp_path, "08", "images", "stim_file", space=SPACE)
    with pytest.raises(FileNotFoundError, match=r"_space-T1w_.*desc-preproc_bold.nii.gz"):
        load_bids(tmp_path, "07", "images", "stim_file", space="T1w")
    done = tmp_path / "derivatives/fmriprep/sub-07/ses-late/func"
    start = done / f"sub-07_ses-late_task-images_run-2_space-{SPACE}_res-2"
    sidecar = Path(f"{start}_desc-preproc_bold.json")
    for text in ("{", "[]", json.dumps({"StartTime": None})):
        sidecar.write_text(text)
        with pytest.raises(ValueError, match=r"load_bids: .*bold.json must be JSON with a number as StartTime"):
            load_bids(tmp_path, "07", "images", "stim_file", space=SPACE)
    sidecar.write_text(json.dumps({"StartTime": 0.0}))
    with pytest.raises(ValueError, match=r"must have one StartTime, got \[0.0, 0.9\]"):
        load_bids(tmp_path, "07", "images", "stim_file", space=SPACE)
    twice = done / f"sub-07_ses-late_task-images_run-2_space-{SPACE}_res-1_desc-preproc_bold.nii.gz"
    twice.write_bytes(b"")
    with pytest.raises(ValueError, match="must have one preprocessed file in space"):
        load_bids(tmp_path, "07", "images", "stim_file", space=SPACE)
    twice.unlink()
    for path in (tmp_path / "derivatives").glob("**/*brain_mask.nii.gz"):
        path.unlink()
    Path(f"{start}_desc-preproc_bold.json").unlink()
    for path in (tmp_path / "derivatives").glob("**/*.json"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"brain_mask.nii.gz is missing; give mask="):
        load_bids(tmp_path, "07", "images", "stim_file", space=SPACE)


def test_the_names_of_fmriprep_before_2018_are_known(tmp_path: Path) -> None:
    """Such as the derivatives of BOLD5000 (ds001499)."""
    raw = tmp_path / "sub-CSI1/ses-01/func"
    done = tmp_path / "derivatives/fmriprep" / raw.relative_to(tmp_path)
    raw.mkdir(parents=True)
    done.mkdir(parents=True)
    stem = "sub-CSI1_ses-01_task-5000scenes_run-01"
    table = pd.DataFrame({"onset": [2.0, 12.0], "ImgName": ["n0_1.JPEG", "airport1.jpg"], "ImgType": ["imagenet", "s"]})
    table.to_csv(raw / f"{stem}_events.tsv", sep="\t", index=False)
    values = (100 + np.random.default_rng(0).standard_normal((*GRID, 15))).astype(np.float32)
    image = nibabel.Nifti1Image(values, np.eye(4))
    image.header.set_zooms((2, 2, 2, 2.0))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, done / f"{stem}_bold_space-T1w_preproc.nii.gz")
    nibabel.save(
        nibabel.Nifti1Image(np.ones(GRID, np.uint8), np.eye(4)), done / f"{stem}_bold_space-T1w_brainmask.nii.gz"
    )
    for side, count in (("L", 3), ("R", 2)):
        meta = GiftiMetaData({"TimeStep": "2000.0"})
        arrays = [GiftiDataArray(row, datatype="float32", meta=meta) for row in values.reshape(-1, 15)[:count].T]
        nibabel.save(GiftiImage(darrays=arrays), done / f"{stem}_bold_space-fsaverage5.{side}.func.gii")
    found = load_bids(tmp_path, "CSI1", "5000scenes", "ImgName", space="T1w")
    assert found.image_names == ("airport1.jpg", "n0_1.JPEG")
    assert found.responses.shape == (2, 18)
    surface = load_bids(tmp_path, "CSI1", "5000scenes", "ImgName", space="fsaverage5")
    assert surface.labels == ("left.0", "left.1", "left.2", "right.0", "right.1")
