"""Scores resampled over images, and the layer each target goes with."""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradkern.hierarchy import Preference, best_layers, preferred_depth
from gradkern.stats import (
    Scores,
    concatenate_targets,
    half_width,
    interval,
    leave_out_images,
    resample_images,
    resampled_scores,
    score_blocks,
)

DEPTH = np.linspace(0, 1, 4)


def predicted(correlations: Any, n: int = 200, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Predictions [l, n, v] and responses [n, v] with these correlations [l, v] in the population."""
    random = np.random.default_rng(seed)
    r = np.asarray(correlations, dtype=np.float64)
    y = random.standard_normal((n, r.shape[1]))
    noise = random.standard_normal((len(r), n, r.shape[1]))
    return r[:, None] * y + np.sqrt(1 - r[:, None] ** 2) * noise, y


def bootstrapped(correlations: Any, n: int = 200, seed: int = 0, bootstraps: int = 200) -> Scores:
    return resampled_scores(*predicted(correlations, n, seed), resample_images(np.arange(n), bootstraps, seed))


def test_a_resampling_is_the_correlation_of_the_rows_drawn() -> None:
    predictions, y = predicted([[0.5, 0.1], [0.2, 0.7], [0.0, 0.3]], n=40)
    images = np.repeat(np.arange(20), 2)
    resampling = resample_images(images, 5, seed=3)
    scores = resampled_scores(predictions, y, resampling)
    assert scores.images == 20
    for b, counts in enumerate(resampling.counts.astype(int)):
        assert counts.sum() == 40
        np.testing.assert_array_equal(counts[::2], counts[1::2])  # both rows of an image or none
        rows = np.repeat(np.arange(40), counts)
        for layer in range(3):
            for v in range(2):
                expected = np.corrcoef(y[rows, v], predictions[layer, rows, v])[0, 1]
                assert scores.resampled[b, layer, v] == pytest.approx(expected, abs=1e-12)
    assert scores.r[1, 1] == pytest.approx(np.corrcoef(y[:, 1], predictions[1, :, 1])[0, 1], abs=1e-12)


def test_a_jackknife_leaves_out_one_image_with_all_its_rows() -> None:
    predictions, y = predicted([[0.5], [0.2]], n=36)
    images = np.tile(np.arange(12), 3)
    scores = resampled_scores(predictions, y, leave_out_images(images))
    kept = images != 7
    expected = np.corrcoef(y[kept, 0], predictions[1, kept, 0])[0, 1]
    assert scores.resampled[7, 1, 0] == pytest.approx(expected, abs=1e-12)
    with pytest.raises(ValueError, match="must be resampled by a bootstrap, got a jackknife"):
        best_layers(scores)


def test_scores_within_folds_are_averaged() -> None:
    predictions, y = predicted([[0.6], [0.1]], n=60)
    folds = np.arange(60) % 3
    predictions += 5.0 * folds[:, None]  # folds have means of their own, which r within folds does not see
    scores = resampled_scores(predictions, y, resample_images(np.arange(60), 4), folds)
    within = [np.corrcoef(y[folds == f, 0], predictions[0, folds == f, 0])[0, 1] for f in range(3)]
    assert scores.r[0, 0] == pytest.approx(np.mean(within), abs=1e-12)


def test_blocks_of_targets_change_nothing() -> None:
    predictions, y = predicted(np.random.default_rng(0).uniform(-0.2, 0.8, (3, 17)), n=50)
    resampling = resample_images(np.arange(50), 20)
    whole = best_layers(resampled_scores(predictions, y, resampling))
    blocks = list(score_blocks(predictions, y, resampling, max_memory=8 * 4 * 3 * 71 * 5))
    assert [columns.stop for columns, _ in blocks] == [5, 10, 15, 17]
    parts = concatenate_targets([best_layers(scores) for _, scores in blocks])
    for each in fields(whole):
        np.testing.assert_array_equal(getattr(parts, each.name), getattr(whole, each.name))


def test_a_layer_that_predicts_a_constant_scores_0_and_is_said() -> None:
    predictions, y = predicted([[0.5, 0.1], [0.2, 0.7]], n=60)
    predictions[1, :, 0] = 0.1
    folds = np.arange(60) % 3
    with pytest.warns(UserWarning, match="predictions do not vary in a fold for 1 of 4 pairs of layer and target"):
        scores = resampled_scores(predictions, y, resample_images(np.arange(60), 20), folds)
    assert scores.r[1, 0] == 0
    assert (scores.resampled[:, 1, 0] == 0).all()
    plain = resampled_scores(predictions[:1], y, resample_images(np.arange(60), 20), folds)
    np.testing.assert_array_equal(scores.r[:1], plain.r)


def test_planted_best_layers_are_found_and_ties_are_flat() -> None:
    r = np.full((4, 3), 0.2)
    r[1, 0] = r[3, 1] = 0.6  # the third target has no best layer
    found = best_layers(bootstrapped(r, n=400))
    assert found.best[:2].tolist() == found.modal[:2].tolist() == [1, 3]
    assert (found.probability[:2] > 0.95).all()
    assert found.flat.tolist() == [False, False, True]
    assert found.unidentified == 1
    np.testing.assert_allclose(found.share.sum(0), 1)
    np.testing.assert_array_equal(found.probability, found.share.max(0))


def test_layers_that_tie_share_the_win() -> None:
    predictions, y = predicted([[0.5], [0.2]], n=100)
    twice = predictions[[0, 0, 1]]
    found = best_layers(resampled_scores(twice, y, resample_images(np.arange(100), 50)))
    assert found.share[0, 0] == found.share[1, 0]
    assert found.share.sum() == pytest.approx(1)
    assert found.flat[0]


def test_a_target_with_equal_layers_is_called_identified_as_rarely_as_the_confidence_says() -> None:
    """Of 600 targets whose two layers predict equally well 5 % may pass (binomial limits: 3.3 % to 7 %, and half a
    percent for 400 resamplings of 150 images); where layers differ by 3 standard errors most do."""
    found = best_layers(bootstrapped(np.full((2, 600), 0.5), n=150, bootstraps=400))
    assert 0.028 <= 1 - found.flat.mean() <= 0.075
    different = np.tile([[0.7], [0.5]], 300)
    assert best_layers(bootstrapped(different, n=150, bootstraps=400)).flat.mean() < 0.4


def test_ceilings_change_no_best_layer() -> None:
    random = np.random.default_rng(1)
    scores = bootstrapped(random.uniform(-0.1, 0.6, (4, 60)), n=80)
    normalised = scores.over_ceiling(random.uniform(0.1, 1.0, 60))
    raw, over = best_layers(scores), best_layers(normalised)
    for name in ("best", "second", "modal", "flat", "share", "probability"):
        np.testing.assert_array_equal(getattr(raw, name), getattr(over, name))
    for by in ("best layer", "centre of mass"):
        depths = [preferred_depth(each, DEPTH, Preference(by)) for each in (scores, normalised)]
        np.testing.assert_allclose(depths[0].depth, depths[1].depth, rtol=1e-12)
        np.testing.assert_allclose(depths[0].half_width, depths[1].half_width, atol=1e-12)


def test_targets_without_a_score_are_counted() -> None:
    predictions, y = predicted(np.full((4, 3), 0.5))
    y[:, 1] = 2.0
    scores = resampled_scores(predictions, y, resample_images(np.arange(len(y)), 20))
    scores = scores.over_ceiling([0.5, 0.5, 0.0])
    found, depth = best_layers(scores), preferred_depth(scores, DEPTH)
    assert found.best.tolist()[1:] == found.modal.tolist()[1:] == [-1, -1]
    assert np.isnan(found.probability).tolist() == np.isnan(depth.depth).tolist() == [False, True, True]
    assert [each.count for each in found.excluded + depth.excluded] == [2, 2]
    assert found.unidentified <= 1


def test_preferred_depths_by_hand() -> None:
    r = np.array([[0.1, -0.2, 0.3], [0.3, -0.1, 0.3]])
    depth = [0.0, 1.0]
    np.testing.assert_allclose(Preference("centre of mass").depth_of(r, depth), [0.75, np.nan, 0.5])
    np.testing.assert_allclose(Preference("best layer").depth_of(r, depth), [1.0, 1.0, 0.0])
    softmax = Preference("softmax", 0.1).depth_of(r, depth)
    np.testing.assert_allclose(softmax, 1 / (1 + np.exp(-np.array([2.0, 1.0, 0.0]))))
    assert Preference("softmax", 0.1).variant == "softmax, temperature 0.1"
    # a layer below 0 counts as 0, not against the others
    assert Preference().depth_of([[-0.5], [0.2]], depth)[0] == 1.0


def test_depths_undefined_in_resamplings_are_counted_and_leave_no_interval() -> None:
    resampled = np.array([[[0.1], [0.1]]] * 9 + [[[-0.1], [-0.1]]])
    found = preferred_depth(Scores(np.full((2, 1), 0.1), resampled, 10), [0, 1])
    assert found.depth[0] == 0.5
    assert found.undefined[0] == pytest.approx(0.1)
    assert np.isnan(found.half_width[0])


def test_intervals_of_preferred_depth_hold_the_truth() -> None:
    """1600 targets of one true centre of mass; binomial limits about 95 %: 93.9 to 96.1 %."""
    r = np.array([0.2, 0.5, 0.6, 0.3])
    scores = bootstrapped(np.tile(r[:, None], 1600), n=300, bootstraps=400)
    found = preferred_depth(scores, DEPTH)
    truth = float(r @ DEPTH / r.sum())
    inside = np.abs(found.depth - truth) <= found.half_width
    assert 0.93 <= inside.mean() <= 0.965


def test_an_interval_says_what_it_could_not_use() -> None:
    found = interval(0.5, [0.4, 0.7, np.nan, 0.6] * 10, "images")
    assert found.undefined == 10
    assert not found.known
    assert not found.contains_zero
    assert found.bias == pytest.approx(0.2 / 3)
    full = interval(0.5, [0.5] * 94 + [0.3] * 6, "images")
    assert (full.low, full.high) == (pytest.approx(0.3), pytest.approx(0.7))
    assert interval(0.9, np.linspace(0.5, 1, 100), "images", bound=1).high == 1


GOOD = Scores(np.zeros((3, 2)), np.zeros((5, 3, 2)), 10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: resample_images(np.arange(9), 10), "at least 10 different ones, got 9"),
        (lambda: resample_images(np.zeros((20, 2)), 10), r"images must be \[n\], one id per row, got \[20, 2\]"),
        (lambda: resample_images(np.arange(20), 1), "bootstraps must be at least 2, got 1"),
        (lambda: leave_out_images(np.zeros(20)), "leave_out_images: images must be at least 10"),
        (lambda: Scores(np.zeros((3, 2)), np.zeros((3, 2)), 10), r"got \[3, 2\] and \[3, 2\]"),
        (lambda: Scores(np.array([[0.1], [np.nan]]), np.zeros((5, 2, 1)), 10), "some NaN at target 0"),
        (lambda: Scores(np.zeros((2, 1)), np.full((5, 2, 1), np.nan), 10), "must be finite where a target has scores"),
        (lambda: GOOD.over_ceiling([1.0]), r"ceiling must be \[2\], got \[1\]"),
        (lambda: best_layers(Scores(np.zeros((1, 2)), np.zeros((5, 1, 2)), 10)), "at least 2 layers, got 1"),
        (lambda: preferred_depth(GOOD, [0, 1]), "depth must be 3 finite numbers"),
        (lambda: preferred_depth(GOOD, [0.5, 0.5, 0.5]), "must differ between layers, got 0.5 for all 3"),
        (lambda: Preference("mode"), "by must be one of .*, got 'mode'"),
        (lambda: Preference("softmax", 0.0), "temperature must be positive, got 0"),
        (lambda: half_width(0, [0, 1], confidence=95), "confidence must lie between 0 and 1, got 95"),
        (lambda: concatenate_targets([]), "results must be at least one, got none"),
        (lambda: concatenate_targets([GOOD, Scores(GOOD.r, GOOD.resampled, 11)]), r"the same images, got \[10, 11\]"),
    ],
)
def test_what_cannot_be_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"responses": np.zeros((30, 3))}, r"got \[2, 30, 2\] and \[30, 3\]"),
        ({"resampling": resample_images(np.arange(20), 3)}, "must be of 30 rows, got 20"),
        ({"folds": np.arange(29)}, r"folds must be \[30\], got \[29\]"),
        ({"folds": np.arange(30) // 9}, "at least 10 rows, got 3"),
        ({"responses": np.full((30, 2), np.nan)}, "responses must be finite, got nan at row 0, target 0"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(changed: dict[str, Any], message: str) -> None:
    predictions, responses = predicted([[0.5, 0.1], [0.2, 0.7]], n=30)
    given = {"responses": responses, "resampling": resample_images(np.arange(30), 3), "folds": None, **changed}
    with pytest.raises(ValueError, match=message):
        list(score_blocks(predictions, **given))
