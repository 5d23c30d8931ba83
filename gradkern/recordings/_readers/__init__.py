"""One reader per data set or file format, and the table of them all."""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.recordings._readers.bold5000 import BOLD5000_SESSIONS as BOLD5000_SESSIONS
    from gradkern.recordings._readers.nsd import NSD_BETAS as NSD_BETAS
    from gradkern.recordings._readers.nsd_experiment import NSD_TRIALS as NSD_TRIALS

__getattr__, __dir__, __all__ = lazy(__name__)
