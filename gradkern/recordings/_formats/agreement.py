"""What several sources say of one thing: agreement is recorded, disagreement is an error that quotes both."""

from collections.abc import Callable, Mapping
from operator import eq
from typing import Any


class Agreements:
    """Facts that several sources state, for `Recording.provenance`.

    Sources are named "header of <path>", "sidecar of <path>" and the like; the record counts the kinds of sources.
    """

    def __init__(self) -> None:
        self._facts: dict[str, dict[str, Any]] = {}

    def same(
        self,
        name: str,
        sources: Mapping[str, Any],
        *,
        equal: Callable[[Any, Any], bool] = eq,
        show: Callable[[Any], str] = str,
        option: str = "",
    ) -> Any:
        """The value of the first source that states one; None if none does.

        Parameters
        ----------
        name : of the fact, such as "repetition time"
        sources : value by source; None where a source does not state it
        equal : whether two values are the same
        show : a value in words
        option : the argument that decides where sources differ

        Raises
        ------
        ValueError : two sources state different values; the message quotes both
        """
        stated = {source: value for source, value in sources.items() if value is not None}
        if not stated:
            return None
        first, agreed = next(iter(stated.items()))
        for source, value in stated.items():
            if not equal(agreed, value):
                decides = f"; {option} decides" if option else ""
                raise ValueError(
                    f"{name} must be the same everywhere, got {show(agreed)} in the {first} and {show(value)} in the "
                    f"{source}{decides}"
                )
        fact = self._facts.setdefault(name, {"value": show(agreed)})
        if fact["value"] != show(agreed):
            fact["value"] = "by run"
        for source in stated:
            kind = source.partition(" of ")[0]
            fact[kind] = fact.get(kind, 0) + 1
        return agreed

    def decided(self, name: str, value: str, option: str) -> None:
        """Record that an argument of the caller decided."""
        self._facts[name] = {"value": value, "decided by": option}

    def provenance(self) -> dict[str, Any]:
        """The facts by name, each with its value and how many sources of each kind state it."""
        return {name: dict(fact) for name, fact in self._facts.items()}


def within(tolerance: float) -> Callable[[float, float], bool]:
    """Whether two numbers differ by at most the tolerance."""
    return lambda a, b: abs(a - b) <= tolerance
