"""How every package shows its public names: written once, in its `__init__`, and loaded when first used."""

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any


def lazy(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package, from the imports under its `if TYPE_CHECKING:`.

    Type checkers and readers see ordinary imports, one public name a line; Python runs one when its name is first asked
    for, so that a name costs nothing, and needs nothing installed, until somebody uses it.
    """
    module = sys.modules[package]
    homes = _homes(Path(str(module.__file__)).read_text(encoding="utf-8"))

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home, attribute = homes[name]
        found = _load(home, attribute)
        setattr(module, name, found)
        return found

    return load, lambda: sorted({*homes, *(key for key in vars(module) if key.startswith("__"))}), list(homes)


def _homes(source: str) -> dict[str, tuple[str, str]]:
    """Public name -> (module, name there)."""
    blocks = [node for node in ast.parse(source).body if isinstance(node, ast.If)]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name: (str(node.module), alias.name) for node in imports for alias in node.names}


def _load(home: str, attribute: str) -> Any:
    """What `from home import attribute` gives: a name of the module, or a module of the package."""
    module: ModuleType = import_module(home)
    if hasattr(module, "__path__") and attribute not in vars(module):
        return import_module(f"{home}.{attribute}")
    return getattr(module, attribute)
