"""Scores as files: a folder with one netCDF file for each recording, joined when they are read."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from gradkern._files import allocate, as_json, differences, written_whole
from gradkern.encoding._score_values import with_normalised, without_normalised
from gradkern.errors import naming

_MADE_FROM = "made_from"  # attribute: everything that decides the scores in the file
_ENGINE: Literal["h5netcdf"] = "h5netcdf"
_FORMAT, _VERSION = "gradkern scores", 2  # attributes; files of version 1 have neither
_FORMER_NAMES = {"unique_given_r2": "unique_covariates_r2"}  # in files of version 1


@naming("save_scores")
def save_scores(scores: xr.Dataset, path: Any, made_from: Mapping[str, Any]) -> None:
    """Write a Dataset of scores as netCDF 4, replacing any file at `path`; the file appears when it is complete.

    Parameters
    ----------
    made_from : everything that decides the scores, as JSON can hold it: `is_up_to_date` compares it

    Raises
    ------
    FileNotFoundError : the folder does not exist
    OSError : the disk has no room; the message has the bytes that are needed
    """
    target = Path(path).expanduser()
    if not target.parent.is_dir():
        raise FileNotFoundError(f"path must lie in a folder that exists, got {str(target.parent)!r}")
    stated = without_normalised(scores).assign_attrs(_attributes(made_from))
    with written_whole(target) as aside:
        with aside.open("wb") as file:  # HDF5 cannot go on after a full disk
            allocate(file.fileno(), int(stated.nbytes), target.parent)
        stated.to_netcdf(aside, engine=_ENGINE)


@contextmanager
def scores_written(path: Path, made_from: Mapping[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A path to write a file of scores to, which takes the name `path` when it is complete, and its attributes."""
    with written_whole(path) as aside:
        yield aside, _attributes(made_from)


def _attributes(made_from: Mapping[str, Any]) -> dict[str, Any]:
    return {"format": _FORMAT, "version": _VERSION, _MADE_FROM: json.dumps(made_from, sort_keys=True)}


@naming("is_up_to_date")
def is_up_to_date(path: Any, made_from: Mapping[str, Any]) -> bool:
    """Whether there is a file of scores that was made from the same request.

    Raises
    ------
    FileExistsError : there is a file made from another request (the message names the differences), or no file of
        scores at all
    """
    target = Path(path).expanduser()
    if not target.exists():
        return False
    try:
        with xr.open_dataset(target, engine=_ENGINE) as scores:
            before = json.loads(scores.attrs[_MADE_FROM])
    except (OSError, KeyError, ValueError) as error:
        raise FileExistsError(f"{target} must be a file of save_scores, got another ({error!r})") from error
    if other := differences(before, as_json(made_from)):
        raise FileExistsError(f"{target} was made from something else (--overwrite replaces it): {'; '.join(other)}")
    return True


@naming("load_scores")
def load_scores(path: Any) -> xr.DataTree:
    """Open the scores of all recordings, a group for each: a folder of files, whose names they take, or one file.

    Values are read when they are used. Select feature spaces by what they are with
    `scores["sub-01"].to_dataset().set_index(feature=["model", "objective", "kind", "layer"]).sel(kind="gradient")`.
    `load_scores(folder).to_netcdf(file, engine="h5netcdf")` makes one file of a folder.

    Raises
    ------
    FileNotFoundError : there is no such file, or no .nc file in the folder
    ValueError : a file of a version that a later gradkern writes
    """
    source = Path(path).expanduser()
    if source.is_dir():
        files = sorted(source.glob("*.nc"))
        if not files:
            raise FileNotFoundError(f"path must be a folder of .nc files, got none in {source}")
        return xr.DataTree.from_dict({file.stem: _renamed(xr.open_dataset(file, engine=_ENGINE)) for file in files})
    if not source.is_file():
        raise FileNotFoundError(f"path must be a folder or a file of scores, got {str(path)!r}")
    tree = xr.open_datatree(source, engine=_ENGINE)
    for node in tree.subtree:  # also those without scores
        _check_version(node.attrs)
    return tree.map_over_datasets(_renamed)


def _check_version(attributes: Mapping[Any, Any]) -> None:
    version = int(attributes.get("version", 1))
    if attributes.get("format", _FORMAT) == _FORMAT and version > _VERSION:
        raise ValueError(f"path must hold scores of version {_VERSION} or earlier, got version {version}")


def _renamed(scores: xr.Dataset) -> xr.Dataset:
    """Variables of earlier versions under their present names, and those that are derived."""
    _check_version(scores.attrs)
    names = {before: now for before, now in _FORMER_NAMES.items() if before in scores}
    return with_normalised(scores.rename(names) if names else scores)
