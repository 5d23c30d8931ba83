"""Output of GLMsingle: single-trial responses of one subject, from its Python or its MATLAB version.

Prince, J. S. et al. Improving the accuracy of single-trial fMRI response estimates using GLMsingle. eLife 11:e77599
(2022). The responses are called "betasmd" in Python and "modelmd" in MATLAB; "stimorder" counts conditions from 0 in
Python and from 1 in MATLAB.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._image_names import canonical
from gradkern.errors import naming
from gradkern.recordings._formats.files import existing_file, fingerprint, read_mat, read_pickle
from gradkern.recordings._formats.names import numbered_images
from gradkern.recordings._formats.volumes import Grid, read_volume
from gradkern.recordings._maps.known import volume_grid
from gradkern.recordings._readers.dataset import GLMSINGLE, check_choice, measured_targets
from gradkern.recordings._recording import Recording
from gradkern.recordings._responses.lazy import ChosenTargets, Responses, Whole
from gradkern.recordings._targets import voxel_targets

_MODELS = {"B": "TYPEB_FITHRF", "C": "TYPEC_FITHRF_GLMDENOISE", "D": "TYPED_FITHRF_GLMDENOISE_RR"}
_ENDINGS = (".hdf5", ".npy", ".mat")
_BETAS = ("betasmd", "modelmd")
_FIRST = 5  # trials: a voxel that is zero in all of them was not measured
_DESIGN = ("stimorder", "numtrialrun")
_INDICATOR = "params/sessionindicator"


class _Estimates(NamedTuple):
    """Responses [trials, units], the first few trials, the grid, its order in memory ("C" or "F"), and R^2."""

    responses: Responses
    first: NDArray[Any]
    grid: tuple[int, ...]
    order: Any
    rsquare: NDArray[Any] | None


class _Design(NamedTuple):
    """The condition (0-based), the run (1-based) and, if known, the session of every trial, and the file."""

    conditions: NDArray[np.int64]
    runs: NDArray[np.int64]
    sessions: NDArray[np.int64] | None
    path: Path


@naming("load_glmsingle")
def load_glmsingle(
    source: Any,
    *,
    subject: str,
    images: Sequence[Any] | None = None,
    conditions: Sequence[str] | None = None,
    sessions: Sequence[int] | None = None,
    mask: Any = None,
    model: str = "D",
    allow_pickle: bool = False,
) -> Recording:
    """Betas of every trial, read when they are needed if they are in HDF5 (.hdf5, .mat of version 7.3).

    Targets are in the order of the file: the last axis runs fastest in volumes from Python, the first in volumes from
    MATLAB. Voxels that are NaN in the first trial, or 0 in the first five, are left out and counted in `excluded`.

    Parameters
    ----------
    source : the output folder of GLMsingle, or one of its files, such as TYPED_FITHRF_GLMDENOISE_RR.npy
    subject : a word
    images : the image of every trial: names, or 0-based numbers in the image source. By default DESIGNINFO beside the
        file gives the condition of every trial. If both are there, images must repeat where conditions do
    conditions : names of the images, in the order of the design matrix's columns; their numbers are the ids by default
    sessions : the session of every trial; by default what GLMsingle was told ("sessionindicator" of DESIGNINFO), or one
        session. If GLMsingle was told of several, both must divide the trials alike
    mask : path of a NIfTI file on the same grid, or bool [x, y, z] or [units]; NaN is outside
    model : "B", "C" or "D", the last with GLMdenoise and ridge regression; "A" has one response for all images
    allow_pickle : .npy files are pickles, which can run any code when they are read; they are read only if this is True

    Returns
    -------
    Recording : responses in percent signal change; targets have "R2", in percent, if the file does

    Raises
    ------
    FileNotFoundError : a file is missing
    ValueError : `allow_pickle` is False and the file is a pickle; the design, `images` or `sessions` have another
        number of trials than the file; the mask has another grid
    """
    path = _file(Path(source).expanduser(), model)
    estimates = _estimates(path, allow_pickle)
    trials = len(estimates.responses)
    design = _design(path.parent, allow_pickle, needed=images is None)
    if design is not None and len(design.conditions) != trials:
        raise ValueError(
            f"{design.path} has {len(design.conditions)} trials, {trials} expected by {path} (is it another's?)"
        )
    for name, values in (("images", images), ("sessions", sessions)):
        if values is not None and len(values) != trials:
            raise ValueError(f"{name} must be given for each of {trials} trials, got {len(values)}")
    ids, names = _image_ids(images, conditions, design)
    presentations = pd.DataFrame({"image": ids, "session": _sessions(sessions, design)})
    if design is not None:
        presentations["run"] = design.runs
    inside, grid = _inside(mask, estimates)
    measured = np.isfinite(estimates.first[0]) & ~(estimates.first == 0).all(0)
    masked = estimates.responses if inside.all() else ChosenTargets(estimates.responses, np.flatnonzero(inside))
    targets = _targets(estimates, grid.affine)[inside]
    files = [path] if design is None else [path, design.path]
    return Recording(
        **measured_targets(masked, targets, measured[inside], reason="without data"),
        presentations=presentations,
        subject=subject,
        units="percent signal change",
        space="units" if _flat(estimates.grid) else "voxels",
        image_names=names,
        history=(f"{path.name} of {trials} trials",),
        provenance={"citation": GLMSINGLE, "files": {file.name: fingerprint(file) for file in files}},
        geometry=None if _flat(estimates.grid) else volume_grid(grid),
    )


def _file(source: Path, model: str) -> Path:
    if source.is_file():
        if source.name.startswith("TYPEA"):
            raise ValueError(f"source must hold one response per trial, got {source}, which has one for all images")
        return source
    check_choice("model", model, _MODELS)
    names = [f"{_MODELS[model]}{ending}" for ending in _ENDINGS]
    files = [source / name for name in names if (source / name).is_file()]
    if not files:
        raise FileNotFoundError(f"{' or '.join(names)} is missing in {source}, where GLMsingle writes it")
    if len(files) > 1:
        raise ValueError(f"source must be one of {[path.name for path in files]} in {source}; give the file")
    return files[0]


def _estimates(path: Path, allow_pickle: bool) -> _Estimates:
    import h5py

    if path.suffix == ".npy":
        return _in_memory(path, read_pickle(path, allow_pickle=allow_pickle))
    if h5py.is_hdf5(path):
        return _lazy(path)
    if path.suffix == ".mat":
        return _in_memory(path, read_mat(path, (), (*_BETAS, "R2")))
    raise ValueError(f"{path} must be a file of {', '.join(_ENDINGS)}, and whole")


def _lazy(path: Path) -> _Estimates:
    """Responses in HDF5, where MATLAB's axes are reversed."""
    from gradkern._hdf5 import reading_hdf5
    from gradkern.recordings._formats.hdf5 import Trials

    reverse = path.suffix == ".mat"
    with reading_hdf5(path) as file:
        name = _betas(path, file)
        rsquare = np.asarray(file["R2"]) if "R2" in file else None
    trials = Trials(path, name, last=not reverse)
    _check(path, name, trials.stored, trials.dtype)
    first = trials.first(_FIRST)
    responses = trials.mapped()
    if reverse:
        return _Estimates(responses, first, trials.grid[::-1], "F", None if rsquare is None else rsquare.T)
    return _Estimates(responses, first, trials.grid, "C", rsquare)


def _in_memory(path: Path, content: Mapping[str, Any]) -> _Estimates:
    name = _betas(path, content)
    values = np.asarray(content[name])
    _check(path, name, values.shape, values.dtype)
    trials = values.reshape(-1, values.shape[-1]).T
    rsquare = np.asarray(content["R2"]) if content.get("R2") is not None else None
    return _Estimates(Whole(trials), trials[:_FIRST], values.shape[:-1], "C", rsquare)


def _betas(path: Path, content: Any) -> str:
    for name in _BETAS:
        if name in content:
            return name
    raise ValueError(
        f"{path} must hold 'betasmd' or 'modelmd', got {sorted(str(k) for k in content if str(k)[0] != '_')}"
    )


def _check(path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if len(shape) not in (2, 4) or dtype.kind != "f":
        raise ValueError(
            f"{name!r} of {path} must be float [x, y, z, trials] or [units, trials] (reversed in "
            f"MATLAB's HDF5), got {dtype} {list(shape)}"
        )


def _design(folder: Path, allow_pickle: bool, needed: bool) -> _Design | None:
    """The design; None if it is not needed and missing, or only in a pickle that must not be read."""
    python, matlab = folder / "DESIGNINFO.npy", folder / "DESIGNINFO.mat"
    if matlab.is_file():
        path, content, base = matlab, read_mat(matlab, _DESIGN, [_INDICATOR]), 1
    elif python.is_file() and (needed or allow_pickle):
        path, content, base = python, read_pickle(python, _DESIGN, allow_pickle=allow_pickle), 0
    elif needed:
        raise FileNotFoundError(f"DESIGNINFO.npy or DESIGNINFO.mat is missing in {folder}; give images=")
    else:
        return None
    stored = [np.asarray(content[name]).ravel() for name in _DESIGN]
    if any(values.dtype.kind not in "iuf" for values in stored):
        raise ValueError(f"{path} must hold numbers in {' and '.join(_DESIGN)}, got {[str(v.dtype) for v in stored]}")
    order, runs = (values.astype(np.int64) for values in stored)
    if order.min(initial=base) < base or runs.sum() != len(order):
        raise ValueError(
            f"{path} must hold conditions from {base} on and as many trials as the runs have, got conditions "
            f"from {order.min(initial=base)} on, {len(order)} trials and {runs.sum()} in runs"
        )
    return _Design(
        order - base, np.repeat(np.arange(1, len(runs) + 1), runs), _told_sessions(path, content, runs), path
    )


def _told_sessions(path: Path, content: Mapping[str, Any], runs: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """The session of every trial as GLMsingle was told by run; None if it was not."""
    params = content.get("params")
    told = content.get(_INDICATOR, params.get("sessionindicator") if isinstance(params, Mapping) else None)
    if told is None or not np.size(told):
        return None
    indicator = np.asarray(told, dtype=np.float64).ravel()
    if len(indicator) != len(runs) or (indicator != np.round(indicator)).any():
        raise ValueError(
            f"sessionindicator in {path} must be a whole number for each of {len(runs)} runs, got {indicator.tolist()}"
        )
    return np.repeat(indicator.astype(np.int64), runs)


def _sessions(sessions: Sequence[Any] | None, design: _Design | None) -> Any:
    """The session of every trial: as the caller says, else as GLMsingle was told, else one."""
    told = None if design is None else design.sessions
    if sessions is None:
        return 1 if told is None else told
    given = np.asarray(sessions)
    if design is not None and told is not None and len(np.unique(told)) > 1:
        pairs = len(set(zip(given.tolist(), told.tolist(), strict=True)))
        if not pairs == len(set(given.tolist())) == len(set(told.tolist())):
            raise ValueError(
                f"sessions must divide the trials as sessionindicator in {design.path} does, got "
                f"{len(set(given.tolist()))} sessions, {len(set(told.tolist()))} there, {pairs} pairs of both"
            )
    return given


def _image_ids(
    images: Sequence[Any] | None, conditions: Sequence[str] | None, design: _Design | None
) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
    """The id of every trial's image, and the names of the images."""
    if images is None and design is not None:
        if conditions is None:
            return design.conditions, None
        if design.conditions.max() >= len(conditions):
            raise ValueError(
                f"conditions must name all of the design, got {len(conditions)} names and condition "
                f"{design.conditions.max()}, counted from 0"
            )
        return design.conditions, tuple(canonical(str(name)) for name in conditions)
    if conditions is not None:
        raise ValueError("conditions must not be given beside images")
    ids, names = numbered_images(images)
    if design is not None:
        pairs = len(np.unique(np.stack([design.conditions, ids]), axis=1).T)
        if not pairs == len(np.unique(ids)) == len(np.unique(design.conditions)):
            raise ValueError(
                f"images must repeat where conditions do in {design.path}, got {len(np.unique(ids))} images, "
                f"{len(np.unique(design.conditions))} conditions, {pairs} pairs of both (are they another subject's?)"
            )
    return ids, names


def _inside(mask: Any, estimates: _Estimates) -> tuple[NDArray[np.bool_], Grid]:
    """Whether units are in the mask, in the order of the file, and the grid, with the mask's affine if it has one."""
    grid = estimates.grid
    if mask is None:
        return np.ones(estimates.responses.shape[1], bool), Grid(grid, None)
    if isinstance(mask, str | Path):
        volume = read_volume(existing_file(mask))
        values, affine, code = volume.values, volume.affine, volume.code
    else:
        values, affine, code = np.asarray(mask), None, 0
    if values.shape != grid and not (_flat(grid) and values.shape == grid[:1]):
        raise ValueError(f"mask must be {list(grid)} as the betas are, got {list(values.shape)}")
    inside = np.asarray((values != 0) & (values == values)).reshape(grid).ravel(order=estimates.order)
    if not inside.any():
        raise ValueError("mask must hold something that is not 0")
    return inside, Grid(grid, affine, code)


def _flat(grid: tuple[int, ...]) -> bool:
    """Whether the grid is a list of units, to which GLMsingle adds two axes of length 1."""
    return len(grid) == 1 or grid[1:] == (1, 1)


def _targets(estimates: _Estimates, affine: NDArray[Any] | None) -> pd.DataFrame:
    grid, order, rsquare = estimates.grid, estimates.order, estimates.rsquare
    if _flat(grid):
        table = pd.DataFrame({"label": [str(unit) for unit in range(grid[0])], "unit": range(grid[0])})
    else:
        i, j, k = (axis.ravel(order=order) for axis in np.indices(grid))
        table = voxel_targets(i, j, k, affine)
    if rsquare is not None:
        if rsquare.size != len(table):
            raise ValueError(f"R2 must hold {len(table)} values, as the betas do, got {rsquare.size}")
        table["R2"] = rsquare.reshape(grid).ravel(order=order)
    return table
