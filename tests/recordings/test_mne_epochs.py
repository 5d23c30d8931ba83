"""Epochs of mne and THINGS-MEG as recordings, on small files of the published layout, and splits."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from gradkern import Recording, RidgeCV
from gradkern.errors import Refused
from gradkern.recordings import folds, from_epochs, load_epochs, load_things_meg, published
from tests.fake_datasets.things_meg import (
    CHANNELS,
    CONCEPTS,
    FOLDER,
    SESSIONS,
    TESTED,
    TIMES,
    fake_epochs,
    fake_trials,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("things")
    (folder / FOLDER).mkdir(parents=True)
    made = fake_epochs(fake_trials(), cal=2.5)
    made.save(folder / FOLDER / "preprocessed_P1-epo.fif", split_size="2MB", verbose="error")
    return folder


@pytest.fixture
def things(written: Path, tmp_path: Path) -> Path:
    shutil.copytree(written, tmp_path / "things")
    return tmp_path / "things"


def whole() -> NDArray[Any]:
    return fake_epochs(fake_trials()).get_data(copy=False).reshape(len(fake_trials()), -1)


class TestEpochs:
    def test_values_are_those_of_mne_and_stay_in_the_files(self, written: Path) -> None:
        path = written / FOLDER / "preprocessed_P1-epo.fif"
        found = load_epochs(path, "image_path", subject="1", units="z")
        assert len(found.provenance["files"]) > 1  # the file was split
        read = mne.read_epochs(path, verbose="error").get_data(copy=False).reshape(len(fake_trials()), -1)
        np.testing.assert_allclose(np.asarray(found.responses), read, rtol=1e-6)
        np.testing.assert_allclose(found.responses[3:9, 500:700], whole()[3:9, 500:700], rtol=1e-6)
        assert [found.image_names[i] for i in found.image_ids] == fake_trials()["image_path"].tolist()
        assert found.labels[:2] == ("M0 -100 ms", "M0 -95 ms")
        assert found.targets.iloc[TIMES].to_dict() == {"label": "M1 -100 ms", "sensor": "M1", "time": -0.1}
        assert found.history == ("186 epochs, -0.1 to 1.3 s at 200 Hz",)

    def test_windows_are_cropped_in_seconds(self, written: Path) -> None:
        found = load_epochs(written / FOLDER / "preprocessed_P1-epo.fif", "image_path", subject="1", units="z")
        window = found.window(0.1, 0.2)
        assert len(window.labels) == CHANNELS * 21
        at = np.arange(TIMES * CHANNELS).reshape(CHANNELS, TIMES)[:, 40:61].ravel()
        np.testing.assert_allclose(np.asarray(window.responses), whole()[:, at], rtol=1e-6)

    def test_epochs_in_memory_are_the_same(self) -> None:
        found = from_epochs(fake_epochs(fake_trials()), "image_path", subject="1", units="z")
        np.testing.assert_array_equal(np.asarray(found.responses), whole())

    def test_mistakes_are_named(self, things: Path, tmp_path: Path) -> None:
        path = things / FOLDER / "preprocessed_P1-epo.fif"
        with pytest.raises(ValueError, match=r"must have the column 'picture', got \['trial_type'"):
            load_epochs(path, "picture", subject="1", units="z")
        with pytest.raises(FileNotFoundError, match="path must be a file"):
            load_epochs(tmp_path / "none-epo.fif", "image_path", subject="1", units="z")
        bare = fake_epochs(fake_trials())
        bare.metadata = None
        with pytest.raises(ValueError, match="the metadata of epochs must have the column 'image', got None"):
            from_epochs(bare, "image", subject="1", units="z")
        with pytest.raises(ValueError, match="must name an image for every epoch, got none for 1"):
            from_epochs(fake_epochs(fake_trials().assign(image=[None] + ["a"] * 185)), "image", subject="1", units="z")
        (things / "x-epo.fif").write_bytes(b"no")
        with pytest.raises(ValueError, match="cannot be read as epochs"):
            load_epochs(things / "x-epo.fif", "image_path", subject="1", units="z")


class TestThings:
    def test_catch_trials_are_dropped_and_splits_known(self, things: Path) -> None:
        found = load_things_meg(things, 1)
        kept = (fake_trials()["trial_type"] != "catch").to_numpy()
        np.testing.assert_allclose(np.asarray(found.responses), whole()[kept], rtol=1e-6)
        assert [found.image_names[i] for i in found.image_ids] == fake_trials()["image_path"][kept].tolist()
        assert not any("catch" in name for name in found.image_names)
        assert [(each.what, each.count) for each in found.excluded] == [("presentations", SESSIONS)]
        rows = found.presentations
        assert (rows["split"] == "test").sum() == TESTED * SESSIONS
        assert set(rows["concept"]) == {f"thing {i}" for i in range(CONCEPTS)}
        assert found.provenance["onset"] == "optical sensor"
        assert "onsets of the optical sensor" in found.history

    def test_what_the_authors_epochs_reach_into_is_told(self, things: Path) -> None:
        """By the presenting computer's clock, and with the catch trials, which are left out."""
        table = fake_trials().sort_values("session_nr", ignore_index=True)
        shown = 1.3 + table.groupby("session_nr").cumcount() * np.where(table["session_nr"] == 2, 1.5, 1.35)
        for old in things.glob(f"{FOLDER}/*.fif"):
            old.unlink()
        fake_epochs(table.assign(image_on=shown, onset=-1.0)).save(
            things / FOLDER / "preprocessed_P1-epo.fif", verbose="error"
        )
        found = load_things_meg(things, 1)
        rows, last = found.presentations, table.groupby("session_nr").cumcount(ascending=False) == 0
        wait = pd.Series(np.where(table["session_nr"] == 2, 1.5, 1.35)).where(~last)
        np.testing.assert_allclose(rows["until_next"], wait[table["trial_type"] != "catch"])
        reach = (
            f"{found.overlaps().sum()} of 180 epochs reach into the next presentation's (epoch 1.4 s, onsets 1.35 to"
        )
        assert any(line.startswith(reach) for line in found.check())
        assert set(rows.loc[found.overlaps(), "session"]) == {1, 3, 4, 5, 6}

    def test_published_and_zero_shot_splits(self, things: Path) -> None:
        found = load_things_meg(things, 1)
        train, test = published(found)
        assert (len(train), len(test)) == (CONCEPTS, TESTED * SESSIONS)
        train, test = published(found, zero_shot=True)
        assert len(train) == CONCEPTS - TESTED
        concepts = found.presentations["concept"]
        assert not set(concepts[train]) & set(concepts[test])
        averaged = found.average_repeats()
        assert len(published(averaged)[1]) == TESTED
        assert averaged.repeats[published(averaged)[1]].tolist() == [SESSIONS] * TESTED

    def test_images_are_found_by_concept(self, things: Path, tmp_path: Path) -> None:
        from PIL import Image

        found = load_things_meg(things, 1)
        for number, name in enumerate(found.image_names):
            stem = Path(name).stem
            path = tmp_path / "images" / stem.rpartition("_")[0] / f"{stem}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), 3 * number).save(path)
        images = load_things_meg(things, 1, images=tmp_path / "images").images
        assert [int(images[number].mean().round()) for number in (0, 7)] == [0, 21]
        assert images[0].shape == (4, 4, 3)
        path.unlink()
        with pytest.raises(FileNotFoundError, match=f"{path.name} is missing in .*osf.io/jum2f"):
            load_things_meg(things, 1, images=tmp_path / "images")

    def test_what_is_wrong_yields_no_recording(self, things: Path) -> None:
        path = things / FOLDER / "preprocessed_P1-epo.fif"
        with pytest.raises(ValueError, match=r"subject must be 1 to 4, got 5"):
            load_things_meg(things, 5)
        with pytest.raises(FileNotFoundError, match=r"preprocessed_P2-epo.fif is missing in .*ds004212"):
            load_things_meg(things, 2)
        last = max(things.glob(f"{FOLDER}/*-epo-*.fif"))
        size = last.stat().st_size
        last.write_bytes(last.read_bytes()[: size // 2])
        named = rf"load_epochs: .*P1-epo.fif cannot be read as epochs: \w+Error.*cut short.*There: .*{last.name}\)"
        with pytest.raises(ValueError, match=named):
            load_things_meg(things, 1)
        last.unlink()
        with pytest.raises(ValueError, match=rf"P1-epo.fif cannot be read as epochs: FileNotFoundError .*{last.name}"):
            load_things_meg(things, 1)
        for table, message in (
            (fake_trials().drop(columns="trial_type"), "must have the column 'trial_type'"),
            (fake_trials().replace({"trial_type": {"catch": "probe"}}), r"must be exp, test or catch, got \['probe'\]"),
            (
                fake_trials().replace({"image_path": {"images_test_meg/thing 3_14s.jpg": "x.jpg"}}),
                "must end as in aardvark",
            ),
        ):
            for old in things.glob(f"{FOLDER}/*.fif"):
                old.unlink()
            fake_epochs(table).save(path, verbose="error")
            with pytest.raises(ValueError, match=message):
                load_things_meg(things, 1)


def shown(images: list[int], **columns: Any) -> Recording:
    table = pd.DataFrame({"image": images, **columns})
    values = np.random.default_rng(0).standard_normal((len(images), 2))
    return Recording(values, table, pd.DataFrame({"label": ["a", "b"]}), "s", "z")


class TestSplits:
    @pytest.mark.parametrize("by", ["image", "concept", "session"])
    def test_no_image_is_in_training_and_test(self, by: str) -> None:
        random = np.random.default_rng(0)
        images = random.integers(0, 40, 200)
        made = shown(images.tolist(), concept=images // 4, session=random.integers(0, 8, 200))
        found = folds(made, by, n_folds=4)
        assert sorted(np.concatenate([test for _, test in found]).tolist()) == list(range(200))
        for train, test in found:
            assert not set(made.presentations[by].iloc[train]) & set(made.presentations[by].iloc[test])
            assert not set(images[train]) & set(images[test])
        X = random.standard_normal((200, 3))
        RidgeCV(cv=found).fit(X, made.responses)

    REFUSED: tuple[tuple[Callable[[], Any], str], ...] = (
        (lambda: folds(shown([0, 1, 2]), "session"), "'session' must be known"),
        (lambda: folds(shown([0, 1, 2])), r"n_folds must lie in 2\.\.3, the number of images, got 5"),
        (lambda: folds(shown([0, 0, 0, 0], session=[0, 0, 1, 1]), "session", 2), "left to train and to test, got 0"),
        (lambda: published(shown([0, 1])), "'split' must be known"),
        (lambda: published(shown([0, 0], split=["train", "test"])), "in training or test, got 1 in both"),
        (lambda: published(shown([0, 1], split=["train", "test"]), zero_shot=True), "'concept' must be known"),
        (
            lambda: published(shown([0, 1], split=["train", "test"], concept=["a", "a"]), zero_shot=True),
            "left to train and to test, got 0 and 1",
        ),
    )

    @pytest.mark.parametrize(("call", "message"), REFUSED)
    def test_impossible_splits_are_refused(self, call: Callable[[], Any], message: str) -> None:
        with pytest.raises(Refused, match=message):
            call()

    def test_wrong_arguments_are_no_refusals(self) -> None:
        for options, message in (
            ({"by": "color"}, r"folds: by must be one of .*got 'color'"),
            ({"n_folds": 1}, r"folds: n_folds must lie in 2\.\.3, the number of images, got 1"),
        ):
            with pytest.raises(ValueError, match=message) as caught:
                folds(shown([0, 1, 2]), **options)
            assert not isinstance(caught.value, Refused)
