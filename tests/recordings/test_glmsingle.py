"""What GLMsingle writes, in every container, on small files of its layout."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest

from gradkern.recordings import estimate_ncsnr, load_glmsingle
from gradkern.recordings._formats import Trials
from tests.fake_datasets.glmsingle import CONTAINERS, GRID, ORDER, TYPED, FakeGLMsingle


@pytest.fixture(params=CONTAINERS)
def made(request: Any, tmp_path: Path) -> FakeGLMsingle:
    return FakeGLMsingle(tmp_path, request.param)


def test_every_container_holds_the_same(made: FakeGLMsingle) -> None:
    found = made.load(conditions=list("abcdef"))
    assert found.responses.shape == (9, 24)
    np.testing.assert_array_equal(np.asarray(found.responses), made.at(found.targets))
    np.testing.assert_array_equal(found.responses[:, 3:11], made.at(found.targets[3:11]))
    expected = [made.rsquare[tuple(place)] for place in found.targets[["i", "j", "k"]].to_numpy()]
    np.testing.assert_array_equal(found.targets["R2"], expected)
    np.testing.assert_array_equal(found.image_ids, ORDER)
    assert found.image_names == tuple("abcdef")
    assert found.presentations["run"].tolist() == [1] * 5 + [2] * 4
    assert found.history == (f"{made.path.name} of 9 trials",)
    assert set(found.provenance["files"]) == {made.path.name, *(path.name for path in made.folder.glob("DESIGNINFO.*"))}
    assert found.check() == ()
    assert estimate_ncsnr(found).shape == (24,)


@pytest.mark.parametrize("kind", ["array", "file"])
def test_a_mask_lies_on_the_grid(made: FakeGLMsingle, tmp_path: Path, kind: str) -> None:
    inside = np.zeros(GRID, np.uint8)
    inside[2, 1, 0] = inside[0, 3, 1] = 1
    mask: Any = inside.astype(bool)
    if kind == "file":
        mask = tmp_path / "mask.nii.gz"
        nibabel.save(nibabel.Nifti1Image(inside, np.diag([2.0, 2.0, 3.0, 1.0])), mask)
    found = made.load(mask=mask)
    assert set(found.labels) == {"2-1-0", "0-3-1"}
    np.testing.assert_array_equal(np.asarray(found.responses), made.at(found.targets))
    if kind == "file":
        assert found.targets.set_index("label").loc["0-3-1", ["x", "y", "z"]].tolist() == [0, 6, 3]
    with pytest.raises(ValueError, match=r"mask must be \[3, 4, 2\] as the betas are, got \[2, 4, 3\]"):
        made.load(mask=inside.T)
    with pytest.raises(ValueError, match=r"mask must be \[3, 4, 2\] as the betas are, got \[24\]"):
        made.load(mask=inside.ravel())
    with pytest.raises(ValueError, match="mask must hold something that is not 0"):
        made.load(mask=np.zeros(GRID))


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("grid", [(7, 1, 1), (7,)], ids=["three axes", "one axis"])
def test_surfaces_are_lists_of_units(tmp_path: Path, container: str, grid: tuple[int, ...]) -> None:
    made = FakeGLMsingle(tmp_path, container, grid)
    found = made.load(mask=np.arange(7) != 3)
    assert found.labels == ("0", "1", "2", "4", "5", "6")
    np.testing.assert_array_equal(np.asarray(found.responses), np.delete(made.betas.reshape(7, 9).T, 3, axis=1))


def test_images_may_be_given_instead(made: FakeGLMsingle) -> None:
    names = [f"{'fabdcg'[i]}.png" for i in ORDER]
    found = made.load(images=names, sessions=[1] * 4 + [2] * 5)
    assert [found.image_names[i] for i in found.image_ids] == names
    assert found.presentations["session"].tolist() == [1] * 4 + [2] * 5
    assert made.load(images=ORDER + 10).image_ids.tolist() == (ORDER + 10).tolist()
    with pytest.raises(
        ValueError, match=r"images must repeat where conditions do in .*got 5 images, 5 conditions, 9 pairs"
    ):
        made.load(images=np.roll(ORDER, 1))
    with pytest.raises(ValueError, match="images must be given for each of 9 trials, got 8"):
        made.load(images=names[:-1])
    with pytest.raises(ValueError, match="sessions must be given for each of 9 trials, got 1"):
        made.load(images=names, sessions=[1])
    with pytest.raises(ValueError, match="conditions must not be given beside images"):
        made.load(images=names, conditions=names)


@pytest.mark.parametrize("bad", [np.nan, 0.0])
def test_voxels_without_data_are_left_out_and_counted(made: FakeGLMsingle, bad: float) -> None:
    made.betas[1, 2, 1] = bad
    made.betas[0, 0, 0, 0] = 0  # a response, not a gap
    made.write()
    found = made.load()
    assert "1-2-1" not in found.labels
    assert "0-0-0" in found.labels
    assert [(each.what, each.count, each.reason) for each in found.excluded] == [("targets", 1, "without data")]
    np.testing.assert_array_equal(np.asarray(found.responses), made.at(found.targets))


def test_silence_is_that_of_the_first_trials(made: FakeGLMsingle) -> None:
    made.betas[1, 2, 1, :5] = 0
    made.betas[2, 2, 1, -5:] = 0
    made.write()
    labels = made.load().labels
    assert "1-2-1" not in labels
    assert "2-2-1" in labels


def betas(values: Callable[[FakeGLMsingle], Any]) -> Callable[[FakeGLMsingle], None]:
    def plant(made: FakeGLMsingle) -> None:
        made.betas = values(made)
        made.write()

    return plant


TRAPS: dict[str, tuple[Callable[[FakeGLMsingle], Any], str]] = {
    "another session's design": (
        lambda m: m.design(np.tile(ORDER, 2), (9, 9)),
        r"DESIGNINFO.* has 18 trials, 9 expected .*\(is it another's\?\)",
    ),
    "runs of other lengths": (
        lambda m: m.design(ORDER, (5, 5)),
        "as many trials as the runs have, got conditions from . on, 9 trials and 10 in runs",
    ),
    "conditions counted otherwise": (
        lambda m: m.design(ORDER - 1),
        r"must hold conditions from (0|1) on .* got conditions from (-1|0) on",
    ),
    "one response for all": (betas(lambda m: m.betas[..., 0]), r"must be float \[x, y, z, trials\] or .* got float32"),
    "integers": (betas(lambda m: (300 * m.betas).astype(np.int16)), "must be float .* got int16"),
    "no responses": (
        lambda m: m.write(betasmd=None, modelmd=None),
        r"must hold 'betasmd' or 'modelmd', got \['R2'",
    ),
    "R2 of another volume": (
        lambda m: m.write(R2=np.ones((2, 2, 2))),
        "R2 must hold 24 values, as the betas do, got 8",
    ),
    "a cut file": (
        lambda m: m.path.write_bytes(m.path.read_bytes()[: m.path.stat().st_size // 2]),
        r"TYPED_FITHRF_GLMDENOISE_RR\S* (cannot be read|must be a file)",
    ),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_traps_yield_no_recording(made: FakeGLMsingle, trap: str) -> None:
    plant, message = TRAPS[trap]
    plant(made)
    with pytest.raises(ValueError, match=message) as caught:
        made.load()
    assert str(caught.value).startswith("load_glmsingle: ")


def test_too_few_names_of_conditions_are_refused(made: FakeGLMsingle) -> None:
    with pytest.raises(ValueError, match="conditions must name all of the design, got 4 names and condition 4"):
        made.load(conditions=list("abcd"))


class TestFiles:
    def test_pickles_are_not_read_unless_asked_for_by_name(self, tmp_path: Path) -> None:
        class Bomb:
            def __reduce__(self) -> tuple[Any, ...]:
                return (Path.touch, (tmp_path / "run",))

        (tmp_path / f"{TYPED}.npy").write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(ValueError, match=r"is a pickle, which can run any code .*allow_pickle=True"):
            load_glmsingle(tmp_path, subject="s")
        (tmp_path / f"{TYPED}.npy").unlink()
        made = FakeGLMsingle(tmp_path, "hdf5")
        made.path.with_name("DESIGNINFO.npy").write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(ValueError, match=r"DESIGNINFO.npy is a pickle, which can run any code"):
            load_glmsingle(tmp_path, subject="s")
        assert load_glmsingle(tmp_path, subject="s", images=ORDER).image_ids.tolist() == ORDER.tolist()
        assert not (tmp_path / "run").exists()

    def test_models_by_letter_or_file(self, tmp_path: Path) -> None:
        made = FakeGLMsingle(tmp_path, "mat v7.3")
        made.path.rename(other := tmp_path / "TYPEB_FITHRF.mat")
        assert load_glmsingle(tmp_path, subject="s", model="B").history == ("TYPEB_FITHRF.mat of 9 trials",)
        assert load_glmsingle(other, subject="s").history == ("TYPEB_FITHRF.mat of 9 trials",)
        with pytest.raises(FileNotFoundError, match=rf"{TYPED}.hdf5 or .* is missing in"):
            load_glmsingle(tmp_path, subject="s")
        with pytest.raises(ValueError, match=r"model must be one of .*got 'A'"):
            load_glmsingle(tmp_path, subject="s", model="A")
        (tmp_path / "TYPEB_FITHRF.npy").write_bytes(b"")
        with pytest.raises(ValueError, match=r"source must be one of \['TYPEB_FITHRF.npy', 'TYPEB_FITHRF.mat'\]"):
            load_glmsingle(tmp_path, subject="s", model="B")
        other.rename(first := tmp_path / "TYPEA_ONOFF.mat")
        with pytest.raises(ValueError, match="which has one for all images"):
            load_glmsingle(first, subject="s")

    def test_without_a_design_images_must_be_given(self, tmp_path: Path) -> None:
        made = FakeGLMsingle(tmp_path, "hdf5")
        (tmp_path / "DESIGNINFO.npy").unlink()
        with pytest.raises(FileNotFoundError, match=r"DESIGNINFO.npy or DESIGNINFO.mat is missing .*give images="):
            made.load()
        found = made.load(images=ORDER)
        assert "run" not in found.presentations

    @pytest.mark.parametrize("last", [True, False])
    def test_chunks_and_pieces_are_read_alike(self, tmp_path: Path, last: bool) -> None:
        """What lies in one piece is read past HDF5, behind MATLAB's header too."""
        values = np.random.default_rng(0).standard_normal((3, 4, 2, 5)).astype(np.float32)
        with h5py.File(tmp_path / "a.hdf5", "w", userblock_size=512) as file:
            file.create_dataset("piece", data=values)
            file.create_dataset("chunks", data=values, chunks=(1, 2, 2, 2), compression="gzip")
        expected = values.reshape(-1, 5).T if last else values.reshape(3, -1)
        for name in ("piece", "chunks"):
            trials = Trials(tmp_path / "a.hdf5", name, last)
            found = trials.mapped()
            assert (found is trials) == (name == "chunks")
            np.testing.assert_array_equal(np.asarray(trials), expected)
            np.testing.assert_array_equal(np.asarray(found), expected)
            np.testing.assert_array_equal(found[:, 3:7], expected[:, 3:7])
            np.testing.assert_array_equal(trials.first(2), expected[:2])

    @pytest.mark.parametrize("container", ["hdf5", "mat v7.3"])
    def test_hdf5_is_read_when_needed(self, tmp_path: Path, container: str) -> None:
        made = FakeGLMsingle(tmp_path, container)
        found = made.load(images=ORDER)
        made.path.unlink()
        with pytest.raises(OSError, match=r"[Uu]nable to|No such file"):
            np.asarray(found.responses)
