"""Plant a programming error in any inner call of a function, and see how it surfaces."""

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import gradkern

_PACKAGE = str(Path(gradkern.__file__).parent)
_BEYOND = ("errors.py", "_lazy.py")  # they carry errors and names, and compute nothing


def inner_calls(call: Callable[[], Any]) -> int:
    """How many Python functions of gradkern a call runs."""
    return _run(call, None)


def plant(call: Callable[[], Any], error: Exception, number: int) -> None:
    """Run a call whose `number`-th inner function raises the error."""
    _run(call, (number, error))


def _run(call: Callable[[], Any], planted: tuple[int, Exception] | None) -> int:
    count = 0

    def profile(frame: FrameType, event: str, _: Any) -> None:
        nonlocal count
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(_PACKAGE) and not file.endswith(_BEYOND):
            count += 1
            if planted is not None and count == planted[0]:
                raise planted[1]

    gc.disable()  # what it would clean up is not part of the call
    sys.setprofile(profile)  # coverage has the tracer
    try:
        call()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count
