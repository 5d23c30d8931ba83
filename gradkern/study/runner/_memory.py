"""The memory that a process of a study may take: what is granted, what fits need of it, and what they may hold."""

import os
import re
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gradkern.encoding._score import MEMORY, bytes_of_space
from gradkern.features._engine.memory import free_bytes
from gradkern.ridge._engine.folds import OTHERS
from gradkern.ridge._engine.inputs import LARGEST_PART
from gradkern.ridge._nested_scores import BLOCK
from gradkern.study.runner._executor_entry import ExecutorEntry
from gradkern.study.runner._parts import StudyParts
from gradkern.study.runner._plan import Plan
from gradkern.study.runner._sections import NO_OBJECTIVE
from gradkern.study.runner._tasks import FitOrder

_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_FLOAT = 4  # bytes of a feature
_WHILE_DECOMPOSED = 12  # bytes of a feature: three copies in float32
_BLOCKS = 3  # copies of a block of responses
_READ = 2  # copies of the responses that are in memory at once
_VARIABLES = 2 * 4  # bytes of the scores of a target: r and r2
_WORD = 44  # bytes of a word of a target in netCDF, about
_NETCDF = 21_000  # of a file without its scores, and its manifest
SHARE = MEMORY  # bytes of feature spaces that a fit holds at once
_MEMORY = re.compile(r"([0-9]+)([KMGT])B?", re.IGNORECASE)


@dataclass(frozen=True)
class Fit:
    """What a fit holds in memory, in bytes.

    Attributes
    ----------
    targets, presentations : of the recording; `spaces` feature spaces are scored
    rows : of one feature space: its features, coordinates and eigenvectors
    fixed : while it is decomposed, and for a block of targets
    of_targets : responses and scores of all targets
    """

    targets: int
    presentations: int
    spaces: int
    rows: int
    fixed: int
    of_targets: int

    @property
    def least(self) -> int:
        """With the features of a single space."""
        return self.rows + self.fixed + self.of_targets

    def share(self, available: int | None) -> int:
        """Bytes of features that are held at once, of what is available."""
        most = SHARE if available is None else min(SHARE, available - self.fixed - self.of_targets)
        return max(self.rows, most)

    def targets_in(self, available: int) -> int:
        """How many targets fit."""
        return max(0, (available - self.rows - self.fixed) * self.targets // self.of_targets)


def fit_of(parts: StudyParts, order: FitOrder) -> Fit | None:
    """What a fit holds; None where the number of features is not known before the model runs."""
    sketch = parts.models[order.spaces.model].entry.capture.sketch
    if sketch == "raw":
        return None
    recording, width = parts.recordings[order.recording], int(sketch)
    shown, targets = recording.presentations, order.stop - order.start
    inner = parts.description.encode.cv.inner_folds == OTHERS
    responses = min(targets * shown * _FLOAT, LARGEST_PART)
    scores = 2 * spaces_of(parts, order) * parts.description.encode.cv.folds * _VARIABLES  # as arrays and as the file
    return Fit(
        targets,
        shown,
        spaces_of(parts, order),
        bytes_of_space(shown, width, pairs=inner),
        shown * width * _WHILE_DECOMPOSED + _BLOCKS * shown * min(targets, BLOCK) * _FLOAT,
        _READ * responses + targets * scores,
    )


def fit_bytes(parts: StudyParts, order: FitOrder) -> int:
    """Bytes of the scores of a fit."""
    spaces = spaces_of(parts, order)
    numbers, words = parts.recordings[order.recording].columns
    a_target = spaces * parts.description.encode.cv.folds * _VARIABLES + 8 * (1 + numbers) + _WORD * words
    return (order.stop - order.start) * a_target + _NETCDF


def spaces_of(parts: StudyParts, order: FitOrder) -> int:
    own = len(order.spaces.kinds) * len(order.spaces.layers)
    controls: Mapping[str, Any] = dict.fromkeys(parts.description.controls.encode)
    return own if order.spaces.objective == NO_OBJECTIVE else own * (1 + len(controls))


def bytes_of(word: str) -> int:
    """Bytes of a size such as "16G" or "900M", whose units are powers of 1,024, as SLURM's.

    Raises
    ------
    ValueError : no whole number with a unit

    Examples
    --------
    >>> bytes_of("2K")
    2048
    """
    found = _MEMORY.fullmatch(word)
    if not found or int(found[1]) == 0:
        raise ValueError(f"memory must be a whole number with a unit, such as 16G, got {word!r}")
    return int(found[1]) * _UNITS[found[2].upper()]


def granted(environment: Mapping[str, str] = os.environ) -> int | None:
    """Bytes that this process may have in all: of its SLURM job, its cgroup or the machine; None: nobody knows."""
    limits = []
    if (free := free_bytes(torch.device("cpu"))) is not None:
        limits.append(free + resident())
    cores = environment.get("SLURM_CPUS_ON_NODE", "1")
    for name, count in (("SLURM_MEM_PER_NODE", "1"), ("SLURM_MEM_PER_CPU", cores)):
        megabytes = environment.get(name, "")
        if megabytes.isdigit() and count.isdigit() and int(megabytes):  # 0: all of the node
            limits.append(int(megabytes) * int(count) * _UNITS["M"])
    return min(limits, default=None)


def resident() -> int:
    """Bytes that this process has now."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def budget_of(entry: ExecutorEntry, kind: str, memory: str | None) -> int | None:
    """Bytes that each process which computes fits may have in all; None: nobody knows."""
    if memory is not None:
        return bytes_of(memory)
    if kind == "slurm":
        word = entry.stages["fit"].memory if "fit" in entry.stages else ""
        return bytes_of(f"{word}M" if word.isdigit() else word) if word else None
    whole = granted()
    return whole if whole is None or kind == "local" else whole // entry.workers


def check_memory(plan: Plan, budget: int | None) -> None:
    """Refuse fits that do not fit, before anything runs.

    Raises
    ------
    MemoryError : the largest fit needs more; the message has the arithmetic and the block of targets that fits
    """
    if budget is None:
        return
    packages = resident()
    for task in plan.missing:
        fit = fit_of(plan.parts, task.order) if isinstance(task.order, FitOrder) else None
        if fit is None or packages + fit.least <= budget:
            continue
        most = fit.targets_in(budget - packages)
        advice = f"encode.block = {most} fits" if most else "more memory or a smaller capture.sketch is needed"
        raise MemoryError(
            f"{task.name} must fit into memory, got {packages + fit.least:,} bytes ({packages:,} of Python and its "
            f"packages, {fit.rows:,} of features of one layer, {fit.fixed:,} for their decomposition, "
            f"{fit.of_targets:,} of {fit.targets} targets) where {budget:,} are granted; {advice}"
        )
