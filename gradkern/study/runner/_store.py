"""Results of tasks in folders that appear whole, with a manifest that says what they hold and what they were made from.

study/
  results/capture/UNIT/ID/, results/KIND/ID/   a result and its manifest.json
  work/ID/      of a task that somebody computes, or that was stopped; its lock is in it
  damaged/      results that were not what their manifests say
  log.jsonl     a line for every task that was run
  logs/         for every task when and where it was begun, and how it ended, with the traceback of an error
"""

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradkern._files import flush, written_whole
from gradkern._lock import only_writer
from gradkern.study.runner._contents import hash_facts, hash_file
from gradkern.study.runner._tasks import Task

MANIFEST = "manifest.json"
_LONGEST_NAME = 200  # bytes, of the log of a task
_ATTEMPTS = 20  # to take a lock whose folder vanishes meanwhile


class Damaged(OSError):
    """A result is not what its manifest says, or is there no more."""

    def __init__(self, place: str, why: str, *, is_there: bool = True) -> None:
        super().__init__(f"{place} is damaged: {why}")
        self.place, self.why, self.is_there = place, why, is_there


@dataclass(frozen=True)
class Manifest:
    """What a result holds and what it was made from.

    Attributes
    ----------
    files : name -> size in bytes, time in ns, hash
    """

    task: str
    id: str
    facts: Mapping[str, Any]
    files: Mapping[str, tuple[int, int, str]]
    provenance: Mapping[str, Any]


class Store:
    """The results of a study in a folder, which need not exist before something is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._checked: set[str] = set()  # places whose bytes this process has compared with their hashes

    def path(self, place: str) -> Path:
        """The folder of a result."""
        return self.folder / "results" / place

    def manifest(self, place: str) -> Manifest:
        """The manifest of a result.

        Raises
        ------
        FileNotFoundError : there is no result
        Damaged : its manifest cannot be read, or is not what was written
        """
        path = self.path(place)
        if not path.is_dir():
            raise FileNotFoundError(f"{place} must be there, but there is no such result")
        try:
            stored = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            seal = stored.pop("seal")
            if seal != hash_facts(stored):
                raise ValueError("its manifest is not what was written")
            files = {str(name): (int(size), int(at), str(digest)) for name, (size, at, digest) in
                     stored["files"].items()}  # fmt: skip
            if outside := [name for name in files if name.startswith("/") or ".." in name.split("/")]:
                raise ValueError(f"it names {outside[0]!r}, which is not of the result")
            return Manifest(stored["task"], stored["id"], stored["facts"], files, stored["provenance"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Damaged(place, f"its manifest cannot be read ({error})") from error

    def check(self, place: str, *, whole: bool = False) -> Manifest:
        """The manifest of a result whose files have the sizes and times that it says; with `whole`, also the hashes.

        A file with another time is compared by its hash.

        Raises
        ------
        FileNotFoundError : there is no result
        Damaged : a file is missing or not what was written
        """
        manifest, path = self.manifest(place), self.path(place)
        whole = whole and place not in self._checked
        for name, (size, at, digest) in manifest.files.items():
            try:
                stat = (path / name).stat()
                if stat.st_size != size:
                    raise Damaged(place, f"{name} has {stat.st_size} bytes, {size} were written")
                if (whole or stat.st_mtime_ns != at) and hash_file(path / name) != digest:
                    raise Damaged(place, f"{name} is not what was written")
            except Damaged:
                raise
            except OSError as error:
                raise Damaged(place, f"{name} cannot be read ({error.strerror})") from error
        if whole:
            self._checked.add(place)
        return manifest

    def places(self, kind: str = "") -> list[str]:
        """The places of all results, of one kind or of all."""
        top = self.folder / "results"
        kinds = [kind] if kind else sorted(path.name for path in top.iterdir()) if top.is_dir() else []
        found: list[str] = []
        for name in kinds:
            entries = _names_in(top / name)
            if name == "capture":
                entries = [f"{unit}/{part}" for unit in entries for part in self.parts_of(unit)]
            found += [f"{name}/{entry}" for entry in entries]
        return found

    def units(self) -> list[str]:
        """The units of which there are captures."""
        return _names_in(self.folder / "results" / "capture")

    def parts_of(self, unit: str) -> list[str]:
        """Identities of the captures of a unit."""
        return _names_in(self.folder / "results" / "capture" / unit)

    @contextmanager
    def claimed(self, task: Task) -> Iterator[Path]:
        """A folder to compute a task in, which no other process has meanwhile; what an earlier one left is in it.

        Raises
        ------
        BlockingIOError : another process computes it
        """
        folder = self.folder / "work" / task.id
        folder.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(_ATTEMPTS):
            lock = only_writer(folder)
            try:
                lock.__enter__()
                break
            except FileNotFoundError:  # who had the folder has just removed it
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(0.01)
        try:
            yield folder / "new"
        finally:
            lock.__exit__(None, None, None)
            with suppress(OSError):  # what a task left that was stopped stays
                folder.rmdir()

    def put(self, task: Task, aside: Path, provenance: Mapping[str, Any]) -> None:
        """Give a result its name, with its manifest; it is on the disk before it has the name."""
        files = {}
        for path in sorted(path for path in aside.rglob("*") if path.is_file()):
            flush(path)
            stat = path.stat()
            files[path.relative_to(aside).as_posix()] = [stat.st_size, stat.st_mtime_ns, hash_file(path)]
        stored = {"task": task.name, "id": task.id, "facts": task.facts, "files": files, "provenance": dict(provenance)}
        stored = json.loads(json.dumps(stored))
        with written_whole(aside / MANIFEST) as manifest:
            manifest.write_text(json.dumps({**stored, "seal": hash_facts(stored)}), encoding="utf-8")
        flush(aside)
        target = self.path(task.place)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            self.set_aside(task.place)
        aside.rename(target)
        flush(target.parent)

    def set_aside(self, place: str) -> None:
        """Move a damaged result out of the way; it is kept."""
        target = self.folder / "damaged"
        target.mkdir(parents=True, exist_ok=True)
        self._checked.discard(place)
        with suppress(FileNotFoundError):  # another process was faster
            self.path(place).rename(target / f"{place.replace('/', '-')}-{time.time_ns()}-{os.getpid()}")

    def note(self, task: Task, text: str) -> None:
        """Add a line, or several, to the log of a task, which has its name."""
        folder = self.folder / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        stated = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {socket.gethostname()} process {os.getpid()}"
        name = task.name.replace("/", ".").encode()[:_LONGEST_NAME].decode(errors="ignore")
        _append(folder / f"{name}.log", f"{stated}: {task.name} {text.rstrip()}\n")

    def log(self, entry: Mapping[str, Any]) -> None:
        """Add a line to the log; lines of several processes do not mix."""
        self.folder.mkdir(parents=True, exist_ok=True)
        stated = {"time": time.strftime("%Y-%m-%d %H:%M:%S"), "machine": socket.gethostname(), "process": os.getpid()}
        _append(self.folder / "log.jsonl", json.dumps({**stated, **entry}) + "\n")


def _append(path: Path, text: str) -> None:
    """Add text to a file; that of several processes does not mix."""
    number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(number, text.encode("utf-8", "surrogateescape"))
    finally:
        os.close(number)


def _names_in(folder: Path) -> list[str]:
    """The names of what is in a folder, in their order; none where there is no folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
