"""Scores as files: a folder of one netCDF a recording, each whole or not there, joined when they are read."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import xarray as xr

_MADE_FROM = "made_from"  # attribute: all that decides what is in the file
_ENGINE: Literal["h5netcdf"] = "h5netcdf"


def save_scores(scores: xr.Dataset, path: Any, made_from: Mapping[str, Any]) -> None:
    """Write a Dataset of scores as netCDF 4, in the place of what was there; the file appears when it is whole.

    Parameters
    ----------
    made_from : all that decides the scores, as JSON can have it: `is_up_to_date` knows the file again by it

    Raises
    ------
    FileNotFoundError : its folder is missing
    """
    target = Path(path).expanduser()
    if not target.parent.is_dir():
        raise FileNotFoundError(f"save_scores: path must lie in a folder that exists, got {str(target.parent)!r}")
    stated = scores.assign_attrs({_MADE_FROM: json.dumps(made_from, sort_keys=True)})
    with tempfile.TemporaryDirectory(prefix=".gradkern-", dir=target.parent) as aside:
        stated.to_netcdf(Path(aside) / target.name, engine=_ENGINE)
        (Path(aside) / target.name).replace(target)


def is_up_to_date(path: Any, made_from: Mapping[str, Any]) -> bool:
    """Whether there is a file of scores made from the same.

    Raises
    ------
    FileExistsError : there is a file made from something else (what differs is named), or by something else
    """
    target = Path(path).expanduser()
    if not target.exists():
        return False
    try:
        with xr.open_dataset(target, engine=_ENGINE) as found:
            before = json.loads(found.attrs[_MADE_FROM])
    except (OSError, KeyError, ValueError) as error:
        raise FileExistsError(
            f"is_up_to_date: {target} must be a file of save_scores, got another ({error!r})"
        ) from error
    other = "; ".join(_differences(before, json.loads(json.dumps(made_from))))
    if other:
        raise FileExistsError(
            f"is_up_to_date: {target} was made from something else (--overwrite replaces it): {other}"
        )
    return True


def load_scores(path: Any) -> xr.DataTree:
    """Scores of all recordings, a group each: of a folder of files, named by them, or of one file that has groups.

    Nothing is read before it is asked for. Select by what a feature is with
    `scores["sub-01"].to_dataset().set_index(feature=["model", "objective", "kind", "layer"]).sel(kind="gradient")`.
    `load_scores(folder).to_netcdf(file, engine="h5netcdf")` makes one file of a folder.

    Raises
    ------
    FileNotFoundError : no such file, or no .nc in the folder
    """
    place = Path(path).expanduser()
    if place.is_dir():
        files = sorted(place.glob("*.nc"))
        if not files:
            raise FileNotFoundError(f"load_scores: path must be a folder of .nc files, got none in {place}")
        return xr.DataTree.from_dict({file.stem: xr.open_dataset(file, engine=_ENGINE) for file in files})
    if not place.is_file():
        raise FileNotFoundError(f"load_scores: path must be a folder or a file of scores, got {str(path)!r}")
    return xr.open_datatree(place, engine=_ENGINE)


def _differences(before: Any, now: Any, where: str = "") -> list[str]:
    """What differs, by its place in the JSON, as "how.seed: 0, now 1"."""
    if isinstance(before, dict) and isinstance(now, dict):
        pairs = [(name, before.get(name), now.get(name)) for name in sorted({*before, *now})]
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = [(str(place), *both) for place, both in enumerate(zip(before, now, strict=True))]
    else:
        return [] if before == now else [f"{where}: {_short(before)}, now {_short(now)}"]
    return [each for name, a, b in pairs for each in _differences(a, b, f"{where}.{name}".lstrip("."))]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 120 else f"{text[:117]}..."
