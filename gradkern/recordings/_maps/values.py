"""Values of targets as maps: arrays, mappings by name, and xarray's scores, matched with a recording by labels."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradkern.errors import Refused

if TYPE_CHECKING:
    from gradkern.recordings._recording import Recording

Maps = dict[str, NDArray[np.float32]]
_TARGET, _FOLD = "target", "fold"
_LARGEST = float(np.finfo(np.float32).max)


def maps_of(values: Any, like: "Recording", stat: str | None) -> dict[str, Maps]:
    """Maps [v] by name, by statistic: one, or of an xarray Dataset one for each variable along "target".

    Raises
    ------
    ValueError : another length than the recording, other targets, infinite values, no or two maps of one name
    Refused : values that are NaN everywhere
    """
    if hasattr(values, "data_vars"):
        along = [str(name) for name, variable in values.data_vars.items() if _TARGET in variable.dims]
        chosen = [name for name in along if values[name].dtype.kind in "biuf"]
        if not chosen or (stat is not None and stat not in chosen):
            wanted = "variables of numbers along 'target'" if stat is None else f"a variable {stat!r} along 'target'"
            raise ValueError(f"values must have {wanted}, got {along}")
        if stat is not None:
            return {stat: _maps(_of_array(values[stat], like, stat), like)}
        known = [name for name in chosen if not np.isnan(np.asarray(values[name], dtype=np.float64)).all()]
        return {name: _maps(_of_array(values[name], like, name), like) for name in known or chosen}
    if hasattr(values, "dims"):
        name = stat or str(values.name or "value")
        return {name: _maps(_of_array(values, like, name), like)}
    single = stat or "value"
    given = dict(values) if isinstance(values, Mapping) else {single: values}
    if len({str(name) for name in given}) < len(given):
        raise ValueError(f"values must have different names, got {sorted(map(str, given))}")
    return {single: _maps({str(name): _one(array, like, str(name)) for name, array in given.items()}, like)}


def _one(values: Any, like: "Recording", name: str) -> Any:
    """Values of one map; of a DataArray in the order of the recording."""
    if not hasattr(values, "dims"):
        return values
    maps = _of_array(values, like, name)
    if len(maps) != 1:
        raise ValueError(f"values of {name!r} must be one map, got {len(maps)} in an array {list(values.dims)}")
    return next(iter(maps.values()))


def _maps(given: Mapping[str, Any], like: "Recording") -> Maps:
    if not given:
        raise ValueError("values must be at least one map, got none")
    maps = {name: _checked(name, values, like) for name, values in given.items()}
    if all(np.isnan(values).all() for values in maps.values()):
        raise Refused(f"values must be known somewhere, got NaN at all of {len(like.targets)} targets")
    return maps


def _checked(name: str, values: Any, like: "Recording") -> NDArray[np.float32]:
    array, v = np.asarray(values), len(like.targets)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"values of {name!r} must be numbers, got {array.dtype}")
    if array.shape != (v,):
        size = 0 if like.geometry is None else like.geometry.size
        whole = f" (the {like.geometry.words} has as many places)" if like.geometry and array.shape == (size,) else ""
        raise ValueError(
            f"values of {name!r} must be one for each of the recording's {v} targets, got {list(array.shape)}{whole}"
        )
    numbers = array.astype(np.float64)
    if np.isinf(numbers).any() or np.nanmax(np.abs(numbers), initial=0.0) > _LARGEST:
        raise ValueError(f"values of {name!r} must be finite or NaN in float32, got {np.nanmax(np.abs(numbers)):g}")
    return numbers.astype(np.float32)


def _of_array(array: Any, like: "Recording", stat: str) -> dict[str, Any]:
    """Maps of a DataArray along "target", in the order of the recording; means over "fold", one for each feature."""
    if _TARGET not in array.dims:
        raise ValueError(f"values must have the dimension 'target', got {list(array.dims)}")
    if _FOLD in array.dims:
        array = array.mean(_FOLD, skipna=False)
    array = array.transpose(..., _TARGET)
    if _TARGET in array.coords:
        array = array.isel({_TARGET: _order(array.coords[_TARGET].to_numpy(), like)})
    rest = array.dims[:-1]
    maps: dict[str, Any] = {}
    for place in np.ndindex(array.shape[:-1]):
        words = [
            str(array.coords[dim].to_numpy()[number]) if dim in array.coords else f"{dim} {number}"
            for dim, number in zip(rest, place, strict=True)
        ]
        name = ", ".join(words) or stat
        if name in maps:
            raise ValueError(f"maps must have different names, got {name!r} twice")
        maps[name] = array.to_numpy()[place]
    return maps


def _order(labels: NDArray[Any], like: "Recording") -> list[int]:
    """Where the recording's targets are among those of the scores, which must be the same."""
    number = {str(label): place for place, label in enumerate(labels.tolist())}
    missing = [label for label in like.labels if label not in number]
    if missing or len(labels) != len(like.labels):
        first = f", first without a value: {missing[0]!r}" if missing else ""
        raise ValueError(
            f"values must be of the recording's {len(like.labels)} targets, got {len(labels)} targets, "
            f"{len(missing)} of the recording's not among them{first}"
        )
    return [number[label] for label in like.labels]
