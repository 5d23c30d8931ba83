"""File formats that several readers share."""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.recordings._formats.hdf5 import Trials as Trials

__getattr__, __dir__, __all__ = lazy(__name__)
