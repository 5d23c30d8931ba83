"""A damaged file is refused wherever the damage lies, or gives the same numbers; it never gives others."""

import bz2
import gzip
import io
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mne
import nibabel
import numpy as np
import pandas as pd
import pytest
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiMetaData
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from gradkern.recordings import (
    FileImages,
    Recording,
    load_betas,
    load_bold,
    load_epochs,
    load_glmsingle,
    load_nsd,
    load_recording,
    save_recording,
)
from tests.fake_datasets.nsd import FakeNSD

FLIPS = 150
Case = tuple[Path, Callable[[], Any]]  # the file, and what is read of it
GRID = (4, 3, 2)


def volume(path: Path, values: NDArray[Any]) -> Path:
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    return path


def betas(folder: Path, name: str, **options: Any) -> Case:
    values = np.random.default_rng(0).integers(-900, 900, (*GRID, 12)).astype(np.int16)
    plain, path = volume(folder / "b.nii", values), folder / name
    if name.endswith(".mgz"):
        nibabel.save(nibabel.MGHImage(values.astype(np.float32), np.eye(4)), path)
    else:
        pack = bz2.compress if name.endswith(".bz2") else gzip.compress
        path.write_bytes(pack(plain.read_bytes()))
    mask = volume(folder / "m.nii", np.ones(GRID, np.uint8))

    def read() -> Any:
        for scratch in (folder / "scratch").glob("*"):
            scratch.unlink()
        return np.asarray(load_betas([path], [range(12)], mask=mask, subject="s", **options).responses)

    return path, read


def mask_of_betas(folder: Path) -> Case:
    values = np.random.default_rng(0).standard_normal((*GRID, 3)).astype(np.float32)
    path = volume(folder / "m.nii.gz", (np.random.default_rng(1).random(GRID) < 0.5).astype(np.uint8))
    plain = volume(folder / "b.nii", values)

    def read() -> Any:
        found = load_betas([plain], [list("abc")], mask=path, subject="s")
        return np.c_[np.asarray(found.responses).T, found.targets[["i", "j", "k", "x", "y", "z"]]]

    return path, read


def bold(folder: Path, name: str) -> Case:
    image = nibabel.Nifti1Image(
        (1000 + np.random.default_rng(0).standard_normal((*GRID, 30))).astype(np.float32), np.eye(4)
    )
    image.header.set_zooms((1, 1, 1, 2.0))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, folder / name)
    mask = volume(folder / "m.nii", np.ones(GRID, np.uint8))
    (folder / "e.tsv").write_text("onset\tname\n4\ta\n20\tb\n")
    runs = [(folder / name, folder / "e.tsv")]
    return folder / name, lambda: np.asarray(load_bold(runs, "name", subject="s", mask=mask).responses)


def surfaces(folder: Path) -> Case:
    for side in "LR":
        values = (1000 + np.random.default_rng(0).standard_normal((20, 6))).astype(np.float32)
        meta = GiftiMetaData({"TimeStep": "2000.0"})
        arrays = [GiftiDataArray(row, datatype="float32", encoding="GIFTI_ENCODING_B64GZ", meta=meta) for row in values]
        nibabel.save(GiftiImage(darrays=arrays), folder / f"hemi-{side}_bold.func.gii")
    (folder / "hemi-L_bold.json").write_text('{"RepetitionTime": 2.0}')  # XML has no checksum for what it says in words
    (folder / "e.tsv").write_text("onset\tname\n4\ta\n20\tb\n")
    pair = [folder / f"hemi-{side}_bold.func.gii" for side in "LR"]
    return pair[0], lambda: np.asarray(load_bold([(pair, folder / "e.tsv")], "name", subject="s").responses)


def epochs(folder: Path) -> Case:
    table = pd.DataFrame({"image": ["a", "b", "c"]})
    values = np.random.default_rng(0).standard_normal((3, 2, 40)) * 1e-12
    made = mne.EpochsArray(values, mne.create_info(2, 100.0, "mag"), metadata=table, verbose="error")
    made.save(folder / "x-epo.fif.gz", verbose="error")

    def read() -> Any:
        found = load_epochs(folder / "x-epo.fif.gz", "image", subject="s", units="T")
        return np.asarray(found.responses), found.image_names, found.labels

    return folder / "x-epo.fif.gz", read


def glmsingle(folder: Path) -> Case:
    values = np.random.default_rng(0).standard_normal((*GRID, 8))
    path = folder / "TYPED_FITHRF_GLMDENOISE_RR.mat"
    savemat(path, {"modelmd": values, "R2": values[..., 0]}, do_compression=True)

    def read() -> Any:
        found = load_glmsingle(path, subject="s", images=list("abcdefgh"))
        return np.asarray(found.responses), found.targets["R2"].to_numpy()

    return path, read


def saved(folder: Path) -> Case:
    responses = np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32)
    presentations = pd.DataFrame({"image": np.arange(20) % 10, "session": ["x", "y"] * 10})
    targets = pd.DataFrame({"label": list("abcdef"), "roi": ["V1"] * 3 + ["V2"] * 3})
    names = tuple(f"im{i}" for i in range(10))
    save_recording(Recording(responses, presentations, targets, "s", "u", image_names=names), folder / "r.h5")

    def read() -> Any:
        found = load_recording(folder / "r.h5")
        tables = found.presentations.to_csv(), found.targets.to_csv()
        return np.asarray(found.responses), *tables, found.subject, found.units, found.image_names, found.history

    return folder / "r.h5", read


def png(folder: Path) -> Case:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(file := io.BytesIO(), "png")
    (folder / "x.png").write_bytes(file.getvalue())
    return folder / "x.png", lambda: FileImages([folder / "x.png"])[0]


CASES: dict[str, Callable[[Path], Case]] = {
    "betas .nii.gz": partial(betas, name="b.nii.gz"),
    "betas .nii.bz2": partial(betas, name="b.nii.bz2"),
    "betas .mgz": partial(betas, name="b.mgz"),
    "mask .nii.gz": mask_of_betas,
    "series .nii.gz": partial(bold, name="s.nii.gz"),
    "series .nii.bz2": partial(bold, name="s.nii.bz2"),
    "surfaces .func.gii": surfaces,
    "epochs .fif.gz": epochs,
    "MATLAB 5": glmsingle,
    "saved recording": saved,
    "PNG": png,
}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, tuple):
        return all(same(*pair) for pair in zip(a, b, strict=True))
    return bool(np.array_equal(a, b, equal_nan=True)) if isinstance(a, np.ndarray) else bool(a == b)


def flip(case: Case, flips: int, seed: int = 0) -> Counter[str]:
    """How reading ended after single bits of the file were flipped."""
    path, read = case
    content, right, ends = path.read_bytes(), read(), Counter[str]()
    random = np.random.default_rng(seed)
    for place, bit in zip(random.integers(len(content), size=flips), random.integers(8, size=flips), strict=True):
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        try:
            ends["same" if same(read(), right) else "other numbers"] += 1
        except (ValueError, OSError):
            ends["refused"] += 1
    path.write_bytes(content)
    return ends


@pytest.mark.parametrize("name", CASES)
def test_no_flipped_bit_gives_other_numbers(tmp_path: Path, name: str) -> None:
    ends = flip(CASES[name](tmp_path), FLIPS)
    assert set(ends) <= {"same", "refused"}, ends
    assert ends["refused"] > FLIPS / 3, ends


@pytest.mark.parametrize("name", CASES)
def test_no_cut_file_gives_numbers(tmp_path: Path, name: str) -> None:
    path, read = CASES[name](tmp_path)
    content, right = path.read_bytes(), read()
    for kept in np.linspace(1, len(content) - 1, 25).astype(int):
        path.write_bytes(content[:kept])
        try:
            assert same(read(), right)  # what was cut said nothing
        except (ValueError, OSError):
            continue


def test_with_a_scratch_folder_too(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    ends = flip(betas(tmp_path, "b.nii.gz", scratch=tmp_path / "scratch"), FLIPS)
    assert set(ends) <= {"same", "refused"}, ends


def test_no_damage_of_a_matlab_file_ends_the_process(tmp_path: Path) -> None:
    """SciPy alone crashes about once in 100 flips: it does not compare types of elements with its tables."""
    values = np.random.default_rng(0).standard_normal((*GRID, 8))
    path = tmp_path / "TYPED_FITHRF_GLMDENOISE_RR.mat"
    words = np.array([np.arange(3), "word"], dtype=object)
    more = {"struct": {"x": 1, "y": "abc", "z": [1, 2]}, "cell": words, "complex": np.array([1 + 2j]), "text": "naïve"}
    savemat(path, {"modelmd": values, "R2": values[..., 0], **more})
    content, random = path.read_bytes(), np.random.default_rng(0)
    near = random.integers(len(content) - 900, len(content), 250)
    places = np.concatenate([random.integers(128, len(content), 30), near])
    refused = 0
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        try:
            load_glmsingle(path, subject="s", images=list("abcdefgh"))
        except ValueError:
            refused += 1
    assert refused > 80


@pytest.mark.parametrize("lacking", [1, 7, 19])
def test_missing_bytes_in_an_mgh_file_are_seen(tmp_path: Path, lacking: int) -> None:
    FakeNSD(tmp_path)
    path = next(tmp_path.glob("nsddata_betas/ppdata/*/fsaverage/*/lh.betas_session*.mgh"))
    content = path.read_bytes()
    path.write_bytes(content[:400] + content[400 + lacking :])
    with pytest.raises(ValueError, match=r"lh\.betas_session.*bytes"):
        load_nsd(tmp_path, 2)


@pytest.mark.parametrize("lacking", [1, 8, -4])
def test_missing_bytes_in_epochs_are_seen(tmp_path: Path, lacking: int) -> None:
    values = np.random.default_rng(0).standard_normal((3, 2, 40)) * 1e-12
    table = pd.DataFrame({"image": ["a", "b", "c"]})
    made = mne.EpochsArray(values, mne.create_info(2, 100.0, "mag"), metadata=table, verbose="error")
    made.save(path := tmp_path / "x-epo.fif", verbose="error")
    content = path.read_bytes()
    middle = content.index(values[1].astype(">f4").tobytes()[:64])
    path.write_bytes(content[:middle] + content[middle + lacking :])
    with pytest.raises(ValueError, match=r"x-epo\.fif"):
        load_epochs(path, "image", subject="s", units="T")
