"""Natural Scenes Dataset: single-trial betas of one subject."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.errors import naming
from gradkern.recordings._formats.agreement import Agreements
from gradkern.recordings._formats.files import Folder, map_mgh
from gradkern.recordings._formats.hdf5 import Trials
from gradkern.recordings._formats.nifti import open_volumes, volume_shape
from gradkern.recordings._formats.volumes import Grid, agree_on_grid, grid_of, read_volume
from gradkern.recordings._maps.geometry import Geometry, VolumeGrid
from gradkern.recordings._maps.known import volume_grid
from gradkern.recordings._maps.surfaces import SurfaceMesh
from gradkern.recordings._readers.dataset import check_choice, measured_targets
from gradkern.recordings._readers.nsd_experiment import (
    NSD,
    NSD_TRIALS,
    choose_sessions,
    ranges,
    read_design,
    read_images,
    read_regions,
    read_values,
    session_files,
    values_on,
)
from gradkern.recordings._readers.nsd_places import add_places
from gradkern.recordings._recording import Recording
from gradkern.recordings._responses.lazy import Beside, Responses, Scaled, Stacked
from gradkern.recordings._responses.out_of_core import FileRows
from gradkern.recordings._targets import vertex_targets, voxel_targets, with_positions

NSD_BETAS = {"b1": "betas_assumehrf", "b2": "betas_fithrf", "b3": "betas_fithrf_GLMdenoise_RR"}
_STORED_AS = 300  # integers are percent signal change times this
_FIRST = 5  # trials: a target that is zero in all of them was not measured
_HEMISPHERES = ("lh", "rh")


class Experiment(NamedTuple):
    """Trials of a session, and what its files may be called after the hemisphere: "{:02d}" is the session."""

    trials: int
    names: str

    def files(self, space: str) -> tuple[str, ...]:
        """The files of a session that is there has any of."""
        if space in _VOLUMES:
            return f"{self.names}.hdf5", f"{self.names}.nii.gz"
        ending = "mgh" if space == "fsaverage" else "hdf5"
        return tuple(f"{side}.{self.names}.{ending}" for side in _HEMISPHERES)


_VOLUMES = ("func1pt8mm", "func1mm")
NSD_SPACES = ("fsaverage", *_VOLUMES, "nativesurface")
_CORE = Experiment(NSD_TRIALS, "betas_session{:02d}")


class Request(NamedTuple):
    """What is read of which subject; `parts` is the folder of the betas inside the bucket."""

    data: Folder
    parts: str
    subject: int
    space: str
    sessions: list[int]
    atlas: str | None
    agreements: Agreements
    affine: str | None
    experiment: Experiment = _CORE


class Betas(NamedTuple):
    """Responses, targets, ncsnr, whether each target was measured [v], the type of the stored numbers, and geometry."""

    responses: Responses
    targets: pd.DataFrame
    ncsnr: NDArray[Any] | None
    measured: NDArray[np.bool_]
    stored_as: str
    geometry: Geometry


@naming("load_nsd")
def load_nsd(
    folder: Any,
    subject: int,
    *,
    space: str = "fsaverage",
    betas: str = "b3",
    sessions: Sequence[int] | None = None,
    atlas: str | None = None,
    scratch: Any = None,
    affine: str | None = None,
) -> Recording:
    """Betas of every trial, read when they are needed.

    Targets without data in a session (NaN in its first trial, or zero in its first five) are left out and counted in
    `excluded`.

    Parameters
    ----------
    folder : a copy of the bucket, or of a part of it: holds `nsddata`, `nsddata_betas` and, for the images,
        `nsddata_stimuli`
    subject : 1 to 8
    space : "fsaverage" (.mgh files of both hemispheres), "nativesurface" (.hdf5 files of both hemispheres),
        "func1pt8mm" or "func1mm" (.hdf5 files, or .nii.gz files for sessions without .hdf5)
    betas : "b1", "b2" or "b3", the last with GLMdenoise and ridge regression
    sessions : 1-based; by default those whose files are there
    atlas : a parcellation, such as "HCP_MMP1", "streams" or "nsdgeneral", that gives the targets their "roi"; "" where
        a target is in no region
    scratch : folder where the voxels of .nii.gz files are kept unpacked (1 GB and some seconds per session at 1.8 mm),
        so that they can be read in parts; without it all voxels are held in memory, 2 bytes each
    affine : in volumes, whose affine holds if those of ncsnr, betas and atlas differ: "mask" (that of ncsnr, which is
        compared first) or "data"; by default that is an error

    Returns
    -------
    Recording : responses in percent signal change, image ids 0-based among the 73,000, `ncsnr` if its files are there.
        Vertices have "x", "y", "z" if surf/lh.white and rh.white of fsaverage or of the subject are in
        nsddata/freesurfer. Voxels have a "hemisphere" by masks such as roi/lh.HCP_MMP1.nii.gz and rh., "" outside
        their cortex; without masks, by the side of the middle that they lie on. The history says which.

    Raises
    ------
    FileNotFoundError : a file is missing; the message names it and says where to get it
    ValueError : a file does not hold what it should, or an option is wrong
    """
    check_choice("space", space, NSD_SPACES)
    check_choice("betas", betas, NSD_BETAS)
    data = NSD.open(folder, subject)
    parts = f"nsddata_betas/ppdata/subj{subject:02d}/{space}/{NSD_BETAS[betas]}"
    chosen = choose_sessions(data, parts, subject, sessions, _CORE.files(space))
    presentations = read_design(data, subject, chosen)
    request = Request(data, parts, subject, space, chosen.tolist(), atlas, Agreements(), affine)
    content = read_betas(request, scratch)
    targets, places, masks = add_places(data, subject, space, content.targets, content.measured)
    images = read_images(data)
    return Recording(
        **measured_targets(content.responses, targets, content.measured, content.ncsnr),
        presentations=presentations,
        subject=f"subj{subject:02d}",
        units="percent signal change",
        space=space,
        images=images,
        history=(f"{NSD_BETAS[betas]} of sessions {ranges(chosen)}, stored as {content.stored_as}", *places),
        provenance=NSD.provenance(data, sessions=request.sessions, agreed=request.agreements.provenance()),
        geometry=_with_affine(content.geometry, masks),
    )


def _with_affine(geometry: Geometry, masks: Grid | None) -> Geometry:
    """A volume's geometry with the affine of the masks, where no other file states one."""
    unknown = isinstance(geometry, VolumeGrid) and geometry.affine is None
    return volume_grid(masks) if unknown and masks is not None else geometry


def read_betas(request: Request, scratch: Any) -> Betas:
    """The betas of the sessions, in the volume or on a surface."""
    return _volume(request, scratch) if request.space in _VOLUMES else _surface(request)


def _surface(request: Request) -> Betas:
    """Both hemispheres of fsaverage or of the subject's own surface."""
    data, fsaverage = request.data, request.space == "fsaverage"
    brain = "fsaverage" if fsaverage else f"subj{request.subject:02d}"
    hemispheres, tables, ncsnr, measured, stored_as, counts = [], [], [], [], set(), {}
    for side in _HEMISPHERES:
        responses, side_measured, stored = (_open_fsaverage if fsaverage else _open_native)(request, side)
        hemispheres.append(responses)
        measured.append(side_measured)
        stored_as.add(stored)
        counts[side] = count = responses.shape[1]
        table = vertex_targets(side, count)
        if request.atlas is not None:
            label = f"nsddata/freesurfer/{brain}/label/"
            names = f"{label}{request.atlas}.mgz.ctab"
            table["roi"], _ = read_regions(data, f"{label}{side}.{request.atlas}.mgz", names, (count,))
        tables.append(table)
        if data.has(noise := f"{request.parts}/{side}.ncsnr.mgh"):
            ncsnr.append(read_values(data.file(noise), (count,)))
    return Betas(
        Beside(hemispheres),
        pd.concat(tables),
        np.concatenate(ncsnr) if len(ncsnr) == len(_HEMISPHERES) else None,
        np.concatenate(measured),
        " and ".join(sorted(stored_as)),
        SurfaceMesh(counts, brain if fsaverage else f"{brain} native"),
    )


def _open_fsaverage(request: Request, side: str) -> tuple[Responses, NDArray[np.bool_], str]:
    """A hemisphere's responses, whether its vertices were measured, and the stored type."""
    files = _files(request, side)
    sessions = [_frames(path, request.experiment.trials) for path in files]
    _check_widths(side, [session.shape[1] for session in sessions])
    return FileRows(sessions), np.all([_measured(session) for session in sessions], axis=0), "float32"


def _open_native(request: Request, side: str) -> tuple[Responses, NDArray[np.bool_], str]:
    """A hemisphere's responses, whether its vertices were measured, and the stored type."""
    files = _files(request, side)
    sessions = [_open_hdf5(path, (request.experiment.trials, "vertices")) for path in files]
    _check_widths(side, [session.shape[1] for session, _ in sessions])
    responses, stored = _in_percent([session for session, _ in sessions])
    return responses, np.all([measured for _, measured in sessions], axis=0), stored


def _files(request: Request, side: str) -> list[Path]:
    """The file of a hemisphere in every session."""
    name = next(name for name in request.experiment.files(request.space) if name.startswith(side))
    return [request.data.file(f"{request.parts}/{name.format(number)}") for number in request.sessions]


def _check_widths(side: str, counts: list[int]) -> None:
    if len(set(counts)) > 1:
        raise ValueError(f"sessions of {side} must have the same vertices, got {sorted(set(counts))}")


def _frames(path: Path, trials: int) -> NDArray[Any]:
    values = map_mgh(path)
    if values.shape[0] != trials or values.dtype.kind != "f":
        raise ValueError(f"{path} must hold {trials} frames of float32, got {values.shape[0]} of {values.dtype}")
    return values


def _measured(trials: Any) -> NDArray[np.bool_]:
    """Whether targets of trials [n, ...] are neither NaN in the first trial nor zero in all of the first few."""
    first = np.asarray(trials[0])
    silent = first == 0
    if silent.any():  # a single zero may be a response
        silent &= (np.asarray(trials[1:_FIRST]) == 0).all(0)
    measured: NDArray[np.bool_] = (np.isfinite(first) & ~silent).ravel()
    return measured


def _open_hdf5(path: Path, axes: tuple[int | str, ...]) -> tuple[Trials, NDArray[np.bool_]]:
    """A session's betas, whose axes are the number of trials and further ones, and whether targets were measured."""
    try:
        trials = Trials(path, "betas")
        if len(trials.stored) != len(axes) or trials.stored[0] != axes[0] or trials.dtype.kind not in "fi":
            shape = ", ".join(map(str, axes))
            raise ValueError(f"'betas' must be numbers [{shape}], got {trials.dtype} {list(trials.stored)}")
        return trials, _measured(trials.first(_FIRST))
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _in_percent(sessions: Sequence[Responses]) -> tuple[Responses, str]:
    """Sessions one after another in percent signal change, and the stored type; integers are divided."""
    kinds = {f"{session.dtype}" for session in sessions}
    if len(kinds) > 1:
        raise ValueError(f"sessions must be stored alike, got {sorted(kinds)}")
    whole, kind = Stacked(sessions), kinds.pop()
    return (Scaled(whole, 1 / _STORED_AS), f"{kind} x {_STORED_AS}") if whole.dtype.kind in "iu" else (whole, kind)


def _open_volume(path: Path, trials: int, scratch: Any) -> tuple[Responses, NDArray[np.bool_], tuple[int, ...]]:
    """A session's betas, whether its voxels were measured, and the grid (z, y, x)."""
    if path.suffix == ".hdf5":
        stored, measured = _open_hdf5(path, (trials, "z", "y", "x"))
        return stored, measured, stored.grid
    grid, count = volume_shape(path)
    if count != trials:
        raise ValueError(f"{path} must hold {trials} volumes, got {count}")
    values = open_volumes(path, np.ones(grid, bool), scratch)
    if isinstance(values, Scaled):  # integers as they are stored, or a slope, which NSD's files do not have
        if (values.factor != 1).any():
            raise ValueError(f"{path} must have no slope in its header, got {values.factor[0]:g}")
        values = values.base
    first = values.maps[0] if isinstance(values, FileRows) else values.columns(slice(0, values.shape[1]))  # a view
    return values, _measured(first), grid[::-1]


def _volume(request: Request, scratch: Any) -> Betas:
    data, parts = request.data, request.parts
    patterns, trials = request.experiment.files(request.space), request.experiment.trials
    files = [data.file(*session_files(parts, patterns, number)) for number in request.sessions]
    sessions = [_open_volume(path, trials, scratch) for path in files]
    grids = {grid for _, _, grid in sessions}
    if len(grids) > 1:
        raise ValueError(f"sessions must have the same voxels, got grids {sorted(grids)}")
    grid = next(iter(grids))
    z, y, x = grid
    places = {f"data of {path}": grid_of(path) for path in files if path.suffix != ".hdf5"}
    k, j, i = (axis.ravel() for axis in np.indices((z, y, x)))
    table = voxel_targets(i, j, k)
    if request.atlas is not None:
        names = f"nsddata/freesurfer/subj{request.subject:02d}/label/{request.atlas}.mgz.ctab"
        labels = f"nsddata/ppdata/subj{request.subject:02d}/{request.space}/roi/{request.atlas}.nii.gz"
        table["roi"], places[f"atlas of {labels}"] = read_regions(data, labels, names, (x, y, z))
    ncsnr = None
    if data.has(noise := f"{parts}/ncsnr.nii.gz"):
        path = data.file(noise)
        volume = read_volume(path)
        ncsnr = values_on(path, volume, (x, y, z))
        table = with_positions(table, volume.affine)
        places = {f"noise of {path}": volume.grid, **places}
    agreed = agree_on_grid(request.agreements, places, request.affine) if places else Grid((x, y, z), None)
    responses, stored = _in_percent([session for session, _, _ in sessions])
    if agreed.affine is not None:
        table = with_positions(table, agreed.affine)
    measured = np.all([measured for _, measured, _ in sessions], axis=0)
    return Betas(responses, table, ncsnr, measured, stored, volume_grid(agreed))
