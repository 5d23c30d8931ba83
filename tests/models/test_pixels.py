"""Images of any mode are the RGB pixels that a viewer shows, or are refused."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

import gradkern
from gradkern.models import ModelSpec

SPEC = ModelSpec("toy", "random", None, 16, (0.0,) * 3, (1.0,) * 3, (), "none")


def picture(seed: int = 0, size: tuple[int, int] = (20, 24)) -> Image.Image:
    """A smooth picture, whose colors the modes keep."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    planes = [(a * x + b * y + c) % 200 + 20 for a, b, c in rng.integers(0, 5, (3, 3))]
    return Image.fromarray(np.stack(planes, -1).astype(np.uint8))


def through(image: Image.Image, kind: str, **settings: object) -> Image.Image:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    file.seek(0)
    return Image.open(file)


def lab(image: Image.Image) -> Image.Image:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.profileToProfile(image, *profiles, outputMode="LAB")


MODES = {
    "RGB": (lambda image: through(image, "PNG"), 0),
    "palette": (lambda image: through(image.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"), 40),
    "GIF": (lambda image: through(image, "GIF"), 60),
    "CMYK": (lambda image: through(image.convert("CMYK"), "TIFF"), 2),
    "YCbCr": (lambda image: image.convert("YCbCr"), 4),
    "HSV": (lambda image: image.convert("HSV"), 8),
    "LAB": (lab, 12),
    "opaque alpha": (lambda image: through(image.convert("RGBA"), "PNG"), 0),
}


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 100), mode=st.sampled_from(sorted(MODES)))
def test_a_mode_changes_nothing_but_its_rounding(seed: int, mode: str) -> None:
    image = picture(seed)
    make, apart = MODES[mode]
    difference = (SPEC.preprocess([make(image)]) - SPEC.preprocess([np.asarray(image)])).abs()
    assert float(difference.max()) <= apart


def test_grey_pictures_are_grey_in_all_channels() -> None:
    grey = picture().convert("L")
    for image in (grey, grey.convert("LA"), np.asarray(grey), through(grey, "PNG")):
        planes = SPEC.preprocess([image])[0]
        assert np.array_equal(planes[0], planes[1])
        assert np.array_equal(planes, SPEC.preprocess([grey.convert("RGB")])[0])
    black_and_white = grey.convert("1")
    assert np.array_equal(SPEC.preprocess([black_and_white]), SPEC.preprocess([black_and_white.convert("RGB")]))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_their_camera_was(orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[274] = orientation
    turned = through(picture(), "PNG", exif=exif)
    expected = ImageOps.exif_transpose(through(picture(), "PNG", exif=exif))
    assert np.array_equal(SPEC.preprocess([turned]), SPEC.preprocess([np.asarray(expected)]))


def deep_png() -> Image.Image:
    """A PNG of 16 bits a channel, of which PIL keeps 8."""
    rows = b"".join(b"\0" + b"".join(struct.pack(">HHH", 900 * x, 800 * y, 70) for x in range(8)) for y in range(8))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return Image.open(io.BytesIO(b"\x89PNG\r\n\x1a\n" + data))


def transparent() -> Image.Image:
    image = picture().convert("RGBA")
    image.putalpha(100)
    return image


def animated() -> Image.Image:
    return through(picture(0), "GIF", save_all=True, append_images=[picture(1), picture(2)])


REFUSED = {
    "16 bits a channel": (deep_png, "image 1 must have 8 bits a channel, got 16"),
    "16 bits, grey": (
        lambda: Image.fromarray(np.zeros((8, 8), np.uint16)),
        "must have 8 bits a channel, got PIL's mode",
    ),
    "real numbers": (
        lambda: Image.fromarray(np.zeros((8, 8), np.float32)),
        "must have 8 bits a channel, got PIL's mode",
    ),
    "transparent": (transparent, "must be opaque, got alpha down to 100"),
    "several frames": (animated, "must be one image, got 3 frames"),
    "YCbCr of a file": (
        lambda: through(picture().convert("YCbCr"), "TIFF"),
        # Pillow 10 and 11.0 cannot read what they wrote themselves
        "must have 8 bits a channel, got PIL's mode 'YCbCr' of a file|cannot be read as an image",
    ),
    "LAB of a file": (
        lambda: through(lab(picture()), "TIFF"),
        "must have 8 bits a channel, got PIL's mode 'LAB' of a file",
    ),
    "floats": (lambda: np.zeros((8, 8, 3)), r"must be uint8 \[h, w\] or \[h, w, 3\], got float64"),
    "channels first": (lambda: np.zeros((3, 8, 8), np.uint8), r"must be uint8 .*got uint8 \[3, 8, 8\]"),
    "a path": (lambda: "picture.png", "must be uint8"),
    "nothing": (lambda: np.zeros((0, 8, 3), np.uint8), "must have pixels"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_was_seen_is_not_known_of_others(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        SPEC.preprocess([picture(), make()])


def test_prepared_images_are_preprocessed_when_they_are_asked_for() -> None:
    pictures = [picture(i) for i in range(3)]
    images = SPEC.prepared(pictures, ["a", "b", "c"])
    assert np.array_equal(np.stack(list(images)), SPEC.preprocess(pictures))
    assert images.names == ("a", "b", "c")
    assert len({images.pixel_hash(i) for i in range(3)}) == 3
    assert images.pixel_hash(1) == SPEC.prepared([np.asarray(pictures[1])]).pixel_hash(0)
    with pytest.raises(ValueError, match="names must be one an image, 3, got 2"):
        SPEC.prepared(pictures, ["a", "b"])
    assert gradkern.load_model("efficientnet-lite0", "random").spec.prepared(pictures)[0].shape == (3, 224, 224)
