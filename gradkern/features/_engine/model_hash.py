"""Feeds all that a model does to a hash: its tensors, attributes, functions and hooks, and those of what it holds."""

import functools
import logging
import types
import uuid
import weakref
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from gradkern.features._engine.fingerprint import (
    PLAIN,
    feed,
    feed_tensor,
    is_package,
    note,
    parts_of_function,
    qualified,
)

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_CONTENTS = ("_parameters", "_buffers", "_modules")
_BOOKKEEPING = frozenset(vars(nn.Module())) | {"_is_hf_initialized", "warnings_issued"}
_ORIGIN = (  # where a model came from, not what it does
    "name", "weights", "weights_sha256", "licence", "citation", "gated", "name_or_path", "transformers_version",
    "architectures", "dtype", "torch_dtype", "id2label", "label2id", "pretrained_cfg", "default_cfg",
)  # fmt: skip


class ModelHash:
    """Feeds a model to a digest; of what it meets a second time it feeds the number.

    What cannot be known again (a lock, an open file) makes the hash another one each time, and is named.
    """

    def __init__(self, digest: Any):
        self._digest = digest
        self._known: dict[int, int] = {}
        self._alive: list[Any] = []  # so that no id is given twice
        self._unsure: set[str] = set()

    def feed(self, model: nn.Module) -> set[str]:
        """Feed a model; returns the names of attributes that cannot be known again."""
        self._feed(model, "")
        return self._unsure

    def _feed(self, value: Any, name: str) -> None:
        if _is_plain(value) or isinstance(value, type | types.ModuleType | types.BuiltinFunctionType):
            feed(self._digest, value, set())
        elif id(value) in self._known:
            note(self._digest, f"again {self._known[id(value)]}")
        else:
            self._known[id(value)] = len(self._known)
            self._alive.append(value)
            self._first_time(value, name)

    def _first_time(self, value: Any, name: str) -> None:
        if isinstance(value, nn.Module):
            self._module(value, name)
        elif isinstance(value, Tensor):
            feed_tensor(self._digest, value)
        elif isinstance(value, Mapping):
            note(self._digest, f"mapping {len(value)}")
            for key, item in sorted(value.items(), key=lambda pair: repr(pair[0])):
                self._all([key, item], f"{name}.{key}".lstrip("."))
        elif isinstance(value, list | tuple | set | frozenset):
            note(self._digest, f"{type(value).__name__} {len(value)}")
            self._all(sorted(value, key=repr) if isinstance(value, set | frozenset) else value, name)
        elif isinstance(value, types.FunctionType):
            self._function(value, name)
        elif isinstance(value, weakref.ref):
            self._feed(value(), name)
        elif isinstance(value, logging.Logger):
            note(self._digest, value.name)
        elif isinstance(value, types.MethodType):
            self._all([value.__func__, value.__self__], name)
        elif isinstance(value, functools.partial):
            self._all([value.func, value.args, value.keywords], name)
        elif hasattr(value, "__dict__"):
            self._object(value, name)
        else:
            self._other(value, name)

    def _all(self, parts: Any, name: str) -> None:
        for part in parts:
            self._feed(part, name)

    def _function(self, function: types.FunctionType, name: str) -> None:
        """A function's code, defaults, closure and globals; of a package's, its name in the place of the code."""
        code, defaults, keywords, cells, named = parts_of_function(function)
        if is_package(function.__module__):
            note(self._digest, qualified(function))
            return self._all([defaults, keywords, cells], name)
        feed(self._digest, code, set())
        return self._all([defaults, keywords, cells, named], name)

    def _module(self, module: nn.Module, name: str) -> None:
        note(self._digest, f"module {qualified(type(module))}")
        self._class(type(module), name)
        for key, value in sorted(vars(module).items()):
            if key in _HOOKS:
                self._all(value.values(), f"{name}.{key}".lstrip("."))
            elif key in _CONTENTS:
                for inner, held in sorted(value.items()):
                    note(self._digest, inner)
                    self._feed(held, f"{name}.{inner}".lstrip("."))
            elif key not in _BOOKKEEPING and not (key in _ORIGIN and _is_plain(value)):
                note(self._digest, key)
                self._feed(value, f"{name}.{key}".lstrip("."))

    def _object(self, value: Any, name: str) -> None:
        kind = type(value)
        note(self._digest, qualified(kind))
        self._class(kind, name)
        # what describes a model, here or in transformers, says where it came from as well
        is_description = kind.__module__.partition(".")[0] in ("gradkern", "transformers")
        for key, item in sorted(vars(value).items()):
            if not (is_description and (key.startswith("_") or key in _ORIGIN)):
                note(self._digest, key)
                self._feed(item, f"{name}.{key}".lstrip("."))

    def _class(self, kind: type, name: str) -> None:
        """What classes define, without those of packages, whose methods count where somebody has replaced them."""
        for base in kind.__mro__:
            package = base.__module__.partition(".")[0]
            for key, member in sorted(vars(base).items()):
                function = getattr(member, "__func__", getattr(member, "fget", member))
                is_function = isinstance(function, types.FunctionType)
                is_replaced = is_function and str(function.__module__).partition(".")[0] != package
                is_own = not is_package(base.__module__) and (is_function or not key.startswith("__"))
                if is_replaced or is_own:
                    note(self._digest, key)
                    self._feed(function, f"{name}.{key}".lstrip("."))

    def _other(self, value: Any, name: str) -> None:
        try:
            feed(self._digest, value, set())
        except TypeError:
            text = f"{qualified(type(value))} {value!r}"
            if " at 0x" in text:
                self._unsure.add(name)
                text = uuid.uuid4().hex
            note(self._digest, text)


def _is_plain(value: Any) -> bool:
    """Numbers, words, and tuples and lists of them: their content counts, not whether an object is met twice."""
    return isinstance(value, PLAIN) or (type(value) in (tuple, list) and all(isinstance(item, PLAIN) for item in value))
