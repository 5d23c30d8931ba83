"""The reader of BOLD5000, release 2.0, on small files of its layout, with its traps planted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gradkern.recordings import load_bold5000
from tests.fake_datasets.bold5000 import GRID, NAMES, VOXELS, FakeBOLD5000, put


@pytest.fixture
def made(tmp_path: Path) -> FakeBOLD5000:
    return FakeBOLD5000(tmp_path)


def test_all_sessions(made: FakeBOLD5000) -> None:
    found = load_bold5000(made.folder, 4)
    np.testing.assert_array_equal(np.asarray(found.responses), made.expected(list(range(1, 10))))
    assert [found.image_names[i] for i in found.image_ids] == made.names
    assert found.presentations["session"].tolist() == np.repeat(range(1, 10), made.counts).tolist()
    assert found.targets[["x", "y", "z"]].iloc[2].tolist() == [0, 6, 2]
    assert found.history == ("TYPED-FITHRF-GLMDENOISE-RR, 9 sessions; the mask leaves out 21 voxels with data",)
    assert "CSI4_imgnames.txt" in found.provenance["files"]
    assert found.images is None
    assert found.check() == ()


def test_some_sessions_have_their_own_names(made: FakeBOLD5000) -> None:
    """The list goes on from session to session."""
    found = load_bold5000(made.folder, 4, sessions=[3, 2])
    np.testing.assert_array_equal(np.asarray(found.responses), made.expected([2, 3]))
    start = made.counts[0]
    assert [found.image_names[i] for i in found.image_ids] == made.names[start : start + sum(made.counts[1:3])]
    made.file(1).unlink()
    with pytest.raises(FileNotFoundError, match=r"ses-01.nii.gz is missing in .*figshare"):
        load_bold5000(made.folder, 4, sessions=[2, 3])


def test_scratch_gives_the_same(made: FakeBOLD5000, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    found = load_bold5000(made.folder, 4, scratch=tmp_path / "scratch")
    np.testing.assert_array_equal(np.asarray(found.responses), made.expected(list(range(1, 10))))


@pytest.mark.parametrize("home", ["sub-CSI4", "derivatives/spm/sub-CSI4"])
def test_regions(made: FakeBOLD5000, home: str) -> None:
    """Some masks are spelt otherwise."""
    for name, voxel in (("LHPPA", VOXELS[0]), ("RHLO", VOXELS[2]), ("RHRRSC", VOXELS[2])):
        values = np.zeros(GRID, np.uint8)
        values[voxel] = 1
        put(made.folder / home / f"sub-CSI4_mask-{name}.nii.gz", values)
    found = load_bold5000(made.folder, 4)
    assert found.targets["roi"].tolist() == ["LHPPA", "", "RHLOC"]
    assert found.targets["RHRSC"].tolist() == [False, False, True]
    assert found.roi("RHLOC").labels == ("0-3-1",)
    put(made.folder / home / "sub-CSI4_mask-RHOPA.nii.gz", np.ones((9, 9, 9), np.uint8))
    with pytest.raises(ValueError, match=r"mask-RHOPA.nii.gz must be \[3, 4, 2\] as the responses are, got \[9, 9"):
        load_bold5000(made.folder, 4)


def test_images_are_found_by_name(made: FakeBOLD5000) -> None:
    home = made.folder / "BOLD5000_Stimuli/Scene_Stimuli/Presented_Stimuli"
    for shade, (collection, name) in enumerate(zip(("COCO", "ImageNet", "Scene", "Scene"), NAMES, strict=True)):
        (home / collection).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (60 * shade,) * 3).save(home / collection / name)
    found = load_bold5000(made.folder, 4)
    for name, number in zip(made.names, found.image_ids, strict=True):
        assert abs(int(found.images[int(number)][0, 0, 0]) - 60 * NAMES.index(name)) < 3
    Image.new("RGB", (4, 4)).save(home / "COCO" / NAMES[3])
    with pytest.raises(
        ValueError, match=r"load_bold5000: bakery2.jpg must lie in one folder of .*, got COCO and Scene"
    ):
        load_bold5000(made.folder, 4)
    (home / "COCO" / NAMES[3]).unlink()
    (home / "Scene" / NAMES[3]).unlink()
    with pytest.raises(FileNotFoundError, match=r"bakery2.jpg is missing in .*bold5000.org"):
        load_bold5000(made.folder, 4)


def test_type_b_is_found_as_its_authors_spell_it(made: FakeBOLD5000) -> None:
    for number, values in enumerate(made.betas, 1):
        put(made.file(number, "TYBEB-FITHRF"), 2 * values)
    found = load_bold5000(made.folder, 4, betas="B")
    np.testing.assert_array_equal(np.asarray(found.responses), 2 * made.expected(list(range(1, 10))))


def names(change: Callable[[list[str]], list[str]]) -> Callable[[FakeBOLD5000], Any]:
    return lambda made: (made.folder / "CSI4_imgnames.txt").write_text("\n".join(change(made.names)))


TRAPS: dict[str, tuple[Callable[[FakeBOLD5000], Any], str]] = {
    "another subject's list": (names(lambda n: n + n), r"must name the images of 49 volumes, got 98 names .*another"),
    "a short list": (names(lambda n: n[:-1]), "must name the images of 49 volumes, got 48 names"),
    "another subject's betas": (
        lambda made: put(made.file(2), np.ones((4, 4, 2, 6), np.float32)),
        r"ses-02.nii.gz must be \[3, 4, 2, volumes\] as the mask is, got \[4, 4, 2, 6\]",
    ),
    "cut gzip": (
        lambda made: made.file(3).write_bytes(made.file(3).read_bytes()[:-20]),
        "ses-03.nii.gz cannot be read.*cut short",
    ),
    "a region on a larger grid": (
        lambda made: put(made.folder / "sub-CSI4/sub-CSI4_mask-LHPPA.nii.gz", np.ones((9, 9, 9), np.uint8)),
        r"LHPPA.nii.gz must be \[3, 4, 2\] as the responses are, got \[9, 9, 9\]",
    ),
    "a volume for a series": (
        lambda made: put(made.file(2), np.ones(GRID, np.float32)),
        "ses-02.nii.gz cannot be read as 4-D NIfTI: not enough values",
    ),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_traps_yield_no_recording(made: FakeBOLD5000, trap: str) -> None:
    plant, message = TRAPS[trap]
    plant(made)
    with pytest.raises(ValueError, match=message) as caught:
        load_bold5000(made.folder, 4)
    assert str(caught.value).startswith("load_bold5000: ")


@pytest.mark.parametrize("bad", [np.nan, 0.0])
def test_voxels_without_data_are_left_out_and_counted(made: FakeBOLD5000, bad: float) -> None:
    made.betas[4][VOXELS[1]] = bad
    put(made.file(5), made.betas[4])
    found = load_bold5000(made.folder, 4)
    assert found.labels == ("1-0-0", "0-3-1")
    assert [(each.what, each.count) for each in found.excluded] == [("targets", 1)]


def test_bad_options_are_named(made: FakeBOLD5000) -> None:
    for options, message in (
        ({"subject": 5}, "subject must be 1 to 4, got 5"),
        ({"subject": 4, "betas": "E"}, "betas must be one of .*got 'E'"),
        ({"subject": 4, "sessions": [10]}, r"sessions must lie in 1\.\.9, got \[10\]"),
    ):
        with pytest.raises(ValueError, match=message):
            load_bold5000(made.folder, **options)
    with pytest.raises(FileNotFoundError, match=r"CSI1_GLMbetas-TYPED-.*ses-01.nii.gz is missing"):
        load_bold5000(made.folder, 1)
