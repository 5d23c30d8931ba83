"""What the documents tell a reader to run, runs; what they quote was recorded."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest

import gradkern
from benchmarks import table

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))]


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


# what is compiled and not timed has no table
MEASURED = sorted({*ROOT.glob("benchmarks/results/*.json")} - {ROOT / "benchmarks/results/machine-code.json"})


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.name)
def test_the_tables_of_the_benchmarks_are_those_of_the_recordings(path: Path) -> None:
    document = "docs/power-tables.md" if path.stem.startswith("power") else "benchmarks/README.md"
    assert table.section(path) in (ROOT / document).read_text()
