"""Pixels of image files as they are seen: one function for every reader and for capture."""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")
OTHER_ENDINGS = (  # of images that are not read, so that nobody takes them for something else
    *(
        ".heic",
        ".heif",
        ".avif",
        ".jp2",
        ".j2k",
        ".jxl",
        ".jxr",
        ".svg",
        ".psd",
        ".exr",
        ".hdr",
        ".ppm",
        ".pgm",
        ".pnm",
    ),
    *(".tga", ".ico", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".raw", ".apng", ".eps", ".pcx", ".dds"),
)
_MODES = ("1", "L", "P", "RGB", "CMYK", "LA", "PA", "RGBA")  # 8 bits or fewer a channel, whose colors are known
_OPAQUE = 255
_PNG = b"\x89PNG\r\n\x1a\n"
_BITS_PER_SAMPLE = 258  # tag of TIFF


def read_pixels(source: Any, name: str = "", background: tuple[int, int, int] | None = None) -> NDArray[np.uint8]:
    """The pixels of an image, uint8 [h, w, 3], turned as its EXIF orientation says.

    Parameters
    ----------
    source : a path, or the bytes of a file
    name : for messages; by default the path
    background : color under transparent pixels; by default those are an error

    Raises
    ------
    FileNotFoundError : there is no such file
    ValueError : it is no image, is damaged, has more than 8 bits a channel or colors in another space (YCbCr, LAB),
        is animated or has several pages, or has transparent pixels and no background

    Examples
    --------
    >>> from io import BytesIO
    >>> from PIL import Image
    >>> from gradkern._pixels import read_pixels
    >>> Image.new("P", (3, 2)).save(file := BytesIO(), "png")
    >>> read_pixels(file.getvalue()).shape
    (2, 3, 3)
    """
    from PIL import Image, ImageOps

    name = name or (str(source) if isinstance(source, str | Path) else "the image")
    content = Path(source).read_bytes() if isinstance(source, str | Path) else bytes(source)
    try:
        if content.startswith(_PNG):
            _check_png(content)
        with Image.open(BytesIO(content)) as image:
            refusal = _refusal(image, content)
            if refusal:
                raise _NotAsSeen(refusal)
            image.load()
            layer = ImageOps.exif_transpose(image).convert("RGBA")
    except _NotAsSeen as error:
        raise ValueError(f"{name} must {error}") from None
    except Exception as error:  # PIL raises whatever a decoder does for broken files
        raise ValueError(f"{name} cannot be read as an image: {error} (is it cut short?)") from error
    alpha = int(np.asarray(layer.getchannel("A")).min())
    if alpha != _OPAQUE:
        if background is None:
            raise ValueError(f"{name} must be opaque, got alpha down to {alpha}; put it on its background")
        layer = Image.alpha_composite(Image.new("RGBA", layer.size, (*background, _OPAQUE)), layer)
    return np.asarray(layer.convert("RGB"))


class _NotAsSeen(Exception):
    """The image would not be read as it is seen; the message says what it must be."""


def _refusal(image: Any, content: bytes) -> str:
    """Why the pixels would not be what is seen, as the end of "must ..."; "" if they are."""
    bits = [8]
    if image.format == "PNG":
        bits = [content[24]]  # Pillow opens 16 bits a channel as 8
    elif image.format == "TIFF":
        bits = list(np.atleast_1d(image.tag_v2.get(_BITS_PER_SAMPLE, 1)))
    if image.mode not in _MODES:
        return f"have 8 bits a channel, got PIL's mode {image.mode!r}"
    if max(bits) > 8:
        return f"have 8 bits a channel, got {max(bits)}"
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # of which the first is the photograph
        return f"be one image, got {frames} frames or pages"
    return ""


def _check_png(content: bytes) -> None:
    """Raise a ValueError unless every chunk has its checksum, which Pillow does not compare for pixels."""
    place, kind = len(_PNG), b""
    while place < len(content) and kind != b"IEND":
        size, kind = struct.unpack(">I4s", content[place : place + 8])
        chunk, stored = content[place + 4 : place + 8 + size], content[place + 8 + size : place + 12 + size]
        if stored != struct.pack(">I", zlib.crc32(chunk)):
            raise ValueError(f"the checksum of chunk {kind.decode('latin-1')} at byte {place} is another")
        place += 12 + size
    if kind != b"IEND":
        raise ValueError("it ends before its last chunk")
