"""A plugin of pytest (`-p tests.foreign.plugin`): the kernels of the program that GRADKERN_FOREIGN names."""

import os
import shlex
import sys

import pytest

from tests.foreign import Native

if "GRADKERN_FOREIGN" in os.environ:  # otherwise this is no plugin, but a file that doctests are looked for in
    assert not [name for name in sys.modules if name.partition(".")[0] == "gradkern"], "gradkern is imported already"
    NATIVE = sys.modules["gradkern._native"] = Native(shlex.split(os.environ["GRADKERN_FOREIGN"]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    command = os.environ["GRADKERN_FOREIGN"]
    terminalreporter.write_line(f"{NATIVE.calls} calls of {'+'.join(NATIVE.isas())} kernels by {command}")
    NATIVE.close()
