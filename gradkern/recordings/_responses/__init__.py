"""Responses that are read when they are needed: how they are stored, and what is done to them block by block."""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.recordings._responses.lazy import Averaged as Averaged
    from gradkern.recordings._responses.lazy import Beside as Beside
    from gradkern.recordings._responses.lazy import ChosenPresentations as ChosenPresentations
    from gradkern.recordings._responses.lazy import ChosenTargets as ChosenTargets
    from gradkern.recordings._responses.lazy import Mean as Mean
    from gradkern.recordings._responses.lazy import Responses as Responses
    from gradkern.recordings._responses.lazy import Scaled as Scaled
    from gradkern.recordings._responses.lazy import Stacked as Stacked
    from gradkern.recordings._responses.lazy import Whole as Whole
    from gradkern.recordings._responses.lazy import ZScored as ZScored
    from gradkern.recordings._responses.out_of_core import FileColumns as FileColumns
    from gradkern.recordings._responses.out_of_core import FileRows as FileRows
    from gradkern.recordings._responses.out_of_core import as_responses as as_responses

__getattr__, __dir__, __all__ = lazy(__name__)
