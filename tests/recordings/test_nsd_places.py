"""Where NSD's targets lie: the first example of a study's hierarchy works in both of its spaces."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradkern.hierarchy import euclidean_hierarchy
from gradkern.recordings import load_nsd
from gradkern.study import DerivedHierarchy, parse_hierarchy
from tests.fake_datasets.nsd import BETAS, GRID, FakeNSD, V


@pytest.fixture
def made(tmp_path: Path) -> FakeNSD:
    return FakeNSD(tmp_path)


def distance(recording: Any) -> Any:
    hierarchy = parse_hierarchy({"euclidean": "early"})
    assert isinstance(hierarchy, DerivedHierarchy)
    return hierarchy.added(recording).targets[hierarchy.column].to_numpy()


def test_vertices_lie_on_the_white_surface(made: FakeNSD) -> None:
    points = made.surfaces()
    found = load_nsd(made.folder, 2, atlas="streams")
    np.testing.assert_allclose(found.targets[["x", "y", "z"]], points, atol=1e-4)
    assert found.history[1] == "x, y, z of vertices on the white surface"
    assert any(name.endswith("surf/rh.white") for name in found.provenance["files"])
    origin = found.targets["roi"].eq("early").to_numpy()
    expected = euclidean_hierarchy(found.targets[["x", "y", "z"]], origin, found.targets["hemisphere"])
    np.testing.assert_array_equal(distance(found), expected)
    np.testing.assert_allclose(expected[:V], expected[V:], rtol=1e-5)  # the hemispheres are mirror images


def test_without_a_surface_it_is_said_which_file_is_missing(made: FakeNSD) -> None:
    found = load_nsd(made.folder, 2, atlas="streams")
    assert "x" not in found.targets
    message = "targets must have 'x', got .*; no x, y, z of vertices: nsddata/freesurfer/fsaverage/surf/lh.white is"
    with pytest.raises(ValueError, match=message):
        distance(found)


def test_a_surface_of_other_vertices_is_refused(made: FakeNSD) -> None:
    made.surfaces(vertices=V + 1)
    with pytest.raises(ValueError, match=r"lh\.white must have 8 vertices as the responses have, got 9"):
        load_nsd(made.folder, 2)


def test_what_is_no_surface_is_named(made: FakeNSD) -> None:
    made.surfaces()
    (made.folder / "nsddata/freesurfer/fsaverage/surf/rh.white").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"rh\.white cannot be read as a FreeSurfer surface"):
        load_nsd(made.folder, 2)


def test_voxels_have_the_hemisphere_of_its_mask(made: FakeNSD) -> None:
    sides = made.hemispheres()
    found = load_nsd(made.folder, 2, space="func1pt8mm", atlas="streams")
    np.testing.assert_array_equal(found.targets["hemisphere"], sides)
    assert (sides == "").sum() == 2
    assert found.history[1] == "hemisphere of voxels by lh.HCP_MMP1 and rh.HCP_MMP1, none outside their cortex"

    roi = np.where(found.targets["j"] == 1, "early", "")
    both, known = found.targets.assign(roi=roi), sides != ""
    expected = euclidean_hierarchy(both.loc[known, ["x", "y", "z"]], (roi == "early")[known], sides[known])
    values = distance(type(found)(found.responses, found.presentations, both, "s", "z"))
    np.testing.assert_array_equal(values[known], expected)
    assert np.isnan(values[~known]).all()


def test_masks_say_where_voxels_lie_if_no_ncsnr_does(made: FakeNSD) -> None:
    (made.folder / BETAS.format("func1pt8mm") / "ncsnr.nii.gz").unlink()
    assert "x" not in load_nsd(made.folder, 2, space="func1pt8mm").targets
    made.hemispheres(atlas="nsdgeneral")
    found = load_nsd(made.folder, 2, space="func1pt8mm").targets
    np.testing.assert_allclose(found[["x", "y", "z"]], 1.8 * found[["i", "j", "k"]])


def test_without_masks_voxels_are_left_and_right_of_their_middle(made: FakeNSD) -> None:
    found = load_nsd(made.folder, 2, space="func1pt8mm")
    np.testing.assert_array_equal(found.targets["hemisphere"] == "left", found.targets["i"] < GRID[0] / 2)
    assert "by the side of x = 0.9 mm, the middle of those measured, which errs near the midline" in found.history[1]
