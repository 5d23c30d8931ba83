"""How far a long computation has come: a bar with the time left on a terminal, a line a minute in a log, nothing in a
pipe."""

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

_EVERY = 60.0  # s between two lines of a log

Advance = Callable[[float], None]

_wanted: ContextVar[bool] = ContextVar("progress is wanted", default=False)
_running: ContextVar[tuple[str, Advance] | None] = ContextVar("the innermost progress, and its unit", default=None)


@contextmanager
def progress_shown(is_wanted: bool = True) -> Iterator[None]:
    """What computes inside shows how far it has come, where it calls `tracked`; the commands of the shell say this."""
    token = _wanted.set(is_wanted)
    try:
        yield
    finally:
        _wanted.reset(token)


def progress_wanted() -> bool:
    """Whether `progress_shown` wants progress here."""
    return _wanted.get()


@contextmanager
def tracked(what: str, total: float, unit: str) -> Iterator[None]:
    """Show how much of `total` is done, as `advanced` tells inside, where `progress_shown` wants it."""
    with showing_progress(what, total, unit, is_wanted=_wanted.get()):
        yield


def advanced(count: float, unit: str) -> None:
    """Tell the innermost progress that `count` more are done; it is not told of other units than its own."""
    running = _running.get()
    if running is not None and running[0] == unit:
        running[1](count)


@contextmanager
def showing_progress(what: str, total: float, unit: str, done: float = 0, is_wanted: bool = True) -> Iterator[Advance]:
    """Show progress on stderr; yields a function that is told how many more units are done.

    Of one inside another only the outer one is shown.

    Parameters
    ----------
    what : is computed
    total, done : units in all, and those of an earlier call
    unit : in the plural
    is_wanted : whether anything is shown
    """
    kind = _kind_of(sys.stderr) if is_wanted and _running.get() is None else "nothing"
    with _bar(what, total, unit, done) if kind == "terminal" else nullcontext(_ignored) as advance:
        if kind == "log":
            advance = _Lines(what, total, unit, done)
        token = _running.set((unit, advance))
        try:
            yield advance
        finally:
            _running.reset(token)


def _ignored(count: float) -> None:
    """What nobody wants to see."""


def _kind_of(stream: Any) -> str:
    """Whether lines go to a terminal, to a file that somebody reads later, or anywhere else."""
    if stream is None:
        return "nothing"
    if stream.isatty():
        return "terminal"
    try:
        is_file = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError, AttributeError):  # not of the system, or closed
        return "nothing"
    return "log" if is_file else "nothing"


class _Lines:
    """A line a minute, the first after a minute, so that short work leaves none."""

    def __init__(self, what: str, total: float, unit: str, done: float) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._done = self._before = done
        self._start = self._last = time.monotonic()

    def __call__(self, count: float) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._last < _EVERY or self._done <= self._before:
            return
        self._last = now
        speed = (self._done - self._before) / (now - self._start)
        left = max(0.0, self._total - self._done) / speed
        print(
            f"{self._what}: {self._done:.0f} of {self._total:.0f} {self._unit}, {speed:.3g} a second, "
            f"{in_words(left)} left",
            file=sys.stderr,
            flush=True,
        )


def in_words(seconds: float) -> str:
    """A time in its largest units: 40 s, 12 min, 3 h 5 min.

    Examples
    --------
    >>> from gradkern._progress import in_words
    >>> in_words(11100)
    '3 h 5 min'
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


@contextmanager
def _bar(what: str, total: float, unit: str, done: float) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[counted]}"), TimeRemainingColumn(),
    ]  # fmt: skip

    def counted(so_far: float, speed: float | None) -> str:
        return f"{so_far:.0f}/{total:.0f} {unit}" + (f", {speed:.1f} a second" if speed else "")

    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False) as bar:
        task = bar.add_task(what, total=total, completed=int(done), counted=counted(done, None))

        def advance(count: float) -> None:
            bar.update(task, advance=count)
            row = bar.tasks[0]
            bar.update(task, counted=counted(row.completed, row.finished_speed or row.speed))

        yield advance
