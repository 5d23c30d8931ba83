"""The MEG of the simulation: 275 magnetometers of CTF over a spherical head, with mne's forward solution."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LAYOUT, _HELMET = "CTF-275", "CTF_275.fif.gz"
_WIDEST = np.deg2rad(105)  # from the vertex to the helmet's rim
_RADIUS = 0.09  # of the head, in m
_COIL_CTF = 5001  # of mne: an axial gradiometer
_DEEPEST, _SHALLOWEST = 0.2, 0.85  # of the head's radius, where dipoles may lie


def sensor_names() -> list[str]:
    """Names of the 275 sensors, without the serial number of a helmet."""
    import mne

    return [name.partition("-")[0] for name in mne.channels.read_layout(_LAYOUT).names]


def forward_field(positions: NDArray[Any], moments: NDArray[Any]) -> NDArray[np.float64]:
    """Magnetic field of dipoles in a sphere at the sensors, [275, sources], in T.

    Parameters
    ----------
    positions : [sources, 3] in m from the center of the head, x to the right, y to the front, z up; moved along their
        radius to between 0.2 and 0.85 of the head's radius of 0.09 m
    moments : [sources, 3] in Am; radial components have no field outside the sphere
    """
    import mne

    size = np.linalg.norm(positions, axis=1, keepdims=True)
    inside = positions * np.clip(size, _DEEPEST * _RADIUS, _SHALLOWEST * _RADIUS) / np.maximum(size, 1e-9)
    lengths = np.linalg.norm(moments, axis=1)
    units = moments / np.maximum(lengths, np.finfo(float).tiny)[:, None]
    sources = mne.setup_volume_source_space(
        pos={"rr": inside, "nn": np.where(lengths[:, None] > 0, units, [0.0, 0.0, 1.0])},
        sphere_units="m",
        verbose="error",
    )
    head = mne.make_sphere_model((0.0, 0.0, 0.0), _RADIUS, verbose="error")
    solution = mne.make_forward_solution(
        sensor_info(), trans=None, src=sources, bem=head, meg=True, eeg=False, verbose="error"
    )
    free: NDArray[np.float64] = solution["sol"]["data"].reshape(len(solution["sol"]["data"]), -1, 3)
    field: NDArray[np.float64] = np.einsum("csx,sx->cs", free, moments)
    return field


def sensor_info() -> Any:
    """`mne.Info` of the sensors, in the directions of CTF's layout, on the helmet's surface, facing outwards."""
    import mne

    layout = mne.channels.read_layout(_LAYOUT)
    flat = layout.pos[:, :2] + layout.pos[:, 2:] / 2
    flat = flat - flat.mean(0)
    radius, angle = np.hypot(*flat.T), np.arctan2(flat[:, 1], flat[:, 0])
    slope = radius / radius.max() * _WIDEST
    outward = np.stack([np.sin(slope) * np.cos(angle), np.sin(slope) * np.sin(angle), np.cos(slope)], axis=1)
    surface = mne.read_bem_surfaces(Path(mne.__file__).parent / "data" / "helmets" / _HELMET, verbose="error")[0]["rr"]
    surface = surface - (surface.max(0) + surface.min(0)) * [0.5, 0.5, 0]
    surface[:, 2] -= surface[:, 2].max() - np.ptp(surface[:, :2], axis=0).mean() / 2
    near = np.argmax((surface / np.linalg.norm(surface, axis=1, keepdims=True)) @ outward.T, axis=0)
    distance = np.maximum(np.linalg.norm(surface[near], axis=1), 1.1 * _RADIUS)
    info = mne.create_info(sensor_names(), 1000.0, "mag")
    for channel, direction, reach in zip(info["chs"], outward, distance, strict=True):
        across = np.cross(direction, [0.0, 1.0, 0.0] if abs(direction[1]) < 0.9 else [1.0, 0.0, 0.0])
        across /= np.linalg.norm(across)
        channel["loc"][:] = np.concatenate([reach * direction, across, np.cross(direction, across), direction])
        channel["coil_type"] = _COIL_CTF
    with info._unlock():
        info["dev_head_t"] = mne.transforms.Transform("meg", "head", np.eye(4))
    return info
