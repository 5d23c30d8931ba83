"""MATLAB 5 files, looked through before SciPy reads them.

SciPy looks up the types of elements in tables of C without comparing them with the tables' ends: a damaged type ends
the process, which no `except` can prevent. It does not look for the end of compressed elements either.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_HEADER, _VERSION_5 = 128, 1
_NUMBERS = frozenset((1, 2, 3, 4, 5, 6, 7, 9, 12, 13))
_TEXT = frozenset((16, 17, 18))
_INT8, _UINT32, _MATRIX, _COMPRESSED = 1, 6, 14, 15
_SIZES, _NAMES = (5, 6), (1, 16)  # as MATLAB writes them, and as some others do
_CELL, _OBJECT, _CHAR, _SPARSE, _LAST_NUMBER, _FUNCTION, _OPAQUE = 1, 3, 4, 5, 15, 16, 17  # classes of matrices


_COMPLEX = 1 << 11  # of the flags of a matrix, whose imaginary part follows


class _Element(NamedTuple):
    """An element: its type, and where its content begins and ends."""

    kind: int
    start: int
    end: int


def check_mat(path: Path) -> None:
    """Raise a ValueError if an element of a MATLAB 5 file is damaged; files of other versions are left alone."""
    content = path.read_bytes()
    if not all(content[:4]):  # version 4
        return
    if len(content) < _HEADER:
        raise ValueError(f"{path} must have a header of {_HEADER} bytes, got {len(content)} bytes")
    order = ">" if content[126:128] == b"MI" else "<"
    (version,) = struct.unpack(f"{order}H", content[124:126])
    if version >> 8 != _VERSION_5:
        return
    for element in _elements(content, _HEADER, len(content), order):
        if element.kind == _COMPRESSED:
            inner = _unpacked(content[element.start : element.end])
            for part in _elements(inner, 0, len(inner), order):
                _check(inner, part, order)
        else:
            _check(content, element, order)


def _unpacked(content: bytes) -> bytes:
    packed = zlib.decompressobj()
    try:
        inner = packed.decompress(content)
    except zlib.error as error:
        raise ValueError(f"a compressed element is damaged: {error}") from error
    if not packed.eof or packed.unused_data:
        raise ValueError("a compressed element is cut short")
    return inner


def _elements(content: bytes, start: int, end: int, order: str) -> Iterator[_Element]:
    """The elements between two places, one after another."""
    place = start
    while place < end:
        if place + 8 > end:
            raise ValueError(f"an element at byte {place} has no room for its type and size")
        kind, size = struct.unpack(f"{order}2I", content[place : place + 8])
        if kind >> 16:  # a small element, whose four bytes of content follow its type and size
            kind, size = kind & 0xFFFF, kind >> 16
            if size > 4:
                raise ValueError(f"a small element at byte {place} has {size} bytes")
            first, following = place + 4, place + 8
        else:
            first = place + 8
            following = first + size + (0 if kind == _COMPRESSED else -size % 8)
        last = first + size
        if last > end:
            raise ValueError(f"an element at byte {place} ends at byte {last} of {end}")
        if kind not in _NUMBERS | _TEXT | {_MATRIX, _COMPRESSED}:
            raise ValueError(f"an element at byte {place} has the type {kind}")
        yield _Element(kind, first, last)
        place = following
    if place != end:
        raise ValueError(f"elements end at byte {place} of {end}")


def _check(content: bytes, element: _Element, order: str) -> None:
    """A matrix has the elements of its class."""
    if element.kind != _MATRIX:
        raise ValueError(f"an element at byte {element.start} has the type {element.kind}, a matrix is expected")
    if element.start == element.end:
        return
    parts = list(_elements(content, element.start, element.end, order))
    if parts[0].kind != _UINT32 or parts[0].end - parts[0].start != 8:
        raise ValueError(f"a matrix at byte {element.start} does not begin with its class")
    (flags,) = struct.unpack(f"{order}I", content[parts[0].start : parts[0].start + 4])
    kind = flags & 0xFF
    if not _CELL <= kind <= _OPAQUE:
        raise ValueError(f"a matrix at byte {element.start} has the class {kind}")
    if kind == _OPAQUE:
        kinds = [part.kind for part in parts[1:]]
        if kinds != [_INT8, _INT8, _INT8, _MATRIX]:
            raise ValueError(f"an object at byte {element.start} has elements of the types {kinds}")
    else:
        _check_parts(content, kind, parts, order, bool(flags & _COMPLEX))
    for part in parts:
        if part.kind == _MATRIX:
            _check(content, part, order)


def _check_parts(content: bytes, kind: int, parts: list[_Element], order: str, is_complex: bool) -> None:
    """Sizes and name come first, then numbers, words or matrices, as many as there are places."""
    if len(parts) < 3 or parts[1].kind not in _SIZES or parts[2].kind not in _NAMES:
        raise ValueError(f"a matrix at byte {parts[0].start} has no sizes and name")
    count = (parts[1].end - parts[1].start) // 4
    sizes = struct.unpack(f"{order}{count}i", content[parts[1].start : parts[1].start + 4 * count])
    if not 2 <= count <= 32 or parts[1].end - parts[1].start != 4 * count or min(sizes) < 0:
        raise ValueError(f"a matrix at byte {parts[0].start} has the sizes {sizes}")
    rest = parts[3:]
    if kind == _FUNCTION:
        allowed = frozenset((_MATRIX,))
        _same_count(parts[0], 1, rest)
    elif kind >= _CHAR:
        allowed = _NUMBERS | _TEXT if kind == _CHAR else _NUMBERS
        _same_count(parts[0], 1 + (2 if kind == _SPARSE else 0) + is_complex, rest)
    elif kind == _CELL:
        allowed = frozenset((_MATRIX,))
        _same_count(parts[0], math.prod(sizes), rest)
    else:
        rest = rest[1:] if kind == _OBJECT else rest  # the name of its class comes first
        if len(rest) < 2 or any(part.kind not in _NUMBERS for part in rest[:2]):
            raise ValueError(f"a struct at byte {parts[0].start} has no names of fields")
        width = struct.unpack(f"{order}i", content[rest[0].start : rest[0].start + 4])[0]
        names = rest[1].end - rest[1].start
        if width < 1 or names % width:
            raise ValueError(f"a struct at byte {parts[0].start} has names of {width} in {names} bytes")
        rest, allowed = rest[2:], frozenset((_MATRIX,))
        _same_count(parts[0], math.prod(sizes) * (names // width), rest)
    odd = next((part for part in rest if part.kind not in allowed), None)
    if odd is not None:
        raise ValueError(f"an element at byte {odd.start} has the type {odd.kind} in a matrix of class {kind}")


def _same_count(first: _Element, expected: int, rest: list[_Element]) -> None:
    if len(rest) != expected:
        raise ValueError(f"a matrix at byte {first.start} must hold {expected} others, got {len(rest)}")
