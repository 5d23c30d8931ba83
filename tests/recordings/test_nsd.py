"""The reader of the Natural Scenes Dataset, on small files of its layout, with its traps planted."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import savemat

from gradkern import RidgeCV
from gradkern.recordings import load_nsd, noise_ceiling
from gradkern.recordings._readers import NSD_TRIALS as TRIALS
from tests.fake_datasets.nsd import BETAS, DESIGN, GRID, LOG, FakeNSD, V, put


@pytest.fixture
def made(tmp_path: Path) -> FakeNSD:
    return FakeNSD(tmp_path)


def test_surface(made: FakeNSD) -> None:
    made.log()
    found = load_nsd(made.folder, 2, atlas="streams")
    np.testing.assert_array_equal(np.asarray(found.responses), made.surface.reshape(-1, 2 * V).astype(np.float32))
    np.testing.assert_array_equal(found.image_ids, made.ids())
    np.testing.assert_allclose(found.ncsnr, made.ncsnr, rtol=1e-6)
    assert found.labels[:2] + found.labels[-1:] == ("lh.0", "lh.1", "rh.7")
    assert found.targets["roi"].tolist() == 2 * ["", "early", "early", "ventral", "", "", "ventral", "early"]
    rows = found.presentations
    assert rows.session.tolist() == [1] * TRIALS + [2] * TRIALS
    assert np.bincount(rows.run[:TRIALS]).tolist() == [0, *[63, 62] * 6]
    np.testing.assert_array_equal(rows.split == "test", np.isin(made.ids() + 1, made.shared))
    assert (rows.split == "test").sum() > 50
    assert found.history[0] == "betas_fithrf_GLMdenoise_RR of sessions 1-2, stored as float32"
    assert found.excluded == ()
    assert DESIGN in found.provenance["files"]
    assert found.check() == ()


def test_volume_integers_are_divided_and_x_runs_fastest(made: FakeNSD) -> None:
    found = load_nsd(made.folder, 2, space="func1pt8mm", atlas="streams")
    np.testing.assert_allclose(np.asarray(found.responses), made.volume.reshape(-1, 24), atol=0.5 / 300 + 1e-6)
    last = found.targets.iloc[-1]
    assert (last.label, last.i, last.j, last.k, last.roi) == ("1-2-3", 1, 2, 3, "ventral")
    assert last[["x", "y", "z"]].tolist() == pytest.approx([1.8, 3.6, 5.4])
    assert found.targets["roi"].tolist().index("early") == 6  # x 0, y 0, z 1
    np.testing.assert_array_equal(found.ncsnr, np.arange(24))
    assert found.history[0] == "betas_fithrf_GLMdenoise_RR of sessions 1-2, stored as int16 x 300"


@pytest.mark.parametrize("space", ["fsaverage", "func1pt8mm"])
def test_blocks_are_parts_of_the_whole(made: FakeNSD, space: str) -> None:
    responses = load_nsd(made.folder, 2, space=space).responses
    whole = np.asarray(responses)
    for start in range(whole.shape[1]):
        for stop in range(start, whole.shape[1] + 1):
            np.testing.assert_array_equal(responses[:, start:stop], whole[:, start:stop])


def test_what_the_field_does_with_it(made: FakeNSD) -> None:
    """z-score within sessions, average repeats, fit."""
    found = load_nsd(made.folder, 2).zscore().average_repeats()
    assert found.repeats.sum() == 2 * TRIALS
    assert len(found.image_ids) == len(np.unique(made.ids()))
    np.testing.assert_allclose(
        noise_ceiling(found).r2, made.ncsnr**2 / (made.ncsnr**2 + np.mean(1 / found.repeats)), rtol=1e-5
    )
    X = np.random.default_rng(0).standard_normal((len(found.image_ids), 3))
    assert RidgeCV().fit(X, found.responses).coef_.shape == (2 * V, 3)


def test_sessions_are_chosen_or_those_that_are_there(made: FakeNSD) -> None:
    assert set(load_nsd(made.folder, 2, sessions=[2]).presentations.session) == {2}
    np.testing.assert_array_equal(load_nsd(made.folder, 2, sessions=[2]).image_ids, made.ids()[TRIALS:])
    for side in ("lh", "rh"):
        path = made.folder / BETAS.format("fsaverage") / f"{side}.betas_session01.mgh"
        path.unlink()
    assert set(load_nsd(made.folder, 2).presentations.session) == {2}
    with pytest.raises(FileNotFoundError, match=r"lh.betas_session01.mgh is missing in .*natural-scenes-dataset"):
        load_nsd(made.folder, 2, sessions=[1, 2])
    (made.folder / BETAS.format("fsaverage") / "lh.betas_session02.mgh").unlink()
    with pytest.raises(FileNotFoundError, match=r"lh.betas_session02.mgh is missing"):  # a session's half is no gap
        load_nsd(made.folder, 2)


@pytest.mark.parametrize("bad", [np.nan, 0.0])
def test_vertices_without_data_in_a_session_are_left_out_and_counted(made: FakeNSD, bad: float) -> None:
    made.surface[1, :, 3] = bad
    values = made.surface[1, :, :V].T[:, None, None]
    put(made.folder, BETAS.format("fsaverage") + "/lh.betas_session02.mgh", values)
    found = load_nsd(made.folder, 2, atlas="streams")
    assert "lh.3" not in found.labels
    assert len(found.labels) == len(found.ncsnr) == 2 * V - 1
    assert [(each.what, each.count, each.reason) for each in found.excluded] == [
        ("targets", 1, "without data in some session")
    ]
    kept = np.delete(made.surface.reshape(-1, 2 * V), 3, axis=1)
    np.testing.assert_array_equal(np.asarray(found.responses), kept.astype(np.float32))


def test_images(made: FakeNSD) -> None:
    path = made.folder / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        bricks = file.create_dataset("imgBrick", (73_000, 4, 4, 3), np.uint8, chunks=(1, 4, 4, 3))
        first = int(made.ids()[0])
        bricks[first] = 200
    found = load_nsd(made.folder, 2)
    assert len(found.images) == 73_000
    assert (found.images[first] == 200).all()
    assert found.images[first - 1].max() == 0


def rewrite(name: str, values: Callable[[FakeNSD], NDArray[Any]]) -> Callable[[FakeNSD], None]:
    return lambda made: put(made.folder, name, values(made)) and None


def design(**changes: Any) -> Callable[[FakeNSD], None]:
    return lambda made: savemat(made.folder / DESIGN, made.design() | changes)


def cut(name: str, size: int) -> Callable[[FakeNSD], None]:
    return lambda made: (made.folder / name).write_bytes((made.folder / name).read_bytes()[:size]) and None


def reversed_axes(made: FakeNSD) -> None:
    with h5py.File(made.folder / BETAS.format("func1pt8mm") / "betas_session02.hdf5", "w") as file:
        file["betas"] = np.ones((*GRID, TRIALS), np.int16)


def swapped_axes(made: FakeNSD) -> None:
    for number in (1, 2):
        with h5py.File(made.folder / BETAS.format("func1pt8mm") / f"betas_session{number:02d}.hdf5", "w") as file:
            file["betas"] = np.ones((TRIALS, *GRID), np.int16)


def cut_hdf5(name: str, values: Callable[[FakeNSD], dict[str, Any]]) -> Callable[[FakeNSD], None]:
    def plant(made: FakeNSD) -> None:
        path = made.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w", userblock_size=512) as file:
            for key, each in values(made).items():
                file[key] = np.asarray(each)
        head = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" if name == DESIGN else b""
        path.write_bytes(head + path.read_bytes()[len(head) : -100])

    return plant


def bad_log(made: FakeNSD) -> None:
    made.log(subject=3)


def short_log(made: FakeNSD) -> None:
    made.log()
    (made.folder / LOG).write_text("\n".join((made.folder / LOG).read_text().splitlines()[:-10]))


def empty_log(made: FakeNSD) -> None:
    made.log()
    (made.folder / LOG).write_text("")


def corrupt_gzip(made: FakeNSD) -> None:
    path = made.folder / BETAS.format("func1pt8mm") / "ncsnr.nii.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()))[:-20])


SURFACE, VOLUME = BETAS.format("fsaverage"), BETAS.format("func1pt8mm")
TRAPS: dict[str, tuple[Callable[[FakeNSD], None], str, str]] = {
    "0-based design": (
        design(subjectim=np.arange(80_000).reshape(8, 10_000) % 73_000),
        "fsaverage",
        "must hold 1-based numbers up to 73000, got 0 to",
    ),
    "short design": (design(masterordering=[[1, 2, 3]]), "fsaverage", r"must hold masterordering \[30000\].*got \[3\]"),
    "design without a field": (
        lambda made: savemat(made.folder / DESIGN, {"subjectim": made.subjectim}),
        "fsaverage",
        r"must hold 'masterordering', got \['subjectim'\]",
    ),
    "design is no .mat": (
        lambda made: (made.folder / DESIGN).write_text("no") and None,
        "fsaverage",
        "nsd_expdesign.mat cannot be read as a MATLAB file",
    ),
    "another subject's log": (bad_log, "fsaverage", r"disagree on \d+ of 1500 trials.*another subject's"),
    "a short log": (short_log, "fsaverage", "lists 1490 trials of these sessions, 1500 expected"),
    "cut .mgh": (
        cut(f"{SURFACE}/rh.betas_session02.mgh", 20_000),
        "fsaverage",
        r"rh.betas_session02.mgh is cut short: 20000 bytes, 24284 expected of shape \[8, 1, 1, 750\]",
    ),
    "a session of another length": (
        rewrite(f"{SURFACE}/lh.betas_session01.mgh", lambda made: np.ones((V, 1, 1, 700))),
        "fsaverage",
        "must hold 750 frames of float32, got 700 of",
    ),
    "integers in .mgh": (
        rewrite(f"{SURFACE}/lh.betas_session01.mgh", lambda made: np.ones((V, 1, 1, TRIALS), np.int32)),
        "fsaverage",
        "must hold 750 frames of float32, got 750 of >i4",
    ),
    "another surface": (
        rewrite(f"{SURFACE}/lh.betas_session02.mgh", lambda made: np.ones((5, 1, 1, TRIALS))),
        "fsaverage",
        r"sessions of lh must have the same vertices, got \[5, 8\]",
    ),
    "reversed axes": (
        reversed_axes,
        "func1pt8mm",
        r"'betas' must be numbers \[750, z, y, x\], got int16 \[2, 3, 4, 750\]",
    ),
    "truncated gzip": (corrupt_gzip, "func1pt8mm", "ncsnr.nii.gz cannot be read.*cut short"),
    "not HDF5": (
        cut(f"{VOLUME}/betas_session01.hdf5", 100),
        "func1pt8mm",
        "betas_session01.hdf5 cannot be read",
    ),
    "noise of another space": (
        rewrite(f"{VOLUME}/ncsnr.nii.gz", lambda made: np.ones((9, 9, 9), np.float32)),
        "func1pt8mm",
        r"ncsnr.nii.gz must be \[2, 3, 4\] as the responses are, got \[9, 9, 9\]",
    ),
    "all axes but that of the trials reversed": (
        swapped_axes,
        "func1pt8mm",
        r"must be \[4, 3, 2\] as the responses are, got \[2, 3, 4\]",
    ),
    "labels that are not labels": (
        rewrite("nsddata/freesurfer/fsaverage/label/lh.streams.mgz", lambda made: np.full((V, 1, 1), 0.5)),
        "fsaverage",
        "lh.streams.mgz must hold whole numbers, got 0.5",
    ),
    "cut design of version 7.3": (
        cut_hdf5(DESIGN, lambda made: made.design()),
        "fsaverage",
        "nsd_expdesign.mat cannot be read as HDF5.*cut short",
    ),
    "cut stimuli": (
        cut_hdf5(
            "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5", lambda made: {"imgBrick": np.zeros((99, 9, 9, 3), np.uint8)}
        ),
        "fsaverage",
        "nsd_stimuli.hdf5 cannot be read as HDF5.*cut short",
    ),
    "an empty log": (
        empty_log,
        "fsaverage",
        "responses.tsv cannot be read as a table: No columns",
    ),
    "labels without names": (
        lambda made: (
            (made.folder / "nsddata/freesurfer/fsaverage/label/streams.mgz.ctab").write_text("1 early\n") and None
        ),
        "fsaverage",
        "has label 5, which .*streams.mgz.ctab does not name",
    ),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_traps_yield_no_recording(made: FakeNSD, trap: str) -> None:
    plant, space, message = TRAPS[trap]
    plant(made)
    with pytest.raises(ValueError, match=message) as caught:
        load_nsd(made.folder, 2, space=space, atlas="streams")
    assert str(caught.value).startswith(("load_nsd: ", "HDF5Images: "))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subject": 9}, "subject must be 1 to 8, got 9"),
        ({"subject": 2, "space": "MNI"}, r"space must be one of .*got 'MNI'"),
        ({"subject": 2, "betas": "b4"}, "betas must be one of .*got 'b4'"),
        ({"subject": 2, "sessions": [0]}, r"sessions must lie in 1\.\.40, got \[0\]"),
        ({"subject": 2, "sessions": [1, 1]}, r"sessions must be different whole numbers, got \[1, 1\]"),
        ({"subject": 2, "sessions": []}, "sessions must be different whole numbers"),
    ],
)
def test_bad_options_are_named(made: FakeNSD, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_nsd(made.folder, **options)


def test_missing_files_are_named(made: FakeNSD) -> None:
    with pytest.raises(FileNotFoundError, match="folder must be a directory, got '/nowhere'"):
        load_nsd("/nowhere", 2)
    with pytest.raises(FileNotFoundError, match=r"subj01/fsaverage/.*/lh.betas_session01.mgh or .* is missing"):
        load_nsd(made.folder, 1)
    with pytest.raises(FileNotFoundError, match=r"label/lh.floc-faces.mgz is missing"):
        load_nsd(made.folder, 2, atlas="floc-faces")
    (made.folder / DESIGN).unlink()
    with pytest.raises(FileNotFoundError, match=r"nsd_expdesign.mat is missing"):
        load_nsd(made.folder, 2)


def test_without_ncsnr_there_is_no_ceiling(made: FakeNSD) -> None:
    (made.folder / SURFACE / "rh.ncsnr.mgh").unlink()
    assert load_nsd(made.folder, 2).ncsnr is None


def test_a_design_of_version_7_3_is_read(made: FakeNSD) -> None:
    """HDF5, with the axes reversed."""
    with h5py.File(made.folder / DESIGN, "w", userblock_size=512) as file:
        file["masterordering"], file["subjectim"] = made.order[:, None], made.subjectim.T
        file["sharedix"] = made.shared.T
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    with (made.folder / DESIGN).open("r+b") as raw:
        raw.write(header)
    np.testing.assert_array_equal(load_nsd(made.folder, 2).image_ids, made.ids())
