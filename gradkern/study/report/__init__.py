"""Reports: one self-contained HTML page."""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.study.report._answer import answer as answer
    from gradkern.study.report._contents import contents_of as contents_of
    from gradkern.study.report._html import best_layers as best_layers
    from gradkern.study.report._html import power_table as power_table
    from gradkern.study.report._html import write_report as write_report
    from gradkern.study.report._html import write_verdict as write_verdict
    from gradkern.study.report._picture import Picture as Picture
    from gradkern.study.report._words import counts_in_words as counts_in_words
    from gradkern.study.report._words import in_words as in_words
    from gradkern.study.report._words import wrong_if as wrong_if

__getattr__, __dir__, __all__ = lazy(__name__)
