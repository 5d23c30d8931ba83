"""The section `[executor]` of a study file: where tasks run. Nothing of it changes a number."""

import re
from dataclasses import dataclass, field
from typing import Any

from gradkern.study._toml import Table

EXECUTORS = ("local", "processes", "slurm")
# kinds of tasks, and the kinds whose results they read
STAGE_NEEDS: dict[str, tuple[str, ...]] = {
    "capture": (),
    "fit": ("capture",),
    "unique": ("capture",),
    "permutations": ("capture",),
    "maps": ("fit", "unique"),
    "figures": ("fit", "unique"),
    "verdict": ("capture",),
}
STAGES = tuple(STAGE_NEEDS)
_STAGE = ("partition", "account", "qos", "constraint", "gres", "memory", "cpus", "minutes")
_KEYS = ("kind", "workers", "max_jobs", "python", "device", *STAGES, *_STAGE)
_DEVICE = re.compile(r"cpu|mps|(cuda|xpu)(:[0-9]+)?")
_WORD = re.compile(r"[A-Za-z0-9_.,:@/+=&|*-]+")  # what goes into the header of a batch script


@dataclass(frozen=True)
class StageResources:
    """What a job of SLURM asks for; "" and 0: what the cluster gives by default."""

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    gres: str = ""
    memory: str = ""
    cpus: int = 1
    minutes: int = 60


@dataclass(frozen=True)
class ExecutorEntry:
    """Where tasks run.

    Attributes
    ----------
    device : that captures run on
    workers : processes, or jobs of an array of SLURM
    max_jobs : of an array that run at once; 0: all
    stages : resources of the jobs of each stage
    devices : stage -> device that its tasks compute on, of those that have one of their own
    """

    kind: str = "local"
    workers: int = 2
    max_jobs: int = 0
    python: str = ""
    device: str = "cpu"
    stages: dict[str, StageResources] = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)


def parse_executor(table: Table) -> ExecutorEntry:
    """The executor that a study file asks for.

    Raises
    ------
    ValueError : unknown keys, or words that could mean something to a shell
    """
    table.check_keys(_KEYS)
    values = table.values
    kind = table.word("kind", EXECUTORS) if "kind" in values else "local"
    workers = table.whole_number("workers", 1) if "workers" in values else 2
    jobs = table.whole_number("max_jobs", 0) if "max_jobs" in values else 0
    python = table.typed("python", str, "the path of a Python") if "python" in values else ""
    device = _device(table) if "device" in values else "cpu"
    usual = _resources(table, StageResources())
    stages, devices = {}, {}
    for stage in STAGES:
        own = Table(table.path, table.named(stage), table.typed(stage, dict, "a table") if stage in values else {})
        own.check_keys((*_STAGE, "device"))
        stages[stage] = _resources(own, usual)
        if "device" in own.values:
            devices[stage] = _device(own)
    return ExecutorEntry(kind, workers, jobs, python, device, stages, devices)


def _device(table: Table) -> str:
    device = str(table.typed("device", str, '"cpu" or "cuda"'))
    if not _DEVICE.fullmatch(device):
        raise table.wrong("device", '"cpu", "cuda" or "cuda:1"', repr(device))
    return device


def _resources(table: Table, usual: StageResources) -> StageResources:
    changes: dict[str, Any] = {}
    for name in _STAGE:
        if name not in table.values:
            continue
        if name in ("cpus", "minutes"):
            changes[name] = table.whole_number(name, 1)
            continue
        word = table.typed(name, str, "a word")
        if not _WORD.fullmatch(word):
            raise table.wrong(name, "a word of SLURM, without spaces and quotes", repr(word))
        changes[name] = word
    return StageResources(**{**vars(usual), **changes})
