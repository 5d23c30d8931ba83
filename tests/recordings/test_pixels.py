"""Pixels are what was seen, or there are none."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from gradkern.recordings import FileImages

IN_FOLDER = [HealthCheck.function_scoped_fixture]


def pixels(seed: int = 0, h: int = 6, w: int = 8) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3)).astype(np.uint8)


def read(path: Path) -> NDArray[np.uint8]:
    return FileImages([path])[0]


def png(values: NDArray[Any], bits: int, color: int, extra: bytes = b"") -> bytes:
    """A PNG of whatever depth and color type, written by its definition."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # noqa: E731
    h, w = values.shape[:2]
    lines = b"".join(b"\0" + row.astype(f">u{bits // 8}").tobytes() for row in values)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, bits, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


@given(bits=st.sampled_from([8, 16]), color=st.sampled_from([0, 2, 4, 6]), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None, suppress_health_check=IN_FOLDER)
def test_any_png_is_as_it_is_stored_or_refused(tmp_path: Path, bits: int, color: int, seed: int) -> None:
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[color]
    values = np.random.default_rng(seed).integers(0, 2**bits, (5, 7, channels))
    if channels in (2, 4):
        values[..., -1] = 2**bits - 1  # opaque
    (tmp_path / "x.png").write_bytes(png(values, bits, color))
    if bits == 16:
        with pytest.raises(ValueError, match="must have 8 bits a channel, got"):
            read(tmp_path / "x.png")
        return
    colors = values[..., :3] if channels >= 3 else np.repeat(values[..., :1], 3, -1)
    np.testing.assert_array_equal(read(tmp_path / "x.png"), colors)


def test_bits_of_tiff(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 2**16, (4, 4)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "x.tif")
    with pytest.raises(ValueError, match="must have 8 bits a channel"):
        read(tmp_path / "x.tif")
    Image.fromarray(pixels()).save(tmp_path / "y.tif", compression="tiff_adobe_deflate")
    np.testing.assert_array_equal(read(tmp_path / "y.tif"), pixels())


@pytest.mark.parametrize("mode", ["YCbCr", "LAB", "F", "I"])
def test_colors_in_other_spaces_are_refused(tmp_path: Path, mode: str) -> None:
    layers = Image.fromarray(pixels())
    image = Image.merge("LAB", layers.split()) if mode == "LAB" else layers.convert(mode)
    image.save(tmp_path / "x.tif")
    with pytest.raises(ValueError, match=f"must have 8 bits a channel, got PIL's mode '{mode}"):
        read(tmp_path / "x.tif")


@given(colors=st.integers(1, 256), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None, suppress_health_check=IN_FOLDER)
def test_palettes_are_looked_up(tmp_path: Path, colors: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    table, places = random.integers(0, 256, (colors, 3)).astype(np.uint8), random.integers(0, colors, (5, 6))
    image = Image.fromarray(places.astype(np.uint8), "P")
    image.putpalette(table.tobytes())
    for ending in ("png", "gif"):
        image.save(tmp_path / f"x.{ending}")
        np.testing.assert_array_equal(read(tmp_path / f"x.{ending}"), table[places])


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "tif"])
def test_several_frames_are_refused(tmp_path: Path, ending: str) -> None:
    frames = [Image.fromarray(pixels(seed)) for seed in (0, 1, 2)]
    frames[0].save(tmp_path / f"x.{ending}", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=r"must be one image, got \d frames or pages"):
        read(tmp_path / f"x.{ending}")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_images_are_turned_as_exif_says(tmp_path: Path, orientation: int, ending: str) -> None:
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:8, :16] = 255  # white at the stored top left
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / f"x.{ending}", exif=exif)
    turned = {  # EXIF 2.3: where row 0 and column 0 of what is stored are seen
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1],
        5: stored.transpose(1, 0, 2), 6: stored.transpose(1, 0, 2)[:, ::-1],
        7: stored[::-1, ::-1].transpose(1, 0, 2), 8: stored.transpose(1, 0, 2)[::-1],
    }[orientation]  # fmt: skip
    seen = read(tmp_path / f"x.{ending}")
    assert seen.shape == turned.shape
    assert np.abs(seen.astype(int) - turned).max() < 40  # JPEG's rounding


def test_transparent_pixels_are_refused_in_every_form(tmp_path: Path) -> None:
    values = np.concatenate([pixels(), np.full((6, 8, 1), 255, np.uint8)], -1)
    values[2, 3, 3] = 254
    Image.fromarray(values).save(tmp_path / "a.png")
    Image.fromarray(values).convert("LA").save(tmp_path / "b.png")
    palette = Image.fromarray(pixels()).convert("P")
    palette.save(tmp_path / "c.png", transparency=int(np.asarray(palette)[0, 0]))
    for name in "abc":
        with pytest.raises(ValueError, match="must be opaque, got alpha down to"):
            read(tmp_path / f"{name}.png")


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(buffer := io.BytesIO(), "png")
    whole = buffer.getvalue()
    for content in (b"", b"x", whole[:-1], whole[:40], whole[:-12]):
        (tmp_path / "x.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"FileImages: .* cannot be read as an image"):
            read(tmp_path / "x.png")
