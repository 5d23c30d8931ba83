"""A recording in words, before anything is computed with it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from gradkern.recordings._formats.names import natural
from gradkern.recordings._noise_ceiling import Ceiling, estimate_ncsnr, noise_ceiling
from gradkern.recordings._recording import Recording
from gradkern.recordings._stimuli import same_pictures

_MOST_TARGETS = 5000  # at which a noise ceiling is estimated
_MOST_GROUPS = 3  # of ids of the same picture that are listed
_MOST_VALUES = 12  # of a column that are listed


def describe(recording: Recording, seed: int = 0) -> Iterator[tuple[str, str]]:
    """What a recording holds, what looks wrong, and its noise ceiling, as names and values for printing.

    Reads the first responses, every image shown if there is an image source, and, without an ncsnr, the responses of
    up to 5,000 targets, drawn with `seed`. `gradkern data check` prints it.

    Examples
    --------
    >>> from gradkern.recordings import describe, load_kay2017
    >>> dict(describe(load_kay2017()))["responses"]
    '115 presentations x 2 targets, float32, percent signal change'
    """
    n, v = recording.responses.shape
    counts = np.bincount(np.unique(recording.image_ids, return_inverse=True)[1])
    yield "subject", recording.subject
    yield "responses", f"{n} presentations x {v} targets, {recording.responses.dtype}, {recording.units}"
    yield "space", recording.space or "not known"
    yield "geometry", "not known" if recording.geometry is None else recording.geometry.words
    repeats = ", ".join(f"{(counts == count).sum()} x {count}" for count in np.unique(counts).tolist())
    source = "not given" if recording.images is None else f"{len(recording.images)} in the source"
    yield "images", f"{len(counts)}; shown: {repeats}; the images themselves: {source}"
    yield from _columns(recording)
    for entry in (*recording.excluded, *getattr(recording.images, "excluded", ())):
        yield "left out", f"{entry.count} {entry.what}: {entry.reason}"
    for line in recording.history:
        yield "history", line
    for fact, sources in recording.provenance.get("agreed", {}).items():
        stated = ", ".join(f"{name}: {count}" for name, count in sources.items() if name != "value")
        yield "agreed", f"{fact} {sources['value']} ({stated})"
    for oddity in (*recording.check(), *_duplicates(recording)) or ("nothing seen",):
        yield "odd", oddity
    yield "noise ceiling", _ceiling(recording, counts, seed)


def _columns(recording: Recording) -> Iterator[tuple[str, str]]:
    """Values in the tables of presentations and of targets."""
    table, targets = recording.presentations, recording.targets
    for name in ("session", "run", "concept", "split"):
        if name in table:
            known = table[name][table[name].notna()]
            counts = Counter(map(str, known))
            listed = ", ".join(f"{key}: {counts[key]}" for key in sorted(counts, key=natural))
            missing = f"; {len(table) - len(known)} without" if len(known) < len(table) else ""
            yield f"{name}s", (f"{len(counts)}" if len(counts) > _MOST_VALUES else listed) + missing
    for name in ("hemisphere", "roi", "sensor", "time"):
        if name in targets:
            values = targets[name][targets[name].notna() & (targets[name] != "")]
            yield f"{name}s", _range(values) if len(values) else "none"


def _range(values: pd.Series) -> str:
    """How many values there are, and the first and the last: by size, or in the order of the words."""
    if pd.api.types.is_numeric_dtype(values):
        return f"{values.nunique()}, {values.min()} to {values.max()}"
    words = sorted(set(map(str, values)), key=natural)
    return f"{len(words)}, {words[0]} to {words[-1]}"


def _duplicates(recording: Recording) -> Iterator[str]:
    """Sentences about pictures with several ids; reads every image shown, if there is an image source."""
    groups = same_pictures(recording) if recording.images is not None else ()
    names = recording.image_names
    for group in groups[:_MOST_GROUPS]:
        words = [f"{number}" if names is None else f"{number} ({names[number]})" for number in group]
        yield f"images {', '.join(words)} are the same picture: it may be in training and in test (merge_pictures)"
    if len(groups) > _MOST_GROUPS:
        yield f"{len(groups) - _MOST_GROUPS} more pictures have several ids"


def _ceiling(recording: Recording, counts: Any, seed: int) -> str:
    """The noise ceiling, or why it is unknown."""
    if recording.ncsnr is not None:
        ceiling = noise_ceiling(recording)
        single = ceiling.repeats == "1"
        return _summary(ceiling, "of a presentation" if single else f"of the mean over {ceiling.repeats} presentations")
    if (recording.repeats > 1).any():
        return "not known: repeats were averaged, and the recording has no ncsnr"
    if counts.max() < 2:
        return "not known: no image was shown twice, and the data set gives no ncsnr"
    v = len(recording.targets)
    drawn = np.sort(np.random.default_rng(seed).choice(v, min(v, _MOST_TARGETS), replace=False))
    sample = recording.select_targets(drawn, "drawn at random")
    ceiling = noise_ceiling(replace(sample, ncsnr=estimate_ncsnr(sample)))
    asked = "" if len(drawn) == v else f", of {len(drawn)} of {v} targets, drawn at random"
    return _summary(ceiling, f"of a presentation, from repeats{asked}")


def _summary(ceiling: Ceiling, unit: str) -> str:
    r = ceiling.r[~np.isnan(ceiling.r)]
    if not len(r):
        return f"unknown at all {len(ceiling.r)} targets; {ceiling.images} images ({ceiling.formula})"
    low, middle, high = np.quantile(r, [0.05, 0.5, 0.95])
    return (
        f"r = {middle:.2f} in the median, 5 % to 95 %: {low:.2f} to {high:.2f}, {unit}; "
        f"{ceiling.images} images; unknown at {ceiling.unknown} of {len(ceiling.r)} targets ({ceiling.formula})"
    )
