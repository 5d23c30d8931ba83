"""Packages that only part of gradkern needs: an import of one that is missing says which extra installs it."""

import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.metadata import requires
from types import FrameType, ModuleType

_DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn"}  # by the names that they are imported by, if these differ
_FOR_DEVELOPERS = ("bench", "test", "all")
_REQUIREMENT = re.compile(r"""([\w.-]+).*?(?:; *extra *== *['"]([\w-]+)['"])?$""")
_IMPORT_MACHINERY = ("importlib._bootstrap", "_frozen_importlib")


class MissingPackages(MetaPathFinder):
    """The last finder of `sys.meta_path`: asked only for what no other finder has found.

    It finds nothing either. If a file of gradkern imports a package that gradkern lists, it raises the error that
    Python would raise, with a message that says what to install. Imports of other files, and
    `importlib.util.find_spec`, go the usual way.
    """

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        importer = _importer(sys._getframe(1))
        if importer.partition(".")[0] == "gradkern" and (message := missing(fullname, importer)):
            raise ModuleNotFoundError(message, name=fullname)


def explain_missing_packages() -> None:
    """Put the finder behind all others, once."""
    if not any(isinstance(finder, MissingPackages) for finder in sys.meta_path):
        sys.meta_path.append(MissingPackages())


def missing(package: str, importer: str) -> str | None:
    """What to say when `importer` lacks a package; None if gradkern does not list it.

    Examples
    --------
    >>> missing("matplotlib", "gradkern.plotting._figures")
    "gradkern.plotting needs matplotlib, which is not installed: pip install 'gradkern[analysis]'"
    >>> missing("antigravity", "gradkern.plotting._figures")
    """
    distribution = _DISTRIBUTIONS.get(package, package)
    extras = _extras_with(distribution)
    if not extras:
        return None
    public = importer.partition("._")[0]
    target = f"gradkern[{extras[0]}]" if extras[0] else "gradkern"
    return f"{public} needs {distribution}, which is not installed: pip install '{target}'"


def _importer(frame: FrameType | None) -> str:
    """The module whose import statement is being run; "" if it is none."""
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if not name.startswith(_IMPORT_MACHINERY) and name != __name__:
            return name
        frame = frame.f_back
    return ""


def _extras_with(distribution: str) -> list[str]:
    """The extras of gradkern that list a distribution, in the order of pyproject.toml; "" stands for no extra."""
    matches = [_REQUIREMENT.match(line) for line in requires("gradkern") or []]
    pairs = [(match[1], match[2] or "") for match in matches if match and match[2] not in _FOR_DEVELOPERS]
    return [extra for name, extra in pairs if _normalized(name) == _normalized(distribution)]


def _normalized(name: str) -> str:
    """The name of a distribution as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
