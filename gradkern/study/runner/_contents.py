"""Hashes of the contents of files, and facts about recordings, kept in the study so that a plan reads nothing twice.

A hash is taken again when the size, the time or the number of a file differs from those it was taken at, or when the
file had only just been written.
"""

import json
import os
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Any

from gradkern._files import written_whole

_CHUNK = 1 << 22
_FRESH = 2_000_000_000  # ns within which a file could be written again at the same time
_FILE = "contents.json"
_VERSION = 2


def hash_file(path: Path) -> str:
    """32 hexadecimal digits of the bytes of a file."""
    digest = blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def hash_facts(facts: Any) -> str:
    """32 hexadecimal digits of what JSON can hold."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _state(path: Path) -> list[int]:
    """Size, time and number of a file."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]


class Contents:
    """What is known of files by their contents; kept in a folder, which need not exist before `save`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _FILE
        self._known: dict[str, list[Any]] = {}
        self._facts: dict[str, Any] = {}
        self._changed = False
        self._first: dict[str, tuple[list[int], str]] = {}  # state and hash of each file when this process asked first
        try:
            stored = json.loads(self._path.read_text(encoding="utf-8"))
            if stored["version"] == _VERSION:
                self._known, self._facts = dict(stored["files"]), dict(stored["facts"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # everything is read again

    def hash_of(self, path: Path) -> str:
        """The hash of a file's bytes.

        Raises
        ------
        OSError : the file cannot be read
        """
        name, state = os.fspath(path), _state(path)
        known = self._known.get(name)
        if known is not None and known[:3] == state:
            digest = str(known[3])
        else:
            digest = hash_file(path)
            if state[1] < time.time_ns() - _FRESH:
                self._known[name] = [*state, digest]
                self._changed = True
        self._first.setdefault(name, (state, digest))
        return digest

    def is_as_before(self, path: Path) -> bool:
        """Whether a file holds what it held when `hash_of` was first asked for it; true for one that it never was."""
        first = self._first.get(os.fspath(path))
        if first is None:
            return True
        try:
            return _state(path) == first[0] or hash_file(path) == first[1]
        except OSError:
            return False

    def hashes_of(self, paths: Sequence[Path]) -> list[str]:
        """The hashes of many files, which are read by several threads."""
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(self.hash_of, paths))

    def facts(self, key: str, make: Callable[[], Any]) -> Any:
        """What is known under a key that names contents, or else what `make` finds, as JSON has it."""
        if key not in self._facts:
            self._facts[key] = json.loads(json.dumps(make()))
            self._changed = True
        return self._facts[key]

    def save(self) -> None:
        """Write what was found, for the next plan, which finds it again where this cannot be written."""
        if not self._changed:
            return
        stored = {"version": _VERSION, "files": self._known, "facts": self._facts}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(self._path) as aside:
                aside.write_text(json.dumps(stored), encoding="utf-8")
        except OSError as error:
            warnings.warn(f"hashes of files are not kept, and will be computed again: {error}", stacklevel=2)
            return
        self._changed = False
