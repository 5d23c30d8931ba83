"""What the documents tell a reader to run, runs; what they quote was recorded."""

import re
import runpy
from pathlib import Path

import pytest

from benchmarks import table

ROOT = Path(__file__).parents[1]


def test_the_readme_script_runs_and_is_the_example(capsys) -> None:
    (script,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    example = (ROOT / "examples" / "primitives.py").read_text()
    assert example.endswith(script)
    runpy.run_path(str(ROOT / "examples" / "primitives.py"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "torch.Size([8, 1024])"
    r = {line.split(" (")[0]: float(line.split("= ")[1]) for line in lines[:-1]}
    assert r["activation 3"] > 0.8


@pytest.mark.parametrize(
    "document", ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))]
)
def test_links_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert ((ROOT / document).parent / target).exists(), target


@pytest.mark.parametrize("path", sorted(ROOT.glob("benchmarks/results/*.json")), ids=lambda path: path.name)
def test_the_tables_of_the_benchmarks_are_those_of_the_recordings(path: Path) -> None:
    document = "docs/power-tables.md" if path.stem.startswith("power") else "benchmarks/README.md"
    assert table.section(path) in (ROOT / document).read_text()
