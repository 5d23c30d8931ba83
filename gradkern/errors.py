"""Errors of gradkern, and how a message comes to name what was called."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Refused(ValueError):
    """The data cannot carry what was asked: too few images, no latency, a smallest attainable p above the level.

    Whoever runs many tests notes a `Refused` one as "not tested" and goes on. Any other exception, a plain ValueError
    too, is a mistake of a caller or a defect, and ends the run.
    """


class CoverageError(RuntimeError):
    """A capture cannot take the per-image gradient of some parameters, because no rule covers how they are used."""


class naming:
    """Put the name of a public function or class before the message of an error that is raised inside it.

    A check then says only what is wrong, "k must be at least 64, got 32", and its caller reads
    "sketch: k must be at least 64, got 32". Of verbs within verbs the innermost is named. The exception stays the same
    object. Works as a decorator and in a `with` statement.

    Examples
    --------
    >>> @naming("halve")
    ... def halve(number):
    ...     if number % 2:
    ...         raise ValueError(f"number must be even, got {number}")
    ...     return number // 2
    >>> halve(3)
    Traceback (most recent call last):
    ValueError: halve: number must be even, got 3
    """

    def __init__(self, verb: str) -> None:
        self._verb = verb

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, Exception):
            self._name(error)

    def __call__(self, function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
        # not by `with`, which would take a tenth of the time of a small op
        @wraps(function)
        def call(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
            try:
                return function(*arguments, **named)
            except Exception as error:
                self._name(error)
                raise

        return call

    def _name(self, error: Exception) -> None:
        if hasattr(error, "named"):
            return  # by an inner verb
        if len(error.args) == 1 and isinstance(error.args[0], str):
            error.args = (f"{self._verb}: {error.args[0]}",)
            if isinstance(error, ImportError):
                error.msg = error.args[0]  # where an ImportError has its message as well
        error.named = self._verb  # type: ignore[attr-defined]
