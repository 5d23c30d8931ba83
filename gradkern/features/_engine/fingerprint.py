"""SHA-256 of what decides the results of a capture: images, model and objective."""

import functools
import hashlib
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_Digest = Any  # of hashlib


def fingerprint(value: Any) -> str:
    """SHA-256 of a value.

    Tensors, numbers, containers, iterators, objects and functions (their code, defaults and what they close over) have
    one.

    Raises
    ------
    TypeError : the value holds something that cannot be told from another of its kind
    """
    digest = hashlib.sha256()
    _feed(digest, value, set())
    return digest.hexdigest()


def fingerprint_of_model(model: nn.Module) -> str:
    """SHA-256 of parameters, buffers, classes of modules and their plain settings, whatever the weights' origin."""
    digest = hashlib.sha256()
    _feed_model(digest, model)
    return digest.hexdigest()


def _feed_model(digest: _Digest, model: nn.Module) -> None:
    for name, module in model.named_modules():
        _note(digest, f"module {name} {_qualified(type(module))}")
        config = getattr(module, "config", None)
        settings = {**vars(module), **({} if config is None else vars(config))}
        for key, value in sorted(settings.items()):
            if _is_plain(value) and not key.startswith("_") and key not in ("training", "name", "weights"):
                _note(digest, f"{key}={value!r}")
            elif isinstance(value, tuple) and value and all(isinstance(item, nn.Module) for item in value):
                for hidden in value:  # a teacher, hidden from the model's own parameters
                    _feed_model(digest, hidden)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        _note(digest, name)
        _feed_tensor(digest, tensor)


def _is_plain(value: Any) -> bool:
    return isinstance(value, _PLAIN) or (isinstance(value, tuple) and all(isinstance(item, _PLAIN) for item in value))


def _feed(digest: _Digest, value: Any, seen: set[int]) -> None:
    if isinstance(value, _PLAIN):
        _note(digest, f"{type(value).__name__} {value!r}")
    elif isinstance(value, Tensor):
        _feed_tensor(digest, value)
    elif isinstance(value, np.ndarray | np.generic):
        _note(digest, f"array {value.dtype} {value.shape}")
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, type | types.ModuleType | types.BuiltinFunctionType | torch.dtype | torch.device):
        _note(digest, _qualified(value))
    elif id(value) in seen:
        _note(digest, "again")
    elif isinstance(value, nn.Module):
        _feed_model(digest, value)
    else:
        _feed_parts(digest, value, seen | {id(value)})


def _feed_parts(digest: _Digest, value: Any, seen: set[int]) -> None:
    _note(digest, _qualified(type(value)))
    parts: Iterable[Any]
    if isinstance(value, types.FunctionType):
        parts = _of_function(value)
    elif isinstance(value, types.MethodType):
        parts = [value.__func__, value.__self__]
    elif isinstance(value, types.CodeType):
        parts = [value.co_code, value.co_names, *value.co_consts]
    elif isinstance(value, functools.partial):
        parts = [value.func, value.args, value.keywords]
    elif isinstance(value, Mapping):
        parts = [item for pair in sorted(value.items(), key=lambda pair: repr(pair[0])) for item in pair]
    elif isinstance(value, set | frozenset):
        parts = sorted(value, key=repr)
    elif isinstance(value, list | tuple | Iterator):
        parts = value  # an iterator is read once
    elif hasattr(value, "__dict__"):
        parts = [*_of_class(type(value)), vars(value)]
    else:
        raise TypeError(f"{type(value).__name__} {value!r}")
    for part in parts:
        _feed(digest, part, seen)


def _of_function(function: types.FunctionType) -> list[Any]:
    """What decides a function's results: its code, defaults, closure, and the globals of its module that it names."""
    code, outer = function.__code__, function.__globals__
    named = {name: outer[name] for name in _names(code) if name in outer and not _is_library(outer[name])}
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    return [code, function.__defaults__, function.__kwdefaults__, cells, named]


def _names(code: types.CodeType) -> set[str]:
    """The names that a function and the functions inside it look up."""
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def _of_class(kind: type) -> list[Any]:
    """The methods that a class and its bases define, without those of packages."""
    own = [base for base in kind.__mro__ if not _is_library(base)]
    return [member for base in own for member in vars(base).values() if isinstance(member, types.FunctionType)]


def _is_library(value: Any) -> bool:
    """Modules, and classes and functions of packages, stand for themselves; objects made with them do not."""
    if isinstance(value, types.ModuleType):
        return True
    named = isinstance(value, type | types.FunctionType | types.BuiltinFunctionType)
    return named and str(value.__module__).partition(".")[0] in ("torch", "numpy", "gradkern", "builtins")


def _feed_tensor(digest: _Digest, tensor: Tensor) -> None:
    _note(digest, f"tensor {tensor.dtype} {tuple(tensor.shape)}")
    digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def _qualified(value: Any) -> str:
    """Module and name. The private files of gradkern are left out, so that moving a class changes no fingerprint."""
    module, name = str(getattr(value, "__module__", "")), getattr(value, "__qualname__", None) or value
    return f"{'gradkern' if module.startswith('gradkern.') else module}.{name}"


def _note(digest: _Digest, text: str) -> None:
    digest.update(f"{len(text)} {text};".encode())
