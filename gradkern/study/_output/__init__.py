"""Output folders of commands, which are either complete or not there."""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.study._output.folders import MARK as MARK
    from gradkern.study._output.folders import check_free as check_free
    from gradkern.study._output.folders import made_by as made_by
    from gradkern.study._output.folders import written_whole as written_whole

__getattr__, __dir__, __all__ = lazy(__name__)
