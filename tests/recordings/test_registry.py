"""`load`: every reader by the name of its data set, with the options that the reader itself takes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradkern.recordings
from gradkern.recordings import load, load_bids, load_epochs, load_nsd, readers
from tests.fake_datasets.bids import SPACE, write_bids
from tests.fake_datasets.nsd import FakeNSD
from tests.fake_datasets.things_meg import FOLDER, fake_epochs, fake_trials


def same(first: Any, second: Any) -> bool:
    equal = np.array_equal(np.asarray(first.responses), np.asarray(second.responses))
    return equal and (first.subject, first.history, first.labels) == (second.subject, second.history, second.labels)


def test_a_recording_is_the_one_of_the_reader(tmp_path: Path) -> None:
    FakeNSD(tmp_path / "nsd")
    write_bids(tmp_path / "bids")
    (tmp_path / FOLDER).mkdir(parents=True)
    path = tmp_path / FOLDER / "preprocessed_P1-epo.fif"
    fake_epochs(fake_trials()).save(path, verbose="error")
    nsd = load_nsd(tmp_path / "nsd", 2, atlas="streams")
    assert same(load("nsd", tmp_path / "nsd", subject=2, atlas="streams"), nsd)
    words = {"task": "images", "image": "stim_file", "space": SPACE}
    assert same(load("bids", tmp_path / "bids", subject="07", **words), load_bids(tmp_path / "bids", "07", **words))
    epochs = load_epochs(path, "image_path", subject="not given", units="as stored")
    assert same(load("epochs", path, image="image_path"), epochs)
    assert load("epochs", path, image="image_path", subject="1").subject == "1"


@pytest.mark.parametrize("name", readers())
def test_every_row_names_a_public_reader_and_options_that_it_takes(name: str) -> None:
    reader = readers()[name]
    assert reader.function in gradkern.recordings.__all__
    assert set(reader.defaults) <= set(reader.options)
    assert reader.about in repr(reader)
    assert len(repr(reader)) < 120


def test_every_reader_of_a_data_set_has_a_row() -> None:
    """The others are no recordings."""
    other = {"load_bootstraps", "load_cortex", "load_sphere"}
    loaders = {name for name in gradkern.recordings.__all__ if name.startswith("load_")}
    assert loaders - other == {reader.function for reader in readers().values()}


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("nsf", "/x"), {}, ValueError, r"load: name must be one of \('nsd', .*got 'nsf'"),
        (("nsd",), {"subject": 1}, ValueError, "load: nsd needs a path"),
        (("kay2017", "/x"), {}, ValueError, "load: kay2017 is in the package and takes no path"),
        (("nsd", "/x"), {}, ValueError, "load: nsd needs 'subject'"),
        (("nsd", "/x"), {"subject": 1, "delay": 5}, TypeError, "load: nsd does not take 'delay'; its options are"),
        (("nsd", "/x"), {"subject": 9}, ValueError, "load_nsd: subject must be 1 to 8, got 9"),
    ],
)
def test_mistakes_are_named(
    arguments: tuple[str, ...], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load(*arguments, **options)
