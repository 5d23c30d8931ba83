"""Rows of features are matched with a recording's images by names and pixels, never by position alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import gradkern
from gradkern import Recording, Sketch
from gradkern.cli import main
from gradkern.encoding import Residualized, in_rows_of, join_captures, load_scores, matched_rows, score, unit_gradients
from gradkern.features import Features
from gradkern.models import ModelSpec

N = 40
SPEC = ModelSpec("toy", "random", None, 8, (127.5,) * 3, (127.5,) * 3, ("1",), "none")


def pixels(i: int) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 256, (9, 11, 3), dtype=np.uint8)


def names(ids: np.ndarray | range) -> list[str]:
    return [f"folder/{i:04d}.png" for i in ids]


def model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 12))


def capture(ids: np.ndarray | range, *, named: bool = True, seed: int = 0, out: Path | None = None, **ask) -> Features:
    images = SPEC.prepared([pixels(i) for i in ids], names(ids) if named else None)
    ask = {"layers": ["1"], "kinds": ["activation"], "sketch": Sketch(64), "progress": False} | ask
    return gradkern.capture(model(seed), images, ask.pop("objective", None), out=out, **ask)


def recording(ids: np.ndarray, *, named: bool = True, has_pixels: bool = False, offset: int = 0) -> Recording:
    """Responses that a linear readout of the activations gives, to images in any order, each twice."""
    truth = capture(range(N))["activation", "1"].numpy()
    rng = np.random.default_rng(5)
    weights = rng.standard_normal((64, 3))
    shown = np.tile(np.arange(len(ids)), 2)
    Y = truth[ids[shown]] @ weights + 0.3 * rng.standard_normal((N, 3))[ids[shown]]
    return Recording(
        Y, pd.DataFrame({"image": shown}), pd.DataFrame({"label": ["a", "b", "c"]}), "s", "z",
        images=[pixels(i + offset) for i in ids] if has_pixels else None,
        image_names=tuple(names(ids)) if named else None,
    )  # fmt: skip


order = st.permutations(range(N)).map(np.array)


@settings(max_examples=10, deadline=None)
@given(order, order, st.integers(20, N), st.booleans())
def test_any_permutation_and_subset_gives_the_same_scores(
    captured: np.ndarray, shown: np.ndarray, count: int, by_pixels: bool
) -> None:
    seen = recording(shown[:count], named=not by_pixels, has_pixels=by_pixels)
    features = capture(captured, named=not by_pixels)
    rows = matched_rows(features, seen)
    assert np.array_equal(captured[rows], shown[:count])
    straight = score({"X": capture(shown[:count])["activation", "1"]}, seen)
    np.testing.assert_allclose(score(features, seen).r.values, straight.r.values, rtol=1e-5, atol=1e-6)


def test_images_of_the_source_that_were_neither_shown_nor_captured() -> None:
    seen = recording(np.arange(N))
    part = seen.select_presentations(np.flatnonzero(seen.image_ids < 25), "the first 25")
    features = capture(np.arange(25)[::-1])
    rows = matched_rows(features, part)
    assert rows[:25].tolist() == list(range(24, -1, -1))
    assert (rows[25:] == -1).all()
    assert float(score(features, part).r.mean()) > 0.7


def test_recordings_of_several_subjects_share_the_rows_of_the_features() -> None:
    rng = np.random.default_rng(3)
    features = capture(rng.permutation(N))
    truth = dict(zip(features.images.names, features["activation", "1"].numpy(), strict=True))
    common: list[set[str]] = []
    for seed in (1, 2):
        shown = np.random.default_rng(seed).permutation(N)[:30]
        moved = in_rows_of(features, recording(shown))
        assert moved.image_names == features.images.names
        for row, i in zip(moved.image_ids, np.tile(shown, 2), strict=True):
            np.testing.assert_allclose(features["activation", "1"].numpy()[row], truth[names([i])[0]])
        common.append({features.images.names[row] for row in moved.image_ids})
    assert common[0] & common[1] == {
        *names(np.intersect1d(*(np.random.default_rng(seed).permutation(N)[:30] for seed in (1, 2))))
    }
    straight = capture(range(N))
    same = recording(np.arange(N))
    assert in_rows_of(straight, same) is same


def test_images_of_another_data_set_are_refused() -> None:
    seen = recording(np.arange(30))
    other = Recording(
        seen.responses, seen.presentations, seen.targets, "s", "z",
        image_names=tuple(f"things/{i}.jpg" for i in range(30)),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"all 30 images that subject 's' was shown, got none of 'things/0.jpg'.*0000"):
        score(capture(range(N)), other)
    with pytest.raises(ValueError, match=r"the recording's 30 images by names or pixels, got 40 rows .* no names"):
        score(capture(range(N), named=False), seen)
    with pytest.raises(ValueError, match=r"got none with the pixels [0-9a-f]{32} of image 0"):
        score(capture(range(N), named=False), recording(np.arange(30), named=False, has_pixels=True, offset=100))


def test_names_that_agree_with_pixels_that_do_not_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"of the pixels that were shown, got [0-9a-f]{32} in the capture and [0-9a-f]"
    ):
        matched_rows(capture(range(N)), recording(np.arange(30), has_pixels=True, offset=1))


@pytest.mark.parametrize(
    ("one", "other"), [("caf\u00e9.png", "cafe\u0301.png"), ("a/b.png", "./a/b.png"), ("a/b", "a\\b")]
)
def test_forms_of_a_name_are_one(one: str, other: str) -> None:
    ask = {"layers": ["1"], "kinds": ["activation"]}
    features = gradkern.capture(model(), torch.randn(2, 3, 8, 8), None, names=[one, "x"], **ask)
    shown, voxels = pd.DataFrame({"image": [0, 1]}), pd.DataFrame({"label": ["v"]})
    seen = Recording(np.ones((2, 1)), shown, voxels, "s", "z", image_names=("x", other))
    assert matched_rows(features, seen).tolist() == [1, 0]


@pytest.mark.parametrize("names_given", [["a", "a", "b"], ["a", "b"], "abc", ["a", "", "b"], [1, 2, 3]])
def test_names_are_checked(names_given: list[str]) -> None:
    with pytest.raises(ValueError, match="names must be"):
        gradkern.capture(model(), torch.randn(3, 3, 8, 8), None, layers=["1"], kinds=["activation"], names=names_given)


def test_names_and_hashes_are_in_the_folder(tmp_path: Path) -> None:
    features = capture(range(6), out=tmp_path / "run")
    stored = gradkern.load_features(tmp_path / "run")
    assert stored.images == features.images
    assert stored.images.names == tuple(names(range(6)))
    assert stored.images.hashes_are_of == "pixels"
    assert len(set(stored.images.hashes)) == 6
    with pytest.raises(FileExistsError, match="names_sha256"):
        capture(range(6), named=False, out=tmp_path / "run")


def test_an_image_is_loaded_once(tmp_path: Path) -> None:
    class Lazy:
        def __init__(self) -> None:
            self.loads: list[int] = []

        def __len__(self) -> int:
            return 200

        def __getitem__(self, i: int) -> torch.Tensor:
            self.loads.append(int(i))
            return torch.full((3, 8, 8), float(i))

    for out in (None, tmp_path / "run", tmp_path / "run"):
        lazy = Lazy()
        gradkern.capture(model(), lazy, lambda o, b: o.square().sum(1), layers=["1"], out=out)
        assert sorted(lazy.loads) == list(range(200))


def test_joined_captures_and_their_controls_are_matched_too() -> None:
    mixed, shown = np.random.default_rng(1).permutation(N), np.random.default_rng(2).permutation(N)[:30]
    seen, results = recording(shown), []
    for ids in (range(N), mixed):
        captured = capture(ids, objective=lambda o, b: o.square().sum(1), kinds=["activation", "gradient"])
        spaces = unit_gradients(join_captures([captured]))
        activation, gradient = spaces
        left = Residualized(spaces[gradient], [spaces[activation]])
        results.append(score(spaces | {replace(gradient, kind="gradient/residual"): left}, seen).r.values)
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4, atol=1e-4)
    assert results[0][0].mean() > 0.7


def test_captures_of_permuted_images_are_joined_by_name() -> None:
    rng = np.random.default_rng(0)
    mixed = rng.permutation(N)
    joined = join_captures([capture(range(N)), capture(mixed, seed=1)], ["one", "two"])
    expected = join_captures([capture(range(N)), capture(range(N), seed=1)], ["one", "two"])
    for space, values in expected.items():
        np.testing.assert_array_equal(np.asarray(joined[space]), np.asarray(values))
    by_pixels = join_captures([capture(range(N), named=False), capture(mixed, named=False, seed=1)], ["one", "two"])
    for space, values in expected.items():
        np.testing.assert_array_equal(np.asarray(by_pixels[space]), np.asarray(values))
    with pytest.raises(ValueError, match="captures must be of the same images, got"):
        join_captures([capture(range(N)), capture(range(1, N + 1), seed=1)], ["one", "two"])


@pytest.mark.parametrize("command", ["encode", "similarity"])
def test_the_command_line_finds_the_rows_of_a_subject(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = np.random.default_rng(4).permutation(N)[:30]
    capture(range(N), out=tmp_path / "features")
    gradkern.save_recording(recording(shown), tmp_path / "s1.h5")
    gradkern.save_recording(
        replace(recording(shown), image_names=tuple("abcdefghijklmnopqrstuvwxyz0123")), tmp_path / "s2.h5"
    )
    output = tmp_path / ("scores" if command == "encode" else "similarity.nc")
    call = [command, "--features", str(tmp_path / "features"), "--output", str(output), "--recordings"]
    assert main([*call, str(tmp_path / "s1.h5")]) == 0
    if command == "encode":
        found = load_scores(output)["s1"].to_dataset().r
        expected = score({"X": capture(shown)["activation", "1"]}, recording(shown)).r
        np.testing.assert_allclose(found.values, expected.values, rtol=1e-4, atol=1e-5)
        assert float(found.mean()) > 0.7
    capsys.readouterr()
    assert main([*call, str(tmp_path / "s2.h5"), "--overwrite"]) == 2
    said = capsys.readouterr().err
    assert "features must be of all 30 images that subject 's' was shown, got none of" in " ".join(said.split())
    assert "Traceback" not in said
