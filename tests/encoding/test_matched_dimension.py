"""Scores at one dimension: of the sketches themselves, seed by seed; and effective ranks of what was scored."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import gradkern
from gradkern import Recording
from gradkern.cli import main
from gradkern.encoding import (
    DimensionMatching,
    Residualized,
    effective_rank,
    inner_groups,
    load_scores,
    outer_folds,
    residualize,
    score,
)
from gradkern.ridge import CrossValidation, cross_val_score
from tests.fake_datasets.captures_and_recordings import arguments, write

N, V, SETTINGS = 60, 3, CrossValidation(folds=3, alphas=(0.01, 1.0, 100.0))
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("study"))


def rand(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def brain() -> Recording:
    """Not all images, and each of those twice."""
    ids = np.tile(np.arange(3, N), 2)
    return Recording(
        responses=(rand(N, 70)[ids] @ rand(70, V, seed=1) + 5 * rand(len(ids), V, seed=2)).astype(np.float32),
        presentations=pd.DataFrame({"image": ids}),
        targets=pd.DataFrame({"label": list("xyz"), "effective_rank": [1, 2, 3]}),
        subject="s",
        units="z",
    )


def test_every_seed_has_the_scores_of_its_sketch() -> None:
    spaces = {"wide": rand(N, 150, seed=4), "narrow": rand(N, 70)}
    found = score(spaces, brain(), SETTINGS, DimensionMatching(64, (5, 2)))
    assert found.r_matched.dims == ("sketch_seed", "feature", "fold", "target")
    assert found.sketch_seed.values.tolist() == [5, 2]
    for seed in (5, 2):
        sketched = {name: gradkern.sketch(X, 64, seed=seed) for name, X in spaces.items()}
        expected = score(sketched, brain(), SETTINGS)
        for name in ("r", "r2", "effective_rank", "effective_rank_entropy"):
            np.testing.assert_allclose(
                found[f"{name}_matched"].sel(sketch_seed=seed), expected[name], rtol=1e-5, atol=1e-5
            )
    assert np.abs(found.r_matched[0] - found.r_matched[1]).max() > 0.01
    plain = score(spaces, brain(), SETTINGS)
    np.testing.assert_array_equal(plain.r, found.r)
    assert not [name for name in plain if "matched" in str(name)]
    assert json.loads(found.attrs["matched"]) == {"k": 64, "seeds": [5, 2]}


def test_what_is_residualized_is_sketched_after_that() -> None:
    G, A, one = rand(N, 80, seed=4), rand(N, 5, seed=5), brain()
    G[:, :5] += 3 * A
    found = score({"left": Residualized(G, A)}, one, SETTINGS, DimensionMatching(64, (7,)))
    images, ranks = np.arange(3, N), []
    for fold, (train, test) in enumerate(outer_folds(SETTINGS, one)):
        trained = np.unique(one.image_ids[train]) - 3
        left = residualize(
            G[images].astype(float), A[images].astype(float), trained, groups=inner_groups(SETTINGS, one)[: N - 3]
        )
        ranks.append(effective_rank(left))
        X = gradkern.sketch(np.ascontiguousarray(left), 64, seed=7)
        X = X / np.sqrt(((X[trained] - X[trained].mean(0)) ** 2).sum(1).mean())
        Y = np.asarray(one.responses, dtype=np.float64)
        options: dict[str, Any] = {"cv": [(train, test)], "groups": inner_groups(SETTINGS, one)}
        expected = cross_val_score(X[one.image_ids - 3].astype(float), Y, SETTINGS.alphas, **options)
        np.testing.assert_allclose(found.r_matched[0, 0, fold], expected[0], atol=1e-3)
    found_ranks = (float(found.effective_rank[0]), float(found.effective_rank_entropy[0]))
    np.testing.assert_allclose(found_ranks, np.mean(ranks, axis=0), rtol=1e-4)


def test_effective_ranks_are_of_the_images_shown_each_once() -> None:
    flat = np.zeros((N, 30), np.float32)
    flat[3:, :8] = np.linalg.qr(rand(N - 3, 9) - rand(N - 3, 9).mean(0))[0][:, :8]
    flat[3:, :8] -= flat[3:, :8].mean(0)
    flat[3:, :8] = np.linalg.qr(flat[3:, :8])[0]  # 8 axes alike, and nothing else
    flat[:3] = 1e3 * rand(3, 30)  # not shown
    with pytest.warns(UserWarning, match="targets of 'constant' have no defined score"):
        found = score({"flat": flat, "constant": np.ones((N, 3), np.float32)}, brain(), SETTINGS)
    np.testing.assert_allclose(found.effective_rank, [8, np.nan], rtol=1e-5)
    np.testing.assert_allclose(found.effective_rank_entropy, [8, np.nan], rtol=1e-5)
    assert found.target_effective_rank.values.tolist() == [1, 2, 3]


@dataclass(frozen=True)
class CountedReads:
    """Features that note whenever they are read."""

    values: np.ndarray
    reads: list[int]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        self.reads.append(len(self.values))
        return np.asarray(self.values, dtype=dtype)


def test_a_feature_space_under_two_names_is_sketched_once() -> None:
    reads: list[int] = []
    X: Any = CountedReads(rand(N, 70), reads)
    found = score({"one": X, "two": X}, brain(), SETTINGS, DimensionMatching(64))
    assert len(reads) == 4  # by itself, and for each of three sketches
    np.testing.assert_array_equal(found.r_matched[:, 0], found.r_matched[:, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DimensionMatching(63), "DimensionMatching: k must be at least 64, got 63"),
        (lambda: DimensionMatching(64, (1, 1)), r"seeds must be at least one, from 0 on, none twice, got \[1, 1\]"),
        (lambda: DimensionMatching(64, ()), r"seeds must be at least one, from 0 on, none twice, got \[\]"),
        (lambda: DimensionMatching(64, (-1,)), r"from 0 on, none twice, got \[-1\]"),
        (
            lambda: score({"a": rand(N, 80), "b": rand(N, 70)}, brain(), SETTINGS, DimensionMatching(71)),
            "k must be at most the width of every feature space, got 71 and 70 of 'b'",
        ),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_the_command_keeps_what_was_matched_alike(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = arguments(folders, tmp_path / "o", "--folds", "2", "--layers", "1")
    assert main([*call, "--match", "64", "--seeds", "3", "4"]) == 0
    scores = load_scores(tmp_path / "o")["s1"].to_dataset().set_index(feature=["objective", "kind", "layer"])
    assert dict(scores.r_matched.sizes) == {"sketch_seed": 2, "feature": 3, "fold": 2, "target": 5}
    assert scores.effective_rank.sel(feature=("_cube", "gradient", "1")) > 1
    capsys.readouterr()
    assert main([*call, "--match", "64", "--seeds", "3", "4"]) == 0
    assert capsys.readouterr().out.count("kept") == 2
    assert main([*call, "--match", "64"]) == 2
    assert "matched.seeds: [3, 4], now [1, 2, 3]" in capsys.readouterr().err
    assert main(call) == 2
    assert "matched.k: 64, now null" in capsys.readouterr().err
