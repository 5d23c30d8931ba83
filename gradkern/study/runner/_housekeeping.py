"""Looking after the results of a study: comparing all bytes, removing what is needed no more."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from gradkern._lock import held_by, only_writer
from gradkern.study.runner._plan import Plan
from gradkern.study.runner._store import Damaged, Store


def verify(store: Store) -> dict[str, str]:
    """Places of the results that are not what was written, and why; a damaged one is set aside by the next run.

    A damaged file keeps its time, so that a plan would not see it: its time is changed.
    """
    damaged = {}
    for place in store.places():
        try:
            store.check(place, whole=True)
        except Damaged as error:
            damaged[place] = error.why
            for path in store.path(place).rglob("*"):
                if path.is_file():
                    os.utime(path)  # a plan compares the bytes of what has another time
    return damaged


def prune(plan: Plan, *, remove: bool) -> Iterator[str]:
    """Lines about what is removed, or would be: results of no task, damaged ones, and what stopped tasks left."""
    store = plan.store
    freed = 0
    for what, path in _unused(plan):
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        if remove and not _removed(path):
            yield f"kept {what}, which a process holds"
            continue
        freed += size
        yield f"{'removed' if remove else 'would remove'} {what}, {size:,} bytes"
    yield f"{freed:,} bytes {'removed' if remove else 'could be removed (--yes removes them)'} in {store.folder}"


def _unused(plan: Plan) -> Iterator[tuple[str, Path]]:
    store = plan.store
    units = {planned.task.unit for planned in plan.tasks}
    needed = {planned.task.place for planned in plan.tasks}
    for place in store.places():
        unit = place.split("/")[1] if place.startswith("capture/") else None
        if place not in needed and unit not in units:  # layers of a unit may come from several captures
            yield place, store.path(place)
    missing = {task.id for task in plan.missing}
    for name in ("damaged", "work"):
        folder = store.folder / name
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if name == "damaged" or (path.name not in missing and not held_by(path)):
                yield f"{name}/{path.name}", path


def _removed(path: Path) -> bool:
    """Remove a folder that nobody writes to; whether it was. What a link leads to stays."""
    if path.is_symlink():
        path.unlink()
        return True
    try:
        with only_writer(path):
            for entry in list(path.iterdir()):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                elif entry.name != ".writer.lock":
                    entry.unlink()
    except BlockingIOError:
        return False
    shutil.rmtree(path, ignore_errors=True)
    return True
