"""The claims that a study tests."""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.study.claims._evidence import Row as Row
    from gradkern.study.claims._evidence import ScoredStudy as ScoredStudy
    from gradkern.study.claims._evidence import Subject as Subject
    from gradkern.study.claims._spatial import InSpace as InSpace
    from gradkern.study.claims._temporal import InTime as InTime
    from gradkern.study.claims._verdict import NOT_FOUND as NOT_FOUND
    from gradkern.study.claims._verdict import NOT_TESTED as NOT_TESTED
    from gradkern.study.claims._verdict import SUPPORTED as SUPPORTED
    from gradkern.study.claims._verdict import verdict as verdict

__getattr__, __dir__, __all__ = lazy(__name__)
