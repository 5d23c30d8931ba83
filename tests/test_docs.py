"""What the documents tell a reader to run, runs; what they quote was recorded."""

import argparse
import ast
import re
import runpy
import shlex
import tomllib
from pathlib import Path

import pytest

import gradkern
import gradkern.cli
from benchmarks import figures, table

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/**/*.md")),
]


def test_the_readme_script_runs_and_is_the_example(capsys) -> None:
    (script,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    example = (ROOT / "examples" / "primitives.py").read_text()
    assert example.endswith(script)
    runpy.run_path(str(ROOT / "examples" / "primitives.py"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "torch.Size([8, 1024])"
    r = {line.split(" (")[0]: float(line.split("= ")[1]) for line in lines[:-1]}
    assert r["activation 3"] > 0.8


def test_the_example_of_the_page_of_maps_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "maps.md").read_text()
    monkeypatch.chdir(tmp_path)
    exec(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], {})
    written = {path.name for path in (tmp_path / "maps").iterdir()}
    (named,) = re.findall(r"`maps/(\S+\.gii)`", page)
    assert {named, named.replace("hemi-L", "hemi-R")} <= written
    assert len([name for name in written if name.endswith("-ave.fif")]) == 2


def python_blocks(document: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("document", [document for document in DOCUMENTS if python_blocks(document)])
def test_scripts_of_pages_import_what_there_is(document: str) -> None:
    """Of every script, also of those that need a data set: imports run, and names under `gradkern` exist."""
    for script in python_blocks(document):
        tree = ast.parse(script)
        imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        imported: dict[str, object] = {}
        exec(compile(ast.Module(imports, []), document, "exec"), imported)
        for name in re.findall(
            r"(?<![\w./\"'])gradkern(?:\.\w+)+", "\n".join(map(ast.unparse, tree.body[len(imports) :]))
        ):
            eval(name, imported)  # a NameError or AttributeError names it


# what needs nothing but the package
@pytest.mark.parametrize("document", ["docs/hierarchy.md", "docs/statistics.md"])
def test_the_script_of_a_page_runs(document: str) -> None:
    (script,) = python_blocks(document)
    exec(script, {})


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert ((ROOT / document).parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_extras_and_make_targets_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    extras = {
        extra for listed in re.findall(r"(?:\.|gradkern)\[(\w+(?:,\w+)*)\]'", text) for extra in listed.split(",")
    }
    assert extras <= set(PROJECT["optional-dependencies"])
    targets = re.findall(r"^ *make (\w+)|`make (\w+)", text, re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert {name for pair in targets for name in pair if name} <= set(phony.split())


class Parsed(Exception):
    """A command line was understood; nothing ran."""


def commands_of(document: str) -> list[str]:
    """Lines of a document's code that are commands of gradkern, continued ones in one piece."""
    text = (ROOT / document).read_text().replace("\\\n", " ")
    fenced = "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    return re.findall(r"^gradkern .*", fenced, re.MULTILINE) + re.findall(r"^ {4,}(gradkern .*)", text, re.MULTILINE)


@pytest.mark.parametrize("document", [document for document in DOCUMENTS if commands_of(document)])
def test_commands_are_understood(document: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = argparse.ArgumentParser.parse_args

    def parsed(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
        raise Parsed(parse(parser, arguments))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    for command in commands_of(document):
        with pytest.raises(Parsed):
            gradkern.cli.main(shlex.split(command, comments=True)[1:])


def test_the_citation_is_of_this_version() -> None:
    assert f"\nversion: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_glossary_and_the_page_of_new_names_name_what_there_is() -> None:
    glossary, upgrading = ((ROOT / "docs" / name).read_text() for name in ("glossary.md", "upgrading.md"))
    names = re.findall(r"`(\w+(?:\.\w+)+)`", glossary)
    names += re.findall(r"^\| `[^|]*` \| `gradkern\.([\w.]+)` \|", upgrading, re.MULTILINE)
    missing = []
    for name in names:
        value: object = gradkern
        for step in name.removeprefix("gradkern.").split("."):
            value = getattr(value, step, None)
        missing += [name] if value is None else []
    assert not missing


def test_the_page_of_data_sets_has_every_reader() -> None:
    page = (ROOT / "docs" / "start" / "data.md").read_text()
    assert [name for name in gradkern.recordings.readers() if f"`{name}`" not in page] == []


# what is compiled and not timed has no table
MEASURED = sorted({*ROOT.glob("benchmarks/results/*.json")} - {ROOT / "benchmarks/results/machine-code.json"})


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.name)
def test_the_tables_of_the_benchmarks_are_those_of_the_recordings(path: Path) -> None:
    document = "docs/power-tables.md" if path.stem.startswith("power") else "docs/project/benchmarks.md"
    assert table.section(path) in (ROOT / document).read_text()


@pytest.mark.parametrize("document", table.pages())
def test_pages_made_of_recordings_are_as_made(document: str) -> None:
    """`python -m benchmarks.table` writes them."""
    assert (ROOT / document).read_text() == table.pages()[document]


@pytest.mark.parametrize("name", figures.FIGURES)
def test_figures_made_of_recordings_show_their_numbers(name: str) -> None:
    points = figures.FIGURES[name][0]()
    assert all(points.values())
    text = figures.path_of(name).read_text()
    assert f"data {figures.hash_of(points)}<" in text, "python -m benchmarks.table"
    pages = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*/*.md")]
    assert any(f"images/{name}.svg" in page.read_text() for page in pages)
