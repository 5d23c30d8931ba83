"""Objectives by their names and settings in words, as commands and study files give them."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradkern.errors import naming
from gradkern.objectives._base import Objective

_TRUTH = {"true": True, "yes": True, "false": False, "no": False}


def objective_classes() -> dict[str, type[Objective]]:
    """The objectives of the package that describe themselves, by the names that results are filed under.

    Examples
    --------
    >>> from gradkern.objectives import objective_classes
    >>> sorted(objective_classes())[:3]
    ['contrastive', 'cross-entropy', 'detection-surrogate']
    """
    from gradkern import objectives

    public = [getattr(objectives, key) for key in objectives.__all__]
    found = [value for value in public if isinstance(value, type) and issubclass(value, Objective)]
    return {value.name: value for value in found if dataclasses.is_dataclass(value)}


@naming("named_objective")
def named_objective(name: str, settings: Mapping[str, Any] | None = None) -> Objective:
    """Make an objective from its name and its settings, as values or in words.

    Parameters
    ----------
    name : one of `objective_classes()`, such as "entropy", or the name of the class, "Entropy"
    settings : fields of the class. Words become what the field is: a number, "true" or "false", "0.4,1.0" a pair; for
        a tensor, the path of a .npy file

    Returns
    -------
    the objective, as its class makes it from these settings

    Raises
    ------
    ValueError : there is no such objective or setting, a setting is missing, or its value is of another type; the
        objective's own errors
    FileNotFoundError : there is no such .npy file

    Examples
    --------
    >>> from gradkern.objectives import named_objective
    >>> named_objective("self-distillation", {"views": "3", "scale": "0.5,1.0"}).views
    3
    """
    classes = objective_classes()
    name = {kind.__name__: key for key, kind in classes.items()}.get(name, name)
    if name not in classes:
        raise ValueError(f"name must be one of {', '.join(sorted(classes))}, got {name!r}{_nearest(name, classes)}")
    fields = {field.name: field for field in dataclasses.fields(classes[name])}  # type: ignore[arg-type]
    given = dict(settings or {})
    for key in given:
        if key not in fields:
            known = ", ".join(key for key in fields if key != "name")
            raise ValueError(
                f"{name} must be given settings among {known or 'none'}, got {key!r}{_nearest(key, fields)}"
            )
    missing = [key for key, field in fields.items() if field.default is dataclasses.MISSING and key not in given]
    if missing:
        raise ValueError(f"{name} must be given {' and '.join(missing)}, got {', '.join(given) or 'no settings'}")
    return classes[name](**{key: _value(key, value, fields[key].type) for key, value in given.items()})


def _nearest(word: str, known: Mapping[str, Any]) -> str:
    near = get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _value(key: str, value: Any, annotation: Any) -> Any:
    """A setting in words as what its field holds; any other value as it is."""
    if not isinstance(value, str):
        return value
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    kinds = typing.get_args(annotation) if union else (annotation,)
    if Tensor in kinds:
        return _tensor(key, value)
    (kind,) = (kind for kind in kinds if kind is not types.NoneType)
    try:
        if typing.get_origin(kind) is tuple:
            return tuple(of(part) for of, part in zip(typing.get_args(kind), value.split(","), strict=True))
        return _TRUTH[value.lower()] if kind is bool else kind(value)
    except (ValueError, KeyError) as error:
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, "numbers such as 0.4,1.0")
        raise ValueError(f"{key} must be {wanted}, got {value!r}") from error


def _tensor(key: str, path: str) -> Tensor:
    """The array of a .npy file; nothing in it is run."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"{key} must be a .npy file, got {path!r}, which is none")
    try:
        array = np.load(file, allow_pickle=False)
    except Exception as error:  # whatever NumPy finds in a file that is another
        raise ValueError(f"{key} must be a .npy file of numbers, got {path!r} ({error})") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise ValueError(f"{key} must be a .npy file of numbers, got {getattr(array, 'dtype', 'several arrays')}")
    return torch.from_numpy(np.array(array, dtype=np.float32 if array.dtype.kind == "f" else np.int64))
