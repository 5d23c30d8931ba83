"""A study from one file: its tasks, which of them are done, and what computes them.

`run` plans a study and computes what is missing; `read_run` and `make_plan` show the tasks without computing any.
"""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.study.runner._contents import Contents as Contents
    from gradkern.study.runner._overrides import read_run as read_run
    from gradkern.study.runner._plan import Plan as Plan
    from gradkern.study.runner._plan import PlannedTask as PlannedTask
    from gradkern.study.runner._plan import make_plan as make_plan
    from gradkern.study.runner._report import claim_table as claim_table
    from gradkern.study.runner._report import score_table as score_table
    from gradkern.study.runner._run import RunResult as RunResult
    from gradkern.study.runner._run import run as run
    from gradkern.study.runner._sections import RunDescription as RunDescription
    from gradkern.study.runner._sections import parse_run as parse_run
    from gradkern.study.runner._store import Damaged as Damaged
    from gradkern.study.runner._store import Store as Store
    from gradkern.study.runner._tasks import Task as Task

__getattr__, __dir__, __all__ = lazy(__name__)
