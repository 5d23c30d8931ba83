"""The reader of Algonauts 2023, on small files of its layout, with its traps planted."""

from pathlib import Path

import numpy as np
import pytest

from gradkern.recordings import SurfaceMesh, load_algonauts2023
from tests.fake_datasets.algonauts2023 import write_algonauts


def test_algonauts(tmp_path: Path) -> None:
    values = write_algonauts(tmp_path)
    found = load_algonauts2023(tmp_path, 3)
    np.testing.assert_array_equal(np.asarray(found.responses), values)
    assert found.presentations["nsd"].tolist() == [7 * number + 13 for number in range(12)]
    assert found.images[11][0, 0].tolist() == [11, 0, 0]
    assert found.labels[5] == "rh.0"
    assert found.ncsnr is None


def test_vertices_of_fsaverage_are_those_of_its_masks(tmp_path: Path) -> None:
    write_algonauts(tmp_path)
    assert load_algonauts2023(tmp_path, 3).geometry is None
    masks = tmp_path / "subj03/roi_masks"
    masks.mkdir()
    for side, vertices in (("lh", [0, 7, 9, 100, 163841]), ("rh", [1, 2, 3, 4])):
        inside = np.zeros(163842)
        inside[vertices] = 1
        np.save(masks / f"{side}.all-vertices_fsaverage_space.npy", inside)
    found = load_algonauts2023(tmp_path, 3)
    assert found.geometry == SurfaceMesh({"left": 163842, "right": 163842}, "fsaverage")
    assert found.geometry.places(found.targets).tolist() == [0, 7, 9, 100, 163841, 163843, 163844, 163845, 163846]
    np.save(masks / "rh.all-vertices_fsaverage_space.npy", inside[:-1])
    with pytest.raises(ValueError, match=r"rh\.all-vertices_fsaverage_space\.npy must hold \[163842\] with 4 vertices"):
        load_algonauts2023(tmp_path, 3)


def test_algonauts_with_another_number_of_images_is_refused(tmp_path: Path) -> None:
    write_algonauts(tmp_path, images=11)
    with pytest.raises(ValueError, match=r"must hold 12 images train-\*.png, got 11"):
        load_algonauts2023(tmp_path, 3)


def test_algonauts_pickles_and_cut_files_are_refused(tmp_path: Path) -> None:
    write_algonauts(tmp_path)
    path = tmp_path / "subj03/training_split/training_fmri/rh_training_fmri.npy"
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(ValueError, match=r"rh_training_fmri.npy cannot be read as an array"):
        load_algonauts2023(tmp_path, 3)
    np.save(path, np.array({"a": 1}, dtype=object))
    with pytest.raises(ValueError, match=r"rh_training_fmri.npy cannot be read as an array"):
        load_algonauts2023(tmp_path, 3)
    np.save(path, np.zeros((12, 4), np.int16))
    with pytest.raises(ValueError, match=r"must hold float of 2 dimensions, got int16 \[12, 4\]"):
        load_algonauts2023(tmp_path, 3)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"lh_training_fmri.npy is missing in .*algonauts"):
        load_algonauts2023(tmp_path, 1)
    with pytest.raises(ValueError, match="load_algonauts2023: subject must be 1 to 8, got 0"):
        load_algonauts2023(tmp_path, 0)
