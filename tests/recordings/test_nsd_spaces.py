"""NSD's betas as .nii.gz and on each subject's own surface, and its time series, on small files of their layouts."""

from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import detrend

from gradkern.recordings import load_nsd, load_nsd_timeseries
from gradkern.recordings._readers import NSD_TRIALS as TRIALS
from tests.fake_datasets.nsd import BETAS, GRID, FakeNSD, FakeNSDTimeSeries, V, put, write_ctab

VOLUME, NATIVE = BETAS.format("func1pt8mm"), BETAS.format("nativesurface")


@pytest.fixture
def made(tmp_path: Path) -> FakeNSD:
    return FakeNSD(tmp_path)


class TestPacked:
    """Sessions whose .hdf5 is not there."""

    def pack(self, made: FakeNSD, *sessions: int) -> None:
        for number in sessions:
            grid = (300 * made.volume[number - 1]).round().astype(np.int16).reshape(TRIALS, *GRID[::-1])
            put(made.folder, f"{VOLUME}/betas_session{number:02d}.nii.gz", grid.T)
            (made.folder / VOLUME / f"betas_session{number:02d}.hdf5").unlink()

    @pytest.mark.parametrize("where", ["memory", "scratch"])
    @pytest.mark.parametrize("sessions", [(1, 2), (2,)], ids=["both", "one"])
    def test_it_is_the_same_recording(
        self, made: FakeNSD, tmp_path: Path, where: str, sessions: tuple[int, ...]
    ) -> None:
        (scratch := tmp_path / "scratch").mkdir()
        whole = np.asarray(load_nsd(made.folder, 2, space="func1pt8mm").responses)
        self.pack(made, *sessions)
        options = {"space": "func1pt8mm", "atlas": "streams", "scratch": scratch if where == "scratch" else None}
        found = load_nsd(made.folder, 2, **options)
        np.testing.assert_array_equal(np.asarray(found.responses), whole)
        np.testing.assert_array_equal(found.responses[:, 5:17], whole[:, 5:17])
        assert found.history[0] == "betas_fithrf_GLMdenoise_RR of sessions 1-2, stored as int16 x 300"
        assert found.targets.iloc[-1].roi == "ventral"
        assert len(list(scratch.iterdir())) == (len(sessions) if where == "scratch" else 0)

    def test_what_is_wrong_is_named(self, made: FakeNSD) -> None:
        self.pack(made, 1, 2)
        path = made.folder / VOLUME / "betas_session02.nii.gz"
        content = path.read_bytes()
        path.write_bytes(content[:-200])
        with pytest.raises(ValueError, match=r"load_nsd: .*betas_session02.nii.gz cannot be read.*cut short"):
            load_nsd(made.folder, 2, space="func1pt8mm")
        put(made.folder, f"{VOLUME}/betas_session02.nii.gz", np.ones((*GRID, 9), np.int16))
        with pytest.raises(ValueError, match=r"betas_session02.nii.gz must hold 750 volumes, got 9"):
            load_nsd(made.folder, 2, space="func1pt8mm")
        put(made.folder, f"{VOLUME}/betas_session02.nii.gz", np.ones((*GRID, TRIALS), np.float32))
        with pytest.raises(ValueError, match=r"sessions must be stored alike, got \['float32', 'int16'\]"):
            load_nsd(made.folder, 2, space="func1pt8mm")
        put(made.folder, f"{VOLUME}/betas_session02.nii.gz", np.ones((5, 5, 5, TRIALS), np.int16))
        with pytest.raises(ValueError, match="sessions must have the same voxels"):
            load_nsd(made.folder, 2, space="func1pt8mm")
        image = nibabel.Nifti1Image(np.ones((*GRID, TRIALS), np.int16), np.eye(4))
        image.header.set_slope_inter(1 / 300, 0)
        nibabel.save(image, path)
        with pytest.raises(ValueError, match=r"must have no slope in its header, got 0\.00333333"):
            load_nsd(made.folder, 2, space="func1pt8mm")
        path.unlink()
        with pytest.raises(FileNotFoundError, match=r"session02.hdf5 or .*session02.nii.gz is missing"):
            load_nsd(made.folder, 2, space="func1pt8mm", sessions=[1, 2])


class TestNativeSurface:
    def make(self, made: FakeNSD, dtype: type = np.int16) -> NDArray[Any]:
        """Datasets [trials, vertices], as h5py sees what MATLAB wrote [vertices, trials]."""
        (made.folder / NATIVE).mkdir(parents=True)
        values = np.round(300 * made.surface) if dtype is np.int16 else made.surface
        for number, session in enumerate(values, 1):
            for side, part in zip(("lh", "rh"), (session[:, :V], session[:, V:]), strict=True):
                with h5py.File(made.folder / NATIVE / f"{side}.betas_session{number:02d}.hdf5", "w") as file:
                    file.create_dataset("betas", data=part.astype(dtype), chunks=(TRIALS, 1))
        for side, part in zip(("lh", "rh"), (made.ncsnr[:V], made.ncsnr[V:]), strict=True):
            put(made.folder, f"{NATIVE}/{side}.ncsnr.mgh", part[:, None, None])
            labels = np.array([5, 0, 1, 5, 0, 0, 5, 1], np.int32)[:, None, None]
            put(made.folder, f"nsddata/freesurfer/subj02/label/{side}.floc-faces.mgz", labels)
        write_ctab(made.folder, "nsddata/freesurfer/subj02/label/floc-faces.mgz.ctab")
        return values.reshape(-1, 2 * V)

    @pytest.mark.parametrize("dtype", [np.int16, np.float32])
    def test_integers_are_divided_and_floats_are_not(self, made: FakeNSD, dtype: type) -> None:
        values = self.make(made, dtype)
        found = load_nsd(made.folder, 2, space="nativesurface", atlas="floc-faces")
        expected = values / 300 if dtype is np.int16 else values
        np.testing.assert_allclose(np.asarray(found.responses), expected, rtol=1e-6)
        np.testing.assert_array_equal(found.image_ids, made.ids())
        assert found.targets["roi"].tolist() == 2 * ["ventral", "", "early", "ventral", "", "", "ventral", "early"]
        assert found.labels[V] == "rh.0"
        np.testing.assert_allclose(found.ncsnr, made.ncsnr, rtol=1e-6)
        how = "int16 x 300" if dtype is np.int16 else "float32"
        assert found.history[0] == f"betas_fithrf_GLMdenoise_RR of sessions 1-2, stored as {how}"

    def test_blocks_are_parts_of_the_whole(self, made: FakeNSD) -> None:
        self.make(made)
        responses = load_nsd(made.folder, 2, space="nativesurface").responses
        whole = np.asarray(responses)
        for start, stop in ((0, 3), (2, 11), (V, 2 * V), (7, 8)):
            np.testing.assert_array_equal(responses[:, start:stop], whole[:, start:stop])

    def test_vertices_without_data_are_left_out(self, made: FakeNSD) -> None:
        made.surface[1, :, 3] = np.nan
        self.make(made, np.float32)
        found = load_nsd(made.folder, 2, space="nativesurface")
        assert "lh.3" not in found.labels
        assert [(each.what, each.count) for each in found.excluded] == [("targets", 1)]

    def test_what_is_wrong_is_named(self, made: FakeNSD) -> None:
        self.make(made)
        path = made.folder / NATIVE / "rh.betas_session02.hdf5"
        with h5py.File(path, "w") as file:
            file["betas"] = np.ones((V, TRIALS), np.int16)
        with pytest.raises(ValueError, match=r"'betas' must be numbers \[750, vertices\], got int16 \[8, 750\]"):
            load_nsd(made.folder, 2, space="nativesurface")
        with h5py.File(path, "w") as file:
            file["betas"] = np.ones((TRIALS, 5), np.int16)
        with pytest.raises(ValueError, match=r"sessions of rh must have the same vertices, got \[5, 8\]"):
            load_nsd(made.folder, 2, space="nativesurface")
        path.unlink()
        with pytest.raises(FileNotFoundError, match=r"rh.betas_session02.hdf5 is missing"):
            load_nsd(made.folder, 2, space="nativesurface")
        (made.folder / NATIVE / "lh.betas_session01.hdf5").unlink()
        with pytest.raises(FileNotFoundError, match=r"lh.betas_session01.hdf5 is missing"):
            load_nsd(made.folder, 2, space="nativesurface")


class TestTimeSeries:
    def test_responses_lie_at_the_delay_after_each_image(self, made: FakeNSD) -> None:
        run_data = FakeNSDTimeSeries(made)
        found = load_nsd_timeseries(made.folder, 2, delay=5.5, atlas="streams")
        np.testing.assert_array_equal(found.image_ids, made.ids())
        assert found.presentations["run"].tolist() == 2 * np.repeat(np.arange(1, 13), FakeNSDTimeSeries.counts).tolist()
        assert found.labels == ("1-0-0", "0-0-1", "1-2-3")
        assert found.targets["roi"].tolist() == ["", "early", "ventral"]
        time = FakeNSDTimeSeries.step * np.arange(226)
        for session, file, run in (
            (1, 4, 4),
            (2, 5, 4),
        ):  # the fourth run with images is the fifth of the second session
            rows = (found.presentations["session"] == session) & (found.presentations["run"] == run)
            whole = run_data.series[session, file][1, 2, 3].astype(float)
            percent = 100 * detrend(whole) / whole.mean()
            at = FakeNSDTimeSeries.step * (9 + 3 * np.arange(rows.sum())) + 5.5
            np.testing.assert_allclose(found.responses[:, 2][rows], np.interp(at, time, percent), atol=1e-4)
        np.testing.assert_array_equal(found.presentations["split"] == "test", np.isin(made.ids() + 1, made.shared))
        assert found.history == ("24 runs of sessions 1-2, 5.5 s after onset",)
        assert found.units == "percent of the run's mean"
        later = load_nsd_timeseries(made.folder, 2, sessions=[2], delay=4.0)
        assert set(later.presentations["session"]) == {2}

    def test_wrong_designs_are_named(self, made: FakeNSD) -> None:
        run_data = FakeNSDTimeSeries(made)
        first, second = run_data.design(1, 1).read_text(), run_data.design(1, 3).read_text()
        run_data.design(1, 1).write_text(second)
        with pytest.raises(ValueError, match=r"session 1 .* disagree on \d+ of 750 images, first on trial 0 .*another"):
            load_nsd_timeseries(made.folder, 2)
        run_data.design(1, 1).write_text(run_data.design(1, 2).read_text())
        with pytest.raises(ValueError, match=r"runs of session 1 .* show 749 images, 750 expected"):
            load_nsd_timeseries(made.folder, 2)
        for text, message in (
            (first[:-20], r"must have a row for each of 226 volumes of timeseries_session01_run01.nii.gz.*got \[215\]"),
            ("image\n" + first, "must hold a whole number per row"),
            (first.replace("0\n", "-1\n", 1), "must hold numbers from 1 to 73000, 0 for none, got -1 to"),
        ):
            run_data.design(1, 1).write_text(text)
            with pytest.raises(ValueError, match=message):
                load_nsd_timeseries(made.folder, 2)

    def test_missing_runs_are_named(self, made: FakeNSD) -> None:
        FakeNSDTimeSeries(made)
        path = made.folder / f"{FakeNSDTimeSeries.home}/timeseries/timeseries_session02_run03.nii.gz"
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(
            FileNotFoundError, match=r"timeseries_session02_run03.nii.gz is missing in .*natural-scenes"
        ):
            load_nsd_timeseries(made.folder, 2)
        path.write_bytes(content[:-300])
        with pytest.raises(
            ValueError, match=r"load_nsd_timeseries: .*session02_run03.nii.gz cannot be read.*cut short"
        ):
            load_nsd_timeseries(made.folder, 2)
        path.write_bytes(content)
        first = made.folder / f"{FakeNSDTimeSeries.home}/timeseries/timeseries_session01_run01.nii.gz"
        first.rename(first.with_suffix(".away"))
        with pytest.raises(FileNotFoundError, match=r"timeseries_session01_run01.nii.gz is missing"):
            load_nsd_timeseries(made.folder, 2)
        first.with_suffix(".away").rename(first)
        for number in (13, 14):  # what is left looks like a session of twelve runs
            (made.folder / f"{FakeNSDTimeSeries.home}/timeseries/timeseries_session02_run{number}.nii.gz").unlink()
        with pytest.raises(ValueError, match=r"runs of session 2 .* show 688 images, 750 expected"):
            load_nsd_timeseries(made.folder, 2)

    def test_bad_options_are_named(self, made: FakeNSD) -> None:
        FakeNSDTimeSeries(made)
        with pytest.raises(ValueError, match=r"space must be one of \('func1pt8mm', 'func1mm'\), got 'fsaverage'"):
            load_nsd_timeseries(made.folder, 2, space="fsaverage")
        with pytest.raises(ValueError, match="subject must be 1 to 8, got 0"):
            load_nsd_timeseries(made.folder, 0)
        with pytest.raises(FileNotFoundError, match=r"timeseries_session01_run01.nii.gz or .* is missing"):
            load_nsd_timeseries(made.folder, 3)
        put(made.folder, "nsddata/ppdata/subj02/func1pt8mm/roi/other.nii.gz", np.ones((1, 1, 1), np.int32))
        with pytest.raises(ValueError, match=r"other.nii.gz must be \[2, 3, 4\] as the responses are, got \[1, 1, 1"):
            load_nsd_timeseries(made.folder, 2, atlas="other")
