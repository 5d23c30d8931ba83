"""Where ridge regressions and permutations compute, unless a call says it by `device`."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

import torch

from gradkern.errors import naming

_chosen: ContextVar[torch.device | None] = ContextVar("the device to compute on", default=None)


@naming("computing_on")
def computing_on(device: torch.device | str | None) -> AbstractContextManager[None]:
    """Ridge regressions and permutation tests inside compute on a device, unless a call names another one.

    This reaches what calls them: `score`, `score_model`, `unique_scores`, `rsa_scores`, `verdict`. Arrays come and go
    where they live; only blocks of them are on the device. Results differ from those of another device by rounding.

    Parameters
    ----------
    device : "cpu", "cuda", "cuda:1", ...; None leaves arrays where they are

    Raises
    ------
    ValueError : there is no such device, or torch cannot use it

    Examples
    --------
    >>> import numpy as np
    >>> from gradkern.ridge import RidgeCV, computing_on
    >>> rng = np.random.default_rng(0)
    >>> with computing_on("cpu"):
    ...     fitted = RidgeCV().fit(rng.standard_normal((50, 8)), rng.standard_normal((50, 3)))
    >>> fitted.coef_.shape
    (3, 8)
    """
    return _chosen_as(None if device is None else usable_device(device))


@contextmanager
def _chosen_as(device: torch.device | None) -> Iterator[None]:
    token = _chosen.set(device)
    try:
        yield
    finally:
        _chosen.reset(token)


def chosen_device() -> torch.device | None:
    """The device that `computing_on` names, or None."""
    return _chosen.get()


def usable_device(device: torch.device | str) -> torch.device:
    """A device that torch can compute on with real numbers.

    Raises
    ------
    ValueError : torch knows none of this name, or cannot use it
    """
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device must be cpu, cuda, cuda:0, ..., got {device!r}") from error
    if found.type == "cpu":
        return found
    if found.type != "cuda":
        raise ValueError(f"device must be cpu or cuda, got {str(device)!r}")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (found.index or 0) >= count:
        here = f"cuda:0 to cuda:{count - 1}" if count else "none that torch can use (`gradkern doctor` says more)"
        raise ValueError(f"device must be one of this machine, got {str(device)!r}; GPUs: {here}")
    return found
