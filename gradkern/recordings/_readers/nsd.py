"""Natural Scenes Dataset: single-trial betas of one subject.

Allen, E. J. et al. A massive 7T fMRI dataset to bridge cognitive neuroscience and artificial intelligence. Nature
Neuroscience 25, 116-126 (2022). The files keep the names they have in the bucket.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern.recordings._formats.files import Folder, map_mgh, read_ctab, read_mat, read_table, read_volume
from gradkern.recordings._formats.hdf5 import Trials
from gradkern.recordings._formats.nifti import open_volumes, volume_shape
from gradkern.recordings._lazy import Beside, ChosenTargets, Responses, Scaled, Stacked
from gradkern.recordings._out_of_core import FileRows
from gradkern.recordings._recording import Recording
from gradkern.recordings._stimuli import HDF5Images

SESSIONS = (40, 40, 32, 30, 40, 32, 40, 30)
TRIALS = 750  # in a session
IMAGES = 73_000
BETAS = {"b1": "betas_assumehrf", "b2": "betas_fithrf", "b3": "betas_fithrf_GLMdenoise_RR"}
SPACES = ("fsaverage", "func1pt8mm", "func1mm", "nativesurface")
_STORED_AS = 300  # integers are percent signal change times this
_FIRST = 5  # trials: a target that is zero in all of them was not measured
_RUN = (*(63, 62) * 6,)  # trials in each of a session's runs
SOURCE = "s3://natural-scenes-dataset (aws s3 cp --no-sign-request; see cvnlab.slite.page/p/CT9Fwl4_hc)"
_HEMISPHERES = ("lh", "rh")
_VOLUMES = ("betas_session{:02d}.hdf5", "betas_session{:02d}.nii.gz")
_NAMES = {  # of which any tells that a session is there
    "fsaverage": ("lh.betas_session{:02d}.mgh", "rh.betas_session{:02d}.mgh"),
    "nativesurface": ("lh.betas_session{:02d}.hdf5", "rh.betas_session{:02d}.hdf5"),
    "func1pt8mm": _VOLUMES,
    "func1mm": _VOLUMES,
}


def load_nsd(
    folder: Any,
    subject: int,
    *,
    space: str = "fsaverage",
    betas: str = "b3",
    sessions: Sequence[int] | None = None,
    atlas: str | None = None,
    scratch: Any = None,
) -> Recording:
    """Betas of every trial of some sessions, read when they are needed.

    Targets without data in a session (NaN in its first trial, or zero in its first five) are left out and counted.

    Parameters
    ----------
    folder : what corresponds to the bucket: holds `nsddata`, `nsddata_betas` and, for images, `nsddata_stimuli`
    subject : 1 to 8
    space : "fsaverage" (.mgh files of both hemispheres), "nativesurface" (.hdf5 files of both), "func1pt8mm" or
        "func1mm" (.hdf5 files; a session's .nii.gz where there is no .hdf5)
    betas : "b1", "b2" or "b3", the last with GLMdenoise and ridge regression
    sessions : 1-based; by default those whose files are there
    atlas : name of a parcellation, such as "HCP_MMP1", "streams" or "nsdgeneral", that labels the targets' "roi";
        "" where a target has none
    scratch : a folder where the voxels of .nii.gz files are kept, unpacked once (1 GB and some seconds a session at 1.8
        mm), to be read in parts; without, all are held in memory, 2 bytes each

    Returns
    -------
    Recording : responses in percent signal change, image ids 0-based among the 73,000, `ncsnr` if its files are there

    Raises
    ------
    FileNotFoundError : a file is missing; it is named, and where to get it
    ValueError : a file does not hold what it should, or the options are wrong
    """
    op = "load_nsd"
    for name, got, known in (("space", space, SPACES), ("betas", betas, tuple(BETAS))):
        if got not in known:
            raise ValueError(f"{op}: {name} must be one of {known}, got {got!r}")
    if subject not in range(1, len(SESSIONS) + 1):
        raise ValueError(f"{op}: subject must be 1 to {len(SESSIONS)}, got {subject!r}")
    data = Folder(op, folder, SOURCE)
    parts = f"nsddata_betas/ppdata/subj{subject:02d}/{space}/{BETAS[betas]}"
    chosen = choose_sessions(data, parts, subject, sessions, _NAMES[space])
    presentations = read_design(data, subject, chosen)
    if space == "fsaverage":
        responses, targets, ncsnr, kept, stored = _surface(data, parts, subject, space, chosen, atlas)
    elif space == "nativesurface":
        responses, targets, ncsnr, kept, stored = _native_surface(data, parts, subject, chosen, atlas)
    else:
        responses, targets, ncsnr, kept, stored = _volume(data, (parts, space), subject, chosen, atlas, scratch)
    left = len(kept) - len(kept_places := np.flatnonzero(kept))
    stimuli = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    images = HDF5Images(data.file(stimuli), "imgBrick") if data.has(stimuli) else None
    return Recording(
        responses=ChosenTargets(responses, kept_places) if left else responses,
        presentations=presentations,
        targets=targets[kept],
        subject=f"subj{subject:02d}",
        units="percent signal change",
        space=space,
        images=images,
        ncsnr=None if ncsnr is None else ncsnr[kept],
        excluded=(Excluded("targets", left, "without data in some session"),) if left else (),
        history=(f"{BETAS[betas]} of sessions {ranges(chosen)}, stored as {stored}",),
        provenance=provenance(data, chosen),
    )


def provenance(data: Folder, sessions: NDArray[np.int64]) -> dict[str, Any]:
    """Of what was read of these sessions."""
    return {
        "dataset": "Natural Scenes Dataset",
        "citation": "Allen et al. (2022), Nature Neuroscience 25, 116-126",
        "licence": "NSD Data Access Agreement; not to be passed on",
        "sessions": sessions.tolist(),
        "files": data.hashes(),
    }


def choose_sessions(
    data: Folder, parts: str, subject: int, sessions: Sequence[int] | None, patterns: tuple[str, ...]
) -> NDArray[np.int64]:
    most = SESSIONS[subject - 1]
    if sessions is None:
        names = {number: _named(parts, patterns, number) for number in range(1, most + 1)}
        found = [number for number, each in names.items() if any(map(data.has, each))]
        if not found:
            data.file(*names[1][:2])  # says that it is missing
        return np.array(found)
    chosen = np.asarray(sessions)
    if chosen.ndim != 1 or not len(chosen) or chosen.dtype.kind not in "iu" or len(set(chosen.tolist())) < len(chosen):
        raise ValueError(f"{data.op}: sessions must be different whole numbers, got {sessions!r}")
    if chosen.min() < 1 or chosen.max() > most:
        raise ValueError(f"{data.op}: sessions of subject {subject} must lie in 1..{most}, got {sessions!r}")
    return np.sort(chosen)


def _named(parts: str, patterns: tuple[str, ...], session: int) -> list[str]:
    return [f"{parts}/{pattern.format(session)}" for pattern in patterns]


def read_design(data: Folder, subject: int, sessions: NDArray[np.int64]) -> pd.DataFrame:
    """The presentations, checked against the subject's log where that is there; "test" are the shared 1,000 images."""
    path = data.file("nsddata/experiments/nsd/nsd_expdesign.mat")
    design = read_mat(data.op, path, ("masterordering", "subjectim", "sharedix"))
    order, images = design["masterordering"].ravel().astype(int), design["subjectim"].astype(int)
    trials, each = TRIALS * max(SESSIONS), int(order.max())
    if len(order) != trials or images.shape != (len(SESSIONS), each):
        raise ValueError(
            f"{data.op}: {path} must hold masterordering [{trials}] and subjectim [{len(SESSIONS)}, {each}], "
            f"got {list(order.shape)} and {list(images.shape)}"
        )
    if order.min() < 1 or images.min() < 1 or images.max() > IMAGES:
        raise ValueError(
            f"{data.op}: {path} must hold 1-based numbers up to {IMAGES}, got {images.min()} to {images.max()}"
        )
    rows = ((sessions - 1)[:, None] * TRIALS + np.arange(TRIALS)).ravel()
    ids = images[subject - 1, order[rows] - 1] - 1
    behaviour = f"nsddata/ppdata/subj{subject:02d}/behav/responses.tsv"
    if data.has(behaviour):
        _check_behaviour(data.op, data.file(behaviour), sessions, ids)
    return pd.DataFrame(
        {
            "image": ids,
            "session": np.repeat(sessions, TRIALS),
            "run": np.tile(np.repeat(np.arange(1, len(_RUN) + 1), _RUN), len(sessions)),
            "split": np.where(np.isin(ids + 1, design["sharedix"]), "test", "train"),
        }
    )


def _check_behaviour(op: str, path: Path, sessions: NDArray[np.int64], ids: NDArray[np.int64]) -> None:
    """The images that the subject saw by the log, against those of the design."""
    table = read_table(op, path, ("SESSION", "73KID"), "\t")
    logged = table[table["SESSION"].isin(sessions.tolist())]["73KID"].to_numpy() - 1
    if len(logged) != len(ids):
        raise ValueError(f"{op}: {path} lists {len(logged)} trials of these sessions, {len(ids)} expected")
    wrong = np.flatnonzero(logged != ids)
    if len(wrong):
        first = wrong[0]
        raise ValueError(
            f"{op}: {path} and the design disagree on {len(wrong)} of {len(ids)} trials, first on trial {first}: "
            f"73KID {logged[first] + 1} and {ids[first] + 1} (is it another subject's?)"
        )


_Read = tuple[Responses, pd.DataFrame, NDArray[Any] | None, NDArray[np.bool_], str]


def _surface(
    data: Folder, parts: str, subject: int, space: str, sessions: NDArray[np.int64], atlas: str | None
) -> _Read:
    hemispheres, tables, ncsnr, kept = [], [], [], []
    for side in _HEMISPHERES:
        stored = [
            _frames(data.op, data.file(f"{parts}/{side}.betas_session{number:02d}.mgh")) for number in sessions.tolist()
        ]
        widths = {part.shape[1] for part in stored}
        if len(widths) > 1:
            raise ValueError(f"{data.op}: sessions of {side} must have the same vertices, got {sorted(widths)}")
        hemispheres.append(FileRows(stored))
        kept.append(np.all([_measured(part) for part in stored], axis=0))
        vertices = np.arange(stored[0].shape[1])
        table = pd.DataFrame({"label": [f"{side}.{v}" for v in vertices], "hemisphere": side, "vertex": vertices})
        if atlas is not None:
            label = f"nsddata/freesurfer/{space}/label/"
            table["roi"] = read_regions(data, f"{label}{side}.{atlas}.mgz", f"{label}{atlas}.mgz.ctab", vertices.shape)
        tables.append(table)
        noise = f"{parts}/{side}.ncsnr.mgh"
        if data.has(noise):
            ncsnr.append(_fits(data.op, data.file(noise), vertices.shape))
    both = np.concatenate(ncsnr) if len(ncsnr) == len(_HEMISPHERES) else None
    return Beside(hemispheres), pd.concat(tables), both, np.concatenate(kept), "float32"


def _frames(op: str, path: Path) -> NDArray[Any]:
    values = map_mgh(op, path)
    if values.shape[0] != TRIALS or values.dtype.kind != "f":
        raise ValueError(f"{op}: {path} must hold {TRIALS} frames of float32, got {values.shape[0]} of {values.dtype}")
    return values


def _measured(trials: Any) -> NDArray[np.bool_]:
    """Targets of trials [n, ...] that are not NaN in the first, nor zero in all of the first few."""
    first = np.asarray(trials[0])
    silent = first == 0
    if silent.any():  # one zero may be a response
        silent &= (np.asarray(trials[1:_FIRST]) == 0).all(0)
    measured: NDArray[np.bool_] = (np.isfinite(first) & ~silent).ravel()
    return measured


def _fits(op: str, path: Path, grid: tuple[int, ...]) -> NDArray[Any]:
    """Values of a volume [x, y, z], x fastest, or of vertices [v], which lie in files of more axes."""
    values = read_volume(op, path)[0]
    if values.size != np.prod(grid) or (len(grid) > 1 and values.shape != grid):
        raise ValueError(f"{op}: {path} must be {list(grid)} as the responses are, got {list(values.shape)}")
    return values.ravel(order="F")


def read_regions(data: Folder, labels: str, names: str, grid: tuple[int, ...]) -> list[str]:
    """The region of every target, [v] or of a volume, x fastest; "" where it has none."""
    stored = _fits(data.op, data.file(labels), grid)
    if (stored != np.round(stored)).any():  # NaN too
        raise ValueError(f"{data.op}: {labels} must hold whole numbers, got {stored[stored != np.round(stored)][0]:g}")
    numbers = stored.astype(int)
    known = read_ctab(data.op, data.file(names))
    for number in np.unique(numbers[numbers > 0]).tolist():
        if number not in known:
            raise ValueError(f"{data.op}: {labels} has label {number}, which {names} does not name")
    return [known[number] if number > 0 else "" for number in numbers.tolist()]


def _open_hdf5(data: Folder, path: Path, axes: tuple[str, ...]) -> tuple[Trials, NDArray[np.bool_]]:
    """A session's betas [trials, axes], and which of its targets have data."""
    try:
        trials = Trials(path, "betas")
        if len(trials.stored) != 1 + len(axes) or trials.stored[0] != TRIALS or trials.dtype.kind not in "fi":
            wanted = ", ".join(map(str, (TRIALS, *axes)))
            raise ValueError(f"'betas' must be numbers [{wanted}], got {trials.dtype} {list(trials.stored)}")
        return trials, _measured(trials.first(_FIRST))
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{data.op}: {path} cannot be read: {error}") from error


def _in_percent(data: Folder, parts: list[Responses]) -> tuple[Responses, str]:
    """Sessions one after another; integers are divided."""
    kinds = {f"{part.dtype}" for part in parts}
    if len(kinds) > 1:
        raise ValueError(f"{data.op}: sessions must be stored alike, got {sorted(kinds)}")
    whole, kind = Stacked(parts), kinds.pop()
    return (Scaled(whole, 1 / _STORED_AS), f"{kind} x {_STORED_AS}") if whole.dtype.kind in "iu" else (whole, kind)


def _native_surface(data: Folder, parts: str, subject: int, sessions: NDArray[np.int64], atlas: str | None) -> _Read:
    hemispheres, tables, ncsnr, kept, how = [], [], [], [], set()
    for side in _HEMISPHERES:
        found = [
            _open_hdf5(data, data.file(f"{parts}/{side}.betas_session{number:02d}.hdf5"), ("vertices",))
            for number in sessions.tolist()
        ]
        widths = {part.shape[1] for part, _ in found}
        if len(widths) > 1:
            raise ValueError(f"{data.op}: sessions of {side} must have the same vertices, got {sorted(widths)}")
        whole, stored = _in_percent(data, [part for part, _ in found])
        hemispheres.append(whole)
        how.add(stored)
        kept.append(np.all([measured for _, measured in found], axis=0))
        vertices = np.arange(whole.shape[1])
        table = pd.DataFrame({"label": [f"{side}.{v}" for v in vertices], "hemisphere": side, "vertex": vertices})
        if atlas is not None:
            label = f"nsddata/freesurfer/subj{subject:02d}/label/"
            table["roi"] = read_regions(data, f"{label}{side}.{atlas}.mgz", f"{label}{atlas}.mgz.ctab", vertices.shape)
        tables.append(table)
        if data.has(noise := f"{parts}/{side}.ncsnr.mgh"):
            ncsnr.append(_fits(data.op, data.file(noise), vertices.shape))
    both = np.concatenate(ncsnr) if len(ncsnr) == len(_HEMISPHERES) else None
    return Beside(hemispheres), pd.concat(tables), both, np.concatenate(kept), " and ".join(sorted(how))


def _open_volume(data: Folder, path: Path, scratch: Any) -> tuple[Responses, NDArray[np.bool_], tuple[int, ...]]:
    """A session's betas, which of its voxels have data, and the grid (z, y, x)."""
    if path.suffix == ".hdf5":
        part, measured = _open_hdf5(data, path, ("z", "y", "x"))
        return part, measured, part.grid
    grid, count = volume_shape(data.op, path)
    if count != TRIALS:
        raise ValueError(f"{data.op}: {path} must hold {TRIALS} volumes, got {count}")
    values = open_volumes(data.op, path, np.ones(grid, bool), scratch)
    if isinstance(values, Scaled):  # integers as they are stored, or a slope, which NSD's files do not have
        if (values.factor != 1).any():
            raise ValueError(f"{data.op}: {path} must have no slope in its header, got {values.factor[0]:g}")
        values = values.base
    first = values.maps[0] if isinstance(values, FileRows) else values.columns(slice(0, values.shape[1]))  # a view
    return values, _measured(first), grid[::-1]


def _volume(
    data: Folder,
    home: tuple[str, str],
    subject: int,
    sessions: NDArray[np.int64],
    atlas: str | None,
    scratch: Any,
) -> _Read:
    parts, space = home
    found = [_open_volume(data, data.file(*_named(parts, _VOLUMES, number)), scratch) for number in sessions.tolist()]
    grids = {grid for _, _, grid in found}
    if len(grids) > 1:
        raise ValueError(f"{data.op}: sessions must have the same voxels, got grids {sorted(grids)}")
    z, y, x = next(iter(grids))
    k, j, i = (axis.ravel() for axis in np.indices((z, y, x)))
    table = pd.DataFrame({"label": [f"{a}-{b}-{c}" for a, b, c in zip(i, j, k, strict=True)], "i": i, "j": j, "k": k})
    if atlas is not None:
        names = f"nsddata/freesurfer/subj{subject:02d}/label/{atlas}.mgz.ctab"
        table["roi"] = read_regions(
            data, f"nsddata/ppdata/subj{subject:02d}/{space}/roi/{atlas}.nii.gz", names, (x, y, z)
        )
    noise, ncsnr = f"{parts}/ncsnr.nii.gz", None
    if data.has(noise):
        path = data.file(noise)
        ncsnr = _fits(data.op, path, (x, y, z))
        affine = read_volume(data.op, path)[1]
        table[["x", "y", "z"]] = table[["i", "j", "k"]].to_numpy() @ affine[:3, :3].T + affine[:3, 3]
    responses, how = _in_percent(data, [part for part, _, _ in found])
    return responses, table, ncsnr, np.all([measured for _, measured, _ in found], axis=0), how


def ranges(numbers: NDArray[np.int64]) -> str:
    """1-3, 5 for 1, 2, 3, 5."""
    parts = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{p[0]}" if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)
