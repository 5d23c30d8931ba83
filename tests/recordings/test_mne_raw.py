"""Raw MEG to epochs: THINGS-MEG's layout in small, read by mne, and judged by the authors' steps in mne's own words."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from gradkern import Recording
from gradkern.recordings import (
    RAUGEL2025,
    Epoching,
    epoch_raw,
    epoch_things_meg,
    from_epochs,
    load_epochs,
    load_things_meg,
    save_epochs,
)
from gradkern.recordings._responses import FileRows
from tests.fake_datasets.things_meg_raw import DELAY, GOOD, RATE, SECONDS, FakeThingsMEGRaw, write_ds

TIMES = np.arange(-20, 261) / 200
FILE = "preprocessed_P1-epo.fif"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> FakeThingsMEGRaw:
    return FakeThingsMEGRaw(tmp_path_factory.mktemp("things"))


@pytest.fixture(scope="module")
def epoched(made: FakeThingsMEGRaw) -> Path:
    return epoch_things_meg(made.root, 1, made.root / "out").parent


@pytest.fixture
def things(made: FakeThingsMEGRaw, tmp_path: Path) -> FakeThingsMEGRaw:
    """To be broken."""
    return FakeThingsMEGRaw(tmp_path / "things", runs=made.runs[1:])


def as_published(things: FakeThingsMEGRaw, shift: int = 0, fill: float | None = None) -> Any:
    """What the authors' script does, in mne's functions; [epochs, channels, times]."""
    parts = []
    for place in things.runs:
        raw = mne.io.read_raw_ctf(things.ds(*place), preload=True, verbose="error")
        if fill is not None:
            first = int(np.argmin(np.abs(raw.times - fill)))
            for row in raw._data:
                row[first : first + 240] = np.median(row)
        raw.drop_channels("MRO11-1609").filter(0.1, 40, verbose="error")
        at = things.samples[place] - shift
        events = np.stack([at, 0 * at, 0 * at + 1], 1)
        cut = mne.Epochs(raw, events, tmin=-0.1, tmax=1.3, picks="mag", baseline=None, preload=True, verbose="error")
        mne.baseline.rescale(cut._data, cut.times, (None, 0), mode="zscore", copy=False, verbose="error")
        parts.append(cut.decimate(6, verbose="error").get_data(copy=False))
    return np.concatenate(parts)


def cube(found: Recording) -> NDArray[Any]:
    sensors = found.targets["sensor"].nunique()
    return np.asarray(found.responses).reshape(len(found.presentations), sensors, -1)


class TestAsPublished:
    def test_values_are_those_of_the_authors_steps(self, made: FakeThingsMEGRaw, epoched: Path) -> None:
        found = load_things_meg(epoched, 1)
        kept = (made.trials["trial_type"] != "catch").to_numpy()
        truth = as_published(made)[kept]
        assert truth.shape[1:] == (5, 281)
        np.testing.assert_allclose(cube(found), truth, rtol=1e-5, atol=1e-5)

    def test_samples_channels_and_rows_are_exact(self, made: FakeThingsMEGRaw, epoched: Path) -> None:
        found = load_epochs(epoched / FILE, "image_path", subject="1", units="z")
        np.testing.assert_allclose(found.targets["time"][:281], TIMES, atol=1e-12)
        assert list(found.targets["sensor"].unique()) == list(GOOD)
        rows = found.presentations
        assert rows["image_path"].tolist() == made.trials["image_path"].tolist()
        assert rows["sample"].tolist() == np.concatenate(list(made.samples.values())).tolist()
        np.testing.assert_allclose(rows["onset"], rows["sample"] / RATE)
        assert not rows["filled"].any()

    def test_epochs_stay_in_the_file_until_read(self, epoched: Path) -> None:
        found = load_epochs(epoched / FILE, "image_path", subject="1", units="z")
        stored: Any = found.responses
        while not isinstance(stored, FileRows):
            stored = stored.base
        assert stored.maps

    def test_what_was_done_is_told_by_the_file(self, epoched: Path) -> None:
        found = load_things_meg(epoched, 1)
        assert found.units == found.provenance["units"] == "standard deviations of the baseline"
        assert found.provenance["onset"] == "optical sensor (sample of the authors' events.tsv)"
        raw = found.provenance["raw_files"]
        assert len(raw) == 3 * 3  # of each run the header, the samples and the events
        assert all(name.startswith("sub-BIGMEG1/ses-") and len(value) == 64 for name, value in raw.items())
        assert found.history == (
            "without MRO11-1609",
            "onsets: optical sensor (sample of the authors' events.tsv)",
            f"band-pass 0.1 to 40 Hz (FIR, zero phase, mne {mne.__version__})",
            "cut from -0.1 to 1.3 s",
            "z-scored by epoch and channel over -0.1 to 0 s",
            "one of 6 samples at 1200 Hz kept, counted from the onset",
            "3 runs one after another, sensors placed as in the first",
            "75 epochs, -0.1 to 1.3 s at 200 Hz",
            "66 presentations: of experimental and test images",
        )

    def test_catch_trials_go_but_count_as_next(self, made: FakeThingsMEGRaw, epoched: Path) -> None:
        found = load_things_meg(epoched, 1)
        assert set(found.presentations["trial_type"]) == {"exp", "test"}
        assert [(each.what, each.count) for each in found.excluded] == [("presentations", 9)]
        wait = np.concatenate([[*np.diff(at) / RATE, np.nan] for at in made.samples.values()])
        kept = (made.trials["trial_type"] != "catch").to_numpy()
        np.testing.assert_allclose(found.presentations["until_next"], wait[kept])
        assert found.overlaps().tolist() == (wait[kept] <= 1.4 + 1e-9).tolist()
        assert 0 < found.overlaps().sum() < kept.sum()

    def test_some_sessions(self, made: FakeThingsMEGRaw, tmp_path: Path) -> None:
        path = epoch_things_meg(made.root, 1, tmp_path, sessions=[2])
        assert set(load_things_meg(path.parent, 1).presentations["session"]) == {2}


class TestOnsets:
    def test_a_trigger_is_early_by_the_delay_of_the_screen(
        self, made: FakeThingsMEGRaw, epoched: Path, tmp_path: Path
    ) -> None:
        epoch_things_meg(made.root, 1, tmp_path, onset="trigger")
        found = load_things_meg(tmp_path, 1)
        kept = (made.trials["trial_type"] != "catch").to_numpy()
        np.testing.assert_allclose(cube(found), as_published(made, DELAY)[kept], rtol=1e-5, atol=1e-5)
        peaks = [TIMES[cube(each)[:, 0].mean(0).argmax()] for each in (load_things_meg(epoched, 1), found)]
        np.testing.assert_allclose(peaks, [0.1, 0.1 + DELAY / RATE], atol=1e-9)
        assert found.provenance["onset"] == "hardware trigger (rises of UPPT001 to 64)"
        assert "onsets: hardware trigger (rises of UPPT001 to 64)" in found.history

    @pytest.mark.parametrize("onset", ["optical", "trigger"])
    def test_a_wrong_count_names_the_run(self, things: FakeThingsMEGRaw, tmp_path: Path, onset: str) -> None:
        one_more = pd.concat([things.trials, things.trials.iloc[-1:]])
        one_more.to_csv(things.attributes, index=False)
        with pytest.raises(ValueError, match=r"ses-02 run-01 must have 26 onsets, .* got 25 by the (opti|hardw)"):
            epoch_things_meg(things.root, 1, tmp_path / "out", onset=onset)
        assert list((tmp_path / "out").iterdir()) == []

    def test_other_images_are_refused(self, things: FakeThingsMEGRaw, tmp_path: Path) -> None:
        path = things.events(2, 1)
        table = pd.read_csv(path, sep="\t")
        for name, value, message in (("value", 7, "'things_image_nr'"), ("trial_type", "test", "'trial_type'")):
            broken = table.copy()
            broken.loc[0, name] = value
            broken.to_csv(path, sep="\t", index=False, na_rep="N/A")
            with pytest.raises(ValueError, match=rf"^epoch_things_meg: {name!r} in .* must be {message}.* in 1 of 22"):
                epoch_things_meg(things.root, 1, tmp_path / "out")

    def test_planned_onsets_are_no_onsets(self, things: FakeThingsMEGRaw, tmp_path: Path) -> None:
        path = things.events(1, 2)
        table = pd.read_csv(path, sep="\t")
        table.drop(columns="sample").to_csv(path, sep="\t", index=False)
        with pytest.raises(ValueError, match=r"must have the column 'sample', got .*planned onsets only"):
            epoch_things_meg(things.root, 1, tmp_path / "out")
        table.assign(sample=table["sample"] + 0.5).to_csv(path, sep="\t", index=False)
        with pytest.raises(ValueError, match=r"'sample' in .* must be whole numbers, got float64"):
            epoch_things_meg(things.root, 1, tmp_path / "out")


class TestBroken:
    UNREAD = r"ses-02_.*_run-01_meg.ds cannot be read"
    BROKEN: tuple[tuple[Callable[[FakeThingsMEGRaw], Any], type[Exception], str], ...] = (
        (lambda t: shutil.rmtree(t.ds(2, 1)), FileNotFoundError, r"ses-02_.*_run-01_meg.res4 is missing .*ds004212"),
        (lambda t: t.events(1, 2).unlink(), FileNotFoundError, "ses-01_task-main_run-02_events.tsv is missing"),
        (lambda t: t.attributes.unlink(), FileNotFoundError, "sample_attributes_P1.csv is missing"),
        (lambda t: t.trials.drop(columns="run_nr").to_csv(t.attributes), ValueError, "must have the column 'run_nr'"),
        (
            lambda t: t.trials.replace({"run_nr": {1: np.nan}}).to_csv(t.attributes),
            ValueError,
            r"'run_nr' in .* must be whole numbers, got float64",
        ),
        (lambda t: cut(t.ds(2, 1), "meg4", 1000), ValueError, UNREAD),
        (lambda t: cut(t.ds(2, 1), "meg4", 8), ValueError, UNREAD),
        (lambda t: cut(t.ds(2, 1), "res4", 3000), ValueError, UNREAD),
    )

    @pytest.mark.parametrize(("damage", "error", "message"), BROKEN)
    def test_nothing_is_written(
        self,
        things: FakeThingsMEGRaw,
        tmp_path: Path,
        damage: Callable[[FakeThingsMEGRaw], Any],
        error: type[Exception],
        message: str,
    ) -> None:
        out = tmp_path / "out"
        out.mkdir()
        (out / FILE).write_bytes(b"what was there before")
        damage(things)
        with pytest.raises(error, match=message):
            epoch_things_meg(things.root, 1, out, overwrite=True)
        assert [(path.name, path.read_bytes()) for path in out.iterdir()] == [(FILE, b"what was there before")]

    def test_epochs_are_replaced_only_on_request(self, things: FakeThingsMEGRaw, tmp_path: Path) -> None:
        (tmp_path / FILE).write_bytes(b"")
        (tmp_path / "preprocessed_P1-epo-1.fif").write_bytes(b"a part of what was there before")
        with pytest.raises(FileExistsError, match="is there already; overwrite=True"):
            epoch_things_meg(things.root, 1, tmp_path)
        epoch_things_meg(things.root, 1, tmp_path, overwrite=True)
        assert sorted(path.name for path in tmp_path.glob("*.fif")) == [FILE]
        assert len(load_things_meg(tmp_path, 1).presentations) == 44

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"subject": 5}, r"subject must be 1 to 4, got 5"),
            ({"onset": "photo"}, r"onset must be one of \('optical', 'trigger'\), got 'photo'"),
            ({"sessions": [1, 3]}, r"sessions must be some of \[1, 2\], got \[1, 3\]"),
            ({"sessions": []}, r"sessions must be some of \[1, 2\], got \[\]"),
        ],
    )
    def test_mistakes_are_named(
        self, made: FakeThingsMEGRaw, tmp_path: Path, changed: dict[str, Any], message: str
    ) -> None:
        arguments = {"subject": 1, "output": tmp_path / "out", **changed}
        with pytest.raises(ValueError, match=message):
            epoch_things_meg(made.root, **arguments)
        assert not (tmp_path / "out").exists()


def cut(folder: Path, ending: str, size: int) -> None:
    path = folder / f"{folder.stem}.{ending}"
    path.write_bytes(path.read_bytes()[:size])


class TestDropouts:
    def test_a_known_one_is_filled_as_the_authors_did(self, tmp_path: Path) -> None:
        """Their code says run 4 and counts from 0."""
        things = FakeThingsMEGRaw(tmp_path / "things", runs=[(11, 4), (11, 5)])
        path = epoch_things_meg(things.root, 1, tmp_path / "out")
        found = load_epochs(path, "image_path", subject="1", units="z")
        only = FakeThingsMEGRaw(tmp_path / "other", runs=[(11, 5)])
        np.testing.assert_allclose(cube(found)[-25:], as_published(only, fill=13.4), rtol=1e-5, atol=1e-5)
        rows = found.presentations
        reach = (rows["onset"] - 0.1 < 13.6) & (rows["onset"] + 1.3 >= 13.4) & (rows["run_nr"] == 5)
        assert rows["filled"].tolist() == reach.tolist()
        assert rows["filled"].any()
        assert "ses-11 run-05: 0.2 s without signal, from 13.4 s on, filled with medians" in found.history


def tones(*frequencies: float, rate: float = 1200.0, kind: str = "mag") -> Any:
    """A recording of 60 s, a channel a frequency; each an amplitude of 1."""
    time = np.arange(int(60 * rate)) / rate
    info = mne.create_info([f"{each:g} Hz" for each in frequencies], rate, kind)
    return mne.io.RawArray(np.sin(2 * np.pi * np.outer(frequencies, time)), info, first_samp=700, verbose="error")


def shown(*samples: int) -> pd.DataFrame:
    return pd.DataFrame({"sample": samples, "image": [f"{each}.jpg" for each in samples]})


MIDDLE = shown(24000, 30000, 36000)
PLAIN = Epoching(baseline=None)


def amplitudes(epochs: Any) -> NDArray[Any]:
    values = epochs.get_data(copy=False)
    found: NDArray[Any] = np.sqrt(2 * (values**2).mean((0, 2)))
    return found


class TestAnyRecording:
    def test_frequencies_in_the_band_stay_and_others_go(self) -> None:
        found = amplitudes(epoch_raw(tones(0.01, 10, 60), MIDDLE, PLAIN))
        np.testing.assert_array_less(np.abs(found - [0, 1, 0]), [0.05, 0.01, 0.01])

    def test_nothing_is_delayed(self) -> None:
        raw = tones(5, 10)
        found = epoch_raw(raw, MIDDLE, PLAIN)
        for row, sample in enumerate(MIDDLE["sample"]):
            truth = raw.get_data()[:, sample - 120 : sample + 1561 : 6]
            np.testing.assert_allclose(found.get_data(copy=False)[row], truth, atol=0.01)

    def test_baselines_have_mean_0_and_deviation_1_at_the_raw_rate(self) -> None:
        random = np.random.default_rng(0)
        raw = tones(3, 10)
        raw.apply_function(lambda row: row + 0.5 * random.standard_normal(len(row)))
        full = epoch_raw(raw, MIDDLE, Epoching(rate=None))
        assert (full.info["sfreq"], len(full.times)) == (1200, 1681)
        before = full.get_data(copy=False)[:, :, :121]
        np.testing.assert_allclose(before.mean(2), 0, atol=1e-10)
        np.testing.assert_allclose(before.std(2), 1, rtol=1e-10)
        thinned = epoch_raw(raw, MIDDLE)
        np.testing.assert_array_equal(thinned.get_data(copy=False), full.get_data(copy=False)[:, :, ::6])

    def test_onsets_are_among_the_samples_kept(self) -> None:
        found = epoch_raw(tones(10), MIDDLE, Epoching(start=-0.103, stop=0.5, baseline=None))
        np.testing.assert_allclose(found.times, np.arange(-20, 101) / 200, atol=1e-12)

    def test_frequencies_that_would_alias_are_refused_or_gone(self) -> None:
        with pytest.raises(ValueError, match=r"high must be at most a third of the rate, 66.7 Hz, .*got 80"):
            epoch_raw(tones(10), MIDDLE, Epoching(high=80))
        with pytest.raises(ValueError, match=r"at most a third of the rate, .*got 600"):
            epoch_raw(tones(10), MIDDLE, Epoching(high=None))
        # 17 Hz would be heard as 13 Hz
        found = epoch_raw(tones(17, 10, 1), MIDDLE, RAUGEL2025)
        np.testing.assert_allclose(amplitudes(found), [0, 1, 1], atol=0.02)
        assert (found.info["sfreq"], found.times[0], found.times[-1], len(found.times)) == (30, -0.5, 3.0, 106)
        assert "no more than 12 Hz against aliasing: nothing is left at half the rate" in history(found)

    def test_epochs_that_cannot_be_cut_are_counted(self) -> None:
        raw = tones(10)
        raw.set_annotations(mne.Annotations(20.9, 0.2, "bad_jump"))
        found = from_epochs(epoch_raw(raw, shown(60, 24000, 36000, 71900)), "image", subject="1", units="z")
        assert found.presentations["sample"].tolist() == [36000]
        assert [(each.count, each.reason) for each in found.excluded] == [
            (2, "epochs reach beyond the run"),
            (1, "annotated as bad_jump"),
        ]
        with pytest.raises(ValueError, match="no epoch is left of 1"):
            epoch_raw(raw, shown(24000))

    def test_other_sensors_and_the_caller_s_recording(self) -> None:
        raw = tones(10, 20, kind="eeg")
        before = raw.get_data()
        found = from_epochs(epoch_raw(raw, MIDDLE, PLAIN, channels="eeg"), "image", subject="1", units="V")
        assert found.provenance == {"onset": "samples of the table of events", "units": "V", "raw_files": {}}
        np.testing.assert_array_equal(raw.get_data(), before)

    def test_parts_of_a_split_file_are_one_recording(self, tmp_path: Path) -> None:
        raw = tones(*range(1, 31))
        parts = [epoch_raw(raw, shown(*range(12000 + number, 60000, 1700)), PLAIN) for number in range(4)]
        whole = np.concatenate([part.get_data(copy=False) for part in parts]).reshape(4 * 29, -1)
        path = save_epochs(iter(parts), tmp_path / "x-epo.fif", split_size="2MB")
        assert len(list(tmp_path.iterdir())) > 1
        found = load_epochs(path, "image", subject="1", units="T")
        np.testing.assert_allclose(np.asarray(found.responses), whole, rtol=1e-6, atol=1e-9)
        assert len(mne.read_epochs(path, verbose="error")) == 4 * 29
        save_epochs(parts[:1], path, overwrite=True)
        assert [each.name for each in tmp_path.iterdir()] == ["x-epo.fif"]

    REFUSED: tuple[tuple[Callable[[], Any], str], ...] = (
        (
            lambda: epoch_raw(tones(10), MIDDLE, Epoching(rate=70, high=20)),
            "must divide the raw rate of 1200 Hz, got 70",
        ),
        (lambda: epoch_raw(tones(10), MIDDLE.drop(columns="sample")), r"column 'sample', got \['image'\]"),
        (
            lambda: epoch_raw(tones(10), MIDDLE.iloc[::-1]),
            "increase within 0..71999, got 36000..24000, 2 not",
        ),
        (lambda: epoch_raw(tones(10), shown(72000)), r"must increase within 0\.\.71999, got 72000"),
        (
            lambda: epoch_raw(tones(10), MIDDLE.assign(sample=MIDDLE["sample"] / 2)),
            "must be whole numbers, got float64",
        ),
        (lambda: epoch_raw(tones(0), MIDDLE), "channels must vary, got '0 Hz' the same all along"),
        (lambda: Epoching(low=50), "0 < low < high must hold, got 50 and 40.0 Hz"),
        (lambda: Epoching(low=0), "0 < low < high must hold, got 0 and 40.0 Hz"),
        (lambda: Epoching(start=2), "start must be before stop, got 2 and 1.3 s"),
        (lambda: Epoching(rate=0), "rate must be above 0 Hz, got 0"),
        (lambda: Epoching(baseline=(-0.2, 0)), r"baseline must be two times within -0.1\.\.1.3 s, got \(-0.2, 0\)"),
    )

    @pytest.mark.parametrize(("call", "message"), REFUSED)
    def test_mistakes_are_named(self, call: Callable[[], Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            call()

    def test_parts_that_do_not_fit_are_refused(self, tmp_path: Path) -> None:
        one, path = epoch_raw(tones(10), MIDDLE, PLAIN), tmp_path / "x-epo.fif"
        foreign = mne.EpochsArray(np.zeros((1, 1, 3)), mne.create_info(1, 200.0), verbose="error")
        for parts, name, message in (
            ([one], "x.fif", "must end in -epo.fif"),
            ([], "x-epo.fif", "parts must be some, got none"),
            (
                [one, epoch_raw(tones(20), MIDDLE, PLAIN)],
                "x-epo.fif",
                "channels and times, got 1 and 281, then",
            ),
            ([one, epoch_raw(tones(10), MIDDLE, PLAIN, onset="b")], "x-epo.fif", "must have the same onsets and units"),
            ([foreign], "x-epo.fif", "must be epochs of epoch_raw"),
        ):
            with pytest.raises(ValueError, match=message):
                save_epochs(parts, path.with_name(name))
            assert list(tmp_path.iterdir()) == []


def history(epochs: Any) -> tuple[str, ...]:
    return from_epochs(epochs, "image", subject="1", units="z").history


def test_epochs_beyond_a_run_are_written_down(made: FakeThingsMEGRaw, tmp_path: Path) -> None:
    """The predecessor's 3 s reach further than a run does."""
    path = epoch_things_meg(made.root, 1, tmp_path, RAUGEL2025)
    found = load_things_meg(path.parent, 1)
    missing = sum((at > RATE * (SECONDS - 3) - 1).sum() for at in made.samples.values())
    assert missing > 0
    assert (found.excluded[0].count, found.excluded[0].reason) == (missing, "epochs reach beyond the run")
    assert found.units == "T"
    assert found.targets["time"].nunique() == 106


def test_runs_of_other_channels_do_not_go_together(things: FakeThingsMEGRaw, tmp_path: Path) -> None:
    path = next(things.ds(2, 1).glob("*.res4"))
    path.write_bytes(path.read_bytes().replace(b"MRT11-1609", b"MRT12-1609"))
    with pytest.raises(ValueError, match="parts must have the same channels and times"):
        epoch_things_meg(things.root, 1, tmp_path / "out")
    path.write_bytes(path.read_bytes().replace(b"MRO11-1609", b"MRO13-1609"))
    with pytest.raises(ValueError, match="must have the channel MRO11-1609"):
        epoch_things_meg(things.root, 1, tmp_path / "out")
    shutil.rmtree(things.ds(2, 1))
    write_ds(things.ds(2, 1), np.ones((11, 48000), dtype=np.int64))
    with pytest.raises(ValueError, match=r"ses-02 run-01: epoch_raw: channels must vary, got 'MLC11-1609'"):
        epoch_things_meg(things.root, 1, tmp_path / "out")
