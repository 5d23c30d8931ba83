"""Image statistics: known pictures have the statistics that they must have."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from gradkern.encoding import image_statistics
from gradkern.models import ModelSpec
from gradkern.recordings import folder_images

SPEC = ModelSpec("net", "random", None, 16, (124.0, 116.0, 104.0), (58.0, 57.0, 57.5), ("blocks.0",), "none")


def grating(orientation: float, cycles: float, contrast: float = 0.2, side: int = 256) -> np.ndarray:
    """Grey [3, side, side]; contours at an orientation in degrees, counterclockwise from the horizontal."""
    x = np.arange(side) / side
    across = np.deg2rad(orientation + 90)
    phase = np.cos(across) * x[None] - np.sin(across) * x[:, None]
    return np.repeat((0.5 + contrast * np.sin(2 * np.pi * cycles * phase))[None], 3, axis=0)


def textures(count: int = 3, side: int = 128, seed: int = 0) -> np.ndarray:
    """Smooth color textures [count, 3, side, side] between 0 and 1."""
    noise = np.random.default_rng(seed).standard_normal((count, 3, side, side))
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)) * side
    smooth = np.fft.ifft2(np.fft.fft2(noise) / (1 + frequency)).real
    return 0.5 + 0.1 * smooth / smooth.std((2, 3), keepdims=True)


def named(table: xr.DataArray, name: str) -> np.ndarray:
    return table.sel(statistic=name).to_numpy()


def energies(table: xr.DataArray) -> np.ndarray:
    """[images, scales, orientations] of the whole image."""
    values = table[:, table.group.to_numpy() == "energy"].to_numpy()
    return values[:, :32].reshape(-1, 4, 8)


@pytest.mark.parametrize("scale", range(4))
@pytest.mark.parametrize("orientation", range(8))
def test_a_grating_has_energy_at_its_orientation_and_scale(scale: int, orientation: int) -> None:
    table = image_statistics([grating(orientation * 22.5, 32 / 2**scale)], grid=0)
    found = energies(table)[0]
    assert np.unravel_index(found.argmax(), found.shape) == (scale, orientation)
    assert table.statistic[table.group == "energy"][found.argmax()] == (
        f"energy/{32 >> scale} cycles, {orientation * 22.5:g} deg"
    )
    near = found[scale, [orientation, orientation - 1, (orientation + 1) % 8]]
    assert (near**2).sum() > 0.75 * (found**2).sum()


@settings(max_examples=15, deadline=None)
@given(st.floats(0, 180), st.floats(5, 16), st.floats(0.05, 0.4))
def test_energies_of_a_grating_add_up_to_its_variance(orientation: float, cycles: float, contrast: float) -> None:
    table = image_statistics([grating(orientation, cycles, contrast)], grid=0)
    assert (energies(table) ** 2).sum() == pytest.approx(contrast**2 / 2, rel=0.15)
    assert named(table, "contrast/sd") == pytest.approx(contrast / np.sqrt(2), rel=0.1)


def test_turning_the_image_turns_the_orientations() -> None:
    images = textures()
    turned = image_statistics(np.rot90(images, axes=(2, 3)).copy())
    table = image_statistics(images)
    np.testing.assert_allclose(energies(turned), np.roll(energies(table), 4, axis=2), rtol=1e-9)
    for group in ("contrast", "edges", "spectrum"):
        name = [str(s) for s in table.statistic.to_numpy() if s.startswith(group) and "cell" not in s]
        np.testing.assert_allclose(turned.sel(statistic=name), table.sel(statistic=name), rtol=1e-9)
    # what was in the right column of the top row is in the left one
    np.testing.assert_allclose(
        named(turned, "luminance/mean, cell 1 1"), named(table, "luminance/mean, cell 1 4"), rtol=1e-12
    )
    assert np.abs(energies(turned) / energies(table) - 1).max() > 0.05


def test_a_flat_image_has_no_contrast() -> None:
    table = image_statistics([np.full((3, 40, 50), 0.3)])
    assert np.isfinite(table).all()
    assert named(table, "luminance/mean") == pytest.approx(0.3)
    still = table[0, ~table.group.isin(["luminance", "size"]).to_numpy()]
    np.testing.assert_allclose(still, 0, atol=1e-9)
    for name in ("skewness", "kurtosis", "entropy"):
        assert named(table, f"luminance/{name}") == pytest.approx(0, abs=1e-12)
    assert named(table, "size/log pixels") == pytest.approx(np.log(2000))
    assert named(table, "size/log aspect") == pytest.approx(np.log(50 / 40))


def test_luminance_scales_and_shifts() -> None:
    images = textures()
    before, after = image_statistics(images), image_statistics(0.5 * images + 0.2)
    np.testing.assert_allclose(named(after, "luminance/mean"), 0.5 * named(before, "luminance/mean") + 0.2)
    for name in ("luminance/skewness", "luminance/kurtosis", "spectrum/slope", "spectrum/residual"):
        np.testing.assert_allclose(named(after, name), named(before, name), rtol=1e-6)
    for name in ("contrast/sd", "contrast/sd, cell 2 3", "edges/strength", "color/red-green sd"):
        np.testing.assert_allclose(named(after, name), 0.5 * named(before, name))
    np.testing.assert_allclose(energies(after), 0.5 * energies(before))


def test_colors_are_opponent() -> None:
    primary = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0.5, 0.5, 0.5]], dtype=float)
    table = image_statistics(np.ones((5, 3, 8, 8)) * primary[:, :, None, None])
    np.testing.assert_allclose(named(table, "luminance/mean"), [0.299, 0.587, 0.114, 0.886, 0.5])
    np.testing.assert_allclose(named(table, "color/red-green mean"), [1, -1, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(named(table, "color/blue-yellow mean"), [-0.5, -0.5, 1, -1, 0], atol=1e-12)
    np.testing.assert_allclose(named(table, "color/saturation mean"), [1, 1, 1, 1, 0], atol=1e-12)


def test_cells_hold_what_lies_in_them() -> None:
    image = np.full((3, 128, 128), 0.5)
    image[:, 96:, 32:64] = grating(90, 32, side=128)[:, :32, :32]  # in the last row, the second column
    table = image_statistics([image])
    cells = {f"{row} {column}" for row in range(1, 5) for column in range(1, 5)}
    for name in ("contrast/sd", "energy/32 cycles, 90 deg"):
        found = {cell: float(named(table, f"{name}, cell {cell}")[0]) for cell in cells}
        assert max(found, key=lambda cell: found[cell]) == "4 2"
    assert named(table, "contrast/sd, cell 1 1") == 0
    inside = np.array([named(table, f"energy/32 cycles, 90 deg, cell {cell}") for cell in cells])
    np.testing.assert_allclose((inside**2).mean(), named(table, "energy/32 cycles, 90 deg") ** 2)


def test_edges_and_entropy_are_counts() -> None:
    step = np.zeros((3, 128, 128))
    step[:, :, 64:] = 1
    table = image_statistics([step])
    assert named(table, "edges/density") == pytest.approx(2 / 128)  # both sides of the step
    assert named(table, "edges/strength") == pytest.approx(1 / 128)
    assert named(table, "luminance/entropy") == pytest.approx(np.log(2))


@pytest.mark.parametrize("slope", [0.0, -2.0, -3.0])
def test_the_slope_is_that_of_the_power(slope: float) -> None:
    side = 128
    frequency = np.maximum(np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)) * side, 1)
    noise = np.random.default_rng(1).standard_normal((8, side, side))
    grey = np.fft.ifft2(np.fft.fft2(noise) * frequency ** (slope / 2)).real
    table = image_statistics(np.repeat(grey[:, None], 3, axis=1), grid=0)
    assert named(table, "spectrum/slope").mean() == pytest.approx(slope, abs=0.15)


def test_every_way_to_hold_images_gives_the_same(tmp_path: Path) -> None:
    from PIL import Image

    pixels = np.round(255 * textures(3, 64)).clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    expected = image_statistics(list(pixels))
    planes = torch.from_numpy(pixels.transpose(0, 3, 1, 2) / 255)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (SPEC.mean, SPEC.std))
    for images, spec in (
        (pixels, None),
        (folder_images(tmp_path)[0], None),
        (planes, None),
        (list(planes.float()), None),
        ((255 * planes - mean) / std, SPEC),
    ):
        found = image_statistics(images, spec=spec)
        xr.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    grey = image_statistics([pixels[0][:, :, 0]])
    np.testing.assert_allclose(named(grey, "color/saturation mean"), 0, atol=1e-12)


def test_images_of_other_sizes_are_resized() -> None:
    small, large = grating(45, 8, side=128), grating(45, 8, side=512)
    np.testing.assert_allclose(*energies(image_statistics([small, large])), atol=0.01)
    table = image_statistics([small, large])
    assert np.diff(named(table, "size/log pixels")) == pytest.approx(np.log(16))


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        ([], {}, "images must be a sequence of at least one image"),
        (torch.zeros(0, 3, 8, 8), {}, "images must be a sequence of at least one image"),
        (iter([]), {}, "images must be a sequence of at least one image"),
        ([np.zeros((8, 8, 3), np.int16)], {}, "images must be floating point"),
        ([np.zeros((8, 8, 4), np.uint8)], {}, r"image 0 must be uint8 \[h, w\] or \[h, w, 3\]"),
        (torch.zeros(1, 4, 8, 8), {}, r"image 0 must be three finite planes \[3, h, w\]"),
        ([torch.zeros(3, 8, 8), torch.full((3, 8, 8), torch.nan)], {}, "image 1 must be three finite planes"),
        (torch.zeros(1, 3, 8, 8), {"grid": 3}, "grid must be 0 or a divisor of 8, got 3"),
        (torch.zeros(1, 3, 8, 8), {"grid": True}, "grid must be 0 or a divisor of 8, got True"),
    ],
)
def test_what_is_no_image_is_refused(images: object, options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"image_statistics: {message}"):
        image_statistics(images, **options)  # type: ignore[arg-type]
