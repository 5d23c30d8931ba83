"""One writer of a folder at a time."""

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_LOCK_FILE = ".writer.lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made if need be, for this process alone; others are told who holds it.

    The system lets go of the lock of a process that has died, so that nobody waits for it. Where the file system has no
    locks, the process that is named in the file is looked for.

    Raises
    ------
    BlockingIOError : another process writes to the folder
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _LOCK_FILE
    try:
        number = _acquired(path, folder)
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise
        yield  # nobody writes here, so that what is whole can be read
        return
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is locked: who opens it later makes a new one
        os.close(number)
        if is_new and not any(folder.iterdir()):
            folder.rmdir()


def held_by(folder: Path) -> str:
    """Who holds a folder, in words; "" for nobody."""
    path = folder / _LOCK_FILE
    try:
        number = os.open(path, os.O_RDWR)
    except OSError:
        return ""
    try:
        _lock(number, path, folder)
    except BlockingIOError:
        holder = _holder(path)
        return f"process {holder.get('process', 'unknown')} on {holder.get('host', 'an unknown host')}"
    finally:
        os.close(number)
    return ""


def is_lock(path: Path) -> bool:
    """Whether a file in a folder is that of `only_writer`."""
    return path.name == _LOCK_FILE


def _acquired(path: Path, folder: Path) -> int:
    while True:
        number = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(number, path, folder)
            if path.exists() and os.fstat(number).st_ino == path.stat().st_ino:
                os.ftruncate(number, 0)
                os.pwrite(number, json.dumps(_this_process()).encode(), 0)
                return number
        except BaseException:
            os.close(number)
            raise
        os.close(number)  # its holder has just removed it


def _lock(number: int, path: Path, folder: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return _look_for_holder(path, folder)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BlockingIOError(_held(folder, _holder(path))) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _look_for_holder(path, folder)


def _look_for_holder(path: Path, folder: Path) -> None:
    holder = _holder(path)
    if holder.get("host") not in (None, socket.gethostname()) or _is_running(holder.get("process")):
        raise BlockingIOError(_held(folder, holder))


def _is_running(process: Any) -> bool:
    if not isinstance(process, int) or process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _holder(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text())
        return stored if isinstance(stored, dict) else {}
    except (OSError, ValueError):
        return {}


def _held(folder: Path, holder: dict[str, Any]) -> str:
    who = f"process {holder.get('process', 'unknown')} on {holder.get('host', 'an unknown host')}"
    return f"{folder} must be written by one process at a time, got {who}, which writes there since {_since(holder)}"


def _since(holder: dict[str, Any]) -> str:
    return str(holder.get("since", "an unknown time"))


def _this_process() -> dict[str, Any]:
    return {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
