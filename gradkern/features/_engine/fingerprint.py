"""SHA-256 of what decides the results of a capture: images, model and objective."""

import functools
import hashlib
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PLAIN = (bool, int, float, complex, str, bytes, range, type(None), types.EllipsisType, types.NotImplementedType)
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
    feed(digest, value, set())
    return digest.hexdigest()


def fingerprint_of_image(image: Tensor) -> str:
    """SHA-256 of an image's type, shape and values, the first 32 digits."""
    digest = hashlib.sha256()
    feed_tensor(digest, image)
    return str(digest.hexdigest()[:32])


class StreamHash:
    """SHA-256 of images one after another, in their order."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.count = 0
        note(self._digest, "builtins.generator")  # as of an iterator over images

    def add(self, i: int, image: Tensor) -> None:
        """Image i, [3, h, w], if it is the next one."""
        if i == self.count:
            self.count += 1
            feed_tensor(self._digest, image[None])

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def fingerprint_of_model(model: nn.Module) -> str:
    """SHA-256 of all that a model does by itself, whatever its weights' origin.

    Parameters, buffers and the classes of modules count; attributes of any kind, functions and tensors among them;
    forward and backward hooks; methods that an object or a class has in the place of its own. The code of packages does
    not. Where an attribute cannot be known again, its name follows, and the fingerprint is never the same twice.
    """
    from gradkern.features._engine.model_hash import ModelHash  # which is made of the functions here

    digest = hashlib.sha256()
    unsure = ModelHash(digest).feed(model)
    return digest.hexdigest() + (f", never the same because of {', '.join(sorted(unsure))}" if unsure else "")


def feed(digest: _Digest, value: Any, seen: set[int]) -> None:
    if isinstance(value, PLAIN):
        note(digest, f"{type(value).__name__} {value!r}")
    elif isinstance(value, Tensor):
        feed_tensor(digest, value)
    elif isinstance(value, np.ndarray | np.generic):
        note(digest, f"array {value.dtype} {value.shape}")
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, type | types.ModuleType | types.BuiltinFunctionType | torch.dtype | torch.device):
        note(digest, qualified(value))
    elif id(value) in seen:
        note(digest, "again")
    elif isinstance(value, nn.Module):
        note(digest, fingerprint_of_model(value))
    else:
        _feed_parts(digest, value, seen | {id(value)})


def _feed_parts(digest: _Digest, value: Any, seen: set[int]) -> None:
    note(digest, qualified(type(value)))
    parts: Iterable[Any]
    if isinstance(value, types.FunctionType):
        parts = parts_of_function(value)
    elif isinstance(value, types.MethodType):
        parts = [value.__func__, value.__self__]
    elif isinstance(value, types.CodeType):
        parts = [value.co_code, value.co_names, *value.co_consts]
    elif isinstance(value, functools.partial):
        parts = [value.func, value.args, value.keywords]
    elif isinstance(value, Mapping):
        parts = [item for pair in sorted(value.items(), key=lambda pair: repr(pair[0])) for item in pair]
    elif isinstance(value, slice):
        parts = [value.start, value.stop, value.step]
    elif isinstance(value, set | frozenset):
        parts = sorted(value, key=repr)
    elif isinstance(value, list | tuple | Iterator):
        parts = value  # an iterator is read once
    elif hasattr(value, "__dict__"):
        parts = [*_of_class(type(value)), vars(value)]
    else:
        raise TypeError(f"{type(value).__name__} {value!r}")
    for part in parts:
        feed(digest, part, seen)


def parts_of_function(function: types.FunctionType) -> list[Any]:
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


def is_package(module: str | None) -> bool:
    """Whether a module is of Python or of an installed package, whose code is not compared."""
    first = str(module).partition(".")[0]
    file = getattr(sys.modules.get(str(module)), "__file__", None)
    return first == "gradkern" or first in sys.stdlib_module_names - {"__main__"} or "site-packages" in str(file)


def _is_library(value: Any) -> bool:
    """Modules, and classes and functions of packages, stand for themselves; objects made with them do not."""
    if isinstance(value, types.ModuleType):
        return True
    named = isinstance(value, type | types.FunctionType | types.BuiltinFunctionType)
    return named and str(value.__module__).partition(".")[0] in ("torch", "numpy", "gradkern", "builtins")


def feed_tensor(digest: _Digest, tensor: Tensor) -> None:
    note(digest, f"tensor {tensor.dtype} {tuple(tensor.shape)}")
    digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def qualified(value: Any) -> str:
    """Module and name. The private files of gradkern are left out, so that moving a class changes no fingerprint."""
    module, name = str(getattr(value, "__module__", "")), getattr(value, "__qualname__", None) or value
    return f"{'gradkern' if module.startswith('gradkern.') else module}.{name}"


def note(digest: _Digest, text: str) -> None:
    digest.update(f"{len(text)} {text};".encode())
