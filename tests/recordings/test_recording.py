"""Recordings: what is refused, what is done to them without reading them, and the data set in the package."""

from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gradkern import Recording, RidgeCV
from gradkern.errors import Refused
from gradkern.recordings import Responses, estimate_ncsnr, load_bootstraps, load_kay2017, noise_ceiling, split_half
from gradkern.recordings._responses import Beside, ChosenTargets, Scaled, Stacked, Whole

N, V = 12, 5
CATALOGUE = pd.DataFrame({"image": np.arange(N) % 6, "session": np.repeat([1, 2], 6)})


def recording(**changes: Any) -> Recording:
    random = np.random.default_rng(0)
    given = {
        "responses": random.standard_normal((N, V)).astype(np.float32),
        "presentations": CATALOGUE,
        "targets": pd.DataFrame(
            {"label": list("abcde"), "roi": ["V1", "V1", "FFA", "FFA", "PPA"], "time": [0.0, 0.1, 0.2, 0.3, 0.4]}
        ),
        "subject": "s",
        "units": "percent signal change",
        "images": np.zeros((6, 4, 4), np.uint8),
        "ncsnr": np.linspace(0.1, 0.5, V),
    }
    return Recording(**(given | changes))


LABELS = pd.DataFrame({"label": list("aacde")})
ERRORS = [
    ({"responses": np.zeros(6)}, r"responses must be float \[presentations, targets\], got float64 \[6\]"),
    ({"responses": np.zeros((6, 2), int)}, r"responses must be float \[presentations, targets\], got int64 \[6, 2\]"),
    ({"presentations": CATALOGUE[:5]}, "presentations must have 12 rows and a column 'image', got 5 rows"),
    ({"presentations": CATALOGUE[["session"]]}, r"presentations must have 12 .*'image', got columns \['session'\]"),
    ({"presentations": CATALOGUE.astype(float)}, "'image' of presentations must be whole numbers, got float64"),
    ({"presentations": CATALOGUE.assign(repeats=1.5)}, "'repeats' of presentations must be whole numbers, got float64"),
    ({"presentations": CATALOGUE + 1}, r"image_ids must lie in 0\.\.5 for 6 images, got 1\.\.6 .*1-based"),
    ({"image_names": ("a", "b")}, r"image_ids must lie in 0\.\.1 for 2 images, got 0\.\.5"),
    ({"targets": LABELS}, "targets must be 5 different labels, got 4"),
    ({"targets": LABELS[:3]}, "targets must be 5 different labels, got 2"),
    ({"targets": pd.DataFrame({"name": range(V)})}, "targets must be 5 different labels, got no column 'label'"),
    ({"ncsnr": np.zeros(3)}, r"ncsnr must be \[5\], got \[3\]"),
    ({"ncsnr": np.full(V, -0.5)}, "ncsnr must not be negative, got -0.5"),
    ({"presentations": CATALOGUE.assign(repeats=0)}, "'repeats' of presentations must be at least 1, got 0"),
    ({"image_names": tuple("abcdefg")}, "images must be those of image_names, in their order: 7, got 6"),
    (
        {"responses": np.zeros((0, V)), "presentations": CATALOGUE[:0]},
        r"responses must have presentations and targets, got \[0, 5\]",
    ),
    (
        {"responses": np.zeros((N, 0)), "targets": pd.DataFrame({"label": []}), "ncsnr": None},
        r"responses must have presentations and targets, got \[12, 0\]",
    ),
]


@pytest.mark.parametrize(("changes", "message"), ERRORS)
def test_bad_input_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"Recording: {message}"):
        recording(**changes)


class Watched:
    """An array that says which columns were read."""

    def __init__(self, values: NDArray[Any]) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.reads: list[tuple[int, int]] = []

    def __getitem__(self, where: Any) -> NDArray[Any]:
        self.reads.append(where[1].indices(self.shape[1])[:2])
        return self.values[where]


class TestLazy:
    """Whatever is put on top of what is stored, a block is what the whole would be, and no more is read."""

    @settings(deadline=None)
    @given(st.data())
    def test_a_block_is_that_part_of_the_whole(self, data: st.DataObject) -> None:
        random = np.random.default_rng(data.draw(st.integers(0, 99)))
        halves = [random.standard_normal((N // 2, V)).astype(np.float32) for _ in range(2)]
        made: Recording = recording(responses=Stacked([Whole(half) for half in halves]))
        expected = np.concatenate(halves).astype(np.float64)
        if data.draw(st.booleans()):
            made = made.zscore()
            parts = expected.reshape(2, N // 2, V)
            expected = ((parts - parts.mean(1, keepdims=True)) / parts.std(1, keepdims=True)).reshape(N, V)
        if data.draw(st.booleans()):
            rows = np.array(data.draw(st.permutations(range(N))))[: data.draw(st.integers(1, N))]
            made, expected = made.select_presentations(rows, "drawn"), expected[rows]
        if data.draw(st.booleans()):
            ids = made.image_ids
            made = made.average_repeats()
            expected = np.stack([expected[ids == image].mean(0) for image in np.unique(ids)])
            assert made.repeats.tolist() == np.unique(ids, return_counts=True)[1].tolist()
        if data.draw(st.booleans()):
            columns = np.array(data.draw(st.lists(st.integers(0, V - 1), min_size=1, unique=True)))
            made, expected = made.select_targets(columns, "drawn"), expected[:, columns]
        assert made.responses.shape == expected.shape == (len(made.image_ids), len(made.labels))
        np.testing.assert_allclose(np.asarray(made.responses), expected, atol=1e-6)
        start = data.draw(st.integers(0, expected.shape[1]))
        stop = data.draw(st.integers(start, expected.shape[1]))
        np.testing.assert_allclose(made.responses[:, start:stop], expected[:, start:stop], atol=1e-6)

    def test_what_is_read_does_not_change_what_is_stored(self) -> None:
        values, noise = np.ones((N, V), np.float32), np.ones(V)
        rows, targets = CATALOGUE.copy(), recording().targets.copy()
        made = recording(responses=values, ncsnr=noise, presentations=rows, targets=targets)
        copy = np.array(made.responses)
        copy[:] = 7
        with pytest.raises(ValueError, match="read-only"):
            made.responses[:, :2][:] = 7
        with pytest.raises(ValueError, match="read-only"):
            next(made.blocks())[1][:] = 7
        rows.loc[:, "image"], targets.loc[:, "roi"], noise[:] = 5, "none", 7
        np.testing.assert_array_equal(np.asarray(made.responses), 1)
        assert made.ncsnr is not None
        np.testing.assert_array_equal(made.ncsnr, 1)
        assert made.image_ids.tolist() == CATALOGUE["image"].tolist()
        assert made.targets["roi"].iloc[0] == "V1"

    @pytest.mark.parametrize("unknown", [np.nan, None])
    def test_presentations_of_no_session_cannot_be_z_scored(self, unknown: Any) -> None:
        rows = CATALOGUE.assign(session=pd.Series([1.0, unknown] * 6))
        with pytest.raises(ValueError, match="zscore must know every 'session', got none for 6 presentations"):
            recording(presentations=rows).zscore()

    def test_bytes_in_the_other_order_are_turned(self) -> None:
        values = np.random.default_rng(0).standard_normal((N, V))
        made = recording(responses=values.astype(">f8"))
        assert made.responses.dtype.isnative
        assert made.responses[:, 1:3].dtype.isnative
        np.testing.assert_array_equal(np.asarray(made.responses), values)

    def test_hemispheres_lie_side_by_side(self) -> None:
        left, right = np.arange(6.0).reshape(2, 3), 10 + np.arange(4.0).reshape(2, 2)
        both = Beside([Whole(left), Whole(right)])
        whole = np.concatenate([left, right], 1)
        for start in range(6):
            for stop in range(start, 6):
                np.testing.assert_array_equal(both[:, start:stop], whole[:, start:stop])

    def test_near_targets_are_read_in_one_go_and_distant_ones_are_not_read(self) -> None:
        stored = Watched(np.random.default_rng(0).standard_normal((3, 1000)))
        chosen = np.array([900, 3, 5, 910, 4])
        block = ChosenTargets(Whole(stored), chosen)[:, :]
        np.testing.assert_array_equal(block, stored.values[:, chosen])
        assert stored.reads == [(3, 6), (900, 911)]

    def test_making_a_recording_reads_nothing(self) -> None:
        stored = Watched(np.random.default_rng(0).standard_normal((N, V)))
        made = recording(responses=stored)
        made.zscore().roi("V1", "PPA").select_presentations(np.arange(N) < 9, "first").average_repeats()
        assert stored.reads == []

    def test_a_column_is_read_by_its_number(self) -> None:
        stored = Watched(np.arange(12.0).reshape(3, 4))
        np.testing.assert_array_equal(Whole(stored)[:, 2], [2, 6, 10])
        assert Whole(stored)[1, -1] == 7
        assert stored.reads == [(2, 3), (3, 4)]
        with pytest.raises(IndexError):
            Whole(stored)[:, 4]
        with pytest.raises(IndexError, match="must be a number or a slice, got list"):
            Whole(stored)[:, [0, 1]]
        with pytest.raises(IndexError, match="must be consecutive, got a step of 2"):
            Whole(stored)[:, ::2]

    def test_integers_are_scaled(self) -> None:
        values = np.array([[300, -150], [0, 32767]], np.int16)
        np.testing.assert_allclose(Scaled(Whole(values), 1 / 300)[:, :], [[1, -0.5], [0, 109.2233]], rtol=1e-6)

    def test_a_target_that_does_not_vary_in_a_session_is_nan_there(self) -> None:
        values = np.random.default_rng(0).standard_normal((N, V))
        values[:6, 2] = 7.0
        missing = np.isnan(np.asarray(recording(responses=values).zscore().responses))
        assert missing[:6, 2].all()
        assert missing.sum() == 6

    @pytest.mark.parametrize("kind", ["map", "hdf5"])
    def test_files_are_read_by_the_engine(self, kind: str, tmp_path: Any) -> None:
        values = np.random.default_rng(0).standard_normal((60, 7)).astype(np.float32)
        X = np.random.default_rng(1).standard_normal((60, 4))
        np.save(tmp_path / "y.npy", values)
        with h5py.File(tmp_path / "y.h5", "w") as file:
            stored: Any = file.create_dataset("y", data=values)
            if kind == "map":
                stored = np.load(tmp_path / "y.npy", mmap_mode="r")
            rows, labels = pd.DataFrame({"image": range(60)}), pd.DataFrame({"label": range(7)})
            chosen = Recording(stored, rows, labels, "s", "z").select_targets([5, 1], "two")
            found = RidgeCV(cv=4).fit(X, chosen.responses).coef_
        np.testing.assert_array_equal(found, RidgeCV(cv=4).fit(X, values[:, [5, 1]]).coef_)


class TestHistory:
    def test_what_was_done_and_left_out_is_written_down(self) -> None:
        made = recording().zscore().roi("V1").average_repeats()
        assert made.history == (
            "z-scored within 2 sessions",
            "2 targets: in V1",
            "averaged 2 presentations of each of 6 images",
        )
        assert [(each.what, each.count, each.reason) for each in made.excluded] == [("targets", 3, "not in V1")]
        assert made.units == "standard deviations within a session, of percent signal change"
        assert made.labels == ("a", "b")
        np.testing.assert_array_equal(made.ncsnr, [0.1, 0.2])

    def test_an_average_keeps_what_is_the_same_for_all_its_presentations(self) -> None:
        rows = CATALOGUE.assign(concept=list("abcabc") * 2, run=1)
        kept = recording(presentations=rows).average_repeats().presentations
        assert kept.to_dict("list") == {
            "image": list(range(6)),
            "concept": list("abcabc"),
            "run": [1] * 6,
            "repeats": [2] * 6,
        }

    def test_windows_include_their_ends(self) -> None:
        assert recording().window(0.1, 0.3).labels == ("b", "c", "d")

    REFUSED: tuple[tuple[Callable[[Recording], Any], str], ...] = (
        (lambda r: r.roi("V9"), r"roi must be one of \['FFA', 'PPA', 'V1'\], got 'V9'"),
        (lambda r: replace(r, targets=r.targets[["label"]]).roi("V1"), r"'roi' must be known, got only \['label'\]"),
        (lambda r: r.select_targets([], "none"), "no targets are left"),
        (lambda r: r.select_targets(np.ones(3, bool), "x"), r"a mask of targets must be bool \[5\], got \[3\]"),
        (lambda r: r.select_targets([5], "x"), r"targets must lie in 0\.\.4, got 5\.\.5"),
        (lambda r: r.select_presentations([0.5], "x"), "presentations must be a mask or row numbers, got float64"),
        (lambda r: replace(r, presentations=CATALOGUE[["image"]]).zscore(), "'session' must be known, got only"),
        (lambda r: r.average_repeats().average_repeats(), "average_repeats was done before"),
        (
            lambda r: replace(r, presentations=CATALOGUE.assign(repeats=2)).zscore(),
            "zscore must come before repeats are averaged",
        ),
    )

    def test_what_the_data_lack_is_a_refusal(self) -> None:
        with pytest.raises(Refused, match="Recording: no targets are left"):
            recording().window(2, 3)
        with pytest.raises(Refused, match="Recording: 'roi' must be known, got only"):
            replace(recording(), targets=recording().targets[["label"]]).roi("V1")

    @pytest.mark.parametrize(("do", "message"), REFUSED)
    def test_what_cannot_be_done_is_refused(self, do: Callable[[Recording], Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            do(recording())


class TestCheck:
    def test_nothing_odd(self) -> None:
        assert recording().check() == ()

    def test_oddities_are_named(self) -> None:
        values = np.random.default_rng(0).standard_normal((N, V)) * 300
        values[2, 1], values[:, 3] = np.nan, 5.0
        assert recording(responses=values).check() == (
            "1 of the first 5 targets have NaN",
            "1 of the first 5 targets are constant",
            f"responses are {np.nanmedian(np.abs(values)):.0f} percent signal change in the median: were they stored "
            "as integers, x 300?",
        )

    def test_infinity_is_refused(self) -> None:
        values = np.zeros((N, V))
        values[3, 1] = np.inf
        with pytest.raises(ValueError, match="must be finite, got inf at presentation 3, target 'b'"):
            recording(responses=values).check()


def noisy(images: int, repeats: int | NDArray[Any], ncsnr: list[float]) -> tuple[Recording, NDArray[Any]]:
    """Responses with a known signal [images, v] of standard deviation ncsnr, and noise of 1."""
    random = np.random.default_rng(1)
    signal = random.standard_normal((images, len(ncsnr))) * ncsnr
    ids = np.repeat(np.arange(images), repeats)
    values = signal[ids] + random.standard_normal((len(ids), len(ncsnr)))
    targets = pd.DataFrame({"label": range(len(ncsnr))})
    return Recording(values, pd.DataFrame({"image": ids}), targets, "s", "z", ncsnr=np.array(ncsnr)), signal


class TestCeilings:
    @pytest.mark.parametrize("repeats", [1, 3, np.arange(6000) % 3 + 1], ids=["1", "3", "unequal"])
    def test_the_ceiling_is_what_the_signal_itself_reaches(self, repeats: Any) -> None:
        made, signal = noisy(6000, repeats, [0.3, 1.0, 2.0])
        made = made.average_repeats()
        reached = [np.corrcoef(signal[:, i], np.asarray(made.responses)[:, i])[0, 1] for i in range(3)]
        ceiling = noise_ceiling(made)
        np.testing.assert_allclose(ceiling.r, reached, atol=0.03)
        np.testing.assert_array_equal(ceiling.r2, ceiling.r**2)
        assert ceiling.repeats == ("1 to 3" if np.ndim(repeats) else str(repeats))

    @pytest.mark.parametrize("repeats", [3, np.arange(40_000) % 3 + 1], ids=["3", "unequal"])
    def test_the_ncsnr_is_found_from_repeats(self, repeats: Any) -> None:
        made, _ = noisy(40_000, repeats, [0.3, 1.0, 2.0])
        np.testing.assert_allclose(estimate_ncsnr(made), [0.3, 1.0, 2.0], rtol=0.04)  # about 3 standard errors

    def test_two_ways_agree_with_each_other_and_with_the_truth(self) -> None:
        made, signal = noisy(4000, 4, [0.3, 1.0, 2.0])
        averaged = replace(made, ncsnr=estimate_ncsnr(made)).average_repeats()
        halves = split_half(made, splits=10)
        np.testing.assert_allclose(halves.r, noise_ceiling(averaged).r, atol=0.02)
        reached = [np.corrcoef(signal[:, i], np.asarray(averaged.responses)[:, i])[0, 1] for i in range(3)]
        np.testing.assert_allclose(halves.r, reached, atol=0.02)

    @pytest.mark.parametrize("repeats", [3, np.arange(100) % 3 + 1], ids=["3", "unequal"])
    def test_means_keep_the_ceiling_of_their_repeats(self, repeats: Any) -> None:
        known, _ = noisy(100, repeats, [0.3, 1.0, 2.0])
        made = replace(known, ncsnr=None)
        averaged = made.average_repeats()
        np.testing.assert_array_equal(averaged.ncsnr, estimate_ncsnr(made))
        assert averaged.history[0] == "ncsnr estimated from repeats"
        assert made.average_repeats(estimate=False).ncsnr is None
        np.testing.assert_array_equal(known.average_repeats().ncsnr, known.ncsnr)  # what is known stays
        once = made.select_presentations(np.unique(made.image_ids, return_index=True)[1], "first")
        assert once.average_repeats().ncsnr is None
        np.testing.assert_array_equal(averaged.responses, made.average_repeats(estimate=False).responses)

    @pytest.mark.parametrize(
        "repeats", [2, 3, 5, np.arange(1000) % 2 + 2, np.arange(1000) % 6 + 2], ids=["2", "3", "5", "2 and 3", "2 to 7"]
    )
    def test_halves_of_odd_and_unequal_repeats_are_of_the_mean_over_all(self, repeats: Any) -> None:
        """Means over 60 targets, with standard errors of .005 and less."""
        made, signal = noisy(1000, repeats, np.repeat([0.5, 1.0, 2.0], 60).tolist())
        means = np.asarray(made.average_repeats().responses)
        reached = [np.corrcoef(one, mean)[0, 1] for one, mean in zip(signal.T, means.T, strict=True)]
        difference = (split_half(made, splits=10).r - reached).reshape(3, 60)
        np.testing.assert_allclose(difference.mean(1), 0, atol=0.015)

    @given(st.lists(st.integers(1, 7), min_size=6, max_size=30).filter(lambda counts: max(counts) > 1))
    def test_variances_are_unbiased_however_often_images_are_shown(self, counts: list[int]) -> None:
        """Over 4,000 targets, of few images: without the factor up to a sixth of the signal is missing."""
        made, _ = noisy(len(counts), np.array(counts), [1.5] * 4000)
        ids, n = made.image_ids, sum(counts)
        values = np.asarray(made.responses)
        means = np.stack([values[ids == image].mean(0) for image in range(len(counts))])
        within = ((values - means[ids]) ** 2).sum(0) / max(n - len(counts), 1)
        signal = (values.var(0, ddof=1) - within) * (n - 1) / (n - sum(count**2 for count in counts) / n)
        standard_error = signal.std() / np.sqrt(4000)
        assert abs(signal.mean() - 1.5**2) < 4.5 * standard_error
        known = (signal > 0) & (within > 0)
        np.testing.assert_allclose(estimate_ncsnr(made)[known], np.sqrt(signal[known] / within[known]), rtol=1e-6)

    @given(st.lists(st.integers(1, 6), min_size=4, max_size=20), st.integers(0, 99))
    def test_halves_have_as_many_presentations_each(self, counts: list[int], seed: int) -> None:
        """Without noise they are equal, whatever the repeats, and r is 1; images shown once take no part."""
        if sum(count > 1 for count in counts) < 3:
            return
        made, signal = noisy(len(counts), np.array(counts), [1.0, 3.0])
        found = split_half(replace(made, responses=signal[made.image_ids]), splits=3, seed=seed)
        np.testing.assert_allclose(found.r, 1)
        assert found.images == sum(count > 1 for count in counts)

    def test_pure_noise_has_no_ceiling_about_half_the_time_and_is_counted(self) -> None:
        made, _ = noisy(40, 3, [0.0] * 400)
        for ceiling in (split_half(made, splits=20), noise_ceiling(replace(made, ncsnr=estimate_ncsnr(made)))):
            assert 0.3 < ceiling.unknown / 400 < 0.7
            assert np.isnan(ceiling.r).sum() == ceiling.unknown
            assert ((ceiling.r >= 0) | np.isnan(ceiling.r)).all()

    def test_it_says_of_how_many_images_it_is(self) -> None:
        made, _ = noisy(12, np.arange(12) % 3 + 1, [1.0])
        assert noise_ceiling(made).images == noise_ceiling(made.average_repeats()).images == 12
        assert split_half(made, splits=2).images == 8  # four are shown once

    @pytest.mark.parametrize("repeats", [3, np.arange(37) % 3 + 1], ids=["3", "unequal"])
    def test_what_does_not_vary_has_no_ceiling(self, repeats: Any) -> None:
        """In float64, of which means are rounded: what is left of a constant then looks like a signal."""
        made, _ = noisy(37, repeats, [1.0] * 50)
        constants = np.random.default_rng(0).standard_normal(50)
        flat = replace(made, responses=np.tile(constants, (len(made.image_ids), 1)))
        assert np.isnan(estimate_ncsnr(flat)).all()
        assert np.isnan(split_half(flat, splits=3).r).all()

    def test_without_noise_the_ceiling_is_one_and_without_signal_zero(self) -> None:
        made, signal = noisy(37, 2, [1.0, 1.0])
        clean = replace(made, responses=np.round(signal)[made.image_ids])
        np.testing.assert_allclose(noise_ceiling(replace(clean, ncsnr=estimate_ncsnr(clean))).r, 1)
        np.testing.assert_array_equal(noise_ceiling(replace(made, ncsnr=np.array([np.inf, 0.0]))).r, [1, 0])

    def test_a_split_of_two_presentations_is_their_correlation(self) -> None:
        made, _ = noisy(50, 2, [1.0, 0.5])
        first, second = np.asarray(made.responses)[::2], np.asarray(made.responses)[1::2]
        # which of the two is first does not matter to a few images, so it hardly does to 50
        expected = [np.corrcoef(first[:, i], second[:, i])[0, 1] for i in range(2)]
        np.testing.assert_allclose(split_half(made).r, [np.sqrt(2 * h / (1 + h)) for h in expected], atol=0.03)

    def test_what_carries_no_ceiling_is_refused(self) -> None:
        once, _ = noisy(50, 1, [1.0])
        with pytest.raises(Refused, match="images must be shown more than once, got 50 images shown once each"):
            estimate_ncsnr(once)
        averaged = noisy(50, 2, [1.0])[0].average_repeats()
        with pytest.raises(Refused, match="split_half: single presentations are needed, got means"):
            split_half(averaged)
        with pytest.raises(Refused, match="noise_ceiling: the recording must have ncsnr, got none"):
            noise_ceiling(replace(once, ncsnr=None))
        with pytest.raises(ValueError, match="splits must be at least 1, got 0"):
            split_half(noisy(50, 2, [1.0])[0], splits=0)
        with pytest.raises(Refused, match="at least 3 images must be shown twice, got 1"):
            split_half(noisy(5, np.array([2, 1, 1, 1, 1]), [1.0])[0])


class TestKay2017:
    def test_shapes_and_ceiling(self) -> None:
        kay = load_kay2017()
        assert kay.responses.shape == (115, 2)
        assert kay.labels == ("VWFA", "FFA")
        assert kay.images.shape == (115, 378, 378)
        assert kay.images.dtype == np.uint8
        np.testing.assert_allclose(noise_ceiling(kay).r, [0.602, 0.966], atol=1e-3)

    def test_the_first_image_is_the_blank_and_faces_drive_the_ffa(self) -> None:
        kay = load_kay2017()
        assert np.ptp(kay.images[0]) == 0
        assert np.ptp(kay.images[4]) > 100  # a face at full contrast
        responses = np.asarray(kay.responses)
        assert responses[4, 1] > 2.5 > 1 > responses[0, 1]

    def test_bootstraps_scatter_as_the_ncsnr_says(self) -> None:
        kay = load_kay2017()
        scatter = load_bootstraps().var(axis=0).mean(axis=0)
        signal = np.asarray(kay.responses).var(axis=0, ddof=1) - scatter
        np.testing.assert_allclose(np.sqrt(signal / scatter), kay.ncsnr, rtol=0.25)

    def test_it_is_small_and_says_whose_it_is(self) -> None:
        folder = files("gradkern.recordings").joinpath("data")
        assert len(folder.joinpath("kay2017.npz").read_bytes()) < 4_000_000
        licence = folder.joinpath("kay2017.LICENSE.txt").read_text()
        assert "eLife 6:e22341" in licence
        assert "Creative Commons Attribution 3.0" in licence
        assert "CC BY 3.0" in load_kay2017().provenance["licence"]

    def test_other_ids_are_refused(self) -> None:
        kay = load_kay2017()
        with pytest.raises(ValueError, match=r"image_ids must lie in 0\.\.114 for 115 images, got 1\.\.115"):
            replace(kay, presentations=kay.presentations + 1)


def test_an_array_of_responses_is_the_callers() -> None:
    made = recording()
    before = np.asarray(made.responses).copy()
    mine = np.array(made.responses)
    mine += 1
    np.testing.assert_array_equal(made.responses, before)


def test_responses_are_an_interface() -> None:
    with pytest.raises(NotImplementedError):
        Responses().columns(slice(0, 1))
