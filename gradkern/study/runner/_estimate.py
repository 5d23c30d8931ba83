"""What the missing tasks of a study will take: disk and memory from shapes, time from a calibration on this machine."""

import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gradkern.encoding._dimension import effective_rank
from gradkern.errors import Refused
from gradkern.features._capture import capture
from gradkern.kernels._sketch import Sketch
from gradkern.ridge._cross_val import cross_val_score
from gradkern.ridge._cross_validation import CrossValidation
from gradkern.study.runner._image_sets import ChosenImages
from gradkern.study.runner._loop import peak_memory, words_of
from gradkern.study.runner._memory import fit_bytes, fit_of, spaces_of
from gradkern.study.runner._parts import StudyParts
from gradkern.study.runner._plan import Plan
from gradkern.study.runner._sections import NO_OBJECTIVE
from gradkern.study.runner._tasks import CaptureOrder, FitOrder, Task

_HASH, _NUMBER = 32, 4  # bytes of an image's hash and of a feature
_WORDS = 2_700  # of the words of a capture and its manifest; more for each array and for an objective
_WORDS_OF_ARRAY, _WORDS_OF_OBJECTIVE = 200, 900
_HEADER = 128  # of an array's file
_TARGETS = (1, 64, 1024)  # that are fitted in the calibration of fits, one count after another


@dataclass(frozen=True)
class Cost:
    """What a task takes: seconds, bytes of memory beside those of the packages, bytes on the disk."""

    seconds: float
    memory: int
    disk: int


def capture_bytes(parts: StudyParts, order: CaptureOrder) -> int:
    """Bytes of the features of a capture, at the least: outputs that the model keeps beside them come on top.

    Raises
    ------
    Refused : features are not sketched, so that their size is not known before the model runs
    """
    sketch = parts.models[order.model].entry.capture.sketch
    if sketch == "raw":
        raise Refused(f"sketch must be a number where the size is to be known, got 'raw' of models.{order.model}")
    arrays = len(order.kinds) * len(order.layers)
    return (order.stop - order.start) * (arrays * _NUMBER * int(sketch) + _HASH + _NUMBER) + _words(order, 2)


def _words(order: CaptureOrder, more: int) -> int:
    """Bytes of what is no value in a capture: headers, provenance, manifest; `more` arrays are beside the features."""
    arrays = len(order.kinds) * len(order.layers)
    of_objective = 0 if order.objective == NO_OBJECTIVE else _WORDS_OF_OBJECTIVE
    return _WORDS + of_objective + arrays * _WORDS_OF_ARRAY + (arrays + more) * _HEADER


def check_room(plan: Plan) -> None:
    """Refuse a run that the disk has no room for, before it starts.

    Raises
    ------
    OSError : there is no room; the message has the arithmetic
    """
    needed = dict.fromkeys(("capture", "fit"), 0)
    for task in plan.missing:
        if isinstance(task.order, CaptureOrder):
            if plan.parts.models[task.order.model].entry.capture.sketch != "raw":
                needed["capture"] += capture_bytes(plan.parts, task.order)
        elif isinstance(task.order, FitOrder):
            needed["fit"] += fit_bytes(plan.parts, task.order)
    free, total = free_bytes(plan.store.folder), sum(needed.values())
    if total > free:
        raise OSError(
            f"{plan.store.folder} must have room for {total:,} bytes ({needed['capture']:,} of features, "
            f"{needed['fit']:,} of scores), got {free:,} free on its disk; fewer layers, a smaller sketch or another "
            "--folder need less"
        )


def free_bytes(folder: Path) -> int:
    """Bytes that are free where a folder is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def estimate_lines(plan: Plan) -> tuple[list[str], bool]:
    """Lines about what the missing tasks take, by kind and in all, and whether the disk has room for them."""
    costs = dict(estimated(plan))
    base = peak_memory()
    lines = []
    for kind in ("capture", "fit"):
        of_kind = [costs[task.id] for task in plan.missing if task.kind == kind and task.id in costs]
        if of_kind:
            most = max(cost.memory for cost in of_kind)
            lines.append(
                f"{kind:<8} {len(of_kind):>6} tasks, {words_of(sum(cost.seconds for cost in of_kind))} in all, at most "
                f"{words_of(max(cost.seconds for cost in of_kind))} a task, {(base + most) / 1e9:.2f} GB of memory "
                f"({most / 1e9:.2f} of arrays), {sum(cost.disk for cost in of_kind):,} bytes on the disk"
            )
    rest = Counter(task.kind for task in plan.missing if task.id not in costs)
    lines += [f"{kind:<8} {count:>6} tasks, not estimated" for kind, count in rest.items()]
    seconds, disk = sum(cost.seconds for cost in costs.values()), sum(cost.disk for cost in costs.values())
    free = free_bytes(plan.store.folder)
    fits = disk <= free
    room = f"{free:,} bytes are free" if fits else f"only {free:,} bytes are free: the run would be refused"
    lines.append(f"in all {words_of(seconds)} by one worker, {disk:,} bytes on the disk; {room}")
    return lines, fits


def estimated(plan: Plan) -> Iterator[tuple[str, Cost]]:
    """The cost of every missing capture and fit, by its identity."""
    speeds: dict[tuple[str, str, str], tuple[float, float, int, int]] = {}
    fits: dict[tuple[int, int, bool], tuple[float, float]] = {}
    for task in plan.missing:
        order = task.order
        if isinstance(order, CaptureOrder):
            key = (order.model, order.objective, order.images)
            if key not in speeds:
                speeds[key] = _time_of_capture(plan.parts, order)
            fixed, each, size, beside = speeds[key]
            count = order.stop - order.start
            disk = count * (size + _HASH) + _words(order, beside)
            memory = plan.parts.models[order.model].entry.capture.batch_size * size
            yield task.id, Cost(fixed + each * count, memory, disk)
        elif isinstance(order, FitOrder):
            yield task.id, _cost_of_fit(plan.parts, task, order, fits)


def _time_of_capture(parts: StudyParts, order: CaptureOrder) -> tuple[float, float, int, int]:
    """Seconds of a task and of each image, bytes of an image, files beside features: from captures of few images."""
    opened, images = parts.models[order.model], parts.images[order.images]
    settings, goal = opened.entry.capture, None
    model = opened.load(parts.description.path)
    if order.objective != NO_OBJECTIVE:
        goal = parts.objectives[order.objective, order.images].make(order.start, order.stop)
    available = order.stop - order.start
    times: dict[int, float] = {}
    size, beside = 0, 0
    for count in (2, min(settings.batch_size, available), min(2 * settings.batch_size, available)):
        source = model.spec.prepared(
            ChosenImages(images.source, tuple(range(order.start, order.start + count))), whole=settings.whole
        )
        start = time.monotonic()
        features = capture(
            model,
            source,
            goal,
            layers=order.layers,
            kinds=order.kinds,
            tokens=settings.tokens,
            sketch="raw" if settings.sketch == "raw" else Sketch(int(settings.sketch)),
            batch_size=settings.batch_size,
            first_index=0 if goal is None else order.start,
            progress=False,
        )
        times[count] = time.monotonic() - start  # the first call of all is slower, and is timed again where it can be
        others = [features.losses, *features.outputs.values(), features.entropy, features.labels]
        arrays = [*features.values(), *(array for array in others if array is not None)]
        beside = len(arrays) - len(features) + 1  # and the hashes
        size = sum(array.numel() * array.element_size() // count for array in arrays)
    few, many = min(times), max(times)
    each = max(0.0, (times[many] - times[few]) / (many - few)) if many > few else times[many] / many
    return max(0.0, times[many] - each * many), each, size, beside


def _cost_of_fit(
    parts: StudyParts, task: Task, order: FitOrder, known: dict[tuple[int, int, bool], tuple[float, float]]
) -> Cost:
    """A fit of as many rows and columns of noise is timed, at few targets, once for each shape."""
    recording, cv = parts.recordings[order.recording], parts.description.encode.cv
    sketch = parts.models[order.spaces.model].entry.capture.sketch
    width = 1024 if sketch == "raw" else int(sketch)
    spaces, targets = spaces_of(parts, order), order.stop - order.start
    repeats = recording.presentations > recording.shown
    shape = (recording.presentations, width, repeats)
    if shape not in known:
        known[shape] = _time_of_fit(recording.presentations, recording.shown, width, cv)
    fixed, each = known[shape]
    held = fit_of(parts, order)
    if held is None:
        memory = recording.presentations * (width * 16 + targets * 8)  # at the least: features may be wider
    else:
        memory = held.fixed + held.of_targets + min(held.share(None), spaces * held.rows)
    return Cost(spaces * (fixed + each * targets), memory, fit_bytes(parts, order))


def _time_of_fit(presentations: int, shown: int, width: int, cv: CrossValidation) -> tuple[float, float]:
    """Seconds of a feature space and of each of its targets, from fits of noise.

    The folds are those of as many images by number; of published folds, and of others that do not hold out every image
    once, this is a rough guess.
    """
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((presentations, width)).astype(np.float32)
    groups = np.arange(presentations) % shown
    folds = min(cv.folds, shown)
    times = []
    for count in _TARGETS:
        responses = rng.standard_normal((presentations, count)).astype(np.float32)
        setting = replace(cv, by="image", folds=folds, gap=None)
        start = time.monotonic()
        cross_val_score(rows, responses, cv=setting, groups=groups, scoring=("r", "r2"))
        effective_rank(rows)
        times.append(time.monotonic() - start)
    few, many = times[-2:]  # the first call of all is slower
    each = max(0.0, (many - few) / (_TARGETS[-1] - _TARGETS[-2]))
    return max(0.0, few - each * _TARGETS[-2]), each
