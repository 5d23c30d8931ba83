"""Compile the CPU kernels for another processor and run their tests: `python -m tests.foreign [options of pytest]`."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.foreign import COMPILER, EMULATOR, MACHINE, ROOT, compile_server

PACKAGES = f"apt-get install g++-{MACHINE}-linux-gnu qemu-user"
TESTS = [f"tests/kernels/test_{op}.py" for op in (
    "sketch", "weight_sketch", "forward_mode", "column_moments", "fold_scores", "select_scale",
)]  # fmt: skip
# Arrays of gigabytes are too large for a pipe. What is said of arguments is said by python/arguments.h.
LEFT_OUT = [
    "-m",
    "not emulated and not gpu",
    "-k",
    "not LargeArrays and not 31Bits and not two_billion and not bad_input",
]


def main() -> int:
    missing = [tool for tool in (COMPILER, EMULATOR) if shutil.which(tool) is None]
    if missing:
        print(f"{' and '.join(missing)} not found; on Debian: {PACKAGES}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / f"kernels-{MACHINE}"
        compile_server(COMPILER, program)
        environment = os.environ | {"GRADKERN_FOREIGN": f"{EMULATOR} {program}"}
        pytest = [sys.executable, "-m", "pytest", "-p", "tests.foreign.plugin", *LEFT_OUT]
        return subprocess.run([*pytest, *(sys.argv[1:] or TESTS)], cwd=ROOT, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
