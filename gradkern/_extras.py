"""Packages that only part of gradkern needs, and which extra installs one that is missing."""

import re
from importlib.metadata import requires

_DISTRIBUTIONS = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
}  # packages that are not installed by the name they are imported by
_FOR_DEVELOPERS = ("bench", "test", "all")
_REQUIREMENT = re.compile(r"""([\w.-]+).*?(?:; *extra *== *['"]([\w-]+)['"])?$""")


def explain(error: ModuleNotFoundError) -> None:
    """Rewrite the message of an error for a missing package so that it says what to install.

    "No module named 'nibabel'" becomes "needs nibabel, which is not installed: pip install 'gradkern[fmri]'". Messages
    about packages that gradkern does not require, and messages that were rewritten before, stay as they are.

    Examples
    --------
    >>> error = ModuleNotFoundError("No module named 'matplotlib.figure'", name="matplotlib.figure")
    >>> explain(error)
    >>> error.msg
    "needs matplotlib, which is not installed: pip install 'gradkern[analysis]'"
    """
    if error.name is None or not str(error).startswith("No module named"):
        return
    package = error.name.partition(".")[0]
    distribution = _DISTRIBUTIONS.get(package, package)
    extras = extras_with(distribution)
    if extras:
        target = f"gradkern[{extras[0]}]" if extras[0] else "gradkern"
        say(error, f"needs {distribution}, which is not installed: pip install '{target}'")


def say(error: ImportError, message: str) -> None:
    """Give an error about an import another message; an ImportError keeps its message in two places."""
    error.args = (message,)
    error.msg = message


def extras_with(distribution: str) -> list[str]:
    """The extras of gradkern that list a distribution, in the order of pyproject.toml; "" stands for no extra."""
    pairs = [_REQUIREMENT.match(line) for line in requires("gradkern") or []]
    named = [(pair[1], pair[2] or "") for pair in pairs if pair and pair[2] not in _FOR_DEVELOPERS]
    return [extra for name, extra in named if _normalized(name) == _normalized(distribution)]


def _normalized(name: str) -> str:
    """The name of a distribution as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
