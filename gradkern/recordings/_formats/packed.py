"""Compressed files, which are read to their end, since their checksum stands there."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_OPENERS: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".mgz": gzip.open, ".bz2": bz2.open}
_AT_ONCE = 2**20
BROKEN = (EOFError, OSError, zlib.error, lzma.LZMAError)  # what damaged streams raise


def is_packed(path: Path) -> bool:
    """Whether a file is compressed, by its ending."""
    return path.suffix.lower() in _OPENERS


@contextmanager
def unpacked(path: Path) -> Iterator[Any]:
    """The content of a compressed file as a stream, which must be read to its end: see `remaining`.

    Raises
    ------
    ValueError : the file is damaged or cut short
    """
    try:
        with _OPENERS[path.suffix.lower()](path) as stream:
            yield stream
    except FileNotFoundError:
        raise
    except BROKEN as error:
        raise ValueError(f"{path} cannot be read: {error} (is it damaged or cut short?)") from error


def remaining(stream: Any) -> int:
    """Read a stream to its end, where its checksum is compared, and count the bytes."""
    count = 0
    while part := stream.read(_AT_ONCE):
        count += len(part)
    return count


def check_packed(path: Path) -> None:
    """Raise a ValueError if a file is compressed and damaged anywhere."""
    if is_packed(path):
        with unpacked(path) as stream:
            remaining(stream)
