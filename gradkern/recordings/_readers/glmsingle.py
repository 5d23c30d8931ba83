"""What GLMsingle writes: single-trial responses of one subject, of its Python and of its MATLAB version.

Prince, J. S. et al. Improving the accuracy of single-trial fMRI response estimates using GLMsingle. eLife 11:e77599
(2022). Python calls the responses "betasmd", MATLAB "modelmd"; "stimorder" counts conditions from 0 in Python and from
1 in MATLAB.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern.recordings._formats.files import fingerprint, read_mat, read_volume
from gradkern.recordings._lazy import ChosenTargets, Responses, Whole
from gradkern.recordings._recording import Recording

MODELS = {"B": "TYPEB_FITHRF", "C": "TYPEC_FITHRF_GLMDENOISE", "D": "TYPED_FITHRF_GLMDENOISE_RR"}
_ENDINGS = (".hdf5", ".npy", ".mat")
_BETAS = ("betasmd", "modelmd")
_FIRST = 5  # trials: a voxel that is zero in all of them has no data


class _Estimates(NamedTuple):
    """Responses [trials, units], the first of them, the grid, how units run through it ("C" or "F"), and R^2."""

    responses: Responses
    first: NDArray[Any]
    grid: tuple[int, ...]
    order: Any
    rsquare: NDArray[Any] | None


class _Design(NamedTuple):
    """Of every trial its condition, 0-based, and run, 1-based; the file."""

    conditions: NDArray[np.int64]
    runs: NDArray[np.int64]
    path: Path


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
    """Betas of every trial; those in HDF5 (.hdf5, .mat of version 7.3) are read when they are needed.

    Targets are in the order of the file: the last axis of Python's volumes runs fastest, the first of MATLAB's. A voxel
    that is NaN in the first trial, or 0 in the first five, is left out and counted.

    Parameters
    ----------
    source : GLMsingle's output folder, or one of its files, such as TYPED_FITHRF_GLMDENOISE_RR.npy
    subject : a word
    images : the image of every trial: names, or 0-based numbers in the image source. Without, DESIGNINFO beside the
        file tells the condition of every trial; with, the two must repeat at the same trials if DESIGNINFO can be read
    conditions : names of the images, in the order of the design matrix's columns; without, their numbers are the ids
    sessions : of every trial; by default all are of one
    mask : path of a NIfTI file on the same grid, or bool [x, y, z] or [units]
    model : "B", "C" or "D", the last with GLMdenoise and ridge regression; "A" has one response for all images
    allow_pickle : .npy files are pickles, which can run any code when they are read. Only True reads them.

    Returns
    -------
    Recording : responses in percent signal change; targets tell "R2", in percent, if the file does

    Raises
    ------
    FileNotFoundError : a file is missing
    ValueError : a pickle, if not allowed; other numbers of trials than in the design or of `images`; another grid
    """
    op = "load_glmsingle"
    path = _file(op, Path(source).expanduser(), model)
    found = _estimates(op, path, allow_pickle)
    trials = len(found.responses)
    design = _design(op, path.parent, allow_pickle, needed=images is None)
    if design is not None and len(design.conditions) != trials:
        raise ValueError(
            f"{op}: {design.path} has {len(design.conditions)} trials, {trials} expected by {path} (is it another's?)"
        )
    for name, given in (("images", images), ("sessions", sessions)):
        if given is not None and len(given) != trials:
            raise ValueError(f"{op}: {name} must be given for each of {trials} trials, got {len(given)}")
    ids, names = _shown(op, images, conditions, design)
    presentations = pd.DataFrame({"image": ids, "session": 1 if sessions is None else np.asarray(sessions)})
    if design is not None:
        presentations["run"] = design.runs
    inside, affine = _inside(op, mask, found)
    silent = (found.first == 0).all(0)
    kept = inside & np.isfinite(found.first[0]) & ~silent
    left = int((inside & ~kept).sum())
    return Recording(
        responses=ChosenTargets(found.responses, np.flatnonzero(kept)),
        presentations=presentations,
        targets=_targets(op, found, affine)[kept],
        subject=subject,
        units="percent signal change",
        space="units" if _flat(found.grid) else "voxels",
        image_names=names,
        excluded=(Excluded("targets", left, "without data"),) if left else (),
        history=(f"{path.name} of {trials} trials",),
        provenance={
            "citation": "Prince et al. (2022), eLife 11:e77599",
            "files": {each.name: fingerprint(each) for each in (path, *([] if design is None else [design.path]))},
        },
    )


def _file(op: str, source: Path, model: str) -> Path:
    if source.is_file():
        if source.name.startswith("TYPEA"):
            raise ValueError(f"{op}: source must hold a response a trial, got {source}, which has one for all images")
        return source
    if model not in MODELS:
        raise ValueError(f"{op}: model must be one of {tuple(MODELS)}, got {model!r}")
    names = [f"{MODELS[model]}{ending}" for ending in _ENDINGS]
    there = [source / name for name in names if (source / name).is_file()]
    if not there:
        raise FileNotFoundError(f"{op}: {' or '.join(names)} is missing in {source}, where GLMsingle writes it")
    if len(there) > 1:
        raise ValueError(f"{op}: source must be one of {[path.name for path in there]} in {source}; give the file")
    return there[0]


def _estimates(op: str, path: Path, allow_pickle: bool) -> _Estimates:
    import h5py

    if path.suffix == ".npy":
        return _held(op, path, _pickled(op, path, allow_pickle))
    if h5py.is_hdf5(path):
        return _lazy(op, path)
    if path.suffix == ".mat":
        from scipy.io import loadmat

        try:
            content = loadmat(path, variable_names=[*_BETAS, "R2"])
        except Exception as error:
            raise ValueError(f"{op}: {path} cannot be read as a MATLAB file: {error} (is it cut short?)") from error
        return _held(op, path, content)
    raise ValueError(f"{op}: {path} must be a file of {', '.join(_ENDINGS)}, and whole")


def _lazy(op: str, path: Path) -> _Estimates:
    """HDF5: MATLAB's axes are reversed."""
    import h5py

    from gradkern.recordings._formats.hdf5 import Trials

    reverse = path.suffix == ".mat"
    try:
        with h5py.File(path) as file:
            name = _betas(op, path, file)
            rsquare = np.asarray(file["R2"]) if "R2" in file else None
        trials = Trials(path, name, last=not reverse)
        _check(op, path, name, trials.stored, trials.dtype)
        first = trials.first(_FIRST)
        responses = trials.by_the_file()
    except OSError as error:
        raise ValueError(f"{op}: {path} cannot be read: {error} (is it cut short?)") from error
    if reverse:
        return _Estimates(responses, first, trials.grid[::-1], "F", None if rsquare is None else rsquare.T)
    return _Estimates(responses, first, trials.grid, "C", rsquare)


def _held(op: str, path: Path, content: Mapping[str, Any]) -> _Estimates:
    name = _betas(op, path, content)
    values = np.asarray(content[name])
    _check(op, path, name, values.shape, values.dtype)
    trials = values.reshape(-1, values.shape[-1]).T
    rsquare = np.asarray(content["R2"]) if content.get("R2") is not None else None
    return _Estimates(Whole(trials), trials[:_FIRST], values.shape[:-1], "C", rsquare)


def _betas(op: str, path: Path, content: Any) -> str:
    for name in _BETAS:
        if name in content:
            return name
    raise ValueError(f"{op}: {path} must hold 'betasmd' or 'modelmd', got {sorted(k for k in content if k[0] != '_')}")


def _check(op: str, path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if len(shape) not in (2, 4) or dtype.kind != "f":
        raise ValueError(
            f"{op}: {name!r} of {path} must be float [x, y, z, trials] or [units, trials] (reversed in "
            f"MATLAB's HDF5), got {dtype} {list(shape)}"
        )


def _pickled(op: str, path: Path, allow_pickle: bool) -> Mapping[str, Any]:
    if not allow_pickle:
        raise ValueError(
            f"{op}: {path} is a pickle, which can run any code when it is read; say allow_pickle=True if you trust "
            "where it is from"
        )
    try:
        content = np.load(path, allow_pickle=True).item()
    except Exception as error:
        raise ValueError(f"{op}: {path} cannot be read: {error} (is it cut short?)") from error
    if not isinstance(content, dict):
        raise ValueError(f"{op}: {path} must hold a dict, got {type(content).__name__}")
    return content


def _design(op: str, folder: Path, allow_pickle: bool, needed: bool) -> _Design | None:
    """The design; None where there is none, or only a pickle that may not be read, and none is needed."""
    python, matlab = folder / "DESIGNINFO.npy", folder / "DESIGNINFO.mat"
    fields = ("stimorder", "numtrialrun")
    if matlab.is_file():
        path, content, base = matlab, read_mat(op, matlab, fields), 1
    elif python.is_file() and (needed or allow_pickle):
        path, base = python, 0
        whole = _pickled(op, python, allow_pickle)
        for name in fields:
            if name not in whole:
                raise ValueError(f"{op}: {path} must hold {name!r}, got {sorted(whole)}")
        content = {name: np.asarray(whole[name]) for name in fields}
    elif needed:
        raise FileNotFoundError(f"{op}: DESIGNINFO.npy or DESIGNINFO.mat is missing in {folder}; give images=")
    else:
        return None
    order, runs = (content[name].ravel().astype(np.int64) for name in fields)
    if order.min(initial=base) < base or runs.sum() != len(order):
        raise ValueError(
            f"{op}: {path} must hold conditions from {base} on and as many trials as the runs have, got conditions "
            f"from {order.min(initial=base)} on, {len(order)} trials and {runs.sum()} in runs"
        )
    return _Design(order - base, np.repeat(np.arange(1, len(runs) + 1), runs), path)


def _shown(
    op: str, images: Sequence[Any] | None, conditions: Sequence[str] | None, design: _Design | None
) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
    """The ids of every trial's image, and the names of the images."""
    if images is None and design is not None:
        if conditions is None:
            return design.conditions, None
        if design.conditions.max() >= len(conditions):
            raise ValueError(
                f"{op}: conditions must name all of the design, got {len(conditions)} names and condition "
                f"{design.conditions.max()}, counted from 0"
            )
        return design.conditions, tuple(map(str, conditions))
    if conditions is not None:
        raise ValueError(f"{op}: conditions must not be given beside images")
    shown = np.asarray(images)
    if shown.dtype.kind in "iu":
        names, ids = None, shown.astype(np.int64)
    else:
        unique, ids = np.unique(shown.astype(str), return_inverse=True)
        names = tuple(map(str, unique))
    if design is not None:
        pairs = len(np.unique(np.stack([design.conditions, ids]), axis=1).T)
        if not pairs == len(np.unique(ids)) == len(np.unique(design.conditions)):
            raise ValueError(
                f"{op}: images must repeat where conditions do in {design.path}, got {len(np.unique(ids))} images, "
                f"{len(np.unique(design.conditions))} conditions, {pairs} pairs of both (are they another subject's?)"
            )
    return ids, names


def _inside(op: str, mask: Any, found: _Estimates) -> tuple[NDArray[np.bool_], NDArray[Any] | None]:
    """[units], in the order of the file, and the affine of a mask that has one."""
    if mask is None:
        return np.ones(found.responses.shape[1], bool), None
    values, affine = read_volume(op, Path(mask)) if isinstance(mask, str | Path) else (np.asarray(mask), None)
    if values.shape != found.grid and not (_flat(found.grid) and values.shape == found.grid[:1]):
        raise ValueError(f"{op}: mask must be {list(found.grid)} as the betas are, got {list(values.shape)}")
    inside = np.asarray(values != 0).reshape(found.grid).ravel(order=found.order)
    if not inside.any():
        raise ValueError(f"{op}: mask must hold something that is not 0")
    return inside, affine


def _flat(grid: tuple[int, ...]) -> bool:
    """Whether the grid is a list of units: GLMsingle gives those two axes of length 1."""
    return len(grid) == 1 or grid[1:] == (1, 1)


def _targets(op: str, found: _Estimates, affine: NDArray[Any] | None) -> pd.DataFrame:
    if _flat(found.grid):
        table = pd.DataFrame({"label": [str(unit) for unit in range(found.grid[0])], "unit": range(found.grid[0])})
    else:
        i, j, k = (axis.ravel(order=found.order) for axis in np.indices(found.grid))
        labels = [f"{a}-{b}-{c}" for a, b, c in zip(i, j, k, strict=True)]
        table = pd.DataFrame({"label": labels, "i": i, "j": j, "k": k})
        if affine is not None:
            table[["x", "y", "z"]] = np.stack([i, j, k], 1) @ affine[:3, :3].T + affine[:3, 3]
    if found.rsquare is not None:
        if found.rsquare.size != len(table):
            raise ValueError(f"{op}: R2 must hold {len(table)} values, as the betas do, got {found.rsquare.size}")
        table["R2"] = found.rsquare.reshape(found.grid).ravel(order=found.order)
    return table
