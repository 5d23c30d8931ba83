"""The reference: a page for every public package and every public name, written before each build.

The public list of a package is its `__all__`, which `gradkern._lazy` reads from its `__init__.py`. At the end of the
build the inventory of the site must hold every one of these names.
"""

import importlib
import inspect
import pkgutil
import re
import tokenize
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import gradkern

if TYPE_CHECKING:  # the tests read these pages where Sphinx is not installed
    from sphinx.application import Sphinx

FOLDER = Path(__file__).parents[1] / "reference"
FULL_LINE = 109  # a line with the next word is longer than this, at any indentation, where it was broken for its length
SECTIONS = ("Parameters", "Attributes", "Returns", "Yields", "Raises", "Warns")
MODULES = (
    "gradkern.errors",
    "gradkern.kernels.reference",
    "gradkern.kernels.baselines",
    "gradkern.kernels.formed",
    "gradkern.kernels.ops",
)


def setup(app: "Sphinx") -> dict[str, bool]:
    app.connect("config-inited", lambda *_: write(), priority=1)
    app.connect("autodoc-process-signature", shorten)
    app.connect("autodoc-process-docstring", lay_out, priority=400)  # before numpydoc, which comes at 500
    app.connect("autodoc-process-docstring", escape, priority=900)
    app.connect("build-finished", check_inventory)
    return {"parallel_read_safe": True}


def public_packages() -> list[ModuleType]:
    """gradkern and every package below it whose name has no underscore, in the order of their names."""
    found = [gradkern]
    for package in found:
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if module.ispkg and "._" not in module.name:
                found.append(importlib.import_module(module.name))
    return sorted(found, key=lambda package: package.__name__)


def public_names() -> list[str]:
    """The full names of all that is public: `gradkern.ridge.RidgeCV`."""
    return [f"{package.__name__}.{name}" for package in public_packages() for name in package.__all__]


def pages() -> dict[str, str]:
    """File name -> text of every page of the reference."""
    packages = public_packages()
    modules = [importlib.import_module(name) for name in MODULES]
    files = {"index.rst": index(packages, modules)}
    for package in packages:
        files[f"{package.__name__}.rst"] = package_page(package)
        for name in package.__all__ if package is not gradkern else []:
            value = getattr(package, name)
            if not inspect.ismodule(value):
                files[f"{package.__name__}.{name}.rst"] = name_page(package, name, value)
    for module in modules:
        files[f"{module.__name__}.rst"] = module_page(module)
    return files


def write() -> None:
    """Write the pages that changed, and remove those of names that are gone."""
    FOLDER.mkdir(exist_ok=True)
    files = pages()
    for path in set(FOLDER.glob("*.rst")) - {FOLDER / name for name in files}:
        path.unlink()
    for name, text in files.items():
        path = FOLDER / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def title(text: str) -> str:
    return f"{text}\n{'=' * len(text)}\n"


def first_sentence(value: object) -> str:
    return escaped(" ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split()))


def shorten(
    app: "Sphinx", what: str, name: str, value: object, options: object, signature: str, result: str
) -> tuple[str, str] | None:
    """The grid of penalties by its name, instead of its numbers."""
    grid = repr(gradkern.ridge.DEFAULT_ALPHAS)
    return (signature.replace(grid, "DEFAULT_ALPHAS"), result) if signature and grid in signature else None


def lay_out(app: "Sphinx", what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Write the sections of parameters, results and errors as fields.

    numpydoc takes what follows `name : ` for a type, and every line of a result in prose for a result of its own.
    """
    laid_out: list[str] = []
    i = 0
    while i < len(lines):
        if lines[i].strip() in SECTIONS and is_heading(lines, i):
            end = next((j for j in range(i + 2, len(lines)) if is_heading(lines, j)), len(lines))
            body = indented(field("\n".join(lines[i + 2 : end])))
            laid_out += ["", f":{lines[i].strip()}:", "", *body.split("\n"), ""]
            i = end
        else:
            laid_out.append(lines[i])
            i += 1
    lines[:] = laid_out


def is_heading(lines: list[str], i: int) -> bool:
    underline = lines[i + 1].strip() if i + 1 < len(lines) else ""
    return len(underline) >= 3 and set(underline) == {"-"} and bool(lines[i].strip())


def field(text: str) -> str:
    """Entries `name : text` as terms with their text below; prose and lists stay as they are."""
    written, after_prose = "", False
    for block in re.split(r"\n(?=\S)", inspect.cleandoc("\n" + text)):
        first, *rest = block.split("\n")
        entry = re.match(r"(?!- )([\w.,*` /]+?) : (.*)", first)
        more = inspect.cleandoc("\n" + "\n".join(rest)).splitlines() if any(rest) else []
        if more and len(first) + len(more[0].split(" ")[0]) < FULL_LINE:  # broken on purpose: what follows stands alone
            more.insert(0, "")
        is_prose = not entry and not first.startswith("- ")
        if entry:
            lines = [f"**{entry[1].replace('`', '')}**", *(f"   {line}".rstrip() for line in (entry[2], *more))]
        else:
            lines = [first, *(line if is_prose else f"  {line}" for line in more)]
        written += ("\n" if is_prose and after_prose else "\n\n") + "\n".join(lines)
        after_prose = is_prose and not (rest and not rest[-1].strip())
    return written.strip("\n")


def escape(app: "Sphinx", what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Let docstrings write |x|, alpha_ and [n, *shape], which reStructuredText takes for markup."""
    code = None  # the indent of the paragraph before a block of code
    for i, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if code is not None and line.strip() and indent <= code:
            code = None
        if code is None and not line.lstrip().startswith((">>>", "...", "..")):
            lines[i] = escaped(line)
        if code is None and line.rstrip().endswith("::"):
            code = indent


def escaped(line: str) -> str:
    parts = re.split(r"(``.+?``|:?[\w:]*`[^`]+`_*)", line)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"(?<!\\)\|", r"\|", parts[i])
        parts[i] = re.sub(r"(?<=\w)_(?=\W|$)", r"\_", parts[i])
    single = r"(?<![*\\])\*(?!\*)"
    if sum(len(re.findall(single, part)) for part in parts[::2]) % 2:
        parts[::2] = [re.sub(single, r"\*", part) for part in parts[::2]]
    return "".join(parts)


def index(packages: list[ModuleType], modules: list[ModuleType]) -> str:
    rows = "\n".join(f"* - :doc:`{module.__name__}`\n  - {first_sentence(module)}" for module in [*packages, *modules])
    table = ".. list-table::\n   :widths: 25 75\n\n" + indented(rows)
    entries = "\n".join(module.__name__ for module in [*packages, *modules])
    return f"""{title("Reference")}
Every public name, generated from the public lists of the packages. All other names of gradkern have an underscore in
their path and may change without notice. Shape letters are the same everywhere: n samples, t positions, p inputs,
o outputs, k sketch dimension, d features, f folds, a alphas, v targets.

{table}

.. toctree::
   :hidden:

{indented(entries)}
"""


def package_page(package: ModuleType) -> str:
    name = package.__name__
    if package is gradkern:
        return front_page()
    inner = [key for key in package.__all__ if inspect.ismodule(getattr(package, key))]
    names = [key for key in package.__all__ if key not in inner]
    kinds = {"Classes": inspect.isclass, "Functions": inspect.isroutine, "Constants": lambda value: True}
    text = f"{title(name)}\n.. py:module:: {name}\n\n{inspect.getdoc(package)}\n"
    if inner:
        rows = "\n".join(f"* :doc:`{name}.{key}`: {first_sentence(getattr(package, key))}" for key in inner)
        text += f"\nPackages and modules\n--------------------\n\n{rows}\n"
    for heading, is_kind in kinds.items():
        chosen = [key for key in names if is_kind(getattr(package, key))]
        names = [key for key in names if key not in chosen]
        if chosen:
            rows = "\n".join(f"* - :doc:`{key} <{name}.{key}>`\n  - {summary(package, key)}" for key in chosen)
            table = ".. list-table::\n   :widths: 30 70\n\n" + indented(rows)
            text += f"\n{heading}\n{'-' * len(heading)}\n\n{table}\n"
    entries = "\n".join(f"{key} <{name}.{key}>" for key in package.__all__ if key not in inner)
    return f"{text}\n.. toctree::\n   :hidden:\n\n{indented(entries)}\n"


def front_page() -> str:
    """The names of everyday use, each with a link to its page, which is that of its package."""
    text = f"{title('gradkern')}\n.. py:module:: gradkern\n\n{inspect.getdoc(gradkern)}\n"
    homes = {key: package.__name__ for package in public_packages() for key in package.__all__}
    for key in gradkern.__all__:
        value = getattr(gradkern, key)
        if not inspect.ismodule(value):
            kind = "class" if inspect.isclass(value) else "function"
            home = f":doc:`{homes[key]}.{key}`"
            text += f"\n.. py:{kind}:: {key}\n   :no-contents-entry:\n\n   {first_sentence(value)} See {home}.\n"
    inner = [key for key in gradkern.__all__ if inspect.ismodule(getattr(gradkern, key))]
    rows = "\n".join(f"* :doc:`gradkern.{key}`: {first_sentence(getattr(gradkern, key))}" for key in inner)
    return f"{text}\nPackages\n--------\n\n{rows}\n"


def summary(package: ModuleType, key: str) -> str:
    value = getattr(package, key)
    is_documented = inspect.isclass(value) or inspect.isroutine(value)
    return first_sentence(value) if is_documented else constant_text(package, key) or "A constant."


def name_page(package: ModuleType, name: str, value: object) -> str:
    full = f"{package.__name__}.{name}"
    if inspect.isclass(value):
        directive = "autoexception" if issubclass(value, BaseException) else "autoclass"
        members = ", ".join(own_members(value))
        body = f".. {directive}:: {full}\n" + (f"   :members: {members}\n" if members else "")
    elif inspect.isroutine(value):
        body = f".. autofunction:: {full}\n"
    else:
        text = constant_text(package, name)
        shown = repr(value)
        shown = f"   :value: {shown}\n" if len(shown) < 200 and "\n" not in shown else ""
        body = f".. py:data:: {full}\n   :type: {type(value).__name__}\n{shown}\n{indented(text)}\n"
    return f"{title(full)}\n{body}"


def module_page(module: ModuleType) -> str:
    name = module.__name__
    return f"{title(name)}\n.. automodule:: {name}\n   :members:\n"


def own_members(value: type) -> list[str]:
    """Public methods and properties with a docstring that gradkern defines, in its class or one that it inherits."""
    members: dict[str, Any] = {}
    for base in reversed(value.__mro__):
        if base.__module__.startswith("gradkern"):
            members |= vars(base)
    return [
        key
        for key, member in members.items()
        if not key.startswith("_")
        and (inspect.isfunction(member) or isinstance(member, property | classmethod | staticmethod))
        and getattr(member, "__doc__", None)
    ]


def constant_text(package: ModuleType, name: str) -> str:
    """What the source says of a constant: the string below it, or the comment beside or above it."""
    source = Path(str(package.__file__)).read_text()
    home = re.search(rf"from (\S+) import (\w+) as {name}$", source, re.MULTILINE)
    if home is None:
        return ""
    text = Path(str(importlib.import_module(home[1]).__file__)).read_text()
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if re.match(rf"{home[2]}\b.*=", line)), None)
    if start is None:
        return ""
    comments = {
        token.start[0] - 1: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(StringIO(text).readline)
        if token.type == tokenize.COMMENT
    }
    if start in comments:
        return comments[start]
    above = []
    while start - 1 in comments and lines[start - 1].startswith("#"):
        start -= 1
        above.insert(0, comments[start])
    return " ".join(above)


def indented(text: str) -> str:
    return "\n".join(f"   {line}" if line else "" for line in text.splitlines())


def check_inventory(app: "Sphinx", exception: Exception | None) -> None:
    """No public name may be missing from the built site."""
    if exception is not None or app.builder.format != "html":
        return
    from sphinx.errors import ExtensionError

    objects = {name for name, *_ in app.env.get_domain("py").get_objects()}
    missing = [name for name in public_names() if name not in objects]
    if missing:
        raise ExtensionError(f"the reference lacks {', '.join(missing)}")
