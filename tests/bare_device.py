"""A machine with a GPU that has torch, NumPy, scikit-learn, CuPy and pytest, and nothing else that tests use.

There `pytest -m gpu` imports the files that hold such tests, and no others (`holds_gpu_tests`). Of the packages that
those import at the top, hypothesis has stand-ins: a test that it would run is skipped.
"""

import importlib
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def holds_gpu_tests(path: Path) -> bool:
    return "mark.gpu" in path.read_text()


class _Anything:
    """Takes any call and any attribute, as strategies are built from one another."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return self


def _skip(*arguments: Any, **options: Any) -> Any:
    @pytest.mark.skip(reason="needs hypothesis")
    def skipped(*_: Any) -> None: ...

    return lambda test: skipped


def stand_in_for_hypothesis() -> None:
    """Let test files be imported where hypothesis is missing."""
    try:
        importlib.import_module("hypothesis")
        return
    except ModuleNotFoundError:
        pass
    anything = _Anything()
    strategies = _stand_in("hypothesis.strategies", __getattr__=lambda name: anything)
    _stand_in(
        "hypothesis",
        given=_skip,
        settings=lambda **_: lambda test: test,
        example=lambda *_, **__: lambda test: test,
        assume=anything,
        strategies=strategies,
    )


def _stand_in(name: str, **contents: Any) -> ModuleType:
    """A module that this file takes the place of, for whoever asks where modules come from, as torch does."""
    module = ModuleType(name)
    module.__spec__, module.__file__ = ModuleSpec(name, None, origin=__file__), __file__
    vars(module).update(contents)
    sys.modules[name] = module
    return module
