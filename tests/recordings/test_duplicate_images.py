"""Pictures that lie in a source under several ids are found, named, and can be given one id."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gradkern.errors import Refused
from gradkern.recordings import (
    FileImages,
    Recording,
    describe,
    folds,
    load_kay2017,
    merge_pictures,
    published,
    same_pictures,
)

STIMULI = Path(__file__).parents[3] / "shared" / "data" / "brain" / "kriegeskorte92" / "stimuli.npz"
TWICE = {7: 3, 9: 3, 5: 0}  # ids, and those whose picture they are


class Counted:
    """Eleven pictures, of which eight are different; counts what is read."""

    def __init__(self) -> None:
        self.read: list[int] = []
        self.pictures = np.random.default_rng(0).integers(0, 255, (11, 4, 4, 3)).astype(np.uint8)
        for number, original in TWICE.items():
            self.pictures[number] = self.pictures[original]

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, number: int) -> Any:
        self.read.append(number)
        return self.pictures[number]


def recording(images: Any, ids: list[int] | None = None, **columns: Any) -> Recording:
    shown = [0, 1, 2, 3, 4, 5, 6, 7, 9, 9] if ids is None else ids
    values = np.random.default_rng(1).standard_normal((len(shown), 4))
    presentations = pd.DataFrame({"image": shown} | columns)
    return Recording(values, presentations, pd.DataFrame({"label": list("abcd")}), "s", "z", images=images)


def test_pictures_with_several_ids_are_found_among_those_shown() -> None:
    images = Counted()
    assert same_pictures(recording(images)) == ((0, 5), (3, 7, 9))
    assert sorted(images.read) == [0, 1, 2, 3, 4, 5, 6, 7, 9]  # each once, and not those that were not shown
    assert same_pictures(recording(images, [3, 5, 8, 5])) == ()


def test_shape_and_type_are_of_the_picture() -> None:
    images = [
        np.zeros((2, 8), np.uint8),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 2), np.uint16),
        np.zeros((2, 8), np.uint8),
    ]
    assert same_pictures(recording(images, [0, 1, 2, 3])) == ((0, 3),)


def test_one_id_keeps_repeats_together() -> None:
    """Without, some fold trains with a picture that it tests."""
    images = Counted()
    found = recording(images, list(range(11)) * 2)
    originals = np.array([TWICE.get(number, number) for number in range(11)])

    def straddle(made: Recording) -> bool:
        shown = originals[found.image_ids]
        return any(np.intersect1d(shown[train], shown[test]).size for train, test in folds(made, n_folds=4))

    merged = merge_pictures(found)
    assert straddle(found)
    assert not straddle(merged)
    assert merged.image_ids.tolist() == originals[found.image_ids].tolist()
    assert merged.history == ("3 ids of images became those of the same picture",)
    assert merge_pictures(merged) is merged


def test_a_published_split_with_the_same_picture_on_both_sides_is_refused() -> None:
    split = ["train"] * 7 + ["test"] * 3
    found = recording(Counted(), split=split)
    assert len(published(found)[0]) == 7
    with pytest.raises(Refused, match="an image must be in training or test, got 1 in both"):
        published(merge_pictures(found))


def test_the_data_check_names_them(tmp_path: Path) -> None:
    paths = []
    for number in range(12):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (3, 3), (10 * (number % 5), 0, 0)).save(paths[-1])
    names = tuple(path.name for path in paths)
    found = recording(FileImages(paths), list(range(12)))
    odd = [value for name, value in describe(found) if name == "odd"]
    assert odd[0] == "images 0, 5, 10 are the same picture: it may be in training and in test (merge_pictures)"
    assert odd[3] == "2 more pictures have several ids"
    named = Recording(
        found.responses, found.presentations, found.targets, "s", "z", images=found.images, image_names=names
    )
    odd = [value for name, value in describe(named) if name == "odd"]
    assert odd[1].startswith("images 1 (1.png), 6 (6.png), 11 (11.png) are the same picture")


def test_without_images_nothing_is_known() -> None:
    with pytest.raises(Refused, match="same_pictures: the recording must have images, got none"):
        same_pictures(recording(None))


def test_real_stimuli_are_all_different() -> None:
    assert same_pictures(load_kay2017()) == ()


@pytest.mark.skipif(not STIMULI.is_file(), reason="Kriegeskorte's 92 images do not lie beside the checkout")
def test_kriegeskortes_92_are_all_different() -> None:
    content = dict(np.load(STIMULI, allow_pickle=False))
    images = next(value for value in content.values() if value.ndim == 4 and len(value) == 92)
    assert same_pictures(recording(images, list(range(92)))) == ()
