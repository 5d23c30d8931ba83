"""The reader of THINGS-fMRI, on small files of its layout, with its traps planted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gradkern.recordings import estimate_ncsnr, load_things_fmri, noise_ceiling, published
from tests.fake_datasets.things_fmri import FakeThingsFMRI


@pytest.fixture
def things(tmp_path: Path) -> FakeThingsFMRI:
    return FakeThingsFMRI(tmp_path)


def test_things_fmri(things: FakeThingsFMRI) -> None:
    found = load_things_fmri(things.folder, 2)
    np.testing.assert_array_equal(np.asarray(found.responses), things.betas.T)
    np.testing.assert_array_equal(found.responses[:, 2:5], things.betas.T[:, 2:5])
    assert [found.image_names[i] for i in found.image_ids] == things.trials["stimulus"].tolist()
    assert found.targets.loc[3, ["i", "j", "k"]].tolist() == [13, 20, 30]
    assert found.select_targets(found.targets["V1"] == 1, "in V1").labels == ("0", "1")
    np.testing.assert_allclose(100 * noise_ceiling(found).r2, things.voxels["nc_singletrial"])
    train, test = published(found)
    assert (len(train), len(test)) == (20, 20)
    assert estimate_ncsnr(found).shape == (6,)


def test_images_of_things_fmri_are_found_by_concept(things: FakeThingsFMRI, tmp_path: Path) -> None:
    for number, row in things.trials.iterrows():
        (tmp_path / "images" / row["concept"]).mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), number).save(tmp_path / "images" / row["concept"] / row["stimulus"])
    found = load_things_fmri(things.folder, 2, images=tmp_path / "images")
    last = {row["stimulus"]: number for number, row in things.trials.iterrows()}
    for number in (0, 20, 33):
        shown = things.trials["stimulus"][number]
        assert abs(int(found.images[found.image_ids[number]].mean()) - last[shown]) <= 1  # .jpg
    (tmp_path / "images/thing7/thing7_01b.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"things_images: thing7/thing7_01b.jpg is missing in .*osf"):
        load_things_fmri(things.folder, 2, images=tmp_path / "images")


def changed(**tables: Callable[[FakeThingsFMRI], Any]) -> Callable[[FakeThingsFMRI], None]:
    def plant(things: FakeThingsFMRI) -> None:
        for name, change in tables.items():
            setattr(things, name, change(things))
        things.write()

    return plant


TRAPS: dict[str, tuple[Callable[[FakeThingsFMRI], None], str]] = {
    "fewer trials": (changed(trials=lambda t: t.trials[:39]), "StimulusMetadata.csv has 39 rows, 40 expected"),
    "another subject's voxels": (changed(voxels=lambda t: t.voxels[:4]), "VoxelMetadata.csv has 4 rows, 6 expected"),
    "transposed": (changed(betas=lambda t: t.betas.T), "StimulusMetadata.csv has 40 rows, 6 expected"),
    "catch trials": (
        changed(trials=lambda t: t.trials.assign(trial_type="catch")),
        r"trial_type must be train or test, got \['catch'\]",
    ),
    "no names": (changed(trials=lambda t: t.trials.drop(columns="stimulus")), "must have the column 'stimulus'"),
    "fractions for percent": (
        changed(voxels=lambda t: t.voxels.assign(nc_singletrial=[0, 10, 20, 50, 80, 120])),
        "nc_singletrial must be percent, 0 to 100, got 0 to 120",
    ),
    "an empty table": (
        lambda t: (t.folder / f"{t.start}VoxelMetadata.csv").write_text("") and None,
        "VoxelMetadata.csv cannot be read as a table: No columns",
    ),
    "no table": (
        lambda t: (t.folder / f"{t.start}ResponseData.h5").write_bytes(b"no") and None,
        r"must be a table of betas as pandas writes it \(fixed format\)",
    ),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_what_is_wrong_in_things_fmri_yields_no_recording(things: FakeThingsFMRI, trap: str) -> None:
    plant, message = TRAPS[trap]
    plant(things)
    with pytest.raises(ValueError, match=message):
        load_things_fmri(things.folder, 2)


def test_missing_files_are_named(tmp_path: Path, things: FakeThingsFMRI) -> None:
    with pytest.raises(FileNotFoundError, match=r"sub-01_ResponseData.h5 is missing in .*figshare"):
        load_things_fmri(things.folder, 1)
    with pytest.raises(ValueError, match="load_things_fmri: subject must be 1 to 3, got 0"):
        load_things_fmri(tmp_path, 0)
