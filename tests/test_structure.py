"""The shape of the code: what is public, who imports what, how big things are. A failing test lists every offender."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import gradkern
from tests.slow import SLOW

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gradkern"
MODULES = sorted(PACKAGE.rglob("*.py"))
CSRC = sorted(path for path in (ROOT / "csrc").rglob("*") if path.suffix in (".h", ".cpp", ".cu"))
BORDER = sorted(path for path in (ROOT / "python").rglob("*") if path.suffix in (".h", ".cpp"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))
EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

BASE = {
    "_extras", "_float32", "errors", "_files", "_lazy", "_excluded", "_geodesic", "_display", "_columns", "_integers",
    "_lock", "_pixels", "_places", "_device", "_progress", "_hdf5", "_image_names",
}  # fmt: skip
NEURAL = {"objectives", "models", "features"}
STATISTICS = {"ridge", "stats", "hierarchy"}
BELOW = {  # what each package may import
    "kernels": BASE,
    "objectives": BASE | {"kernels"},
    "models": BASE | {"kernels", "objectives"},
    "features": BASE | {"kernels", "objectives", "models"},
    "ridge": BASE | {"kernels"},
    "stats": BASE | {"kernels", "ridge"},
    "hierarchy": BASE | {"kernels", "ridge", "stats"},
    "recordings": BASE | {"kernels"},
}
BELOW["encoding"] = BASE | set(BELOW)
BELOW["plotting"] = BELOW["encoding"] | {"encoding"}
BELOW["study"] = BELOW["plotting"] | {"plotting"}
BELOW["cli"] = BELOW["study"] | {"study"}
BELOW["__main__"] = {"cli"}
ONLY_IN = {
    "gradkern._native": ["gradkern/kernels/ops.py"],
    "mne": [
        "gradkern/recordings/*",
        "gradkern/stats/_clusters.py",
        "gradkern/study/power/*",
        "gradkern/plotting/_sensors.py",
    ],
    "nibabel": ["gradkern/recordings/*", "gradkern/plotting/_meshes.py"],
    "matplotlib": ["gradkern/plotting/*", "gradkern/study/report/*"],
    "jinja2": ["gradkern/study/report/*"],
    "transformers": ["gradkern/models/*"],
    "xarray": ["gradkern/encoding/*", "gradkern/plotting/*", "gradkern/study/*"],
    "cupy": [],
}
PUBLIC_FILES = {
    "errors.py",
    "__main__.py",
    "kernels/reference.py",
    "kernels/baselines.py",
    "kernels/formed.py",
    "kernels/ops.py",
}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def dotted(path: Path) -> str:
    """The module that a file is."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PUBLIC_PACKAGES = [
    importlib.import_module(dotted(path))
    for path in MODULES
    if path.name == "__init__.py" and not re.search(r"\._", dotted(path))
]


def imports(tree: ast.AST, module: str, is_package: bool = False) -> Iterator[str]:
    """Full dotted names of all that a module imports, anywhere in it, by statement, by import_module("name") and by
    `gradkern.name` after `import gradkern`."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=base, names=names, level=level):
                home = module.split(".") if level else []
                up = level - 1 if is_package else level
                prefix = ".".join(home[: len(home) - up] + ([base] if base else []))
                yield from (f"{prefix}.{alias.name}" for alias in names)
            case ast.Call(
                func=ast.Name(id=called) | ast.Attribute(attr=called), args=[ast.Constant(value=str(target))]
            ):
                if called in ("import_module", "__import__"):
                    yield target
            case ast.Attribute() if re.fullmatch(r"gradkern(\.\w+)+", text := ast.unparse(node)):
                yield text


@cache
def imports_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    if path == PACKAGE / "__init__.py":  # tells type checkers where its lazy names live; that is no import
        tree.body = [node for node in tree.body if not isinstance(node, ast.If)]
    return set(imports(tree, dotted(path), path.name == "__init__.py"))


def package_of(target: str) -> str:
    """The part of gradkern that `gradkern.x.y` belongs to; a name of everyday use belongs to the package it is from."""
    first = f"{target}.".split(".")[1]
    value = vars(gradkern).get(first) or (getattr(gradkern, first) if first in gradkern.__all__ else None)
    home = getattr(value, "__module__", target) if first not in {*BELOW, *BASE} else target
    return f"{home}.".split(".")[1]


def is_public(target: str) -> bool:
    """Whether `gradkern.x.y` is a public package, or begins with a name in the public list of one."""
    lists = {module.__name__: module.__all__ for module in PUBLIC_PACKAGES}
    package, rest = "gradkern", target.split(".")[1:]
    while rest and f"{package}.{rest[0]}" in lists:
        package, rest = f"{package}.{rest[0]}", rest[1:]
    return not rest or rest[0] in lists[package] or rest[0].startswith("__")


def private_file(target: str) -> bool:
    """Whether a dotted name goes through a file of gradkern that has an underscore."""
    parts = target.split(".")
    heads = [Path(*parts[: i + 1]).with_suffix(".py") for i in range(len(parts))]
    return any(head.name.startswith("_") and (ROOT / head).exists() for head in heads)


def none(offenders: list[str]) -> bool:
    """Whether there are no offenders; those that there are stand in the message, one a line."""
    assert not offenders, "\n" + "\n".join(offenders)
    return True


def of_gradkern(targets: set[str]) -> list[str]:
    return sorted(target for target in targets if target.split(".")[0] == "gradkern")


# What is public.


def test_every_other_file_is_private() -> None:
    inside = {path: path.relative_to(PACKAGE).as_posix() for path in MODULES if path.name != "__init__.py"}
    public = {name(path) for path, within in inside.items() if not re.search(r"(^|/)_[^_]", within)}
    assert public == {f"gradkern/{file}" for file in PUBLIC_FILES}


def test_every_public_name_loads_and_says_what_it_is() -> None:
    undocumented = []
    for package in PUBLIC_PACKAGES:
        for key in package.__all__:
            value = getattr(package, key)
            made_by_dataclass = f"{key}("
            if (inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value)) and (
                not value.__doc__ or value.__doc__.startswith(made_by_dataclass)
            ):
                undocumented.append(f"{package.__name__}.{key}")
        assert package.__doc__, package.__name__
        assert package.__all__ or package.__name__ == "gradkern", package.__name__
    assert none(undocumented)


def test_dir_lists_the_public_names() -> None:
    for package in PUBLIC_PACKAGES:
        listed = {key for key in dir(package) if not key.startswith("__")}
        assert listed == set(package.__all__), package.__name__
    assert {"stats", "recordings", "encoding", "capture", "RidgeCV"} <= set(dir(gradkern))


def test_importing_gradkern_is_light_and_reaches_every_package() -> None:
    code = """
import sys
import gradkern
print(*{"pandas", "xarray", "mne", "nibabel", "matplotlib", "sklearn", "scipy", "transformers"} & set(sys.modules))
print(gradkern.stats.permutation_test.__name__, gradkern.study.report.write_report.__name__)
"""
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed == "\npermutation_test write_report\n"


# Imports run one way.


def test_every_kind_of_import_is_seen() -> None:
    for code, target in [
        ("def f():\n    from ..stats import _permutation", "gradkern.stats._permutation"),
        ("from . import _store", "gradkern.features._store"),
        ("if TYPE_CHECKING:\n    import mne.io", "mne.io"),
        ("importlib.import_module('cupy')", "cupy"),
        ("import gradkern\ngradkern.stats.bootstrap()", "gradkern.stats.bootstrap"),
    ]:
        assert target in set(imports(ast.parse(code), "gradkern.features._capture"))
    assert package_of("gradkern.RidgeCV") == "ridge"
    assert package_of("gradkern.stats._permutation") == "stats"
    assert is_public("gradkern.stats.permutation_test")
    assert is_public("gradkern.kernels.reference.sketch")
    assert not is_public("gradkern.stats._permutation.permutation_test")
    assert private_file("gradkern.stats._permutation.permutation_test")
    assert not private_file("gradkern.ridge._engine.solve")


def test_imports_run_down_the_list() -> None:
    assert (
        not STATISTICS & BELOW["features"] | NEURAL & BELOW["hierarchy"] | BELOW["recordings"] & (STATISTICS | NEURAL)
    )
    offenders = []
    for path in MODULES:
        package = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        allowed = BELOW.get(package, BASE | {"kernels"}) | {package}
        targets = {target for target in of_gradkern(imports_of(path)) if target != "gradkern._native"}
        wrong = {target for target in targets if target.count(".") and package_of(target) not in allowed}
        offenders += [
            f"{name(path)}: {target}" for target in sorted(wrong - {"gradkern.__version__", "gradkern.__doc__"})
        ]
    assert none(offenders)


def test_who_may_import_what() -> None:
    offenders = [
        f"{name(path)}: {target}"
        for path in MODULES
        for library, places in ONLY_IN.items()
        for target in sorted(imports_of(path))
        if f"{target}.".startswith(f"{library}.") and not any(fnmatch(name(path), place) for place in places)
    ]
    assert none(offenders)
    allowed = {"gradkern", "torch", "numpy"} | sys.stdlib_module_names
    kernels = {target.split(".")[0] for path in PACKAGE.glob("kernels/*.py") for target in imports_of(path)}
    assert kernels <= allowed


def test_readers_import_from_public_packages_alone() -> None:
    """What the documents and the examples show is what a user may copy."""
    offenders = [
        f"{name(path)}: {target}"
        for path in EXAMPLES
        for target in of_gradkern(imports_of(path))
        if not is_public(target)
    ]
    packages = "|".join(key for key in BELOW if key != "features")  # features is also what everybody calls a variable
    for document in set(DOCUMENTS) - {ROOT / "docs/upgrading.md"}:  # that page lists the names of earlier versions
        for block in re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL):
            targets = of_gradkern(set(imports(ast.parse(block), "document")))
            offenders += [f"{name(document)}: {target}" for target in targets if not is_public(target)]
        inline = {
            f"gradkern.{code}" for code in re.findall(rf"`(?:gradkern\.)?((?:{packages})\.\w+)", document.read_text())
        }
        offenders += [f"{name(document)}: {target}" for target in sorted(inline) if not is_public(target)]
    assert none(offenders)


def test_tests_and_benchmarks_import_no_private_file_and_no_other_test() -> None:
    offenders = []
    for path in sorted({*TESTS, *BENCHMARKS} - {Path(__file__)}):
        targets = imports_of(path) | set(re.findall(r"[\"'](gradkern(?:\.\w+)+)[\"':]", path.read_text()))
        offenders += [f"{name(path)}: {target}" for target in of_gradkern(targets) if private_file(target)]
        others = {re.sub(r"(\.test_\w+).*", r"\1", target) for target in targets if re.match(r"tests\..*test_", target)}
        offenders += [f"{name(path)}: {other}" for other in sorted(others - {dotted(path)})]
    assert none(offenders)


# Sizes, and what no file holds.


def test_files_and_functions_are_short() -> None:
    lines = {name(path): len(path.read_text().splitlines()) for path in MODULES + CSRC + BORDER + TESTS}
    offenders = [f"{file} has {count} lines" for file, count in lines.items() if count >= 500]
    for path in MODULES + TESTS + BENCHMARKS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                count = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                offenders += [f"{name(path)}: {node.name} has {count} lines"] if count >= 60 else []
    assert none(offenders)


def test_users_never_meet_an_assert() -> None:
    asserts = {
        name(path): [node.lineno for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)]
        for path in MODULES
    }
    assert none([f"{file}: lines {lines}" for file, lines in asserts.items() if lines])


def test_test_files_hold_tests_and_nothing_is_a_drawer_for_odds_and_ends() -> None:
    with_tests = {path for path in TESTS if re.search(r"^ *def test_", path.read_text(), re.MULTILINE)}
    assert with_tests == {path for path in TESTS if path.name.startswith("test_")}
    assert [name(path) for path in MODULES + TESTS + BENCHMARKS if path.name == "utils.py"] == []


def test_what_is_listed_as_slow_exists() -> None:
    offenders = []
    for file, *steps in (entry.split("::") for entry in SLOW):
        text = (ROOT / file).read_text() if (ROOT / file).exists() else ""
        offenders += [f"{file}: {step}" for step in steps or [""] if not re.search(rf"(def|class) {step}", text)]
    assert none(offenders)


def test_one_table_of_cases() -> None:
    readers = {path for path in TESTS + BENCHMARKS if any(t.startswith("tests.cases.") for t in imports_of(path))}
    emulated = {path for path in TESTS if {"tests.emulate", "tests.cases.SKETCH"} <= imports_of(path)}
    assert readers & set(TESTS)
    assert readers & set(BENCHMARKS)
    assert emulated


# The native part.


def test_csrc_knows_no_python_and_nobody_knows_torch() -> None:
    """Nor are kernels launched by <<<>>>, which g++ cannot parse, so that the emulation could not run them."""
    offenders = []
    for path in CSRC + BORDER:
        text = path.read_text()
        forbidden = r"(torch|ATen|c10)/|torch\.h" + (r"|Python\.h|pybind11/" if path in CSRC else "")
        included = re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', text, re.MULTILINE)
        offenders += [f"{name(path)}: {header}" for header in included if re.match(forbidden, header)]
        offenders += [f"{name(path)}: <<<"] if "<<<" in re.sub(r"//.*", "", text) else []
    assert none(offenders)
