"""The formats of maps: NIfTI, GIFTI, CIFTI, mne's Evoked and SourceEstimate, as the programs that show them ask.

Values [m, places] of all places of a geometry, those without a target included, are made when a file is written.
"""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.errors import Refused
from gradkern.recordings._maps.geometry import Geometry, VolumeGrid, nibabel
from gradkern.recordings._maps.grayordinates import Grayordinates
from gradkern.recordings._maps.parcels import Parcels
from gradkern.recordings._maps.sensors import Sensors, spacing
from gradkern.recordings._maps.surfaces import SurfaceMesh
from gradkern.recordings._maps.values import Maps

_Full = Callable[[], NDArray[np.float32]]  # values of all places, made when they are written
SURFACES = (".func.gii", ".shape.gii")
_STRUCTURES = {"left": "CortexLeft", "right": "CortexRight"}
_HEMISPHERES = {"left": "L", "right": "R"}
_MNE_SIDES = {"left": "lh", "right": "rh"}
# FreeSurfer (and freeview) read arrays of these two intents as overlays, not those of NIfTI's statistics:
# MRISreadGiftiAsMRI in utils/gifti.cpp. GIFTI's intent of .shape.gii is SHAPE
_INTENTS = {".func.gii": "NIFTI_INTENT_NONE", ".shape.gii": "NIFTI_INTENT_SHAPE"}
_ALIGNED, _MNI = 2, 4
_EVOKED = ("-ave.fif", "_ave.fif", "-ave.fif.gz", "_ave.fif.gz")


class MapFile(NamedTuple):
    """What a file is called beside the name of the maps, and what writes it: hemisphere, ending, function of a path."""

    hemisphere: str
    ending: str
    write: Callable[[Path], None]
    facts: dict[str, Any]


class Layout(NamedTuple):
    """Maps on a geometry: values [m, v] of targets, and what fills places without a target."""

    geometry: Geometry
    targets: pd.DataFrame
    space: str
    fill: float


def endings(layout: Layout) -> tuple[str, ...]:
    """The endings of the files that such maps can be, the usual one first.

    Raises
    ------
    Refused : no format holds such maps
    """
    geometry = layout.geometry
    timed = "time" in layout.targets
    if isinstance(geometry, Sensors):
        return _EVOKED
    if isinstance(geometry, SurfaceMesh) and timed:
        return (".stc",)
    if timed:
        raise Refused(f"maps over time must be of sensors or of vertices of a surface, got a {geometry.kind}")
    if isinstance(geometry, Parcels):
        if isinstance(geometry.base, Grayordinates):
            return (".pscalar.nii",)
        geometry = geometry.base
    if isinstance(geometry, Grayordinates):
        return (".dscalar.nii",)
    return SURFACES if isinstance(geometry, SurfaceMesh) else (".nii.gz", ".nii")


def map_files(maps: Maps, layout: Layout, ending: str) -> list[MapFile]:
    """The files that hold these maps; nothing is written yet."""
    names, values = tuple(maps), np.stack(list(maps.values()))
    geometry = layout.geometry
    if isinstance(geometry, Sensors):
        return [_evoked(names, values, layout, ending)]
    if ending == ".stc":
        return _source_estimates(names, values, layout)
    if isinstance(geometry, Parcels | Grayordinates) and ending in (".dscalar.nii", ".pscalar.nii"):
        full = partial(_filled, values, geometry.places(layout.targets), geometry.size, layout.fill)
        return [MapFile("", ending, lambda path: _cifti(path, names, full(), geometry.axis()), {})]
    base, places, values = _spread(values, layout)
    full = partial(_filled, values, places, base.size, layout.fill)
    if isinstance(base, SurfaceMesh):
        return _surfaces(names, full, base, ending)
    if not isinstance(base, VolumeGrid):
        raise TypeError(f"geometry must be a known one, got a {type(base).__name__}")
    return [_volume(names, full, base, layout.space, ending)]


def _spread(values: NDArray[np.float32], layout: Layout) -> tuple[Geometry, NDArray[np.int64], NDArray[np.float32]]:
    """The geometry with places in space, the places that have a value, and their values; a parcel's at all of its."""
    geometry = layout.geometry
    places = geometry.places(layout.targets)
    if not isinstance(geometry, Parcels):
        return geometry, places, values
    number = np.full(geometry.size, -1)
    number[places] = np.arange(len(places))
    target = number[geometry.parcel]
    return geometry.base, geometry.place[target >= 0], values[:, target[target >= 0]]


def _filled(values: NDArray[np.float32], places: NDArray[np.int64], size: int, fill: float) -> NDArray[np.float32]:
    full = np.full((len(values), size), fill, dtype=np.float32)
    full[:, places] = values
    return full


def _volume(names: Sequence[str], full: _Full, grid: VolumeGrid, space: str, ending: str) -> MapFile:
    """NIfTI of the whole grid, several maps along the fourth axis, with the affine and the code of the recording."""
    code = grid.code or (0 if grid.affine is None else _MNI if space.startswith("MNI152") else _ALIGNED)

    def write(path: Path) -> None:
        data = np.stack([row.reshape(grid.shape, order="F") for row in full()], axis=-1)
        image = nibabel().Nifti1Image(data[..., 0] if len(names) == 1 else data, grid.affine)
        header = image.header
        header.set_data_dtype(np.float32)
        # NIfTI-1, "method 3": any affine fits the sform; the qform has no shears, and holds it only where it can
        if grid.affine is None:
            image.set_sform(None, 0)
            image.set_qform(None, 0)
        else:
            image.set_sform(grid.affine, code)
            image.set_qform(grid.affine, code, strip_shears=True)
            if not np.allclose(image.get_qform(), grid.affine, rtol=0, atol=1e-3):
                image.set_qform(grid.affine, 0, strip_shears=True)
        header.set_xyzt_units("mm")
        header.set_intent("estimate", name=_ascii(names[0]) if len(names) == 1 else "")
        header["descrip"] = b"gradkern"
        nibabel().save(image, path)

    orientation = "unknown" if grid.affine is None else "affine of the recording"
    return MapFile("", ending, write, {"Orientation": orientation, "XformCode": code})


def _ascii(words: str) -> str:
    """What of a name NIfTI's header has room for: 15 characters of ASCII."""
    return words.encode("ascii", "replace")[:15].decode()


def _surfaces(names: Sequence[str], full: _Full, mesh: SurfaceMesh, ending: str) -> list[MapFile]:
    """GIFTI of each hemisphere's whole mesh, one array for each map."""
    files = []
    for side, count in mesh.vertices.items():
        part = slice(mesh.first[side], mesh.first[side] + count)

        def write(path: Path, side: str = side, part: slice = part) -> None:
            gifti = nibabel().gifti
            intent = nibabel().nifti1.intent_codes.code[_INTENTS[ending]]
            arrays = [
                gifti.GiftiDataArray(row, intent, "NIFTI_TYPE_FLOAT32", meta=gifti.GiftiMetaData(Name=name))
                for name, row in zip(names, full()[:, part], strict=True)
            ]
            # wb_view takes the structure of a metric file from this metadata of the file
            meta = gifti.GiftiMetaData(AnatomicalStructurePrimary=_STRUCTURES[side])
            nibabel().save(gifti.GiftiImage(meta=meta, darrays=arrays), path)

        files.append(MapFile(_HEMISPHERES[side], ending, write, {"Mesh": mesh.mesh or "unknown", "Vertices": count}))
    return files


def _cifti(path: Path, names: Sequence[str], full: NDArray[np.float32], axis: Any) -> None:
    """CIFTI-2, [maps, grayordinates or parcels], whose intent code and name belong to the ending."""
    cifti2 = nibabel().cifti2
    dense = not hasattr(axis, "voxels")
    intent = ("ConnDenseScalar", 3006) if dense else ("ConnParcelScalr", 3008)
    image = cifti2.Cifti2Image(full, header=(cifti2.ScalarAxis(list(names)), axis))
    image.update_headers()
    header = image.nifti_header
    header.set_data_dtype(np.float32)
    header.set_intent(intent[1], name=intent[0], allow_unknown=True)
    nibabel().save(image, path)


def _evoked(names: Sequence[str], values: NDArray[np.float32], layout: Layout, ending: str) -> MapFile:
    """mne's Evoked, one for each map, whose comment is the name; sensors without a target are bad channels."""
    sensors = layout.geometry
    if not isinstance(sensors, Sensors):
        raise TypeError(f"geometry must be sensors, got a {sensors.kind}")
    times, places = sensors.window(layout.targets), sensors.places(layout.targets)
    full = _filled(values, places, len(sensors.names) * len(times), layout.fill)
    absent = set(sensors.names) - set(layout.targets["sensor"].astype(str))
    facts: dict[str, Any] = {}

    def write(path: Path) -> None:
        import mne

        info, facts["SensorPositions"] = sensors.mne_info(spacing(times))
        info["bads"] = [name for name in sensors.names if name in absent or name in info["bads"]]
        evokeds = [
            mne.EvokedArray(
                row.reshape(len(sensors.names), len(times)).astype(np.float64), info, times[0], comment=name, nave=1
            )
            for name, row in zip(names, full, strict=True)
        ]
        mne.write_evokeds(path, evokeds, verbose="error")

    return MapFile("", ending, write, facts)


def _source_estimates(names: Sequence[str], values: NDArray[np.float32], layout: Layout) -> list[MapFile]:
    """mne's SourceEstimate of the vertices that have targets, a pair of .stc files for each map."""
    mesh = layout.geometry
    if not isinstance(mesh, SurfaceMesh):
        raise TypeError(f"geometry must be a surface, got a {mesh.kind}")
    every = np.unique(layout.targets["time"].to_numpy(dtype=np.float64))
    step = spacing(every)
    at = mesh.vertex_places(layout.targets)
    used = np.unique(at)
    cell = np.searchsorted(used, at), np.searchsorted(every, layout.targets["time"].to_numpy(dtype=np.float64))
    first = mesh.first.get("right", mesh.size)
    vertices = [used[used < first], used[used >= first] - first]
    if "left" not in mesh.vertices:
        vertices = [np.array([], dtype=np.int64), used]
    files = []
    for name, row in zip(names, values, strict=True):
        full = np.full((len(used), len(every)), layout.fill, dtype=np.float32)
        full[cell] = row
        for side, tag in _MNE_SIDES.items():

            def write(path: Path, tag: str = tag, full: NDArray[np.float32] = full) -> None:
                import mne

                estimate = mne.SourceEstimate(full, vertices, every[0], step or 1.0)
                with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                    estimate.save(str(Path(folder) / "maps"), ftype="stc", verbose="error")
                    (Path(folder) / f"maps-{tag}.stc").replace(path)

            label = "" if len(names) == 1 else name
            files.append(MapFile(side, f"-{tag}.stc", write, {"Map": label, "Mesh": mesh.mesh or "unknown"}))
    return files
