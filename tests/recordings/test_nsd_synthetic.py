"""NSD-synthetic, on small files of its published layout."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import savemat

from gradkern.recordings import load, load_nsd_synthetic, published
from tests.fake_datasets.nsd import GRID, V, put, write_ctab

TRIALS, SHARED, COLORED = 744, 220, 64
BETAS = "nsddata_betas/ppdata/subj02/{}/nsdsyntheticbetas_fithrf_GLMdenoise_RR"
DESIGN = "nsddata/experiments/nsdsynthetic/nsdsynthetic_expdesign.mat"
STIMULI = "nsddata_stimuli/stimuli/nsdsynthetic/nsdsynthetic_{}.hdf5"


class Fake:
    """Subject 2, on fsaverage and in the volume."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        random = np.random.default_rng(0)
        self.order = np.concatenate([random.permutation(284) + 1, random.integers(1, 285, TRIALS - 284)])
        self.pattern = np.zeros((1, 8, 107))
        self.pattern[:, :, :93] = 1
        self.write_design()
        self.surface: NDArray[Any] = random.standard_normal((TRIALS, 2 * V)).astype(np.float32)
        for side, part in zip(("lh", "rh"), (self.surface[:, :V], self.surface[:, V:]), strict=True):
            put(folder, f"{BETAS.format('fsaverage')}/{side}.betas_nsdsynthetic.mgh", part.T[:, None, None])
            labels = np.array([0, 1, 1, 5, 0, 0, 5, 1], np.int32)[:, None, None]
            put(folder, f"nsddata/freesurfer/fsaverage/label/{side}.streams.mgz", labels)
        write_ctab(folder, "nsddata/freesurfer/fsaverage/label/streams.mgz.ctab")
        self.volume = random.integers(1, 900, (TRIALS, *GRID[::-1])).astype(np.int16)
        (folder / BETAS.format("func1pt8mm")).mkdir(parents=True)
        with h5py.File(folder / BETAS.format("func1pt8mm") / "betas_nsdsynthetic.hdf5", "w") as file:
            file["betas"] = self.volume

    def write_design(self) -> None:
        (self.folder / DESIGN).parent.mkdir(parents=True, exist_ok=True)
        savemat(self.folder / DESIGN, {"masterordering": self.order[None], "stimpattern": self.pattern})

    def write_images(self, colored: int = COLORED) -> None:
        for name, count, value in (("stimuli", SHARED, 1), ("colorstimuli_subj02", colored, 2)):
            path = self.folder / STIMULI.format(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            with h5py.File(path, "w") as file:
                images = file.create_dataset("imgBrick", (count, 2, 3, 3), np.uint8, fillvalue=value)
                images[0] = 10 * value


@pytest.fixture
def made(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


def test_betas_of_the_images_of_the_design(made: Fake) -> None:
    recording = load_nsd_synthetic(made.folder, 2, atlas="streams")
    np.testing.assert_array_equal(np.asarray(recording.responses), made.surface)
    assert recording.image_ids.tolist() == (made.order - 1).tolist()
    assert recording.presentations["run"].tolist() == np.repeat(np.arange(1, 9), 93).tolist()
    assert recording.targets["roi"].iloc[:4].tolist() == ["", "early", "early", "ventral"]
    volume = load("nsd-synthetic", made.folder, subject=2, space="func1pt8mm")
    np.testing.assert_allclose(np.asarray(volume.responses), made.volume.reshape(TRIALS, -1) / 300, rtol=1e-6)
    with pytest.raises(ValueError, match="got 0 and 744"):
        published(recording)  # all of it is for testing


def test_colored_images_are_the_subjects_own(made: Fake) -> None:
    assert load_nsd_synthetic(made.folder, 2).images is None
    made.write_images()
    recording = load_nsd_synthetic(made.folder, 2)
    names = recording.image_names or ()
    assert (names[219], names[220]) == ("nsdsynthetic-219", "nsdsynthetic-subj02-220")
    assert [int(recording.images[i].max()) for i in (0, 219, 220, 221, 283, -1)] == [10, 1, 20, 2, 2, 2]
    made.write_images(colored=63)
    with pytest.raises(ValueError, match=r"colorstimuli_subj02\.hdf5 must hold 64 images, got 63"):
        load_nsd_synthetic(made.folder, 2)


def test_what_does_not_fit_is_named(made: Fake) -> None:
    with pytest.raises(FileNotFoundError, match=r"func1mm/.*betas_nsdsynthetic\.hdf5 or .*nii\.gz is missing"):
        load_nsd_synthetic(made.folder, 2, space="func1mm")
    with pytest.raises(ValueError, match="betas must be one of"):
        load_nsd_synthetic(made.folder, 2, betas="b1")
    made.pattern[0, 0, 0] = 0
    made.write_design()
    with pytest.raises(ValueError, match="must have 744 trials in stimpattern, as in masterordering, got 743"):
        load_nsd_synthetic(made.folder, 2)
    made.order[0] = 285
    made.write_design()
    with pytest.raises(ValueError, match=r"must hold masterordering \[744\] of 1 to 284, got 744 of 1 to 285"):
        load_nsd_synthetic(made.folder, 2)
    put(made.folder, f"{BETAS.format('fsaverage')}/lh.betas_nsdsynthetic.mgh", np.ones((V, 1, 1, 750)))
    made.order[0], made.pattern[0, 0, 0] = 1, 1
    made.write_design()
    with pytest.raises(ValueError, match=r"lh\.betas_nsdsynthetic\.mgh must hold 744 frames of float32, got 750"):
        load_nsd_synthetic(made.folder, 2)
