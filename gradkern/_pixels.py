"""Images as the RGB pixels that were seen: one rule for recordings and captures, and the hash that knows them again."""

import hashlib
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")
OTHER_ENDINGS = (  # of images that are not read, so that nobody takes them for something else
    *(".heic", ".heif", ".avif", ".jp2", ".j2k", ".jxl", ".jxr", ".svg", ".psd", ".exr", ".hdr", ".ppm", ".pgm"),
    *(".pnm", ".tga", ".ico", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".raw", ".apng", ".eps", ".pcx", ".dds"),
)
_OF_FILES = ("1", "L", "P", "RGB", "CMYK", "LA", "PA", "RGBA")  # 8 bits or fewer a channel, whose colors are known
_OF_MEMORY = (*_OF_FILES, "YCbCr", "LAB", "HSV", "RGBX", "RGBa", "La")  # PIL made these, and knows the way back
_TRANSPARENT = ("LA", "PA", "RGBA", "RGBa", "La")
_OPAQUE = 255
_PNG = b"\x89PNG\r\n\x1a\n"
_BITS_PER_SAMPLE = 258  # tag of TIFF


def read_pixels(source: Any, name: str = "", background: tuple[int, int, int] | None = None) -> NDArray[np.uint8]:
    """The pixels of an image file, uint8 [h, w, 3], by the rule of `rgb_pixels`.

    Parameters
    ----------
    source : a path, or the bytes of a file
    name : for messages; by default the path
    background : color under transparent pixels; by default those are an error

    Raises
    ------
    FileNotFoundError : there is no such file
    ValueError : it is no image, is damaged, or is none whose pixels are known (see `rgb_pixels`)

    Examples
    --------
    >>> from io import BytesIO
    >>> from PIL import Image
    >>> from gradkern._pixels import read_pixels
    >>> Image.new("P", (3, 2)).save(file := BytesIO(), "png")
    >>> read_pixels(file.getvalue()).shape
    (2, 3, 3)
    """
    from PIL import Image

    name = name or (str(source) if isinstance(source, str | Path) else "the image")
    content = Path(source).read_bytes() if isinstance(source, str | Path) else bytes(source)
    with _decoding(name):
        if content.startswith(_PNG):
            _check_png(content)
        image = Image.open(BytesIO(content))
    with image:
        return rgb_pixels(image, name, background)


def rgb_pixels(image: Any, name: str, background: tuple[int, int, int] | None = None) -> NDArray[np.uint8]:
    """An image as uint8 [h, w, 3], as a viewer shows it.

    Images of PIL are turned as their EXIF says, and converted from their mode; arrays and tensors are uint8 [h, w] or
    [h, w, 3], RGB.

    Parameters
    ----------
    image : of PIL, or an array
    name : of the image in messages
    background : color under transparent pixels; by default those are an error

    Raises
    ------
    ValueError : more than 8 bits a channel; a file with colors in another space (YCbCr, LAB), whose white and range PIL
        does not read; several frames or pages (which one was seen is unknown); transparent pixels and no background; a
        damaged file; an array of another type or shape
    """
    if _is_of_pil(image):
        return _from_pil(image, name, background)
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise ValueError(f"{name} must be uint8 [h, w] or [h, w, 3], got {array.dtype} {list(array.shape)}")
    if array.size == 0:
        raise ValueError(f"{name} must have pixels, got {list(array.shape)}")
    return np.ascontiguousarray(np.repeat(array[:, :, None], 3, axis=2) if array.ndim == 2 else array)


def pixel_hash(pixels: NDArray[np.uint8]) -> str:
    """SHA-256 of shape and pixels of an image uint8 [h, w, 3], by which images of captures and recordings are compared.

    The first 32 digits.
    """
    digest = hashlib.sha256(f"uint8 {pixels.shape[0]} {pixels.shape[1]} 3;".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()[:32]


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # PIL raises whatever a decoder does for broken files
        raise ValueError(f"{name} cannot be read as an image: {error} (is it cut short?)") from error


def _is_of_pil(image: Any) -> bool:
    return type(image).__module__.partition(".")[0] == "PIL" and hasattr(image, "getbands")


def _from_pil(image: Any, name: str, background: tuple[int, int, int] | None) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    with _decoding(name):
        refusal = _refusal(image)
    if refusal:
        raise ValueError(f"{name} must {refusal}")
    with _decoding(name):
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode == "La":
            image = image.convert("LA")
        has_alpha = image.mode in _TRANSPARENT or "transparency" in image.info
        if image.mode == "LAB":
            image = _from_lab(image)
        image = image.convert("RGBA" if has_alpha else "RGB")
    if not has_alpha:
        return np.array(image)
    alpha = image.getchannel("A").getextrema()[0]
    if alpha != _OPAQUE and background is None:
        raise ValueError(f"{name} must be opaque, got alpha down to {alpha}; put it on its background")
    if background is not None:
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*background, _OPAQUE)), image)
    return np.array(image.convert("RGB"))


def _refusal(image: Any) -> str:
    """Why the pixels would not be what is seen, as the end of "must ..."; "" if they are."""
    if image.mode not in (_OF_MEMORY if image.format is None else _OF_FILES):
        return f"have 8 bits a channel, got PIL's mode {image.mode!r}{' of a file' if image.mode in _OF_MEMORY else ''}"
    bits = _bits(image)
    if bits > 8:
        return f"have 8 bits a channel, got {bits}, of which PIL keeps 8"
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # of which the first is the photograph
        return f"be one image, got {frames} frames or pages"
    return ""


def _bits(image: Any) -> int:
    """Bits a channel of the file that an image was opened from: PIL keeps 8 of a PNG's or TIFF's 16 in color."""
    if image.format == "TIFF":
        return int(np.max(image.tag_v2.get(_BITS_PER_SAMPLE, 1)))
    layouts = [str(tile[3]) for tile in getattr(image, "tile", None) or () if len(tile) > 3]
    return 16 if any(";16" in layout for layout in layouts) else 8


def _from_lab(image: Any) -> Any:
    """CIE L*a*b* (D50) to sRGB by PIL's own color management, as a viewer does; `convert` has no such way."""
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")


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
