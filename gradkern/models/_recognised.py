"""Which model of the catalogue a folder of transformers is of, by its configuration."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gradkern.errors import naming
from gradkern.models._catalogue import CATALOGUE
from gradkern.models._checkpoint import quiet

_CONFIGURATION = "config.json"
_NO_SIZES = {"image_size", "layer_norm_eps"}  # which do not tell models apart


@naming("recognise_model")
def recognise_model(folder: str | Path) -> str:
    """The name in the catalogue of the model that a folder of transformers holds.

    Parameters
    ----------
    folder : that `save_pretrained` wrote, or a copy of one on the hub

    Returns
    -------
    a name that `load_model` takes, with `weights=folder`

    Raises
    ------
    FileNotFoundError : there is no config.json in it
    ValueError : it is of no model of the catalogue, or could be of several; or is damaged
    """
    path = Path(folder).expanduser() / _CONFIGURATION
    if not path.is_file():
        raise FileNotFoundError(f"folder must hold {_CONFIGURATION}, got {str(folder)!r}; name the model")
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
        architectures, fields = tuple(stated.get("architectures") or ()), dict(stated)
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} must hold a configuration as JSON, got something else ({error})") from error
    rows: dict[str, Any] = {
        name: row.builder
        for name, row in CATALOGUE.items()
        if getattr(row.builder, "architecture", None) in architectures
    }
    keys = sorted({key for builder in rows.values() for key in builder.config} - _NO_SIZES)
    found = [name for name, builder in rows.items() if _is_of(builder, fields, keys)]
    if len(found) != 1:
        got = f"one of {', '.join(found)}" if found else f"another {' or '.join(map(str, architectures)) or 'one'}"
        raise ValueError(f"{path} must be of one model of `gradkern models`, got {got}; name the model")
    return found[0]


def _is_of(builder: Any, fields: Mapping[str, Any], keys: Sequence[str]) -> bool:
    """Whether a configuration has the sizes of the published model; what the file leaves out has its default."""
    with quiet():
        published = builder.configuration({})
        try:
            other = type(published)(**fields)
        except Exception:  # of another version of transformers, or damaged
            return False
    return all(_plain(getattr(other, key, None)) == _plain(getattr(published, key, None)) for key in keys)


def _plain(value: Any) -> Any:
    """A configuration inside another one, as the fields that it has."""
    if hasattr(value, "to_dict"):
        value = value.to_dict()
    if isinstance(value, Mapping):
        sized = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "patch_size")
        return {key: value.get(key) for key in sized}
    return list(value) if isinstance(value, tuple) else value
