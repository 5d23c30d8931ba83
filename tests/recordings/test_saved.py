"""Recordings in files: what is read is what was stored, by whichever way, and a file is whole or not there."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gradkern.recordings import Excluded, Recording, load_recording, save_recording
from gradkern.recordings._responses import FileColumns, FileRows, Whole, as_responses


def written(path: Path, values: NDArray[Any], header: int = 0) -> NDArray[Any]:
    """The values in a file behind a header, mapped."""
    path.write_bytes(b"x" * header + values.tobytes())
    return np.memmap(path, values.dtype, "r", header, values.shape)


def noise(*shape: int, dtype: Any = np.float32) -> NDArray[Any]:
    values: NDArray[Any] = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    return values


class TestFiles:
    @settings(max_examples=60, deadline=None)
    @given(
        rows=st.lists(st.integers(1, 70), min_size=1, max_size=4),
        v=st.integers(1, 90),
        dtype=st.sampled_from([">f4", "<f4", ">f8", "<f8"]),
        header=st.sampled_from([0, 3, 284]),
        bounds=st.tuples(st.integers(0, 90), st.integers(0, 90)),
        at_once=st.sampled_from([1, 64, 4096]),
    )
    def test_any_columns_of_any_files(
        self, tmp_path_factory: pytest.TempPathFactory, rows: list[int], v: int, dtype: str, header: int,
        bounds: tuple[int, int], at_once: int,
    ) -> None:  # fmt: skip
        folder = tmp_path_factory.mktemp("rows")
        values = noise(sum(rows), v, dtype=dtype)
        parts = np.split(values, np.cumsum(rows)[:-1])
        maps = [written(folder / str(number), part, header) for number, part in enumerate(parts)]
        which = slice(min(*bounds, v), min(max(bounds), v))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FileRows, "bytes_at_once", at_once)
            patch.setattr(FileColumns, "bytes_at_once", at_once)
            block = FileRows(maps).columns(which)
            turned = FileColumns(written(folder / "turned", np.ascontiguousarray(values.T), header)).columns(which)
        assert block.dtype.isnative
        np.testing.assert_array_equal(block, values[:, which])
        np.testing.assert_array_equal(turned, values[:, which])

    def test_without_positioned_reads_the_map_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        values = noise(20, 30, dtype=">f4")
        monkeypatch.delattr(os, "preadv")
        np.testing.assert_array_equal(FileRows([written(tmp_path / "a", values)])[:, 3:9], values[:, 3:9])
        turned = FileColumns(written(tmp_path / "b", np.ascontiguousarray(values.T)))
        np.testing.assert_array_equal(turned[:, 3:9], values[:, 3:9])

    def test_a_part_of_a_map_is_not_taken_for_its_file(self, tmp_path: Path) -> None:
        whole = written(tmp_path / "a", noise(20, 30))
        for part in (whole[3:], whole[:, 2:], whole.reshape(30, 20), np.array(whole)):
            assert isinstance(as_responses(part), Whole)
            np.testing.assert_array_equal(as_responses(part)[:, :5], part[:, :5])
            with pytest.raises(ValueError, match=r"FileRows: maps must be as numpy\.memmap made them"):
                FileRows([part])
        assert isinstance(as_responses(whole), FileRows)

    def test_what_was_changed_in_memory_alone_is_not_looked_for_in_the_file(self, tmp_path: Path) -> None:
        written(tmp_path / "a", noise(20, 30))
        private = np.memmap(tmp_path / "a", np.float32, "c", 0, (20, 30))
        private *= 2
        np.testing.assert_array_equal(as_responses(private)[:, :5], 2 * noise(20, 30)[:, :5])
        shared = np.memmap(tmp_path / "a", np.float32, "r+", 0, (20, 30))
        shared *= 3  # which the file has too
        np.testing.assert_array_equal(as_responses(shared)[:, :5], 3 * noise(20, 30)[:, :5])

    def test_files_must_be_alike(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="FileRows: maps must be alike"):
            FileRows([written(tmp_path / "a", noise(4, 3)), written(tmp_path / "b", noise(4, 5))])

    @pytest.mark.parametrize("block", [0, 512])
    def test_contiguous_hdf5_is_read_by_its_place(self, tmp_path: Path, block: int) -> None:
        values = noise(20, 30)
        with h5py.File(tmp_path / "x.h5", "w", userblock_size=block) as file:
            file["contiguous"] = values
            file.create_dataset("chunked", data=values, chunks=(4, 8), compression="gzip")
        with h5py.File(tmp_path / "x.h5") as file:
            assert isinstance(as_responses(file["contiguous"]), FileRows)
            assert isinstance(as_responses(file["chunked"]), Whole)
            for name in file:
                np.testing.assert_array_equal(as_responses(file[name])[:, 3:9], values[:, 3:9])

    @pytest.mark.parametrize("of", [FileRows, lambda maps: FileColumns(maps[0])])
    def test_a_file_that_took_its_place_is_not_read(self, tmp_path: Path, of: Any) -> None:
        responses = of([written(tmp_path / "a", noise(100, 100))])
        written(tmp_path / "b", 2 * noise(100, 100))
        (tmp_path / "b").replace(tmp_path / "a")
        with pytest.raises(OSError, match=r"a was replaced while it was open: 40000 bytes before, 40000 now; load it"):
            responses[:, 90:]

    @pytest.mark.parametrize("of", [FileRows, lambda maps: FileColumns(maps[0])])
    def test_a_file_cut_while_it_is_open(self, tmp_path: Path, of: Any) -> None:
        responses = of([written(tmp_path / "a", noise(100, 100))])
        with (tmp_path / "a").open("r+b") as file:
            file.truncate(20_000)
        with pytest.raises(OSError, match="was cut short while it was open"):
            responses[:, 90:]


def known() -> Recording:
    """All that a recording may hold."""
    n, v = 12, 7
    return Recording(
        responses=noise(n, v),
        presentations=pd.DataFrame(
            {
                "image": np.arange(n) % 5,
                "session": np.repeat([1, 2], 6),
                "onset": np.linspace(0, 1, n),
                "concept": ["Zebra", "é", "", "d", "e", "f"] * 2,
                "response": [1, "n/a", None, np.nan, True, 2.5] * 2,
                "correct": [True, False] * 6,
            }
        ),
        targets=pd.DataFrame({"label": [f"lh.{i}" for i in range(v)], "roi": [""] * v}),
        subject="sub-01",
        units="percent signal change",
        space="fsaverage",
        image_names=("a", "b", "ç", "d", "e"),
        ncsnr=np.array([0.1, np.nan, *range(5)]),
        excluded=(Excluded("targets", 3, "no data"),),
        history=("betas",),
        provenance={"files": {"a": "0"}, "sessions": np.arange(3), "truth": {"depth": np.float64(0.5)}},
    )


class TestSaved:
    def test_all_comes_back(self, tmp_path: Path) -> None:
        before = known()
        save_recording(before, tmp_path / "brain.h5")
        after = load_recording(tmp_path / "brain.h5", images=np.zeros((5, 2, 2), np.uint8))
        np.testing.assert_array_equal(np.asarray(after.responses), np.asarray(before.responses))
        gaps = [1, "n/a", None, None, True, 2.5] * 2
        assert after.presentations["response"].tolist() == gaps
        same = [name for name in before.presentations if name != "response"]
        pd.testing.assert_frame_equal(after.presentations[same], before.presentations[same])
        pd.testing.assert_frame_equal(after.targets, before.targets)
        for name in ("subject", "units", "space", "image_names", "excluded", "history"):
            assert getattr(after, name) == getattr(before, name)
        np.testing.assert_array_equal(after.ncsnr, before.ncsnr)
        assert after.provenance["sessions"] == [0, 1, 2]
        assert after.provenance["truth"] == {"depth": 0.5}
        assert list(after.provenance["saved"]) == ["brain.h5"]
        assert after.images is not None

    def test_what_was_done_is_saved_not_what_was_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Recording.blocks, "__defaults__", (100,))  # several blocks
        done = known().select_targets([5, 1, 2], "of interest").zscore().average_repeats()
        save_recording(done, tmp_path / "brain.h5")
        after = load_recording(tmp_path / "brain.h5")
        np.testing.assert_array_equal(np.asarray(after.responses), np.asarray(done.responses))
        assert after.history == done.history
        assert after.repeats.tolist() == [3, 3, 2, 2, 2]
        again = after.select_targets([0], "the first")
        np.testing.assert_array_equal(np.asarray(again.responses), np.asarray(done.responses)[:, :1])

    def test_nothing_is_half_written(self, tmp_path: Path) -> None:
        class Failing(Whole):
            def columns(self, which: slice) -> NDArray[Any]:
                raise OSError("disk gone")

        (tmp_path / "brain.h5").write_text("before")
        with pytest.raises(OSError, match="disk gone"):
            save_recording(replace(known(), responses=Failing(noise(12, 7))), tmp_path / "brain.h5", overwrite=True)
        assert [path.name for path in tmp_path.iterdir()] == ["brain.h5"]
        assert (tmp_path / "brain.h5").read_text() == "before"

    def test_a_file_is_not_replaced_unless_asked(self, tmp_path: Path) -> None:
        save_recording(known(), tmp_path / "brain.h5")
        with pytest.raises(FileExistsError, match="save_recording: path must be a new file"):
            save_recording(known(), tmp_path / "brain.h5")
        save_recording(known(), tmp_path / "brain.h5", overwrite=True)
        with pytest.raises(FileNotFoundError, match="save_recording: path must lie in a folder that exists"):
            save_recording(known(), tmp_path / "none" / "brain.h5")

    def test_a_recording_can_be_saved_over_the_file_it_is_read_from(self, tmp_path: Path) -> None:
        path = tmp_path / "r.h5"
        save_recording(known(), path)
        old = load_recording(path)
        expected = np.asarray(old.zscore().responses)
        save_recording(old.zscore(), path, overwrite=True)
        np.testing.assert_array_equal(np.asarray(load_recording(path).responses), expected)
        with pytest.raises(OSError, match="was replaced while it was open"):
            np.asarray(old.responses)

    def test_bad_files_are_named(self, tmp_path: Path) -> None:
        path = tmp_path / "brain.h5"
        with pytest.raises(FileNotFoundError, match="load_recording: path must be a file"):
            load_recording(path)
        save_recording(known(), path)
        whole = path.read_bytes()
        path.write_bytes(whole[:-100])
        with pytest.raises(ValueError, match=r"load_recording: .*cannot be read as HDF5.*cut short"):
            load_recording(path)
        path.write_bytes(b"text")
        with pytest.raises(ValueError, match="cannot be read as HDF5"):
            load_recording(path)
        path.unlink()
        with h5py.File(path, "w") as file:
            file["x"] = 1
        with pytest.raises(ValueError, match=r"must be a gradkern recording of version 2 or 1, got None, None"):
            load_recording(path)

    def test_a_cell_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        odd = known().presentations.assign(thing=[object()] * 12)
        with pytest.raises(ValueError, match="save_recording: cells of 'thing' must be numbers or words, got object"):
            save_recording(replace(known(), presentations=odd), tmp_path / "brain.h5")
        assert not list(tmp_path.iterdir())
