"""Errors of gradkern, and how their messages name what was called."""


class Refused(ValueError):
    """The data cannot carry what was asked: too few images, no latency, a smallest p above the level.

    A study notes a `Refused` test as "not tested" and goes on; any other exception is a defect and ends it.
    """
