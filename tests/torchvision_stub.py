"""A stand-in for torchvision, of which timm imports names that its models do not use."""

import importlib.machinery
import sys
import types
from typing import Any

_MODULES = ("ops", "ops.misc", "transforms", "transforms.functional", "transforms.v2", "models", "datasets", "io")
_MORE = ("models.feature_extraction", "datasets.folder")


class _Named(type):
    """Any attribute of a class is its own name."""

    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class _Anything(metaclass=_Named):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass


def _attribute(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return _Anything


def install() -> None:
    """Put the stand-in in the place of torchvision, unless that is there."""
    try:
        import torchvision  # noqa: F401
    except ImportError:
        for name in ("torchvision", *(f"torchvision.{part}" for part in (*_MODULES, *_MORE))):
            module = types.ModuleType(name)
            module.__spec__ = importlib.machinery.ModuleSpec(name, None)
            module.__path__ = []
            module.__version__ = "0.0"
            if name != "torchvision":
                module.__getattr__ = _attribute
                parent, _, last = name.rpartition(".")
                setattr(sys.modules[parent], last, module)
            sys.modules[name] = module
