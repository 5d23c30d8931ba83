"""How a command ends with an error: bad input is one line; anything else keeps its traceback in a log."""

import dis
import platform
import sys
import tempfile
import traceback
from pathlib import Path

import gradkern
from gradkern.errors import Refused

BAD_INPUT, UNEXPECTED, STOPPED = 2, 1, 130  # exit statuses; the last is that of a shell after Ctrl-C
_PACKAGE = Path(__file__).parents[1]
_NATIVE_CALLS = _PACKAGE / "kernels" / "ops.py"  # the checks of the native part raise ValueErrors in its calls


def report(error: Exception, command: str, debug: bool) -> int:
    """Print one line about an error, and return the exit status.

    The traceback of an error that is no message about input is written to a log file, which the line names; `debug`
    prints the traceback of any error instead.
    """
    if debug:
        traceback.print_exception(error)
    if is_about_input(error):
        line = " ".join(f"gradkern {command}: {error}".split())  # other packages' messages go over several
        print(line.encode("utf-8", "backslashreplace").decode(), file=sys.stderr)
        return BAD_INPUT
    what = f"gradkern {command}: unexpected {type(error).__name__}: {error}"
    where = "" if debug else f" (traceback: {_log(error)}; --debug prints it)"
    print(" ".join(what.split()) + where, file=sys.stderr)
    return UNEXPECTED


def is_about_input(error: Exception) -> bool:
    """Whether an error is a message to the user: about files, missing packages, refused data, or raised by a check.

    A check is a `raise` statement of gradkern, or of its native part. NumPy and torch raise ValueErrors too, of
    programming errors.
    """
    if isinstance(error, Refused | OSError | ImportError):
        return True
    if not isinstance(error, ValueError | TypeError | RuntimeError | MemoryError) or error.__traceback__ is None:
        return False
    last = error.__traceback__
    while last.tb_next is not None:
        last = last.tb_next
    code = last.tb_frame.f_code
    file = Path(code.co_filename)
    if file == _NATIVE_CALLS and isinstance(error, ValueError):
        return True
    raised = dis.opname[code.co_code[last.tb_lasti]] == "RAISE_VARARGS"
    return raised and _PACKAGE in file.parents


def _log(error: Exception) -> str:
    with tempfile.NamedTemporaryFile(
        "w", prefix="gradkern-error-", suffix=".log", delete=False, encoding="utf-8"
    ) as file:
        file.write(f"gradkern {gradkern.__version__}, Python {platform.python_version()}\n{' '.join(sys.argv)}\n\n")
        traceback.print_exception(error, file=file)
    return file.name
