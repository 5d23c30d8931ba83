"""Ids are ids: what is a number, what is a name, what is missing, and what is the same."""

import unicodedata
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradkern.errors import Refused
from gradkern.recordings import Recording, estimate_ncsnr, folder_images, from_epochs, load_recording, save_recording
from tests.fake_datasets.bids_runs import FakeRun, load, rows, series, write_events

SLOW_FOLDER = [HealthCheck.function_scoped_fixture]
WORDS = st.sampled_from(
    [
        "null",
        "NA",
        "None",
        "nan",
        "NaN",
        "N/A",
        "",
        "n/a",
        "0003",
        "3",
        "03",
        "cat",
        "a b",
        "é.png",
        "./x.png",
        "-",
        "1e5",
    ]
)


def shown(recording: Recording) -> list[str]:
    """The name, or number, of the image of every presentation."""
    names = recording.image_names
    return [str(i) if names is None else names[i] for i in recording.image_ids.tolist()]


@given(names=st.lists(WORDS, min_size=12, max_size=12))
@settings(max_examples=30, deadline=None, suppress_health_check=SLOW_FOLDER)
def test_every_name_is_kept_and_what_is_missing_is_counted(tmp_path: Path, names: list[str]) -> None:
    missing = [name for name in names if name in ("n/a", "")]
    if len(missing) > 10:
        return
    FakeRun(tmp_path, events=rows(names)).write()
    recording = load(tmp_path)
    kept = [name.removeprefix("./") for name in names if name not in missing]
    if all(name in ("3",) for name in kept):
        assert recording.image_names is None
    assert shown(recording) == kept
    counted = {entry.reason: entry.count for entry in recording.excluded}
    assert counted.get("no image in 'stim_file'", 0) == len(missing)


@given(
    runs=st.lists(
        st.lists(st.sampled_from(["0003", "0000", "0012", "3", "12", "7"]), min_size=8, max_size=8),
        min_size=2,
        max_size=3,
    ),
    word=st.booleans(),
)
@settings(max_examples=20, deadline=None, suppress_health_check=SLOW_FOLDER)
def test_one_picture_has_one_id_in_all_runs(tmp_path: Path, runs: list[list[str]], word: bool) -> None:
    runs[-1][0] = "catch" if word else runs[-1][0]
    for number, names in enumerate(runs, 1):
        FakeRun(tmp_path, f"run-{number}", events=rows(names)).write()
    for number in range(len(runs) + 1, 4):
        for path in (
            *(tmp_path / "sub-01").rglob(f"*run-{number}_*"),
            *(tmp_path / "derivatives").rglob(f"*run-{number}_*"),
        ):
            path.unlink()
    recording = load(tmp_path)
    every = [name for names in runs for name in names]
    assert shown(recording) == every
    numbers = not any(name == "catch" or (name[0] == "0" and len(name) > 1) for name in every)
    assert (recording.image_names is None) == numbers
    if numbers:
        assert recording.image_ids.tolist() == [int(name) for name in every]


@given(order=st.permutations(range(8)))
@settings(max_examples=15, deadline=None, suppress_health_check=SLOW_FOLDER)
def test_the_order_of_rows_changes_no_response(tmp_path: Path, order: list[int]) -> None:
    table = rows([f"im{i}" for i in range(8)])
    FakeRun(tmp_path, events=table).write()
    straight = load(tmp_path)
    FakeRun(tmp_path, events=[table[i] for i in order]).write()
    shuffled = load(tmp_path)
    assert shown(shuffled) == [f"im{i}" for i in order]
    np.testing.assert_array_equal(np.asarray(shuffled.responses), np.asarray(straight.responses)[order])


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_forms_of_unicode_and_a_dot_are_one(tmp_path: Path, form: str) -> None:
    from PIL import Image

    word = unicodedata.normalize(form, "Köln.png")
    FakeRun(tmp_path, "run-1", events=rows([word, "./a.png"] * 6)).write()
    FakeRun(tmp_path, "run-2", events=rows(["Köln.png", "a.png"] * 6)).write()
    recording = load(tmp_path)
    assert recording.image_names == ("Köln.png", "a.png")
    (folder := tmp_path / "images").mkdir()
    for name in (word, "a.png"):
        Image.new("RGB", (2, 2)).save(folder / name)
    source, names = folder_images(folder)
    assert sorted(names) == sorted(recording.image_names)
    assert source[names.index("Köln.png")].shape == (2, 2, 3)


class TestOneOnset:
    def test_the_same_image_twice_is_one_presentation(self, tmp_path: Path) -> None:
        noise = 1000 + 10 * np.random.default_rng(0).standard_normal((3, 2, 2, 60)).astype(np.float32)
        events = [row for row in rows([f"im{i}" for i in range(12)]) for _ in "ab"]
        FakeRun(tmp_path, events=events, values=noise).write()
        recording = load(tmp_path)
        assert len(recording.presentations) == 12
        assert [(entry.what, entry.count) for entry in recording.excluded] == [("events", 12)]
        with pytest.raises(Refused, match="12 images shown once each"):
            estimate_ncsnr(recording)

    def test_two_images_at_once_are_an_error(self, tmp_path: Path) -> None:
        FakeRun(tmp_path, events=[(4, 1, "left"), (4, 1, "right"), (12, 1, "left")]).write()
        with pytest.raises(ValueError, match="one image at a time, got 'left' and 'right' at 4 s"):
            load(tmp_path)

    def test_epochs_twice_are_an_error(self) -> None:
        table = pd.DataFrame({"image": ["a", "b", "a"], "run": 1, "sample": [10, 20, 10]})
        epochs = mne.EpochsArray(np.ones((3, 2, 4)), mne.create_info(2, 100.0), metadata=table, verbose="error")
        with pytest.raises(ValueError, match=r"one epoch at an onset, got 1 twice, first at {'run': 1, 'sample': 10}"):
            from_epochs(epochs, "image", subject="s", units="u")


def test_a_recording_says_that_presentations_share_an_onset() -> None:
    table = pd.DataFrame({"image": [0, 0, 1], "run": 1, "onset": [4.0, 4.0, 8.0]})
    recording = Recording(np.arange(6.0).reshape(3, 2), table, pd.DataFrame({"label": ["a", "b"]}), "s", "u")
    assert recording.check()[0].startswith("1 presentations share run and onset")


class TestRuns:
    def test_labels_and_order(self, tmp_path: Path) -> None:
        for number in (1, 2, 10):
            FakeRun(tmp_path, f"run-{number}", events=rows([f"im{number}"] * 8)).write()
        recording = load(tmp_path)
        assert recording.presentations["run"].tolist() == [1] * 8 + [2] * 8 + [10] * 8
        assert shown(recording) == [f"im{number}" for number in (1, 2, 10) for _ in range(8)]

    def test_runs_of_other_entities_are_not_one(self, tmp_path: Path) -> None:
        for entities in ("acq-a_run-1", "acq-b_run-1"):
            FakeRun(tmp_path, entities).write()
        assert load(tmp_path).presentations["run"].unique().tolist() == ["acq-a_run-1", "acq-b_run-1"]

    def test_events_above_the_runs_are_those_of_all(self, tmp_path: Path) -> None:
        for number in (1, 2):
            FakeRun(tmp_path, f"run-{number}", events=None, values=series(number)).write()
        write_events(tmp_path / "task-img_events.tsv", rows(["a", "b"] * 6))
        write_events(tmp_path / "sub-01/func/sub-01_task-img_run-2_events.tsv", rows(["c", "d"] * 6))
        assert shown(load(tmp_path)) == ["a", "b"] * 6 + ["c", "d"] * 6

    def test_runs_without_events_are_counted(self, tmp_path: Path) -> None:
        FakeRun(tmp_path, "run-1").write()
        FakeRun(tmp_path, "run-2", events=None).write()
        entry = load(tmp_path).excluded[0]
        assert (entry.what, entry.count) == ("runs", 1)
        assert "run-2" in entry.reason


def test_whole_numbers_of_epochs_are_ids() -> None:
    table = pd.DataFrame({"image": [10, 2, 10]})
    epochs = mne.EpochsArray(np.ones((3, 2, 4)), mne.create_info(2, 100.0), metadata=table, verbose="error")
    recording = from_epochs(epochs, "image", subject="s", units="u")
    assert (recording.image_ids.tolist(), recording.image_names) == ([10, 2, 10], None)


@given(names=st.lists(st.text(min_size=1), min_size=1, max_size=6, unique=True))
@settings(max_examples=50, deadline=None, suppress_health_check=SLOW_FOLDER)
def test_any_names_are_saved_or_refused(tmp_path: Path, names: list[str]) -> None:
    table = pd.DataFrame({"image": range(len(names))})
    make = lambda: Recording(  # noqa: E731
        np.ones((len(names), 1)), table, pd.DataFrame({"label": ["a"]}), "s", "u", image_names=tuple(names)
    )
    forms = {unicodedata.normalize("NFC", name) for name in names}
    if len(forms) < len(names):
        with pytest.raises(ValueError, match="image_names must be different"):
            make()
        return
    try:
        recording = make()
    except ValueError:  # paths such as "./a" and "a"
        return
    if any("\0" in name for name in names):
        with pytest.raises(ValueError, match="words must be Unicode without NUL"):
            save_recording(recording, tmp_path / "r.h5", overwrite=True)
        return
    save_recording(recording, tmp_path / "r.h5", overwrite=True)
    kept = load_recording(tmp_path / "r.h5").image_names
    assert kept == recording.image_names


def test_bytes_of_file_names_in_no_unicode_are_saved(tmp_path: Path) -> None:
    table = pd.DataFrame({"image": [0]})
    recording = Recording(
        np.ones((1, 1)), table, pd.DataFrame({"label": ["a"]}), "s", "u", image_names=("K\udcf6ln.png",)
    )
    save_recording(recording, tmp_path / "r.h5")
    assert load_recording(tmp_path / "r.h5").image_names == ("K\udcf6ln.png",)
