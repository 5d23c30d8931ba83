"""What a recording holds, in words, before anything is computed with it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from gradkern.recordings._duplicates import same_pictures
from gradkern.recordings._noise_ceiling import Ceiling, estimate_ncsnr, noise_ceiling
from gradkern.recordings._recording import Recording

_MOST = 5000  # targets that repeats are compared at
_NAMED = 3  # pictures with several ids that are named


def describe(recording: Recording, seed: int = 0) -> Iterator[tuple[str, str]]:
    """Names and values: what was found, what is odd, and the noise ceiling."""
    n, v = recording.responses.shape
    table, targets = recording.presentations, recording.targets
    counts = np.bincount(np.unique(recording.image_ids, return_inverse=True)[1])
    yield "subject", recording.subject
    yield "responses", f"{n} presentations x {v} targets, {recording.responses.dtype}, {recording.units}"
    yield "space", recording.space or "not known"
    repeats = ", ".join(f"{(counts == count).sum()} x {count}" for count in np.unique(counts).tolist())
    yield "images", f"{len(counts)}; shown: {repeats}; the images themselves: {_source(recording)}"
    for name in ("session", "run", "concept", "split"):
        if name in table:
            found = table[name].value_counts().sort_index()
            few = ", ".join(f"{key}: {count}" for key, count in found.items())
            yield f"{name}s", f"{len(found)}" if len(found) > 12 else few
    for name in ("hemisphere", "roi", "sensor", "time"):
        if name in targets:
            values = targets[name][targets[name] != ""]
            yield f"{name}s", f"{values.nunique()}, {values.min()} to {values.max()}" if len(values) else "none"
    for each in recording.excluded:
        yield "left out", f"{each.count} {each.what}: {each.reason}"
    for line in recording.history:
        yield "history", line
    for oddity in (*recording.check(), *_duplicates(recording)) or ("nothing seen",):
        yield "odd", oddity
    yield "noise ceiling", _ceiling(recording, counts, seed)


def _duplicates(recording: Recording) -> Iterator[str]:
    """Reads every image shown, if there are images."""
    groups = same_pictures(recording) if recording.images is not None else ()
    for group in groups[:_NAMED]:
        names = recording.image_names
        words = [f"{number}" if names is None else f"{number} ({names[number]})" for number in group]
        yield f"images {', '.join(words)} are the same picture: it may be in training and in test (merge_pictures)"
    if len(groups) > _NAMED:
        yield f"{len(groups) - _NAMED} more pictures have several ids"


def _source(recording: Recording) -> str:
    return "not given" if recording.images is None else f"{len(recording.images)} in the source"


def _ceiling(recording: Recording, counts: Any, seed: int) -> str:
    if recording.ncsnr is not None:
        ceiling = noise_ceiling(recording)
        single = "of a presentation"
        return _words(ceiling, single if ceiling.repeats == "1" else f"of the mean over {ceiling.repeats} of them")
    if (recording.repeats > 1).any():
        return "not known: repeats were averaged, and the recording has no ncsnr"
    if counts.max() < 2:
        return "not known: no image was shown twice, and the data set gives no ncsnr"
    v = len(recording.targets)
    some = np.sort(np.random.default_rng(seed).choice(v, min(v, _MOST), replace=False))
    part = recording.select_targets(some, "drawn at random")
    which = f"of a presentation, from repeats, at {len(some)} of {v} targets"
    return _words(noise_ceiling(replace(part, ncsnr=estimate_ncsnr(part))), which)


def _words(ceiling: Ceiling, which: str) -> str:
    known = ceiling.r[~np.isnan(ceiling.r)]
    if not len(known):
        return f"unknown at all {len(ceiling.r)} targets; {ceiling.images} images ({ceiling.formula})"
    low, middle, high = np.quantile(known, [0.05, 0.5, 0.95])
    return (
        f"r = {middle:.2f} in the median, 5 % to 95 %: {low:.2f} to {high:.2f}, {which}; "
        f"{ceiling.images} images; unknown at {ceiling.unknown} targets ({ceiling.formula})"
    )
