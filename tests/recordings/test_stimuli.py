"""Image sources: an id is a place in a stated order, and what is read is what was stored, or an error."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradkern.recordings import FileImages, folder_images


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 3, 5, 3)).astype(np.uint8)
    names = ["B.png", "a/2.PNG", "a/x/1.png", "c.bmp"]
    for name, image in zip(names[::-1], pixels[::-1], strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / name)
    for other in ("notes.txt", "._c.bmp", ".hidden/d.png"):
        (tmp_path / other).parent.mkdir(exist_ok=True)
        (tmp_path / other).write_text("no image")
    images, found = folder_images(tmp_path)
    assert found == tuple(names)
    assert len(images) == 4
    for number in range(4):
        np.testing.assert_array_equal(images[number], pixels[number])


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"folder_images: folder must be a directory, got '.*none'"):
        folder_images(tmp_path / "none")
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(FileNotFoundError, match=r"must hold images \(.jpg .*\), got 1 others"):
        folder_images(tmp_path)


def test_what_has_no_colours_of_8_bits_is_refused(tmp_path: Path) -> None:
    """PIL would clip the first and show what lies hidden in the second."""
    Image.fromarray(np.full((4, 4), 3000, np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.full((4, 4, 4), 100, np.uint8), "RGBA").save(tmp_path / "glass.png")
    whole = np.full((64, 64, 3), 100, np.uint8)
    Image.fromarray(whole).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:-60])
    (tmp_path / "words.jpg").write_text("no image")
    for name, message in (
        ("deep.png", "deep.png must have 8 bits a channel, got PIL's mode 'I;16'"),
        ("glass.png", "glass.png must be opaque, got alpha down to 100"),
        ("cut.jpg", r"cut.jpg cannot be read as an image: .*cut short"),
        ("words.jpg", r"words.jpg cannot be read as an image: .*cut short"),
    ):
        with pytest.raises(ValueError, match=f"FileImages: .*{message}"):
            FileImages([tmp_path / name])[0]
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg"):
        FileImages([tmp_path / "gone.jpg"])[0]


def test_grey_and_opaque_images_are_read(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 3), 7, np.uint8)).save(tmp_path / "grey.png")
    opaque = np.full((2, 3, 4), 7, np.uint8)
    opaque[..., 3] = 255
    Image.fromarray(opaque, "RGBA").save(tmp_path / "opaque.png")
    for name in ("grey.png", "opaque.png"):
        np.testing.assert_array_equal(FileImages([tmp_path / name])[0], np.full((2, 3, 3), 7))
