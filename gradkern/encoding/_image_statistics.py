"""Low-level statistics of images: what a response may reflect without any network."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy import fft, ndimage
from torch import Tensor

from gradkern.errors import naming
from gradkern.features._engine.images import rgb_image
from gradkern.models._spec import ModelSpec

CELL = ", cell "  # in the names of statistics of a cell
_SIDE = 128  # pixels that every image is resized to
_MARGIN = 32  # pixels, mirrored, on each side of it: a Fourier transform joins opposite edges
_SCALES = 4
_ORIENTATIONS = 8
_LUMA = np.array([0.299, 0.587, 0.114])  # Rec. 601
_GREY = 1 / 32  # width of the bins of the histogram of luminance
_EDGE = 0.1  # change of luminance per pixel that counts as an edge
_FLOOR = 1e-12  # power that a flat image has at every frequency

_Columns = dict[str, float]


@naming("image_statistics")
def image_statistics(images: Tensor | Sequence[Any], *, grid: int = 4, spec: ModelSpec | None = None) -> xr.DataArray:
    """Low-level statistics of images: luminance, contrast, colour, edges, energy by orientation and scale, size.

    Every image is resized to 128 x 128 pixels. With R, G and B between 0 and 1, luminance is .299 R + .587 G + .114 B,
    red-green R - G, and blue-yellow B - (R + G) / 2. The groups of statistics are

    - "luminance": its mean, skewness, kurtosis and entropy in nats (of a histogram with bins of 1/32), and means in the
      cells of the grid;
    - "contrast": the standard deviation of luminance (RMS contrast), in the image and in the cells;
    - "color": means and standard deviations of red-green, blue-yellow and saturation, max(R, G, B) - min(R, G, B), and
      means in the cells;
    - "edges": the mean magnitude of the gradient of luminance, and the share of pixels where it is above .1 per pixel;
    - "energy": the root mean square of the responses of a steerable pyramid at 4 spatial frequencies (32, 16, 8 and 4
      cycles per image, an octave each) and 8 orientations, in the image and in the cells. The orientation is that of
      contours, counterclockwise from the horizontal: a grating of vertical bars has 90 deg;
    - "spectrum": slope and residual of log power over log frequency, from 2 cycles per image up;
    - "size": the logarithms of the number of pixels and of width / height, before images are resized.

    Parameters
    ----------
    images : as `capture` takes them, floating point [N, 3, h, w] or a sequence of [3, h, w]; or pixels, a sequence of
        uint8 [h, w, 3] or [h, w], such as the images of a recording. Sizes may differ; one image is read at a time.
    grid : number of rows and of columns of cells; 0 for none
    spec : of the model that the images were preprocessed for, which is undone; None takes floating-point images as
        they are

    Returns
    -------
    [image, statistic] in float64, with the coordinate "group" along "statistic"

    Raises
    ------
    ValueError : no images, an image of another type or shape or that is not finite, a grid that does not divide 128

    Notes
    -----
    The pyramid is that of Simoncelli & Freeman, ICIP 1995; the squares of its energies add up to the variance of
    luminance within its frequencies. Energies in cells are those of Oliva & Torralba, IJCV 42 (2001).

    Examples
    --------
    >>> image_statistics(np.random.default_rng(0).random((5, 3, 32, 32))).shape
    (5, 641)
    """
    if not hasattr(images, "__len__") or not hasattr(images, "__getitem__") or len(images) == 0:
        raise ValueError(f"images must be a sequence of at least one image, got {type(images).__name__}")
    if isinstance(grid, bool) or not isinstance(grid, int) or grid < 0 or (grid and _SIDE // 2**_SCALES % grid):
        raise ValueError(f"grid must be 0 or a divisor of {_SIDE // 2**_SCALES}, got {grid!r}")
    rows = [_statistics(_read(images, i, spec), grid) for i in range(len(images))]
    names = [(f"{group}/{name}", group) for group, columns in rows[0].items() for name in columns]
    values = np.array([[value for columns in row.values() for value in columns.values()] for row in rows])
    return xr.DataArray(
        values,
        dims=("image", "statistic"),
        coords={
            "statistic": [name for name, _ in names],
            "group": ("statistic", [group for _, group in names]),
        },
    )


@dataclass(frozen=True)
class _Picture:
    """An image of a common size, and what size it had."""

    rgb: NDArray[np.float64]  # [3, side, side]
    height: int
    width: int


def _read(images: Any, index: int, spec: ModelSpec | None) -> _Picture:
    planes = rgb_image(images, index)
    if planes.shape[0] != 3 or 0 in planes.shape or not bool(planes.isfinite().all()):
        raise ValueError(
            f"image {index} must be three finite planes [3, h, w], got {list(planes.shape)}, or NaN or inf"
        )
    if spec is not None:
        mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in (spec.mean, spec.std))
        planes = (planes.cpu() * std + mean) / 255
    resized = torch.nn.functional.interpolate(
        planes[None].cpu(), size=(_SIDE, _SIDE), mode="bilinear", antialias=True, align_corners=False
    )[0]
    return _Picture(resized.numpy(), *planes.shape[1:])


def _statistics(picture: _Picture, grid: int) -> dict[str, _Columns]:
    """Statistics of an image by group and name."""
    rgb = picture.rgb
    luminance = np.tensordot(_LUMA, rgb, 1)
    colors = {
        "red-green": rgb[0] - rgb[1],
        "blue-yellow": rgb[2] - (rgb[0] + rgb[1]) / 2,
        "saturation": rgb.max(0) - rgb.min(0),
    }
    moments = {
        f"{name} {what}": float(of(x)) for name, x in colors.items() for what, of in (("mean", np.mean), ("sd", np.std))
    }
    local = {key: value for name, x in colors.items() for key, value in _cells(x, grid, f"{name} mean").items()}
    return {
        "luminance": {**_distribution(luminance), **_cells(luminance, grid, "mean")},
        "contrast": {"sd": float(luminance.std()), **_cell_contrasts(luminance, grid)},
        "color": {**moments, **local},
        "edges": _edges(luminance),
        "energy": _energies(luminance, grid),
        "spectrum": _spectrum(luminance),
        "size": {
            "log pixels": float(np.log(picture.height * picture.width)),
            "log aspect": float(np.log(picture.width / picture.height)),
        },
    }


def _distribution(luminance: NDArray[np.float64]) -> _Columns:
    centered = luminance - luminance.mean()
    size = luminance.std()
    scaled = centered / size if size > _FLOOR else np.zeros_like(centered)  # a flat image has no shape
    counts = np.unique(np.floor(luminance / _GREY + 1e-9), return_counts=True)[1] / luminance.size
    return {
        "mean": float(luminance.mean()),
        "skewness": float((scaled**3).mean()),
        "kurtosis": float((scaled**4).mean()),
        "entropy": float(-(counts * np.log(counts)).sum()),
    }


def _edges(luminance: NDArray[np.float64]) -> _Columns:
    down, right = (ndimage.sobel(luminance, axis=axis, mode="reflect") / 8 for axis in (0, 1))
    magnitude = np.hypot(down, right)
    return {"strength": float(magnitude.mean()), "density": float((magnitude > _EDGE).mean())}


def _spectrum(luminance: NDArray[np.float64]) -> _Columns:
    """Slope of log power over log frequency, of the image in a Hann window, and how far it is from a line."""
    window = np.hanning(_SIDE)
    power = np.abs(fft.fft2((luminance - luminance.mean()) * np.outer(window, window))) ** 2 / _SIDE**2
    frequency = fft.fftfreq(_SIDE) * _SIDE
    ring = np.rint(np.hypot(frequency[:, None], frequency)).astype(int)
    mean = np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel())
    wanted = np.arange(2, _SIDE // 2)
    x, y = np.log(wanted), np.log(mean[wanted] + _FLOOR)
    slope, offset = np.polyfit(x, y, 1)
    return {"slope": float(slope), "residual": float((y - slope * x - offset).std())}


def _energies(luminance: NDArray[np.float64], grid: int) -> _Columns:
    """Root mean square responses of the steerable pyramid, in the image and in the cells of the grid."""
    padded = np.pad(luminance - luminance.mean(), _MARGIN, mode="symmetric")
    spectrum = fft.fft2(padded)
    whole, local = {}, {}
    for scale in range(_SCALES):
        # Half of the frequencies is left at each scale: the filter of an octave at the same place in it
        responses = fft.ifft2(spectrum * _filters(len(spectrum)))
        margin = _MARGIN >> scale
        power = (responses.real**2 + responses.imag**2)[:, margin:-margin, margin:-margin]
        for orientation, values in zip(_degrees(), power, strict=True):
            name = f"{_SIDE // 4 >> scale} cycles, {orientation:g} deg"
            whole[name] = float(np.sqrt(values.mean()))
            local.update({key: value**0.5 for key, value in _cells(values, grid, name).items()})
        spectrum = _coarser(spectrum)
    return {**whole, **local}


def _degrees() -> NDArray[np.float64]:
    return np.arange(_ORIENTATIONS) * 180 / _ORIENTATIONS


@lru_cache(maxsize=_SCALES)
def _filters(side: int) -> NDArray[np.float64]:
    """Filters about a quarter of the sampling rate, [orientations, side, side], for one half of the frequencies each.

    cos(pi/2 log2(4 f)) in radius, for f in 1/8..1/2, and cos^7 in angle; squares add up to 1 over octaves and
    orientations.
    """
    frequency = fft.fftfreq(side)
    up, right = -frequency[:, None], frequency[None]  # rows run downwards
    radius, angle = np.hypot(up, right), np.arctan2(up, right)
    octaves = np.log2(np.where(radius > 0, 4 * radius, 1e-9))
    radial = np.where(np.abs(octaves) < 1, np.cos(np.pi / 2 * octaves), 0)
    contour = np.deg2rad(_degrees())[:, None, None]  # at a right angle to the direction in which luminance changes
    power = _ORIENTATIONS - 1
    angular = np.maximum(np.sin(contour - angle), 0) ** power
    # the mean of cos^(2 power) over angles, for each orientation in both halves; 2 of a real image's two halves
    total = _ORIENTATIONS * np.prod(np.arange(1, 2 * power, 2) / np.arange(2, 2 * power + 1, 2))
    filters: NDArray[np.float64] = radial * angular * np.sqrt(2 / total)
    return filters


def _coarser(spectrum: NDArray[Any]) -> NDArray[Any]:
    """The lower half of the frequencies: the spectrum of samples half as dense, each between two of the denser ones."""
    quarter = len(spectrum) // 4
    kept = np.r_[0:quarter, len(spectrum) - quarter : len(spectrum)]
    between = np.exp(1j * np.pi * fft.fftfreq(len(spectrum))[kept])
    coarser: NDArray[Any] = spectrum[np.ix_(kept, kept)] * np.outer(between, between) / 4
    return coarser


def _blocks(values: NDArray[np.float64], grid: int) -> NDArray[np.float64]:
    """Values by cell, [grid, grid, pixels of a cell]."""
    side = len(values) // grid
    return values.reshape(grid, side, grid, side).transpose(0, 2, 1, 3).reshape(grid, grid, -1)


def _cells(values: NDArray[np.float64], grid: int, name: str) -> _Columns:
    return _by_cell(_blocks(values, grid).mean(2), name) if grid else {}


def _cell_contrasts(luminance: NDArray[np.float64], grid: int) -> _Columns:
    return _by_cell(_blocks(luminance, grid).std(2), "sd") if grid else {}


def _by_cell(table: NDArray[np.float64], name: str) -> _Columns:
    return {
        f"{name}{CELL}{row + 1} {column + 1}": float(value)
        for row, values in enumerate(table)
        for column, value in enumerate(values)
    }
