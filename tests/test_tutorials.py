"""The tutorials and the documentation site, as far as they can be tested without Sphinx; `make docs` runs them all."""

import importlib.util
import re
import runpy
from pathlib import Path
from types import ModuleType

import matplotlib as mpl
import pytest
import torch

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted((ROOT / "examples" / "tutorials").glob("*.py"))
PRINTED = {  # tutorials that take under 2 s, and what their output must hold
    "02_own_nifti": r"80 presentations x 48 targets[\s\S]*median of r / noise ceiling = 0\.[89]",
    "03_own_epochs": r"peaks at \(s\): \[0\.1 0\.2\]",
    "04_new_model": r"no rule gives each image's gradient of rows\.bias_hh_l0[\s\S]*tensor\(True\)",
    "05_new_objective": r"gradient/target-shuffled[\s\S]*largest difference: \S+e-0[6-9]",
    "10_one_kernel": r"torch\.Size\(\[8, 1024\]\)[\s\S]*largest difference: \S+e-0[6-9]",
}


@pytest.fixture
def one_thread_again():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def extension(name: str) -> ModuleType:
    """A module of docs/_extensions."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "_extensions" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def public_names() -> set[str]:
    """Read from the lists in the packages' `__init__` files."""
    names = set()
    for file in (ROOT / "gradkern").rglob("__init__.py"):
        package = ".".join(file.relative_to(ROOT).parts[:-1])
        if "._" not in package:
            block = file.read_text().partition("if TYPE_CHECKING:")[2]
            names |= {f"{package}.{name}" for name in re.findall(r"^    from \S+ import \w+ as (\w+)$", block, re.M)}
    return names


def test_the_reference_has_every_public_name() -> None:
    pages = extension("reference_pages").pages()
    text = "\n".join(pages.values())
    described = set(re.findall(r"^\.\. (?:auto\w+|py:(?:data|module)):: (\S+)$", text, re.MULTILINE))
    described |= {
        f"gradkern.{name}" for name in re.findall(r"^\.\. py:(?:class|function):: (\w+)$", text, re.MULTILINE)
    }
    assert len(public_names()) > 300
    assert public_names() - described == set()
    entries = {f"{name}.rst" for name in re.findall(r"^   (?:\w+ <)?(gradkern[\w.]*)>?$", text, re.MULTILINE)}
    assert len(entries) > 300
    assert entries <= set(pages)


@pytest.mark.parametrize("line", ["|x|^2", "alpha_ and coef_", "[n, *shape]"])
def test_docstrings_may_write_what_is_markup_elsewhere(line: str) -> None:
    escaped = extension("reference_pages").escaped(line)
    assert escaped.replace("\\", "") == line
    assert not re.search(r"(?<!\\)[|*]|(?<!\\)_(?=\W|$)", escaped)
    assert extension("reference_pages").escaped(f"``{line}``") == f"``{line}``"


def test_parameters_and_results_are_laid_out_as_they_are_meant() -> None:
    lines = [
        *("Do it.", "", "Parameters", "----------", "alpha_ : [v]", "    Of equal ones the larger.", ""),
        *("Returns", "-------", "prose that", "goes on", "", "- r : [f]", "", "Raises", "------"),
        *("ValueError : " + 95 * "x", "    or y", "", "Examples", "--------", ">>> 1"),
    ]
    extension("reference_pages").lay_out(None, "", "", None, None, lines)
    text = "\n".join(line.rstrip() for line in lines)
    assert ":Parameters:\n\n   **alpha_**\n      [v]\n\n      Of equal ones the larger.\n" in text
    assert ":Returns:\n\n   prose that\n   goes on\n\n   - r : [f]\n" in text
    assert ":Raises:\n\n   **ValueError**\n      " + 95 * "x" + "\n      or y\n" in text
    assert text.endswith("Examples\n--------\n>>> 1")


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorials_have_a_title_and_links_that_lead_somewhere(path: Path) -> None:
    text = path.read_text()
    compile(text, str(path), "exec")
    title = re.match(r'"""\n(.+)\n(=+)\n\n', text)
    assert len(title[1]) == len(title[2])
    for target in re.findall(r":doc:`(?:[^`<]*<)?([^`>]+)>?`", text):
        pages = [ROOT / "docs" / f"{target.lstrip('/')}.md", path.parent / f"{target}.py"]
        assert any(page.exists() for page in pages), target


@pytest.mark.usefixtures("one_thread_again")
@pytest.mark.parametrize("name", PRINTED)
def test_short_tutorials_run_and_print_what_they_say(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    runpy.run_path(str(ROOT / "examples" / "tutorials" / f"{name}.py"))
    assert re.search(PRINTED[name], capsys.readouterr().out)
    assert list(tmp_path.iterdir()) == []
