"""The files that a task reads beside results of other tasks: they must be those that its identity is of."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gradkern.recordings._stimuli import FileImages
from gradkern.study._image_tables import is_table
from gradkern.study.runner._image_sets import ImageSet
from gradkern.study.runner._parts import StudyParts
from gradkern.study.runner._sections import NO_OBJECTIVE
from gradkern.study.runner._tasks import CaptureOrder, FiguresOrder, MapsOrder, Order, TargetsOrder


class Replaced(OSError):
    """A file that a task read is not the one that the study was planned with."""


def check_inputs(parts: StudyParts, order: Order) -> None:
    """Compare the files that a task has read with those that its identity is of.

    Raises
    ------
    Replaced : a file was written meanwhile
    """
    for path in _inputs(parts, order):
        if not parts.contents.is_as_before(path):
            raise Replaced(
                f"{path} was changed while the study ran, so that its result is not kept; run the study again"
            )


def _inputs(parts: StudyParts, order: Order) -> Iterator[Path]:
    if isinstance(order, FiguresOrder):
        return
    if isinstance(order, TargetsOrder | MapsOrder):
        yield parts.recordings[order.recording].path
        return
    images = parts.images[order.images]
    if isinstance(order, CaptureOrder):
        yield from _files_of(images, range(order.start, order.stop))
        yield from parts.models[order.model].files
        if order.objective != NO_OBJECTIVE:
            yield from parts.objectives[order.objective, order.images].tables.values()
        return
    yield from _files_of(images, range(len(images)))
    yield from (recording.path for recording in parts.recordings.values() if recording.entry.images == order.images)
    study = parts.description.path
    yield from (study.parent / Path(name).expanduser() for name in tables_of(parts.description.verdict_values))


def _files_of(images: ImageSet, numbers: Iterable[int]) -> Iterator[Path]:
    source = images.source if images.chosen is None else images.source.source
    if not isinstance(source, FileImages):
        yield source.path
        return
    for number in numbers:
        yield source.paths[number if images.chosen is None else images.chosen[number]]


def tables_of(values: Any) -> Iterator[str]:
    """The tables that values of a study file name."""
    if isinstance(values, Mapping):
        for value in values.values():
            yield from tables_of(value)
    elif isinstance(values, str) and is_table(values):
        yield values
