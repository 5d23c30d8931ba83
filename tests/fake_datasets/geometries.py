"""Small recordings of every kind of geometry, whose targets are some of its places in a random order."""

from typing import Any

import numpy as np
import pandas as pd

from gradkern.recordings import Geometry, Grayordinates, Recording, Sensors, SurfaceMesh, VolumeGrid

AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2.0, 0, -126], [0, 0, 2.5, -72], [0, 0, 0, 1]])
SENSORS = ("MEG0111", "MEG0112", "MEG0121", "EEG001")
TIMES = (-0.1, 0.0, 0.1, 0.2, 0.3)


def recording(targets: pd.DataFrame, geometry: Geometry | None, **about: Any) -> Recording:
    """A recording of these targets, with responses to 6 images."""
    responses = np.random.default_rng(0).standard_normal((6, len(targets))).astype(np.float32)
    known = {"subject": "sub-01", "units": "percent", **about}
    return Recording(responses, pd.DataFrame({"image": range(6)}), targets, geometry=geometry, **known)


def volume(places: Any, grid: VolumeGrid, **about: Any) -> Recording:
    """Voxels at places of a grid, i fastest."""
    i, j, k = np.unravel_index(np.asarray(places), grid.shape, order="F")
    labels = [f"{a}-{b}-{c}" for a, b, c in zip(i, j, k, strict=True)]
    return recording(pd.DataFrame({"label": labels, "i": i, "j": j, "k": k}), grid, **{"space": "T1w", **about})


def surface(places: Any, mesh: SurfaceMesh, **about: Any) -> Recording:
    """Vertices at places of a mesh of both hemispheres, left first."""
    left = mesh.vertices["left"]
    side = np.where(np.asarray(places) < left, "left", "right")
    vertex = np.where(np.asarray(places) < left, places, np.asarray(places) - left)
    labels = [f"{a}.{b}" for a, b in zip(side, vertex, strict=True)]
    table = pd.DataFrame({"label": labels, "hemisphere": side, "vertex": vertex})
    return recording(table, mesh, **{"space": mesh.mesh, **about})


def brain_models(voxels: int = 4) -> Grayordinates:
    """12 of 20 vertices left, 9 of 20 right, and voxels of the left hippocampus."""
    names = ("CIFTI_STRUCTURE_CORTEX_LEFT", "CIFTI_STRUCTURE_CORTEX_RIGHT", "CIFTI_STRUCTURE_HIPPOCAMPUS_LEFT")
    model = np.repeat([0, 1, 2], [12, 9, voxels])
    vertex = np.concatenate([np.arange(12) + 3, np.arange(9) * 2, np.full(voxels, -1)])
    voxel = np.full((len(model), 3), -1)
    voxel[21:] = np.stack([np.arange(voxels), np.arange(voxels) % 3, np.full(voxels, 2)], 1)
    counts = {names[0]: 20, names[1]: 20}
    return Grayordinates(names, model, vertex, voxel, counts, VolumeGrid((5, 6, 7), AFFINE))


def grayordinates(places: Any, geometry: Grayordinates, **about: Any) -> Recording:
    """Grayordinates at places of brain models."""
    rows = np.asarray(places)
    table = pd.DataFrame({"label": [f"g{row}" for row in rows], "vertex": geometry.vertex[rows]})
    table["structure"] = np.array(geometry.structures)[geometry.model[rows]]
    table[["i", "j", "k"]] = geometry.voxel[rows]
    return recording(table, geometry, **{"space": "fsLR", **about})


def sensor_geometry() -> Sensors:
    """A magnetometer, two gradiometers and an electrode with positions, at 5 times."""
    return Sensors.of_info(sensor_info(), TIMES)


def sensor_info() -> Any:
    """mne's `Info` of these sensors, with digitised points."""
    import mne

    info = mne.create_info(list(SENSORS), 10.0, ["mag", "grad", "grad", "eeg"])
    points = np.random.default_rng(0).random((4, 3)) / 10
    info.set_montage(mne.channels.make_dig_montage({"EEG001": points[0]}, *points[1:], coord_frame="head"))
    with info._unlock():
        for number, channel in enumerate(info["chs"][:3]):
            channel["loc"][:] = np.random.default_rng(number).random(12) / 10
        info["dev_head_t"] = mne.transforms.Transform("meg", "head", np.eye(4) + np.eye(4, k=3) / 50)
    return info


def sensors(places: Any, geometry: Sensors, **about: Any) -> Recording:
    """Sensors at times, at places of the geometry, times fastest."""
    sensor, time = np.divmod(np.asarray(places), len(TIMES))
    table = pd.DataFrame({"sensor": np.array(geometry.names)[sensor], "time": np.array(TIMES)[time]})
    table["label"] = [f"{name} {at}" for name, at in zip(table["sensor"], table["time"], strict=True)]
    return recording(table, geometry, **{"space": "sensors", **about})
