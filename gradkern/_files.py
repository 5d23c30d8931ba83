"""Files and folders that are either whole or not there, room for them on the disk, and whether one was made from the
same as is asked for now."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_LONGEST = 120  # characters of a value in a message
_NO_ROOM = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)
_NO_ALLOCATION = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)  # file systems that cannot
_CHUNK = 1 << 20


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A path beside `target` to write a file to, which takes its name, in the place of what was there, if all went
    well.

    What was written is on the disk before it has the name, so that a file of this name is whole even after a crash. The
    path keeps the suffix of `target`, and nothing is there yet.
    """
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        aside = folder / target.name
        yield aside
        flush(aside)
        aside.replace(target)
        flush(target.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def folder_written_whole(target: Path) -> Iterator[Path]:
    """A folder to write into, which takes the name `target`, in the place of what was there, if all went well."""
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    aside.chmod(0o755)
    try:
        yield aside
        if target.exists():
            old = aside.with_name(aside.name + "-old")
            target.rename(old)
            try:
                aside.rename(target)
            except OSError:
                old.rename(target)
                raise
            shutil.rmtree(old)
        else:
            aside.rename(target)
        flush(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def allocate(file: int, stop: int, folder: Path, *, start: int = 0, needed: int | None = None) -> None:
    """Have the disk keep room for bytes [start, stop) of an open file before they are written; what it holds stays.

    Parameters
    ----------
    file : its descriptor
    folder : on whose disk it is
    needed : bytes of all files that will be written, for the message; by default those of this one

    Raises
    ------
    OSError : there is no room; the message has the bytes that are needed and those that are free
    """
    try:
        try:
            _reserve(file, start, stop)
        except OSError as error:
            if error.errno not in _NO_ALLOCATION:
                raise
            _fill(file, stop)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        needed, free = needed or stop - start, shutil.disk_usage(folder).free
        raise OSError(
            error.errno, f"{folder} must have room for {needed} bytes, got {free} free on its disk"
        ) from error


def _reserve(file: int, start: int, stop: int) -> None:
    if not hasattr(os, "posix_fallocate"):
        raise OSError(errno.ENOSYS, "this system reserves no room")
    if stop > start:
        os.posix_fallocate(file, start, stop - start)


def _fill(file: int, stop: int) -> None:
    """Zeros behind the end of a file, up to a size."""
    end = os.fstat(file).st_size
    while end < stop:
        end += os.pwrite(file, bytes(min(_CHUNK, stop - end)), end)


def differences(before: Any, now: Any, where: str = "") -> list[str]:
    """What differs between two requests, as JSON has them, by its place: "cv.seed: 0, now 1"."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        pairs = [(str(name), before.get(name), now.get(name)) for name in sorted({*before, *now})]
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = [(str(place), *both) for place, both in enumerate(zip(before, now, strict=True))]
    else:
        return [] if before == now else [f"{where}: {_short(before)}, now {_short(now)}"]
    return [line for name, a, b in pairs for line in differences(a, b, f"{where}.{name}".lstrip("."))]


def as_json(request: Any) -> Any:
    """A request as it will be read back from JSON, to compare with one that was."""
    return json.loads(json.dumps(request))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < _LONGEST else f"{text[: _LONGEST - 3]}..."


def flush(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
