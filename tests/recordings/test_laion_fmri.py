"""The reader of LAION-fMRI, on small files of its layout, with its traps planted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradkern.recordings import load_laion_fmri, noise_ceiling
from tests.fake_datasets.laion_fmri import GRID, NAMES, START, VOXELS, FakeLAION


@pytest.fixture
def made(tmp_path: Path) -> FakeLAION:
    return FakeLAION(tmp_path)


def expected(made: FakeLAION, *sessions: int) -> Any:
    return np.concatenate([np.stack([made.betas[s][voxel] for voxel in VOXELS], 1) for s in sessions])


def test_all_sessions_that_are_there(made: FakeLAION, tmp_path: Path) -> None:
    found = load_laion_fmri(made.folder, 3)
    np.testing.assert_array_equal(np.asarray(found.responses), expected(made, 1, 2, 33))
    assert [found.image_names[i] for i in found.image_ids] == made.labels[1] + made.labels[2] + made.labels[33]
    assert found.presentations["session"].tolist() == [1] * 7 + [2] * 6 + [33] * 4
    assert found.presentations["run"].tolist() == [1, 1, 1, 2, 2, 2, 3, 1, 1, 1, 2, 2, 2, 1, 1, 1, 2]
    shared = [label.startswith("shared") for s in (1, 2, 33) for label in made.labels[s]]
    assert found.presentations["shared"].tolist() == shared
    assert found.check() == ()
    (tmp_path / "scratch").mkdir()
    again = load_laion_fmri(made.folder, 3, scratch=tmp_path / "scratch")
    np.testing.assert_array_equal(np.asarray(again.responses), np.asarray(found.responses))


def test_the_ceiling_is_that_of_twelve_presentations(made: FakeLAION) -> None:
    """Their percents are those of the mean over 12."""
    found = load_laion_fmri(made.folder, 3, sessions=[1])
    ratio = found.ncsnr**2
    np.testing.assert_allclose(100 * ratio / (ratio + 1 / 12), [0, 30, 60], rtol=1e-6)
    assert noise_ceiling(found).r2[2] < 0.2  # of one presentation


def test_some_sessions(made: FakeLAION) -> None:
    found = load_laion_fmri(made.folder, 3, sessions=[33, 2])
    np.testing.assert_array_equal(np.asarray(found.responses), expected(made, 2, 33))
    with pytest.raises(FileNotFoundError, match=r"ses-04.*SingletrialBetas_statmap.nii.gz is missing in .*laion-fmri"):
        load_laion_fmri(made.folder, 3, sessions=[4])
    with pytest.raises(FileNotFoundError, match=r"sub-05_ses-01_task-images.* is missing"):
        load_laion_fmri(made.folder, 5)


def test_images_are_those_of_the_metadata_as_shown(made: FakeLAION) -> None:
    made.stimuli()
    found = load_laion_fmri(made.folder, 3)
    assert found.image_names == tuple(NAMES[::-1])
    assert [found.image_names[i] for i in found.image_ids] == made.labels[1] + made.labels[2] + made.labels[33]
    assert found.images[3][0, 0].tolist() == [30, 0, 0]
    assert found.images[0][0, 0].tolist() == [128, 128, 128]
    assert found.images[0][0, 3].tolist() == [0, 0, 0]
    assert len(found.images) == len(NAMES)


def test_regions(made: FakeLAION) -> None:
    for kind, name, voxel in (("early", "V1v", VOXELS[0]), ("face", "FFA1", VOXELS[2]), ("face", "OFA", VOXELS[2])):
        values = np.zeros(GRID, np.uint8)
        values[voxel] = 1
        made.put(f"derivatives/rois/sub-03/{kind}/sub-03_space-T1w_res-1pt8_label-{name}_mask.nii.gz", values)
        fine = np.ones((9, 9, 9), np.uint8)  # another resolution
        made.put(f"derivatives/rois/sub-03/{kind}/sub-03_space-T1w_res-1pt5_label-{name}_mask.nii.gz", fine)
    found = load_laion_fmri(made.folder, 3)
    assert found.targets["roi"].tolist() == ["V1v", "", "FFA1"]
    assert found.targets["OFA"].tolist() == [False, False, True]


TRAPS: dict[str, tuple[Callable[[FakeLAION], Any], str]] = {
    "another session's trials": (
        lambda m: m.write(1, label=[*m.labels[1][:6], None]),
        "must name the image of every trial, got 1 empty",
    ),
    "trials counted from 1": (
        lambda m: m.write(2, beta_index=range(1, 7)),
        r"beta_index of .*ses-02.* must count from 0 in steps of 1, got 1",
    ),
    "another subject's trials": (
        lambda m: (m.labels[2].pop(), m.write(2)),
        r"ses-02.*statmap.nii.gz must hold a volume for each of 5 images, got 6",
    ),
    "no labels": (
        lambda m: (m.folder / f"{m.stem(1)}desc-SingletrialBetas_trials.tsv").write_text("session\trun\tbeta_index\n"),
        "must have the column 'label'",
    ),
    "an image that is not listed": (
        lambda m: (m.stimuli(), m.labels[1].__setitem__(0, "other.jpg"), m.write(1)),
        "must list every image shown, got no 'other.jpg'",
    ),
    "fractions for percent": (
        lambda m: m.put(f"{START}desc-Noiseceiling12rep_statmap.nii.gz", 3 * m.ceiling),
        "must be percent, 0 to 100, got 0 to 180",
    ),
    "a ceiling of another grid": (
        lambda m: m.put(f"{START}desc-Noiseceiling12rep_statmap.nii.gz", np.zeros((2, 2, 2), np.float32)),
        r"must be .* as the betas are, got \[2, 2, 2\]",
    ),
    "a region on a larger grid": (
        lambda m: m.put(
            "derivatives/rois/sub-03/early/sub-03_space-T1w_res-1pt8_label-V1_mask.nii.gz", np.ones((9, 9, 9), np.uint8)
        ),
        r"label-V1_mask.nii.gz must be .* as the responses are, got \[9, 9, 9\]",
    ),
    "cut stimuli": (
        lambda m: (
            m.stimuli(),
            (path := m.folder / "stimuli/task-images_stimuli.h5").write_bytes(path.read_bytes()[:-100]),
        ),
        "task-images_stimuli.h5 cannot be read as HDF5.*cut short",
    ),
    "an image listed twice": (
        lambda m: (
            m.stimuli(),
            (path := m.folder / "stimuli/task-images_metadata.csv").write_text(path.read_text() + f"{NAMES[0]},,,,\n"),
        ),
        "must name each image once, in 'image_name', got 'shared_12rep_LAION_cluster_0_i0.jpg' again",
    ),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_traps_yield_no_recording(made: FakeLAION, trap: str) -> None:
    plant, message = TRAPS[trap]
    plant(made)
    with pytest.raises(ValueError, match=message) as caught:
        load_laion_fmri(made.folder, 3)
    assert str(caught.value).startswith("load_laion_fmri: ")


def test_voxels_at_the_edge_with_nan_are_left_out_with_their_ceilings(made: FakeLAION) -> None:
    made.betas[2][VOXELS[1]][3] = np.nan
    made.write(2)
    found = load_laion_fmri(made.folder, 3)
    assert found.labels == ("1-0-0", "0-3-1")
    assert [(each.what, each.count) for each in found.excluded] == [("targets", 1)]
    np.testing.assert_allclose(found.ncsnr[1] ** 2, 0.6 / 0.4 / 12, rtol=1e-6)


def test_bad_options_are_named(made: FakeLAION) -> None:
    with pytest.raises(ValueError, match=r"subject must be one of \(1, 3, 5, 6, 7\), got 2"):
        load_laion_fmri(made.folder, 2)
    with pytest.raises(ValueError, match=r"sessions must be different whole numbers, got \[1, 1\]"):
        load_laion_fmri(made.folder, 3, sessions=[1, 1])
