"""EEG in BIDS: the right samples under the right image in every format, and what files say differently is quoted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradkern.recordings import Epoching, Recording, load, load_bids_eeg
from tests.fake_datasets.bids_eeg import CHANNELS, PLACES, RATE, FakeEEG

PLAIN = Epoching(None, None, -0.1, 0.4, None, None)
EEG = CHANNELS[:4]


def read(fake: FakeEEG, **options: Any) -> Recording:
    return load_bids_eeg(fake.root, "01", "view", "stim_file", **({"settings": PLAIN} | options))


@pytest.mark.parametrize("ending", [".vhdr", ".edf", ".bdf", ".set"])
def test_samples_are_those_around_every_onset(tmp_path: Path, ending: str) -> None:
    fake = FakeEEG(tmp_path, ending).write()
    recording = read(fake)
    cut = fake.epochs(-0.1, 0.4)[:, :4]
    values = np.asarray(recording.responses).reshape(cut.shape)
    np.testing.assert_allclose(values, cut, atol=1e-12 if ending != ".set" else 1e-11)
    names = recording.image_names or ()
    assert [names[i] for i in recording.image_ids] == fake.shown
    assert recording.presentations["run"].unique().tolist() == ["2", "10"]
    assert recording.units == "V"
    assert list(dict.fromkeys(recording.targets["sensor"])) == list(EEG)
    places = recording.targets.drop_duplicates("sensor").set_index("sensor")[["x", "y", "z"]]
    np.testing.assert_allclose(places.to_numpy(), [PLACES[name] for name in EEG])


def test_events_without_an_image_are_counted(tmp_path: Path) -> None:
    left_out = read(FakeEEG(tmp_path).write()).excluded
    assert [(entry.count, entry.what) for entry in left_out] == [(2, "events")]


def test_what_agrees_is_recorded(tmp_path: Path) -> None:
    agreed = read(FakeEEG(tmp_path).write()).provenance["agreed"]
    assert agreed["SamplingFrequency"]["value"] == "200 Hz"
    assert agreed["SamplingFrequency"]["sidecar"] == 2


def test_the_default_steps_are_said(tmp_path: Path) -> None:
    recording = read(FakeEEG(tmp_path).write(), settings=Epoching(rate=None, stop=0.4))
    assert recording.units == "standard deviations of the baseline"
    assert any("band-pass 0.1 to 40 Hz" in line for line in recording.history)


def test_by_name_and_label(tmp_path: Path) -> None:
    fake = FakeEEG(tmp_path, session="early").write()
    recording = load("bids-eeg", tmp_path, subject="01", task="view", image="stim_file", settings=PLAIN)
    assert recording.presentations["session"].unique().tolist() == ["early"]
    assert recording.subject == "sub-01"
    np.testing.assert_array_equal(np.asarray(recording.responses), np.asarray(read(fake).responses))


class TestBadChannels:
    def test_are_left_out_of_all_runs_and_counted(self, tmp_path: Path) -> None:
        fake = FakeEEG(tmp_path).write()
        fake.status = {"Cz": "bad"}
        fake.write_channels(1)
        recording = read(fake)
        assert list(dict.fromkeys(recording.targets["sensor"])) == ["Fz", "Oz", "O1"]
        assert any(entry.what == "channels" and "Cz" in entry.reason for entry in recording.excluded)
        kept = read(fake, keep_bad=True)
        assert list(dict.fromkeys(kept.targets["sensor"])) == list(EEG)

    def test_none_left_is_an_error(self, tmp_path: Path) -> None:
        fake = FakeEEG(tmp_path, status=dict.fromkeys(EEG, "bad")).write()
        with pytest.raises(ValueError, match="load_bids_eeg: channels must be good"):
            read(fake)

    def test_other_words_are_refused(self, tmp_path: Path) -> None:
        fake = FakeEEG(tmp_path, status={"Cz": "noisy"}).write()
        with pytest.raises(ValueError, match="good or bad, got 'noisy'"):
            read(fake)


class TestDisagreement:
    @pytest.mark.parametrize(
        ("facts", "message"),
        [
            ({"SamplingFrequency": 250}, r"200 in the header of .*250 in the sidecar"),
            ({"RecordingDuration": 40}, r"30 in the header of .*40 in the sidecar"),
            ({"SamplingFrequency": "fast"}, "a number as SamplingFrequency"),
        ],
    )
    def test_of_sidecar_and_header(self, tmp_path: Path, facts: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            read(FakeEEG(tmp_path, sidecar=facts).write())

    def test_what_is_not_applicable_is_no_source(self, tmp_path: Path) -> None:
        read(FakeEEG(tmp_path, sidecar={"RecordingDuration": "n/a"}).write())

    @pytest.mark.parametrize("names", [("Fz", "Oz", "Pz", "O1", "EOG"), ("Fz", "Cz", "Cz", "O1", "EOG")])
    def test_of_names_of_channels(self, tmp_path: Path, names: tuple[str, ...]) -> None:
        fake = FakeEEG(tmp_path).write()
        fake.write_channels(1, names)
        with pytest.raises(
            ValueError, match=r"channels must be the same .* header of .*run-10_eeg.* differ in .*[CO]z"
        ):
            read(fake)

    def test_channels_in_another_order_are_found_by_their_names(self, tmp_path: Path) -> None:
        fake = FakeEEG(tmp_path, status={"Oz": "bad"}).write()
        right = np.asarray(read(fake).responses)
        table = fake.home / f"{fake.stem(1)}_channels.tsv"
        head, *rows = table.read_text().splitlines()
        table.write_text("\n".join([head, *rows[::-1], ""]))
        np.testing.assert_array_equal(np.asarray(read(fake).responses), right)

    def test_of_units(self, tmp_path: Path) -> None:
        fake = FakeEEG(tmp_path).write()
        fake.write_channels(0, units="mV")
        with pytest.raises(ValueError, match=r"1e-06 V in the header of .* 0\.001 V in the table"):
            read(fake)

    @pytest.mark.parametrize(("shift", "agrees"), [(0, True), (1, True), (-30, False), (400, False)])
    def test_of_samples_and_onsets(self, tmp_path: Path, shift: int, agrees: bool) -> None:
        fake = FakeEEG(tmp_path).write()
        fake.write_events(1, shift)
        if agrees:
            np.testing.assert_allclose(np.asarray(read(fake).responses)[:, 0], fake.epochs(-0.1, 0.4)[:, 0, 0])
            return
        with pytest.raises(
            ValueError, match=r"sample must be the same everywhere, got .* in the onset in .* 'sample' in"
        ):
            read(fake)


class TestFiles:
    def test_two_formats_of_one_run(self, tmp_path: Path) -> None:
        fake = FakeEEG(tmp_path).write()
        fake.path(0, ".edf").write_bytes(b"0")
        with pytest.raises(ValueError, match=r"one file, got .*run-2_eeg\.edf and .*run-2_eeg\.vhdr"):
            read(fake)

    def test_data_under_another_name(self, tmp_path: Path) -> None:
        fake = FakeEEG(tmp_path).write()
        fake.path(0, ".eeg").rename(fake.home / "before_bids.eeg")
        with pytest.raises(FileNotFoundError, match="names a file that is missing"):
            read(fake)

    @pytest.mark.parametrize("ending", [".vhdr", ".edf", ".bdf", ".set"])
    def test_cut_short(self, tmp_path: Path, ending: str) -> None:
        fake = FakeEEG(tmp_path, ending).write()
        path = fake.path(1, ".eeg") if ending == ".vhdr" else fake.path(1)
        path.write_bytes(path.read_bytes()[:-9000])
        with pytest.raises(ValueError, match="run-10"):
            read(fake)

    @pytest.mark.parametrize(("ending", "lacking"), [(".vhdr", 3), (".edf", 2), (".bdf", 3), (".edf", -2)])
    def test_a_few_bytes_less_or_more(self, tmp_path: Path, ending: str, lacking: int) -> None:
        fake = FakeEEG(tmp_path, ending).write()
        path = fake.path(1, ".eeg") if ending == ".vhdr" else fake.path(1)
        content = path.read_bytes()
        path.write_bytes(content[:3000] + content[3000 + lacking :])
        with pytest.raises(ValueError, match=r"run-10.* must have .* bytes"):
            read(fake)

    def test_no_events(self, tmp_path: Path) -> None:
        fake = FakeEEG(tmp_path).write()
        (fake.home / f"{fake.stem(0)}_events.tsv").unlink()
        with pytest.raises(FileNotFoundError, match=r"run-2_events\.tsv is missing"):
            read(fake)

    def test_events_above_the_runs(self, tmp_path: Path) -> None:
        fake = FakeEEG(tmp_path).write()
        tables = [fake.home / f"{fake.stem(run)}_events.tsv" for run in range(2)]
        (tmp_path / "task-view_events.tsv").write_bytes(tables[0].read_bytes())
        for table in tables:
            table.unlink()
        recording = read(fake)
        names = recording.image_names or ()
        assert [names[i] for i in recording.image_ids] == 2 * fake.shown[:6]

    def test_no_such_task(self, tmp_path: Path) -> None:
        FakeEEG(tmp_path).write()
        with pytest.raises(FileNotFoundError, match="has the tasks view"):
            load_bids_eeg(tmp_path, "01", "rest", "stim_file")

    def test_onsets_beyond_the_run(self, tmp_path: Path) -> None:
        fake = FakeEEG(tmp_path).write()
        fake.onsets[1][-1] = 31
        fake.write_events(1)
        with pytest.raises(ValueError, match=r"run-10.*within 0"):
            read(fake)


def test_positions_need_units(tmp_path: Path) -> None:
    fake = FakeEEG(tmp_path).write()
    system = next(fake.home.glob("*coordsystem.json"))
    system.write_text(json.dumps({"EEGCoordinateUnits": "n/a"}))
    assert "x" not in read(fake).targets
    system.write_text(json.dumps({"EEGCoordinateUnits": "mm"}))
    assert abs(read(fake).targets["z"].max() - 0.09) < 1e-9
    assert RATE == 200
