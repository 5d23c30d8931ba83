"""The command line."""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.cli._main import main as main

__getattr__, __dir__, __all__ = lazy(__name__)
