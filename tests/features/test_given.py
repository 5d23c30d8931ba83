"""Features that others captured: the same numbers under the same names from every format, and refusals that quote."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from gradkern import capture, features
from gradkern.features import load_features
from gradkern.recordings import FileImages
from tests.fake_datasets.given_features import write_neuralset, write_thingsvision, write_torchlens

N = 23
X = np.random.default_rng(0).standard_normal((N, 6)).astype(np.float32)
NAMES = [f"aardvark/aardvark_{i:02d}b.jpg" for i in range(N)]
KEY = ("activation", "features")


def npz(path: Path) -> Path:
    np.savez(path := path / "a.npz", features=X, names=np.array(NAMES))
    return path


def hdf5(path: Path) -> Path:
    with h5py.File(path := path / "a.h5", "w") as file:
        file["features"], file["names"] = X, NAMES
    return path


def tensors(path: Path) -> Path:
    torch.save({"features": torch.from_numpy(X), "names": NAMES}, path := path / "a.pt")
    return path


def beside(path: Path) -> Path:
    np.save(path / "features.npy", X)
    (path / "file_names.txt").write_text("\n".join(NAMES))
    return path / "features.npy"


def safetensors(path: Path) -> Path:
    save_file({"features": torch.from_numpy(X)}, path / "a.safetensors")
    (path / "names.json").write_text(json.dumps(NAMES))
    return path / "a.safetensors"


def of_things(form: str) -> Callable[[Path], Path]:
    return lambda path: write_thingsvision(path / "thingsvision", {"features": X}, NAMES, form)


THINGSVISION = ("npy", "pt", "txt", "hdf5", "hdf5 in parts", "parts", "chunks")
FORMATS: dict[str, Callable[[Path], Any]] = {
    "npz": npz, "hdf5": hdf5, "pt": tensors, "npy": beside, "safetensors": safetensors,
    **{f"thingsvision {form}": of_things(form) for form in THINGSVISION},
    "TorchLens": lambda path: write_torchlens(path / "t", {"features": X}, NAMES),
    "neuralset": lambda path: write_neuralset(path / "c", X, NAMES),
    "neuralset npy": lambda path: write_neuralset(path / "c", X, NAMES, "NumpyArray"),
    "pandas": lambda path: pd.DataFrame(X, index=NAMES),
    "xarray": lambda path: xr.DataArray(X, dims=("image", "unit"), coords={"image": NAMES}),
    "data set": lambda path: xr.Dataset({"features": (("image", "unit"), X)}, coords={"image": NAMES}),
    "Features": lambda path: features.given(X, NAMES),
    "mapping": lambda path: {"features": pd.DataFrame(X, index=NAMES)},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_has_the_same_numbers_and_names(tmp_path: Path, form: str) -> None:
    got = features.given(FORMATS[form](tmp_path))
    assert got.images.names is not None
    order = np.argsort(got.images.names)
    np.testing.assert_allclose(got[KEY].numpy()[order], X[np.argsort(NAMES)], rtol=1e-6)
    assert sorted(got.images.names) == NAMES
    assert got.objective == "none"
    assert got.losses.isnan().all()


@pytest.mark.parametrize(
    "form", [form for form in FORMATS if form not in ("pandas", "xarray", "data set", "Features", "mapping")]
)
def test_load_features_reads_what_others_wrote(tmp_path: Path, form: str) -> None:
    path = FORMATS[form](tmp_path)
    assert torch.equal(load_features(path)[KEY], features.given(path)[KEY])


WHOLE = np.round(9 * X).astype(np.int16)
ARRAYS = [
    X.astype(">f4"),
    X.astype(np.float64),
    np.asfortranarray(X),
    X.astype(np.float16),
    X[::-1][::-1],
    X > 0,
    WHOLE,
]


@pytest.mark.parametrize("array", [*ARRAYS, X.tolist(), torch.from_numpy(X).double(), torch.from_numpy(X).bfloat16()])
def test_any_array_of_numbers_is_taken_as_float32(array: Any) -> None:
    got = features.given(array, NAMES)[KEY]
    assert got.dtype == torch.float32
    expected = array.double().numpy() if isinstance(array, torch.Tensor) else np.asarray(array, dtype=np.float64)
    np.testing.assert_array_equal(got.numpy(), expected.astype(np.float32))


def test_modules_are_layers_and_axes_are_laid_side_by_side(tmp_path: Path) -> None:
    Z = np.random.default_rng(1).standard_normal((N, 3, 2, 2)).astype(np.float32)
    folder = write_thingsvision(tmp_path / "resnet", {"layer4.1.conv2": Z, "features.12": X}, NAMES)
    np.save(folder / "targets.npy", np.arange(N))
    got = features.given(folder, depth={"layer4.1.conv2": 0.9})
    assert set(got) == {("activation", "layer4.1.conv2"), ("activation", "features.12")}
    np.testing.assert_array_equal(got["activation", "layer4.1.conv2"].numpy(), Z.reshape(N, -1))
    assert got.facts["flattened"] == {"activation/layer4.1.conv2": [3, 2, 2]}
    assert got.facts["left_out"] == ["targets.npy"]
    assert (got.facts["model"], got.depth) == ("resnet", {"layer4.1.conv2": 0.9})


def test_names_may_have_the_kind_before_the_layer(tmp_path: Path) -> None:
    (tmp_path / "f/gradient").mkdir(parents=True)
    (tmp_path / "f/activation").mkdir()
    for layer in ("a", "b"):
        np.save(tmp_path / f"f/gradient/{layer}.npy", 2 * X)
        np.save(tmp_path / f"f/activation/{layer}.npy", X)
    (tmp_path / "f/file_names.txt").write_text("\n".join(NAMES))
    got = load_features(tmp_path / "f")
    assert set(got) == {(kind, layer) for kind in ("activation", "gradient") for layer in ("a", "b")}
    np.testing.assert_array_equal(got["gradient", "b"].numpy(), 2 * X)
    assert got.objective == "given"


def test_what_is_left_of_a_capture_is_not_taken_for_features(tmp_path: Path) -> None:
    np.save(tmp_path / "activation-1.npy", X)
    np.save(tmp_path / "losses.npy", X[:, 0])
    (tmp_path / "image-names.json").write_text(json.dumps(NAMES))
    with pytest.raises(FileNotFoundError, match="load_features: folder must hold"):
        load_features(tmp_path)


def test_cached_layers_are_layers(tmp_path: Path) -> None:
    Z = np.random.default_rng(1).standard_normal((N, 4, 5)).astype(np.float32)
    folder = write_neuralset(tmp_path / "c", Z, NAMES)
    assert features.given(folder)[KEY].shape == (N, 20)
    (folder / "uid.yaml").write_text("name: HuggingFaceImage\ncache_n_layers: 4\n")
    got = features.given(folder)
    np.testing.assert_array_equal(got["activation", "cached 3"].numpy(), Z[:, 3])


def test_npy_files_are_mapped(tmp_path: Path) -> None:
    got = features.given(beside(tmp_path))[KEY]
    before = (tmp_path / "features.npy").read_bytes()
    got[0] = 0
    assert (tmp_path / "features.npy").read_bytes() == before


def test_pixels_tell_images(tmp_path: Path) -> None:
    from PIL import Image

    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        Image.fromarray(np.full((4, 5, 3), i, np.uint8)).save(path)
    got = features.given(X[:3], images=FileImages(paths))
    assert got.images.names == ("0.png", "1.png", "2.png")
    assert got.images.hashes_are_of == "pixels"
    assert len(set(got.images.hashes or ())) == 3
    with pytest.raises(ValueError, match=r"given: names must be the same .*'2\.png'.*'0\.png'"):
        features.given(X[:3], ["2.png", "1.png", "0.png"], images=FileImages(paths))
    with pytest.raises(ValueError, match="given: names must be one an image, 4, got 3"):
        features.given(X[:4], images=FileImages(paths))


class TestNames:
    def test_folders_and_endings_before_names_may_differ(self, tmp_path: Path) -> None:
        folder = write_thingsvision(tmp_path / "t", {"features": X}, [f"/data/things/{name}" for name in NAMES])
        assert features.given(folder, NAMES).images.names == tuple(NAMES)
        assert features.given(folder, [name.removesuffix(".jpg") for name in NAMES])[KEY].shape == X.shape

    @given(order=st.permutations(range(N)))
    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_any_other_order_is_refused(self, tmp_path: Path, order: list[int]) -> None:
        if not (tmp_path / "t").exists():
            write_thingsvision(tmp_path / "t", {"features": X}, NAMES)
        permuted = [NAMES[i] for i in order]
        if permuted == NAMES:
            return
        row = next(i for i in range(N) if permuted[i] != NAMES[i])
        with pytest.raises(ValueError, match=f"{permuted[row]}.*{NAMES[row]}.*row {row}"):
            features.given(tmp_path / "t", permuted)

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            (None, "tell which images"), (NAMES[:-1], "one an image, 23, got 22"),
            ([*NAMES[:-1], NAMES[0]], "different"),
            (list(range(N)), "words"), ("abc", "words"), ([*NAMES[:-1], ""], "words"),
            (set(NAMES), "order"), ([*NAMES[:-2], "é", "e\u0301"], "different"),
        ],
    )  # fmt: skip
    def test_bad_names_are_refused(self, names: Any, message: str) -> None:
        with pytest.raises(ValueError, match=f"given: names must .*{message}"):
            features.given(X, names)

    def test_two_lists_that_differ_are_refused(self, tmp_path: Path) -> None:
        folder = write_thingsvision(tmp_path / "t", {"features": X}, NAMES)
        (folder / "names.txt").write_text("\n".join(NAMES[::-1]))
        with pytest.raises(ValueError, match=r"one list of names.*file_names\.txt and names\.txt"):
            features.given(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.where(np.arange(N * 6).reshape(N, 6) == 13, np.nan, X), "1 of 23 images, first 'aardvark/aardvark_02b"),
        (X.astype(np.float64) * 1e300, "finite in float32"), (X.astype(complex), "real numbers"),
        (X.astype(str), "real numbers"), (X.astype(object), "real numbers"), (np.float32(3), "[n, d]"),
        (X[:0], "[n, d]"), (np.arange(N)[:, None] + 2**24, "2^24"), ({}, "at least one array"),
        ({"a": X, "b": X[:-1]}, "{'a': 23, 'b': 22}"), ({("gradient", 3): X}, "named by layer"),
        ({"": X}, "named by layer"),
        (np.ma.masked_less(X, 0), "masked"), (torch.from_numpy(X).to_sparse(), "dense"),
    ],
)  # fmt: skip
def test_what_is_no_feature_is_refused(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match="given: ") as raised:
        features.given(values, NAMES)
    assert message in str(raised.value)


class TestFiles:
    def test_captures_are_opened_by_load_features(self, tmp_path: Path) -> None:
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
        capture(
            model, torch.randn(3, 3, 4, 4), None, layers=["1"], kinds=["activation"], out=tmp_path / "c", progress=False
        )
        with pytest.raises(ValueError, match="load_features opens"):
            features.given(tmp_path / "c")

    def test_nothing_to_read(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="given: features must be a file"):
            features.given(tmp_path / "none")
        with pytest.raises(FileNotFoundError, match="must hold arrays"):
            features.given(tmp_path)
        with pytest.raises(FileNotFoundError, match=r"load_features: folder must hold capture\.json"):
            load_features(tmp_path)

    @pytest.mark.parametrize("name", ["features.mat", "features.csv", "features"])
    def test_other_endings_are_refused(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(b"1")
        with pytest.raises(ValueError, match="must end in"):
            features.given(tmp_path / name)

    def test_pickles_are_not_run(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", np.array([os.system, 3], dtype=object), allow_pickle=True)
        torch.save({"features": X, "f": os.system}, tmp_path / "a.pt")
        for name in ("a.npy", "a.pt"):
            with pytest.raises(ValueError, match="cannot be read"):
                features.given(tmp_path / name, NAMES)

    @pytest.mark.parametrize("form", ["parts", "chunks", "hdf5 in parts"])
    def test_a_missing_part_is_refused(self, tmp_path: Path, form: str) -> None:
        folder = write_thingsvision(tmp_path / "t", {"features": X}, NAMES, form)
        if form == "hdf5 in parts":
            with h5py.File(folder / "features.h5", "r+") as file:
                del file["features_7"]
        else:
            sorted(folder.glob("*.npy"))[1].unlink()
        with pytest.raises(ValueError, match=r"all parts|without a gap|one an image"):
            features.given(folder)

    def test_parts_beside_the_whole_are_refused(self, tmp_path: Path) -> None:
        folder = write_thingsvision(tmp_path / "t", {"features": X}, NAMES, "chunks")
        np.save(folder / "features.npy", X)
        with pytest.raises(ValueError, match="got both"):
            features.given(folder)

    def test_several_suffixes_are_refused(self, tmp_path: Path) -> None:
        folder = write_thingsvision(tmp_path / "t", {"features": X}, NAMES, "chunks")
        np.save(folder / "features_val_0-9.npy", X[:9])
        with pytest.raises(ValueError, match="parts of one array"):
            features.given(folder)


class TestTorchLens:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"status": "in_progress"}, "must be complete"), ({"schema": "tl_extract_manifest_v3"}, "of schema"),
            ({"totals": {"n_shards": 4, "n_stimuli": 24}}, "24 stimuli .* 23 in 4"),
            ({"layers": {"features": {"layout": "ragged"}}}, "rows of one shape"),
            ({"layers": {"other": {"layout": "dense"}}}, "rows of 'other'"),
        ],
    )  # fmt: skip
    def test_what_the_manifest_does_not_promise_is_refused(self, tmp_path: Path, changes: Any, message: str) -> None:
        folder = write_torchlens(tmp_path / "t", {"features": X}, NAMES, **changes)
        with pytest.raises(ValueError, match=message):
            features.given(folder)

    def test_ids_and_ledger_have_checksums(self, tmp_path: Path) -> None:
        folder = write_torchlens(tmp_path / "t", {"features": X}, NAMES)
        for name in ("stimulus_ids.json", "ledger.jsonl"):
            content = (folder / name).read_text()
            (folder / name).write_text(
                content.replace("aardvark_03b", "aardvark_99b").replace('"index": 0', '"index": 9')
            )
            with pytest.raises(ValueError, match=f"{name} must have the checksum of the manifest"):
                features.given(folder)
            (folder / name).write_text(content)
        (folder / "stimulus_ids.json").unlink()
        with pytest.raises(FileNotFoundError, match="has a checksum, is missing"):
            features.given(folder)

    def test_without_ids_names_must_be_given(self, tmp_path: Path) -> None:
        folder = write_torchlens(tmp_path / "t", {"features": X}, None)
        with pytest.raises(ValueError, match="names must tell"):
            features.given(folder)
        assert features.given(folder, NAMES)[KEY].shape == X.shape


def test_every_flipped_byte_is_refused_or_changes_no_name(tmp_path: Path) -> None:
    """Shards have a checksum. Any other damage ends in other numbers of the one array at most, never in other rows."""
    rng = np.random.default_rng(0)
    for form in ("TorchLens", "neuralset", "thingsvision hdf5", "npz", "pt"):
        (tmp_path / form).mkdir()
        path = FORMATS[form](tmp_path / form)
        files = [path] if path.is_file() else [file for file in sorted(path.rglob("*")) if file.is_file()]
        for _ in range(40):
            file = files[rng.integers(len(files))]
            content = bytearray(original := file.read_bytes())
            content[rng.integers(len(content))] ^= 1 << rng.integers(8)
            file.write_bytes(content)
            try:
                got = features.given(path)
            except (ValueError, FileNotFoundError):
                continue
            finally:
                file.write_bytes(original)
            if form in ("TorchLens", "npz", "pt") and file.suffix != ".json":
                np.testing.assert_array_equal(got[KEY].numpy(), X)
            assert len(got.images.names or ()) == N
