"""Hemispheres have one spelling, and the space that was asked for is kept."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradkern.hierarchy import euclidean_hierarchy, mirror_hemispheres
from gradkern.recordings import Recording, load_algonauts2023, load_nsd
from gradkern.stats import spin_maps
from tests.fake_datasets.algonauts2023 import write_algonauts
from tests.fake_datasets.bids_runs import FOLDER, FakeRun, load, series, write_hemispheres
from tests.fake_datasets.nsd import FakeNSD

LEFT = ("lh", "L", "left", "LH", "Left", "hemi-L", "CortexLeft", "CIFTI_STRUCTURE_CORTEX_LEFT")
RIGHT = ("rh", "R", "right", "RH", "Right", "hemi-R", "CortexRight", "CIFTI_STRUCTURE_CORTEX_RIGHT")


def of(sides: list[str]) -> Recording:
    labels = pd.DataFrame({"label": [str(i) for i in range(len(sides))], "hemisphere": sides})
    return Recording(np.ones((2, len(sides))), pd.DataFrame({"image": [0, 1]}), labels, "s", "u")


@given(sides=st.lists(st.sampled_from([(0, name) for name in LEFT] + [(1, name) for name in RIGHT]), min_size=1))
def test_any_spelling_in_any_place(sides: list[tuple[int, str]]) -> None:
    names = [name for _, name in sides]
    right = [("left", "right")[side] for side, _ in sides]
    assert of(names).targets["hemisphere"].tolist() == right
    points = np.random.default_rng(0).standard_normal((len(sides), 3))
    np.testing.assert_array_equal(mirror_hemispheres(points, names), mirror_hemispheres(points, right))
    origin = np.ones(len(sides), bool)
    np.testing.assert_array_equal(
        euclidean_hierarchy(points, origin, names), euclidean_hierarchy(points, origin, right)
    )


def test_spins_of_any_spelling() -> None:
    points = np.random.default_rng(0).standard_normal((30, 3))
    points /= np.linalg.norm(points, axis=1)[:, None]
    sides = np.array(["left", "right"])[(points[:, 0] > 0).astype(int)]
    other = np.array(["lh", "rh"])[(points[:, 0] > 0).astype(int)]
    turned = [spin_maps(points[:, 1], points, names, permutations=3).values for names in (sides, other)]
    np.testing.assert_array_equal(*turned)


def test_what_is_no_hemisphere_is_an_error() -> None:
    with pytest.raises(ValueError, match="hemispheres must be 'left' or 'right', got 'top'"):
        of(["left", "top"])
    assert of(["left", ""]).targets["hemisphere"].tolist() == ["left", ""]


def test_every_reader(tmp_path: Path) -> None:
    FakeNSD(tmp_path / "nsd")
    write_algonauts(tmp_path / "algonauts")
    for recording in (load_nsd(tmp_path / "nsd", 2), load_algonauts2023(tmp_path / "algonauts", 3)):
        assert set(recording.targets["hemisphere"]) == {"left", "right"}


def test_the_space_asked_for_is_kept(tmp_path: Path) -> None:
    FakeRun(tmp_path).write()
    write_hemispheres(
        tmp_path / FOLDER,
        "sub-01_task-img_run-1_hemi-{}_space-fsaverage5_bold.func.gii",
        series().reshape(-1, 60).T[:, :7],
    )
    assert load(tmp_path, "fsaverage5").space == "fsaverage5"
    assert load(tmp_path).space == "MNI152NLin2009cAsym"
