"""`python -m tests.sanitize`: see tests/sanitize/__init__.py."""

import argparse
import sys
import tempfile
from pathlib import Path

from gradkern import _native
from tests.sanitize import build, calls, run, wrong

parser = argparse.ArgumentParser(prog="python -m tests.sanitize", description="Run the case table under sanitizers.")
parser.add_argument("--compiler", default="g++")
arguments = parser.parse_args()
called = calls()
with tempfile.TemporaryDirectory() as scratch:
    driver = build(Path(scratch), _native.isas(), arguments.compiler)
    for isa in _native.isas():
        names = wrong(called, run(driver, isa, called))
        print(f"{isa}: {len(called)} calls, {len(names)} wrong", *names)
        if names:
            sys.exit(1)
