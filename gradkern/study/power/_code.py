"""A hash of the code that decides a simulated rate, by which a recorded rate is known to be of the running code.

The code is the module of the claim's test, the simulation, and what these import from the packages in `DECIDING`. What
changes no number is left out before hashing: comments, layout, docstrings, and the messages of exceptions.
"""

import ast
import hashlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path

from gradkern.study.claims._claim import Claim

DECIDING = (
    "gradkern.study.claims",
    "gradkern.study._settings",
    "gradkern.study._usable_targets",
    "gradkern.encoding",
    "gradkern.hierarchy",
    "gradkern.stats",
    "gradkern.ridge",
    "gradkern.recordings._simulation",
)
_SIMULATION = ("gradkern.study.power._simulated_study", "gradkern.study.power._toy_network")
_LENGTH = 12  # hex digits


def code_hash(claim: Claim) -> str:
    """Hash of the running code that decides how often a claim's test supports it in simulated studies."""
    return _hash_of_running_code(claim.test.__module__)


@cache
def _hash_of_running_code(module: str) -> str:
    return source_hash((module, *_SIMULATION), _running_source, DECIDING)


def source_hash(start: Iterable[str], source: Callable[[str], str | None], within: Iterable[str]) -> str:
    """Hash of modules, and of all modules of the packages `within` that they import.

    Parameters
    ----------
    start : dotted names of modules
    source : the text of a module, or None where a name is no module
    within : packages or modules whose imports are followed

    Examples
    --------
    >>> commented = {"p.a": "from p.b import f", "p.b": "def f(): return 1  # one"}
    >>> plain = commented | {"p.b": "def f(): return 1"}
    >>> source_hash(["p.a"], commented.get, ["p"]) == source_hash(["p.a"], plain.get, ["p"])
    True
    """
    packages, waiting, parts = tuple(within), sorted(start), dict[str, str]()
    while waiting:
        module = waiting.pop()
        text = source(module)
        if module in parts or text is None:
            continue
        parts[module], imported = _read(text)
        names = {name for name in imported if any(f"{name}.".startswith(f"{p}.") for p in packages)}
        waiting += sorted(names - set(parts))
    text = "\n".join(f"{module}: {parts[module]}" for module in sorted(parts))
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


class _WithoutProse(ast.NodeTransformer):
    """Remove docstrings and the arguments of raised exceptions."""

    def visit(self, node: ast.AST) -> ast.AST:
        node = self.generic_visit(node)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:]
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        return node


@cache
def _read(text: str) -> tuple[str, frozenset[str]]:
    """The part of a module's text that decides, and the names that it imports."""
    tree = ast.parse(text)
    imported = frozenset(_imported(tree))  # before prose is taken out of the tree
    return ast.dump(_WithoutProse().visit(tree)), imported


def _imported(tree: ast.Module) -> Iterator[str]:
    """Names that may be modules; blocks for type checkers alone import nothing."""
    for node in _without_type_checking(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _without_type_checking(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield child
            yield from _without_type_checking(child)


def _running_source(module: str) -> str | None:
    spec = _spec(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin).read_text(encoding="utf-8")


def _spec(module: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(module)
    except ModuleNotFoundError:  # a name of a module, not a module of a package
        return None
