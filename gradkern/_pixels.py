"""Images of any mode as the RGB pixels that were seen, and the hash by which pixels are known again."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MODES = ("1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB", "HSV", "LA", "PA", "RGBA", "RGBX", "RGBa", "La")
_OPAQUE = 255
_CHANNELS = {1: "grey", 3: "RGB"}


def rgb_pixels(image: Any, name: str) -> NDArray[np.uint8]:
    """An image as uint8 [h, w, 3], as a viewer shows it.

    Images of PIL are turned as their EXIF says, and converted from whatever mode they have; arrays and tensors are
    uint8 [h, w] or [h, w, 3], RGB.

    Parameters
    ----------
    image : of PIL, or an array
    name : of the image in messages

    Raises
    ------
    ValueError : more than 8 bits a channel, transparent pixels (whose color is unknown), several frames (which one was
        seen is unknown), or an array of another type or shape
    """
    if _is_of_pil(image):
        return _from_pil(image, name)
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


def _is_of_pil(image: Any) -> bool:
    return type(image).__module__.partition(".")[0] == "PIL" and hasattr(image, "getbands")


def _from_pil(image: Any, name: str) -> NDArray[np.uint8]:
    from PIL import ImageOps

    if getattr(image, "n_frames", 1) > 1:
        raise ValueError(f"{name} must be one picture, got {image.n_frames} frames; choose one with `seek` and `copy`")
    if image.mode not in _MODES:
        raise ValueError(f"{name} must have 8 bits a channel, got PIL's mode {image.mode!r}")
    if _sixteen_bits(image):
        raise ValueError(f"{name} must have 8 bits a channel, got 16; PIL would cut them off")
    image = ImageOps.exif_transpose(image)
    if image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in image.info:
        alpha = image.convert("RGBA").getchannel("A").getextrema()[0]
        if alpha != _OPAQUE:
            raise ValueError(f"{name} must be opaque, got alpha down to {alpha}; put it on its background")
    if image.mode == "LAB":
        image = _from_lab(image)
    return np.array(image.convert("RGB"))


def _sixteen_bits(image: Any) -> bool:
    """Whether a file has 16 bits a channel, of which PIL keeps 8: PNG and TIFF in color."""
    tiles = getattr(image, "tile", None) or ()
    raw = str([tile[3] if len(tile) > 3 else "" for tile in tiles])
    bits = getattr(image, "tag_v2", {}).get(258, 8) if hasattr(image, "tag_v2") else 8
    deepest = max(bits) if isinstance(bits, tuple) else bits
    return ";16" in raw or deepest > 8


def _from_lab(image: Any) -> Any:
    """CIE L*a*b* (D50) to sRGB by PIL's own color management, as a viewer does; `convert` has no such way."""
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
