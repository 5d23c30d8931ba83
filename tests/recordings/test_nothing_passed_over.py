"""Nothing is passed over in silence: it is read, counted, or refused."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import mne
import nibabel
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.io import savemat

from gradkern.recordings import (
    Recording,
    folder_images,
    load_betas,
    load_bids,
    load_bold,
    load_epochs,
    load_glmsingle,
    noise_ceiling,
    split_half,
)
from tests.fake_datasets.bids_runs import (
    FOLDER,
    GRID,
    SPACE,
    TIMES,
    FakeRun,
    load,
    rows,
    sampled,
    series,
    write_hemispheres,
)

IN_FOLDER = [HealthCheck.function_scoped_fixture]


def put(path: Path, values: Any) -> Path:
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    return path


@given(inside=st.lists(st.sampled_from([0.0, 1.0, np.nan, -2.0, 0.5]), min_size=12, max_size=12))
@settings(max_examples=30, deadline=None, suppress_health_check=IN_FOLDER)
def test_nan_is_outside_of_any_mask_and_said(tmp_path: Path, inside: list[float]) -> None:
    mask = np.array(inside, np.float32).reshape(GRID)
    right = np.nan_to_num(mask) != 0
    values = np.random.default_rng(0).standard_normal((*GRID, 4)).astype(np.float32)
    call = lambda: load_betas(  # noqa: E731
        [put(tmp_path / "b.nii", values)], [list("abcd")], mask=put(tmp_path / "m.nii", mask), subject="s"
    )
    if not right.any():
        with pytest.raises(ValueError, match="with voxels that are not 0"):
            call()
        return
    recording = call()
    np.testing.assert_array_equal(np.asarray(recording.responses), values.T[:, right.T])
    noted = [line for line in recording.history if "NaN" in line]
    assert bool(noted) == bool(np.isnan(mask).any())
    assert all(line.startswith(f"{np.isnan(mask).sum()} voxels") for line in noted)


class TestEveryForm:
    """Of the same numbers, plain or packed, scaled or with an offset, with time as the fourth or the fifth axis."""

    @given(
        form=st.sampled_from(["nii", "nii.gz", "nii.bz2", "mgh", "mgz"]),
        kind=st.sampled_from(["i2", "f4", "scaled", "offset"]),
        fifth=st.booleans(),
        seed=st.integers(0, 99),
    )
    @settings(max_examples=25, deadline=None, suppress_health_check=IN_FOLDER)
    def test_gives_the_numbers_that_nibabel_gives(
        self, tmp_path: Path, form: str, kind: str, fifth: bool, seed: int
    ) -> None:
        random = np.random.default_rng(seed)
        values = random.normal(900, 30, (*GRID, 1, 30) if fifth and form[0] == "n" else (*GRID, 30))
        path = tmp_path / f"b.{form}"
        if form[0] == "m":
            nibabel.save(nibabel.MGHImage(values.astype(np.int16 if kind == "i2" else np.float32), np.eye(4)), path)
        else:
            image = nibabel.Nifti1Image(values.astype(np.float32 if kind == "f4" else np.int16), np.eye(4))
            if kind in ("scaled", "offset"):
                image.header.set_slope_inter(0.25, 7.5 if kind == "offset" else 0)
            nibabel.save(image, path)
        right = nibabel.load(path).get_fdata().reshape(*GRID, 30)
        mask = put(
            tmp_path / "m.nii", (random.random(GRID) < 0.7).astype(np.uint8) | np.eye(3, 2, dtype=np.uint8)[..., None]
        )
        inside = np.asarray(nibabel.load(mask).dataobj) != 0
        betas = load_betas([path], [range(30)], mask=mask, subject="s")
        np.testing.assert_allclose(np.asarray(betas.responses), right.T[:, inside.T], rtol=1e-6)
        (tmp_path / "e.tsv").write_text("onset\tname\n4\ta\n13\tb\n31.5\tc\n")
        bold = load_bold([(path, tmp_path / "e.tsv")], "name", subject="s", mask=mask, repetition_time=2.0)
        expected = sampled(right, [4, 13, 31.5])[:, inside.T.ravel()]
        np.testing.assert_allclose(np.asarray(bold.responses), expected, atol=2e-4)

    @pytest.mark.parametrize("name", ["b.nii.xz", "b.nii.zst", "b.csv", "b"])
    def test_other_endings_are_named(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(put(tmp_path / "b.nii", np.ones((*GRID, 2), np.float32)).read_bytes())
        with pytest.raises(ValueError, match=r"must be a volume that ends in \.nii, \.nii\.gz, "):
            load_betas([tmp_path / name], [list("ab")], mask=put(tmp_path / "m.nii", np.ones(GRID)), subject="s")


def flagged(first: int, times: int = TIMES) -> dict[str, Sequence[Any]]:
    """fMRIPrep's columns for the first volumes, and confounds whose derivative begins with n/a."""
    random = np.random.default_rng(3)
    columns: dict[str, Sequence[Any]] = {
        f"non_steady_state_outlier{i:02d}": [float(i == j) for j in range(times)] for i in range(first)
    }
    move = random.standard_normal(times)
    return columns | {
        "trans_x": move.tolist(),
        "trans_x_derivative1": ["n/a", *np.diff(move)],
        "cosine00": np.cos(np.arange(times) / 9).tolist(),
    }


class TestDummyScans:
    @given(first=st.integers(0, 6), bright=st.floats(0, 3))
    @settings(max_examples=15, deadline=None, suppress_health_check=IN_FOLDER)
    def test_they_are_skipped_and_counted(self, tmp_path: Path, first: int, bright: float) -> None:
        values = series()
        values[..., :first] *= 1 + np.float32(bright)
        run = FakeRun(tmp_path, values=values, confounds=flagged(first)).write()
        recording = load(tmp_path)
        onsets = recording.presentations["onset"].to_numpy()
        assert ((onsets + 5.5) / 2 >= first).all()
        right = sampled(run.values, onsets, first=first)
        np.testing.assert_allclose(np.asarray(recording.responses), right, atol=2e-4)
        counts = {entry.what: entry.count for entry in recording.excluded}
        assert counts.get("volumes", 0) == first
        assert counts.get("presentations", 0) == 12 - len(onsets)

    def test_the_caller_decides(self, tmp_path: Path) -> None:
        run = FakeRun(tmp_path, confounds=flagged(3)).write()
        every, four = load(tmp_path, dummy_scans=0), load(tmp_path, dummy_scans=4)
        onsets = [4 + 8 * i for i in range(12)]
        np.testing.assert_allclose(np.asarray(every.responses), sampled(run.values, onsets), atol=2e-4)
        np.testing.assert_allclose(np.asarray(four.responses), sampled(run.values, onsets, first=4), atol=2e-4)
        with pytest.raises(ValueError, match=r"dummy_scans must lie in 0\.\.57, got 58"):
            load(tmp_path, dummy_scans=58)

    @pytest.mark.parametrize("name", ["_desc-confounds_regressors.tsv", "_bold_confounds.tsv"])
    def test_older_names(self, tmp_path: Path, name: str) -> None:
        run = FakeRun(tmp_path, confounds=flagged(3)).write()
        table = tmp_path / FOLDER / f"{run.stem}_desc-confounds_timeseries.tsv"
        table.replace(table.with_name(f"{run.stem}{name}"))
        assert {entry.what: entry.count for entry in load(tmp_path).excluded} == {"volumes": 3}


class TestConfounds:
    def test_they_are_regressed_out_on_request(self, tmp_path: Path) -> None:
        confounds = flagged(2)
        base = series()
        cause = 20 * np.array(confounds["trans_x"]) + 50 * np.array(confounds["cosine00"])
        FakeRun(tmp_path, values=(base + cause).astype(np.float32), confounds=confounds).write()
        recording = load(tmp_path, confounds=["trans_x", "cosine*"])
        design = np.column_stack([np.ones(TIMES), np.arange(TIMES), confounds["trans_x"], confounds["cosine00"]])[2:]
        flat = (base + cause).astype(np.float32).T.reshape(TIMES, -1)[2:].astype(np.float64)
        percent = 100 * (flat - design @ np.linalg.lstsq(design, flat, rcond=None)[0]) / flat.mean(0)
        at = (recording.presentations["onset"].to_numpy() + 5.5) / 2 - 2
        right = np.stack([np.interp(at, np.arange(TIMES - 2), column) for column in percent.T], 1)
        np.testing.assert_allclose(np.asarray(recording.responses), right, atol=2e-4)
        assert "confounds regressed out: trans_x, cosine00" in recording.history

    def test_mistakes_are_named(self, tmp_path: Path) -> None:
        run = FakeRun(tmp_path, confounds=flagged(0)).write()
        assert load(tmp_path, confounds=["trans_x_derivative1"]).responses.shape == (12, 12)
        with pytest.raises(ValueError, match="or patterns of them, got 'rot_x'"):
            load(tmp_path, confounds=["rot_x"])
        with pytest.raises(ValueError, match="confounds must be a list of names or patterns, got 'trans_x'"):
            load(tmp_path, confounds="trans_x")
        (tmp_path / FOLDER / f"{run.stem}_desc-confounds_timeseries.tsv").unlink()
        with pytest.raises(FileNotFoundError, match=r"confounds of .* are missing"):
            load(tmp_path, confounds=["trans_x"])


class TestEchoes:
    def test_single_echoes_beside_their_combination(self, tmp_path: Path) -> None:
        FakeRun(tmp_path).write()
        alone = np.asarray(load(tmp_path).responses)
        for echo in (1, 2):
            FakeRun(tmp_path, f"run-1_echo-{echo}", events=None, values=series(echo)).write()
        np.testing.assert_array_equal(np.asarray(load(tmp_path).responses), alone)

    def test_single_echoes_alone_are_refused(self, tmp_path: Path) -> None:
        for echo in (1, 2):
            FakeRun(tmp_path, f"run-1_echo-{echo}", values=series(echo)).write()
        with pytest.raises(ValueError, match=r"must have one series of all echoes, got only single ones.*echo-2"):
            load(tmp_path)


class TestNamesOfSurfaces:
    @pytest.mark.parametrize(
        "name",
        [
            "sub-01_task-img_run-1_hemi-{}_space-fsaverage5_bold.func.gii",
            "sub-01_task-img_run-1_space-fsaverage5_hemi-{}_bold.func.gii",
            "sub-01_task-img_run-1_space-fsaverage5_hemi-{}.func.gii",
            "sub-01_task-img_run-1_bold_space-fsaverage5.{}.func.gii",
        ],
    )
    @pytest.mark.parametrize("flat", [False, True])
    def test_of_every_version(self, tmp_path: Path, name: str, flat: bool) -> None:
        FakeRun(tmp_path).write()
        values = series().reshape(-1, TIMES).T[:, :7]
        write_hemispheres(tmp_path / FOLDER, name, values, step=None, flat=flat)
        for side in "LR":
            (tmp_path / FOLDER / f"{name.format(side).partition('.')[0]}.json").write_text(
                json.dumps({"RepetitionTime": 2.0})
            )
        recording = load(tmp_path, "fsaverage5")
        right = sampled(values.T.reshape(7, 1, 1, TIMES), [4 + 8 * i for i in range(12)])
        np.testing.assert_allclose(np.asarray(recording.responses), np.c_[right, right], atol=2e-4)

    def test_an_entity_after_the_space_chooses(self, tmp_path: Path) -> None:
        FakeRun(tmp_path).write()
        home = tmp_path / FOLDER
        for path in list(home.glob("*")):
            if f"_space-{SPACE}_" in path.name:
                for label in (1, 2):
                    new = home / path.name.replace(f"_space-{SPACE}_", f"_space-{SPACE}_res-{label}_")
                    new.write_bytes(path.read_bytes())
                path.unlink()
        with pytest.raises(ValueError, match=r"must have one preprocessed file in space .*:res-2"):
            load(tmp_path)
        assert load(tmp_path, f"{SPACE}:res-2").space == f"{SPACE}:res-2"


class TestSplitEpochs:
    @pytest.mark.parametrize("naming", ["neuromag", "bids"])
    def test_every_part_is_read(self, tmp_path: Path, naming: str) -> None:
        table = pd.DataFrame({"image": [f"i{i}" for i in range(45)]})
        values = np.random.default_rng(0).standard_normal((45, 150, 100))
        epochs = mne.EpochsArray(values, mne.create_info(150, 200.0, "mag"), metadata=table, verbose="error")
        first = tmp_path / ("sub-01_epo.fif" if naming == "bids" else "x-epo.fif")
        epochs.save(first, split_size=1_500_000, split_naming=naming, verbose="error")
        paths = sorted(tmp_path.glob("*.fif"), key=lambda path: (len(path.name), path.name))
        assert len(paths) > 2
        found = load_epochs(paths[0], "image", subject="s", units="T")
        np.testing.assert_allclose(np.asarray(found.responses), values.reshape(45, -1), rtol=1e-6)
        assert len(found.provenance["files"]) == len(paths)
        with pytest.raises(ValueError, match="path must be the first of several files"):
            load_epochs(paths[1], "image", subject="s", units="T")


class TestSessionsOfGLMsingle:
    BETAS = np.random.default_rng(0).standard_normal((3, 2, 2, 8)).astype(np.float32)

    def write(self, folder: Path, form: str, told: Any) -> Path:
        design = {"stimorder": np.array([0, 1, 2, 3, 0, 1, 2, 3]), "numtrialrun": np.array([4, 4])}
        params = {} if told is None else {"sessionindicator": np.array([told])}
        if form == "npy":
            np.save(folder / "TYPED_FITHRF_GLMDENOISE_RR.npy", {"betasmd": self.BETAS}, allow_pickle=True)
            np.save(folder / "DESIGNINFO.npy", design | {"params": params}, allow_pickle=True)
            return folder / "TYPED_FITHRF_GLMDENOISE_RR.npy"
        savemat(folder / "TYPED_FITHRF_GLMDENOISE_RR.mat", {"modelmd": self.BETAS})
        design["stimorder"] = design["stimorder"] + 1
        if form == "mat":
            savemat(folder / "DESIGNINFO.mat", design | {"params": params or {"other": 1}}, do_compression=True)
        else:
            with h5py.File(folder / "DESIGNINFO.mat", "w", userblock_size=512) as file:
                for name, values in design.items():
                    file[name] = values[:, None]
                if told is not None:
                    file["params/sessionindicator"] = np.array([told]).T
            header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
            content = (folder / "DESIGNINFO.mat").read_bytes()
            (folder / "DESIGNINFO.mat").write_bytes(header + content[len(header) :])
        return folder / "TYPED_FITHRF_GLMDENOISE_RR.mat"

    @pytest.mark.parametrize("form", ["npy", "mat", "mat 7.3"])
    @pytest.mark.parametrize("told", [None, [1, 1], [1, 2]])
    def test_what_it_was_told_is_known(self, tmp_path: Path, form: str, told: Any) -> None:
        source = self.write(tmp_path, form, told)
        found = load_glmsingle(source, subject="s", allow_pickle=True)
        assert found.presentations["session"].tolist() == np.repeat(told or [1, 1], 4).tolist()
        given_ = load_glmsingle(source, subject="s", allow_pickle=True, sessions=["a"] * 4 + ["b"] * 4)
        assert given_.presentations["session"].tolist() == ["a"] * 4 + ["b"] * 4
        if told == [1, 2]:
            with pytest.raises(ValueError, match=r"sessions must divide the trials as sessionindicator .* 3 pairs"):
                load_glmsingle(source, subject="s", allow_pickle=True, sessions=["a"] * 5 + ["b"] * 3)


class TestFolders:
    def make(self, folder: Path) -> None:
        from PIL import Image

        for name in ("a.png", "sub/b.jfif"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (2, 2)).save(folder / name, "jpeg" if name.endswith("jfif") else None)

    def test_linked_folders_and_rare_endings_are_read_and_the_rest_counted(self, tmp_path: Path) -> None:
        self.make(tmp_path / "else")
        self.make(tmp_path / "images")
        (tmp_path / "images/more").symlink_to(tmp_path / "else")
        (tmp_path / "images/loop").symlink_to(tmp_path / "images")
        (tmp_path / "images/list.txt").write_text("a")
        source, names = folder_images(tmp_path / "images")
        assert names == ("a.png", "more/a.png", "more/sub/b.jfif", "sub/b.jfif")
        assert [(entry.what, entry.count) for entry in source.excluded] == [("files", 1)]

    @pytest.mark.parametrize("name", ["d.heic", "d.AVIF", "d.svg", "sub/d.jp2"])
    def test_images_that_are_not_read_are_named(self, tmp_path: Path, name: str) -> None:
        self.make(tmp_path)
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(ValueError, match=f"got 1 others, first {name}"):
            folder_images(tmp_path)

    @pytest.mark.parametrize("dangling", ["image", "betas", "mask", "events"])
    def test_links_that_lead_nowhere(self, tmp_path: Path, dangling: str) -> None:
        target = "../.git/annex/objects/a1/b2/SHA256E-s9--00.png"
        if dangling == "image":
            self.make(tmp_path)
            (tmp_path / "c.png").symlink_to(target)
            with pytest.raises(FileNotFoundError, match=r"1 of 3 images .*datalad get.* first c\.png"):
                folder_images(tmp_path)
            return
        FakeRun(tmp_path).write()
        pattern = {"betas": "*preproc_bold.nii.gz", "mask": "*mask.nii.gz", "events": "*events.tsv"}[dangling]
        path = next(tmp_path.rglob(pattern))
        path.unlink()
        path.symlink_to(target)
        with pytest.raises(FileNotFoundError, match=r"a link to .*, which is missing .*datalad get"):
            load(tmp_path)


class TestNoiseCeilings:
    @given(
        counts=st.lists(st.integers(1, 5), min_size=4, max_size=8).filter(lambda counts: sum(c > 1 for c in counts) > 2)
    )
    @settings(max_examples=20, deadline=None)
    def test_they_state_the_repeats_of_the_means_they_are_for(self, counts: list[int]) -> None:
        ids = np.repeat(np.arange(len(counts)), counts)
        responses: NDArray[Any] = np.random.default_rng(0).standard_normal((len(ids), 3)) + ids[:, None]
        recording = Recording(responses, pd.DataFrame({"image": ids}), pd.DataFrame({"label": list("abc")}), "s", "u")
        used = [count for count in counts if count > 1]
        low, high = min(used), max(used)
        assert split_half(recording, splits=3).repeats == (f"{low}" if low == high else f"{low} to {high}")

    def test_of_odd_repeats_it_is_that_of_their_mean(self) -> None:
        """The expected r of a perfect model with means of 3, though the halves hold one presentation each."""
        random = np.random.default_rng(0)
        ids = np.repeat(np.arange(400), 3)
        signal = random.standard_normal((400, 40))[ids]
        responses = signal + random.standard_normal(signal.shape)
        recording = Recording(
            responses, pd.DataFrame({"image": ids}), pd.DataFrame({"label": [str(i) for i in range(40)]}), "s", "u",
            ncsnr=np.ones(40),
        )  # fmt: skip
        ceiling = split_half(recording, splits=20)
        assert ceiling.repeats == "3"
        assert abs(np.mean(ceiling.r) - np.sqrt(1 / (1 + 1 / 3))) < 0.01
        assert abs(noise_ceiling(recording.average_repeats()).r[0] - np.sqrt(1 / (1 + 1 / 3))) < 1e-12


def test_an_hdf5_dataset_without_a_path_is_read() -> None:
    values = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    with h5py.File(buffer := io.BytesIO(), "w") as file:
        file["y"] = values
    file = h5py.File(buffer, "r")
    labels = pd.DataFrame({"label": list("abc")})
    recording = Recording(file["y"], pd.DataFrame({"image": range(6)}), labels, "s", "u")
    np.testing.assert_array_equal(np.asarray(recording.responses), values)


def test_other_images_of_a_task_and_other_subjects_are_not_mixed_in(tmp_path: Path) -> None:
    FakeRun(tmp_path, events=rows(["a", "b"] * 6)).write()
    other = tmp_path / "sub-01/func/sub-01_task-img2_run-1_events.tsv"
    other.write_text("onset\tstim_file\n1\tx\n")
    recording = load_bids(tmp_path, "01", "img", "stim_file", space=SPACE)
    assert recording.image_names == ("a", "b")
