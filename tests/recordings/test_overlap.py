"""Epochs that have samples in common: what a recording says of them, and folds that keep them apart."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from gradkern import Recording, RidgeCV
from gradkern.errors import Refused
from gradkern.recordings import folds, published

TIMES = np.arange(-2, 27) / 20  # -0.1 to 1.3 s


def shown(onset: Any, responses: NDArray[Any] | None = None, **columns: Any) -> Recording:
    n = len(onset)
    table = pd.DataFrame({"image": np.arange(n), "onset": onset, "run": 1, **columns})
    targets = pd.DataFrame({"label": [f"{at:.2f}" for at in TIMES], "time": TIMES})
    values = np.zeros((n, len(TIMES))) if responses is None else responses
    return Recording(values, table, targets, "s", "z")


def test_what_overlaps_is_told_run_by_run() -> None:
    # 1.3 s reaches the next onset, 1.4 s its epoch, 1.45 s neither; then other runs, and one out of order
    made = shown(
        [0.0, 1.3, 2.7, 4.15, 0.0, 1.5, 9.0, 8.0], session=[1, 1, 1, 1, 1, 1, 2, 2], run=[1] * 4 + [2, 2, 1, 1]
    )
    wait = made.presentations["until_next"]
    np.testing.assert_allclose(wait, [1.3, 1.4, 1.45, np.nan, 1.5, np.nan, np.nan, 1.0])
    assert made.overlaps().tolist() == [True, True, False, False, False, False, False, True]
    assert (
        "3 of 8 epochs reach into the next presentation's (epoch 1.4 s, onsets 1 to 1.5 s apart), 2 to its onset"
        in (made.check())
    )


def test_presentations_left_out_count_and_windows_shorten_epochs() -> None:
    made = shown([0.0, 1.2, 2.4])
    kept = made.select_presentations([True, False, True], "no catch trials")
    assert kept.overlaps().tolist() == [True, False]
    assert not made.window(0.0, 1.0).overlaps().any()
    assert not any("reach into" in line for line in made.window(0.0, 1.0).check())


def test_recordings_without_onsets_say_nothing_and_refuse() -> None:
    bare = Recording(np.zeros((2, 1)), pd.DataFrame({"image": [0, 1]}), pd.DataFrame({"label": ["a"]}), "s", "z")
    assert not any("reach into" in line for line in bare.check())
    with pytest.raises(Refused, match="Recording: 'until_next' must be known"):
        bare.overlaps()
    with pytest.raises(ValueError, match="'onset' of presentations must be seconds"):
        shown(["soon", "late"])


@pytest.mark.parametrize("gap", [0.0, 0.5, 3.0])
def test_training_epochs_lie_a_gap_away_from_tested_ones(gap: float) -> None:
    random = np.random.default_rng(0)
    run = np.repeat(np.arange(6), 30)
    onset = np.concatenate([np.cumsum(random.uniform(1.3, 1.7, 30)) for _ in range(6)])
    order = random.permutation(180)
    made = shown(onset[order], run=run[order])
    length = np.ptp(TIMES)
    apart = np.abs(onset[order][:, None] - onset[order]) - length  # between the end of one and the other's beginning
    apart[run[order][:, None] != run[order]] = np.inf
    for (free, _), (train, test) in zip(folds(made), folds(made, gap=gap), strict=True):
        assert (apart[np.ix_(free, test)] <= 0).any()  # without a gap, training epochs share samples with tested ones
        near = (apart[np.ix_(free, test)] <= gap + 1e-9).any(1)
        assert train.tolist() == free[~near].tolist()
        assert (apart[np.ix_(train, test)] > gap).all()


def test_published_splits_keep_a_gap_too() -> None:
    made = shown([0.0, 1.2, 2.4, 9.0], split=["train", "test", "train", "train"])
    assert published(made)[0].tolist() == [0, 2, 3]
    assert published(made, gap=0.0)[0].tolist() == [3]


@pytest.mark.usefixtures("one_thread")
def test_noise_in_common_is_predicted_unless_epochs_are_kept_apart() -> None:
    """Images alike that follow each other, and noise alone that lasts as long as an epoch: any score is a leak."""
    random = np.random.default_rng(0)
    n, rate = 700, 20
    onset = np.arange(n)  # a second apart: an epoch of 1.4 s has samples in common with the next one only
    white = random.standard_normal(rate * (n + 4))
    noise = np.convolve(white, np.ones(28), "valid") / np.sqrt(28)  # lasts 1.4 s
    made = shown(onset.astype(float), noise[rate * onset[:, None] + np.arange(len(TIMES))])
    centres = np.arange(0, n, 2)
    X = np.exp(-(((onset[:, None] - centres) / 1.5) ** 2))

    def score(gap: float | None) -> float:
        found = []
        for train, test in folds(made, gap=gap):
            fitted = RidgeCV(np.logspace(-2, 4, 7)).fit(X[train], made.responses[train])
            guess = fitted.predict(X[test])
            found.append(
                np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(guess.T, made.responses[test].T, strict=True)])
            )
        return float(np.mean(found))

    with_neighbours, apart = score(None), score(0.0)
    assert with_neighbours > 0.1
    assert abs(apart) < 0.06


REFUSED: tuple[tuple[Callable[[], Any], str], ...] = (
    (lambda: folds(shown(np.arange(9.0)), gap=-1.0), "gap must be seconds, 0 or more, or None, got -1.0"),
    (lambda: folds(shown(np.arange(9.0)), gap=np.inf), "gap must be seconds"),
    (lambda: folds(shown([0.0, np.nan, *range(7)]), gap=0.0), "every 'onset' must be known for a gap, got none for 1"),
    (lambda: folds(shown(np.arange(9.0)), gap=20.0), "left to train and to test, got 0"),
    (
        lambda: published(
            Recording(
                np.zeros((2, 1)),
                pd.DataFrame({"image": [0, 1], "split": ["train", "test"]}),
                pd.DataFrame({"label": ["a"]}),
                "s",
                "z",
            ),
            gap=0.0,
        ),
        "published: 'onset' must be known for a gap",
    ),
)


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_impossible_gaps_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
