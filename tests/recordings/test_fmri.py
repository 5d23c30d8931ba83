"""Betas and time series in NIfTI files as recordings, and a real run of Haxby et al. (2001) where it lies beside."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from gradkern.recordings import load_betas, load_bold

GRID, STEP = (3, 4, 2), 2.0
HAXBY = Path(__file__).parents[3] / "shared" / "data" / "brain" / "haxby2001_slice"


def put(path: Path, values: NDArray[Any], unit: str = "sec", step: float = STEP) -> Path:
    image = nibabel.Nifti1Image(values, np.diag([2.0, 2.0, 3.0, 1.0]))
    if values.ndim == 4:
        image.header.set_zooms((2.0, 2.0, 3.0, step))
    image.header.set_xyzt_units("mm", unit)
    nibabel.save(image, path)
    return path


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    inside = np.zeros(GRID, np.uint8)
    inside[2, 1, 0] = inside[0, 3, 1] = inside[1, 0, 0] = 1
    return put(tmp_path / "mask.nii.gz", inside)


VOXELS = [(1, 0, 0), (2, 1, 0), (0, 3, 1)]  # of the mask, x fastest


class TestBetas:
    def make(self, folder: Path) -> tuple[list[Path], list[NDArray[Any]]]:
        random = np.random.default_rng(0)
        values = [random.integers(-900, 900, (*GRID, count)).astype(np.int16) for count in (5, 4)]
        return [put(folder / f"b{i}.nii.gz", each) for i, each in enumerate(values)], values

    def test_voxels_of_the_mask_in_every_session(self, tmp_path: Path, mask: Path) -> None:
        paths, values = self.make(tmp_path)
        images = [["b", "a", "c", "a", "d"], ["a", "b", "c", "d"]]
        found = load_betas(paths, images, mask=mask, subject="s", scale=1 / 300)
        expected = np.concatenate([np.stack([each[voxel] for voxel in VOXELS], 1) for each in values]) / 300
        np.testing.assert_allclose(np.asarray(found.responses), expected, rtol=1e-6)
        assert [found.image_names[i] for i in found.image_ids] == [*images[0], *images[1]]
        assert found.presentations["session"].tolist() == [1] * 5 + [2] * 4
        assert found.targets[["i", "j", "k"]].to_numpy().tolist() == [list(voxel) for voxel in VOXELS]
        assert found.targets[["x", "y", "z"]].iloc[2].tolist() == [0, 6, 3]
        assert set(found.provenance["files"]) == {"b0.nii.gz", "b1.nii.gz"}

    def test_numbers_stay_numbers(self, tmp_path: Path, mask: Path) -> None:
        paths, _ = self.make(tmp_path)
        found = load_betas(paths, [[4, 0, 7, 2, 2], np.array([1, 4, 0, 2])], mask=mask, subject="s")
        assert found.image_ids.tolist() == [4, 0, 7, 2, 2, 1, 4, 0, 2]
        assert found.image_names is None

    @pytest.mark.parametrize("bad", [np.nan, 0.0])
    def test_voxels_without_data_in_a_session_are_left_out(self, tmp_path: Path, mask: Path, bad: float) -> None:
        values = np.random.default_rng(0).standard_normal((*GRID, 5)).astype(np.float32)
        first = put(tmp_path / "a.nii.gz", values)
        values[VOXELS[1]] = bad
        second = put(tmp_path / "b.nii.gz", values)
        found = load_betas([first, second], [list("abcde")] * 2, mask=mask, subject="s")
        assert found.labels == ("1-0-0", "0-3-1")
        assert [(each.what, each.count) for each in found.excluded] == [("targets", 1)]

    def test_mistakes_are_named(self, tmp_path: Path, mask: Path) -> None:
        paths, _ = self.make(tmp_path)
        images = [list("abcde"), list("abcd")]
        cases: list[tuple[type[Exception], str, Callable[[], Any]]] = [
            (
                ValueError,
                "must hold a volume for each of 3 images, got 5",
                lambda: self.load(paths, ["abc", "abcd"], mask),
            ),
            (ValueError, "given for each of 2 paths, got 1", lambda: self.load(paths, images[:1], mask)),
            (
                FileNotFoundError,
                r"path must be a file, got .*x\.nii'",
                lambda: self.load([tmp_path / "x.nii"], images[:1], mask),
            ),
            (ValueError, "must be a volume with voxels that are not 0", lambda: self.load(paths, images, paths[0])),
        ]
        for kind, message, call in cases:
            with pytest.raises(kind, match=message):
                call()
        other = put(tmp_path / "other.nii.gz", np.ones((9, 9, 9), np.uint8))
        with pytest.raises(ValueError, match=r"must be \[9, 9, 9, volumes\] as the mask is, got \[3, 4, 2, 5\]"):
            self.load(paths, images, other)
        paths[1].write_bytes(paths[1].read_bytes()[:60])
        with pytest.raises(ValueError, match=r"b1.nii.gz cannot be read.*cut short"):
            self.load(paths, images, mask)

    @pytest.mark.parametrize("where", ["memory", "scratch"])
    def test_a_gzip_cut_after_its_header_gives_no_recording(self, tmp_path: Path, mask: Path, where: str) -> None:
        values = np.random.default_rng(0).integers(-900, 900, (*GRID, 500)).astype(np.int16)
        paths = [put(tmp_path / f"b{number}.nii.gz", values + np.int16(number)) for number in (0, 1)]
        paths[1].write_bytes(paths[1].read_bytes()[:-30])
        (scratch := tmp_path / "scratch").mkdir()
        with pytest.raises(ValueError, match=r"b1.nii.gz cannot be read: .*cut short"):
            load_betas(paths, [range(500)] * 2, mask=mask, subject="s", scratch=scratch if where == "scratch" else None)
        assert len(list(scratch.iterdir())) == (where == "scratch")  # the whole one

    def test_unpacked_files_are_read_in_parts_and_found_again(self, tmp_path: Path, mask: Path) -> None:
        paths, _ = self.make(tmp_path)
        (scratch := tmp_path / "scratch").mkdir()
        images = [list("abcde"), list("abcd")]
        found = load_betas(paths, images, mask=mask, subject="s", scale=1 / 300, scratch=scratch)
        memory = load_betas(paths, images, mask=mask, subject="s", scale=1 / 300)
        np.testing.assert_array_equal(np.asarray(found.responses), np.asarray(memory.responses))
        np.testing.assert_array_equal(found.responses[:, 1:2], np.asarray(memory.responses)[:, 1:2])
        made = {path.name: path.stat().st_mtime_ns for path in scratch.iterdir()}
        again = load_betas(paths, images, mask=mask, subject="s", scratch=scratch)
        assert {path.name: path.stat().st_mtime_ns for path in scratch.iterdir()} == made
        assert len(made) == len(again.provenance["files"]) == 2
        other = put(tmp_path / "other.nii.gz", np.ones(GRID, np.uint8))  # another mask has its own
        all_voxels = load_betas(paths, images, mask=other, subject="s", scratch=scratch)
        assert all_voxels.responses.shape == (9, 24)
        assert len(list(scratch.iterdir())) == 4
        for path in scratch.iterdir():
            path.write_bytes(path.read_bytes()[:-5])
        with pytest.raises(ValueError, match=r"unpacked from .*b0.nii.gz, cannot be read: .*; delete it"):
            load_betas(paths, images, mask=mask, subject="s", scratch=scratch)
        with pytest.raises(ValueError, match="scratch must be a folder, got '/nowhere'"):
            load_betas(paths, images, mask=mask, subject="s", scratch="/nowhere")

    def test_plain_files_are_mapped_and_cut_ones_refused(self, tmp_path: Path, mask: Path) -> None:
        _, values = self.make(tmp_path)
        path = put(tmp_path / "plain.nii", values[0])
        found = self.load([path], [list("abcde")], mask)
        np.testing.assert_array_equal(np.asarray(found.responses), np.stack([values[0][voxel] for voxel in VOXELS], 1))
        path.write_bytes(path.read_bytes()[:-5])
        with pytest.raises(ValueError, match=r"plain.nii is cut short: \d+ bytes, \d+ expected"):
            self.load([path], [list("abcde")], mask)

    @pytest.mark.parametrize("cut", [3, 30])
    def test_a_gzip_without_its_checksum_or_with_another_is_refused(self, tmp_path: Path, mask: Path, cut: int) -> None:
        values = np.random.default_rng(0).integers(-900, 900, (*GRID, 500)).astype(np.int16)
        path = put(tmp_path / "long.nii.gz", values)
        content = path.read_bytes()
        path.write_bytes(content[:-cut])
        with pytest.raises(ValueError, match=r"long.nii.gz cannot be read: .*cut short"):
            self.load([path], [range(500)], mask)
        path.write_bytes(content[:-8] + bytes(4) + content[-4:])
        with pytest.raises(ValueError, match=r"long.nii.gz cannot be read: CRC check failed"):
            self.load([path], [range(500)], mask)

    def test_headers_with_slope_and_offset_are_applied(self, tmp_path: Path, mask: Path) -> None:
        values = np.random.default_rng(0).integers(-900, 900, (*GRID, 5)).astype(np.int16)
        for slope, offset in ((0.25, 0.0), (1.0, 3.0)):
            image = nibabel.Nifti1Image(values, np.diag([2.0, 2.0, 3.0, 1.0]))
            image.header.set_slope_inter(slope, offset)
            image.header.set_data_dtype(np.int16)
            path = tmp_path / f"{offset}.nii"
            nibabel.save(image, path)
            found = self.load([path], [list("abcde")], mask)
            expected = np.stack([nibabel.load(path).get_fdata()[voxel] for voxel in VOXELS], 1)
            np.testing.assert_allclose(np.asarray(found.responses), expected, rtol=1e-6)

    def load(self, paths: Any, images: Any, mask: Any) -> Any:
        return load_betas(paths, images, mask=mask, subject="s")


class TestBold:
    """A run whose signal is a straight line between volumes, so that interpolation is exact."""

    def make(self, folder: Path, name: str = "run", **header: Any) -> tuple[Path, Path]:
        time = STEP * np.arange(30)
        wave = np.interp(time, [0, 14, 20, 40, 60], [0, 0, 3, -1, 0])
        values = np.full((*GRID, 30), 100.0)
        values += wave * np.arange(24).reshape(GRID, order="F")[..., None]
        path = put(folder / f"{name}.nii.gz", values.astype(np.float32), **header)
        table = pd.DataFrame(
            {
                "onset": [2.0, 9.5, 20.0, 31.0, 58.0],
                "duration": 1,
                "stim_file": ["a.png", "b.png", "n/a", "a.png", "c.png"],
            }
        )
        events = folder / f"{name}_events.tsv"
        table.to_csv(events, sep="\t", index=False)
        return path, events

    def expected(self, path: Path, at: list[float]) -> NDArray[Any]:
        from scipy.signal import detrend

        series = np.stack([np.asarray(nibabel.load(path).dataobj)[voxel] for voxel in VOXELS], 1).astype(np.float64)
        percent = 100 * detrend(series, axis=0) / series.mean(0)
        return np.stack([np.interp(at, STEP * np.arange(30), column) for column in percent.T], 1)

    def test_samples_lie_at_the_delay_after_each_onset(self, tmp_path: Path, mask: Path) -> None:
        run = self.make(tmp_path)
        found = load_bold([run], "stim_file", mask=mask, subject="s", delay=5.5)
        np.testing.assert_allclose(np.asarray(found.responses), self.expected(run[0], [7.5, 15.0, 36.5]), atol=1e-4)
        assert [found.image_names[i] for i in found.image_ids] == ["a.png", "b.png", "a.png"]
        assert [(each.what, each.count, each.reason) for each in found.excluded] == [
            ("presentations", 1, "outside the run"),
            ("events", 1, "no image in 'stim_file'"),
        ]
        assert found.presentations["onset"].tolist() == [2.0, 9.5, 31.0]
        assert found.units == "percent of the run's mean"

    def test_runs_sessions_and_a_later_first_volume(self, tmp_path: Path, mask: Path) -> None:
        runs = [self.make(tmp_path, name) for name in ("one", "two")]
        found = load_bold(runs, "stim_file", mask=mask, subject="s", start_time=1.0, sessions=[3, 4])
        expected = self.expected(runs[0][0], [6.5, 14.0, 35.5])
        np.testing.assert_allclose(np.asarray(found.responses), np.concatenate([expected] * 2), atol=1e-4)
        assert found.presentations["session"].tolist() == [3, 3, 3, 4, 4, 4]
        assert found.presentations["run"].tolist() == [1, 1, 1, 2, 2, 2]

    def test_voxels_without_data_in_a_run_are_left_out_and_counted(self, tmp_path: Path, mask: Path) -> None:
        runs = [self.make(tmp_path, name) for name in ("one", "two")]
        values = np.asarray(nibabel.load(runs[1][0]).dataobj).copy()
        values[VOXELS[1]] = 0
        put(runs[1][0], values)
        found = load_bold(runs, "stim_file", mask=mask, subject="s")
        assert found.labels == ("1-0-0", "0-3-1")
        assert [(each.what, each.count) for each in found.excluded] == [
            ("targets", 1),
            ("presentations", 2),
            ("events", 2),
        ]
        assert np.isfinite(np.asarray(found.responses)).all()

    def test_milliseconds_are_milliseconds(self, tmp_path: Path, mask: Path) -> None:
        run = self.make(tmp_path, unit="msec", step=2000.0)
        found = load_bold([run], "stim_file", mask=mask, subject="s")
        np.testing.assert_allclose(np.asarray(found.responses), self.expected(run[0], [7.5, 15.0, 36.5]), atol=1e-4)
        wrong = self.make(tmp_path, "wrong", unit="msec", step=2.0)
        with pytest.raises(ValueError, match=r"says that a volume takes 0\.002 s; give repetition_time in s"):
            load_bold([wrong], "stim_file", mask=mask, subject="s")
        given = load_bold([wrong], "stim_file", mask=mask, subject="s", repetition_time=2.0)
        np.testing.assert_allclose(np.asarray(given.responses), np.asarray(found.responses), atol=1e-4)

    def test_mistakes_are_named(self, tmp_path: Path, mask: Path) -> None:
        run = self.make(tmp_path)
        with pytest.raises(
            ValueError, match=r"must have the column 'picture', got \['onset', 'duration', 'stim_file'\]"
        ):
            load_bold([run], "picture", mask=mask, subject="s")
        with pytest.raises(ValueError, match="got 4 outside and none inside"):
            load_bold([run], "stim_file", mask=mask, subject="s", delay=100)
        with pytest.raises(ValueError, match="says that a volume takes 0 s; give repetition_time"):
            load_bold([run], "stim_file", mask=mask, subject="s", repetition_time=0)
        with pytest.raises(ValueError, match="runs must be given, and a session for each, got 1 runs"):
            load_bold([run], "stim_file", mask=mask, subject="s", sessions=[1, 2])
        with pytest.raises(ValueError, match="mask must be given for volumes"):
            load_bold([run], "stim_file", subject="s")
        run[1].write_text("onset\tstim_file\nlater\ta.png\n")
        with pytest.raises(ValueError, match="must be numbers, in s"):
            load_bold([run], "stim_file", mask=mask, subject="s")
        run[1].write_text("onset\tstim_file\n")
        with pytest.raises(ValueError, match=r"run_events.tsv must have a row for every event, got only column names"):
            load_bold([run], "stim_file", mask=mask, subject="s")
        run[1].write_text("")
        with pytest.raises(ValueError, match=r"load_bold: .*run_events.tsv cannot be read as a table: No columns"):
            load_bold([run], "stim_file", mask=mask, subject="s")

    def test_files_of_one_name_in_several_folders_keep_their_hashes(self, tmp_path: Path, mask: Path) -> None:
        for session in ("one", "two"):
            (tmp_path / session).mkdir()
        runs = [self.make(tmp_path / session) for session in ("one", "two")]
        found = load_bold(runs, "stim_file", mask=mask, subject="s")
        names = {f"{session}/{name}" for session in ("one", "two") for name in ("run.nii.gz", "run_events.tsv")}
        assert set(found.provenance["files"]) == names

    def test_numbers_beside_empty_cells_are_numbers(self, tmp_path: Path, mask: Path) -> None:
        """Which pandas reads as floats: as words, "10.0" would come before "2.0"."""
        run = self.make(tmp_path)
        run[1].write_text("onset\tnumber\n2\t10\n9.5\tn/a\n20\t2\n31\t10\n")
        found = load_bold([run], "number", mask=mask, subject="s")
        assert found.image_ids.tolist() == [10, 2, 10]
        assert found.image_names is None


class TestSurfaces:
    """The same series on the surface: targets are vertices."""

    events = pd.DataFrame({"onset": [0.5, 11.0], "stim_file": ["a.png", "b.png"]})

    def series(self, seed: int, count: int) -> NDArray[Any]:
        return (100 + np.random.default_rng(seed).standard_normal((20, count))).astype(np.float32)

    def gifti(self, path: Path, series: NDArray[Any], step: str | None = "2000.0") -> Path:
        from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiMetaData

        meta = GiftiMetaData({} if step is None else {"TimeStep": step})
        arrays = [
            GiftiDataArray(row, intent="NIFTI_INTENT_TIME_SERIES", datatype="float32", meta=meta) for row in series
        ]
        nibabel.save(GiftiImage(darrays=arrays), path)
        return path

    def table(self, folder: Path) -> Path:
        self.events.to_csv(folder / "events.tsv", sep="\t", index=False)
        return folder / "events.tsv"

    def expected(self, series: NDArray[Any]) -> NDArray[Any]:
        from scipy.signal import detrend

        percent = 100 * detrend(series.astype(np.float64), axis=0) / series.mean(0, dtype=np.float64)
        at = [6.0, 16.5]
        return np.stack([np.interp(at, 2.0 * np.arange(20), column) for column in percent.T], 1)

    def test_hemispheres_of_gifti(self, tmp_path: Path) -> None:
        left, right = self.series(0, 4), self.series(1, 3)
        pair = (self.gifti(tmp_path / "l.func.gii", left), self.gifti(tmp_path / "r.func.gii", right))
        found = load_bold([(pair, self.table(tmp_path))], "stim_file", subject="s")
        np.testing.assert_allclose(
            np.asarray(found.responses), self.expected(np.concatenate([left, right], 1)), atol=1e-4
        )
        assert found.labels == ("left.0", "left.1", "left.2", "left.3", "right.0", "right.1", "right.2")
        silent = (
            self.gifti(tmp_path / "ls.func.gii", left, step=None),
            self.gifti(tmp_path / "rs.func.gii", right, step=None),
        )
        with pytest.raises(ValueError, match="says that a volume takes None s; give repetition_time"):
            load_bold([(silent, self.table(tmp_path))], "stim_file", subject="s")
        given = load_bold([(silent, self.table(tmp_path))], "stim_file", subject="s", repetition_time=2.0)
        np.testing.assert_array_equal(np.asarray(given.responses), np.asarray(found.responses))
        with pytest.raises(ValueError, match="must be a pair of files, left and right, got 1"):
            load_bold([(pair[:1], self.table(tmp_path))], "stim_file", subject="s")
        short = self.gifti(tmp_path / "short.func.gii", right[:9])
        with pytest.raises(ValueError, match="must have as many times, got 20 and 9"):
            load_bold([((pair[0], short), self.table(tmp_path))], "stim_file", subject="s")
        fewer = self.gifti(tmp_path / "fewer.func.gii", right[:, :2])
        runs = [(pair, self.table(tmp_path)), ((pair[0], fewer), self.table(tmp_path))]
        with pytest.raises(ValueError, match="must have 7 targets as run 1 has, got 6"):
            load_bold(runs, "stim_file", subject="s")

    def test_a_medial_wall_of_nan_is_left_out(self, tmp_path: Path) -> None:
        left, right = self.series(0, 4), self.series(1, 3)
        left[:, 2] = np.nan
        pair = (self.gifti(tmp_path / "l.func.gii", left), self.gifti(tmp_path / "r.func.gii", right))
        found = load_bold([(pair, self.table(tmp_path))], "stim_file", subject="s")
        kept = np.delete(np.concatenate([left, right], 1), 2, axis=1)
        np.testing.assert_allclose(np.asarray(found.responses), self.expected(kept), atol=1e-4)
        assert found.labels == ("left.0", "left.1", "left.3", "right.0", "right.1", "right.2")
        assert [each.count for each in found.excluded] == [1]

    def test_grayordinates_of_cifti(self, tmp_path: Path) -> None:
        from nibabel import cifti2

        cortex = np.array([True, False, True, True])
        volume = np.zeros((2, 2, 2), bool)
        volume[1, 0, 1] = True
        models = cifti2.BrainModelAxis.from_mask(cortex, name="CORTEX_LEFT") + cifti2.BrainModelAxis.from_mask(
            volume, name="THALAMUS_LEFT", affine=np.eye(4)
        )
        series = self.series(2, 4)
        header = cifti2.Cifti2Header.from_axes((cifti2.SeriesAxis(0, 2.0, 20), models))
        path = tmp_path / "x.dtseries.nii"
        nibabel.save(cifti2.Cifti2Image(series, header), path)
        found = load_bold([(path, self.table(tmp_path))], "stim_file", subject="s")
        np.testing.assert_allclose(np.asarray(found.responses), self.expected(series), atol=1e-4)
        assert found.labels == ("left.0", "left.2", "left.3", "thalamus_left 1-0-1")
        path.write_bytes(path.read_bytes()[:900])
        with pytest.raises(ValueError, match="cannot be read as a CIFTI time series"):
            load_bold([(path, self.table(tmp_path))], "stim_file", subject="s")


@pytest.mark.skipif(not HAXBY.is_dir(), reason="Haxby's slice does not lie beside the checkout")
def test_haxby_is_read_for_real(tmp_path: Path) -> None:
    """Blocks of categories: responses 5 s into a block tell faces from houses in runs that were not trained on."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_score

    labels = [line.split() for line in (HAXBY / "attributes_literal.txt").read_text().splitlines()]
    names, chunks = np.array([line[0] for line in labels]), np.array([int(line[1]) for line in labels])
    image: Any = nibabel.load(HAXBY / "bold.nii.gz")
    runs = []
    for chunk in np.unique(chunks):
        inside = np.flatnonzero(chunks == chunk)
        path = tmp_path / f"{chunk}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj)[..., inside], image.affine), path)
        events = pd.DataFrame({"onset": 2.5 * np.arange(len(inside)), "category": names[inside]})
        events = events[events["category"] != "rest"]
        events.to_csv(tmp_path / f"{chunk}.tsv", sep="\t", index=False)
        runs.append((path, tmp_path / f"{chunk}.tsv"))
    found = load_bold(
        runs,
        "category",
        mask=HAXBY / "mask.nii.gz",
        subject="1",
        delay=5.0,
        repetition_time=2.5,
        sessions=np.unique(chunks).tolist(),
    )
    assert len(found.labels) == 530
    assert found.image_names == ("bottle", "cat", "chair", "face", "house", "scissors", "scrambledpix", "shoe")
    pair = np.isin([found.image_names[i] for i in found.image_ids], ["face", "house"])
    some = found.select_presentations(pair, "of faces and houses")
    accuracy = cross_val_score(
        LogisticRegression(max_iter=500),
        np.asarray(some.responses),
        some.image_ids,
        groups=some.presentations["session"],
        cv=GroupKFold(4),
    )
    assert accuracy.mean() > 0.85
