"""Means over regions and over subjects, as recordings."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern.errors import Refused, naming
from gradkern.hierarchy._regions import Regions
from gradkern.recordings._maps import Geometry, Grayordinates, Parcels, SurfaceMesh, VolumeGrid
from gradkern.recordings._recording import Recording
from gradkern.recordings._responses import Mean, as_responses

_POINT = ("x", "y", "z")
_PLACE = ("vertex", "structure", "i", "j", "k")
_READ = ("label", "hemisphere", "roi", *_POINT, "sensor", "time")  # columns of the targets that tests use


@naming("region_means")
def region_means(recording: Recording, hierarchy: str) -> Recording:
    """Average the targets of each region: one target per region, and per hemisphere where that is known.

    Points and the hierarchy are averaged too. Targets outside all regions, without hemisphere or hierarchy value, or
    with NaN are left out; a region in which no target has a hierarchy value is left out, and `excluded` names it. The
    ncsnr of a region is unknown.

    Raises
    ------
    Refused : targets without "roi", or none in a region; a region where targets have a hierarchy value but no
        hemisphere
    """
    table = recording.targets
    if "roi" not in table:
        raise Refused(f"targets of {recording.subject} must have 'roi', got {list(table)}")
    chosen = _in_valued_regions(recording, hierarchy)
    columns = [name for name in ("hemisphere", "roi") if name in table]
    groups = chosen.targets.groupby(columns, sort=False)
    region, count = groups.ngroup().to_numpy(), groups.size().to_numpy()
    means, there = np.zeros((len(chosen.presentations), len(count))), np.zeros(len(count), dtype=np.int64)
    for block_columns, block in chosen.blocks():
        usable, block_region = np.isfinite(block).all(0), region[block_columns]
        for group in np.unique(block_region[usable]):
            inside = usable & (block_region == group)
            means[:, group] += block[:, inside].sum(1, dtype=np.float64)
            there[group] += inside.sum()
    means = np.divide(means, there, out=np.full_like(means, np.nan), where=there > 0)
    if missing := int((count - there).sum()):
        chosen = chosen.leave_out(Excluded("targets", missing, "NaN in a response"))
    numbers = list(dict.fromkeys(name for name in (*_POINT, hierarchy) if name in table))
    targets = groups[numbers].mean().reset_index() if numbers else groups.size().reset_index()[columns]
    labels = targets[columns].astype(str).agg(" ".join, axis=1)
    geometry = _of_regions(chosen, region, tuple(labels))
    done = f"averaged {int(there.sum())} targets within {len(count)} regions"
    return replace(
        chosen,
        responses=as_responses(means.astype(chosen.responses.dtype)),
        targets=targets.assign(label=labels, targets=there),
        ncsnr=None,
        geometry=geometry,
        history=(*chosen.history, done),
    )


def _of_regions(recording: Recording, region: NDArray[np.int64], names: tuple[str, ...]) -> Geometry | None:
    """The places of the regions [v]; None without a geometry in space, or a column that says where targets lie."""
    base = recording.geometry
    if not isinstance(base, VolumeGrid | SurfaceMesh | Grayordinates):
        return None
    try:
        places = base.places(recording.targets)
    except Refused:
        return None
    return Parcels(base, names, places, region)


def _in_valued_regions(recording: Recording, hierarchy: str) -> Recording:
    """Targets in a region and a hemisphere, with a hierarchy value, of regions that have such targets."""
    table = recording.targets
    regions, everywhere = Regions.from_names(table["roi"]), np.ones(len(table), dtype=bool)
    sided = table["hemisphere"].notna().to_numpy() if "hemisphere" in table else everywhere
    valued = table[hierarchy].notna().to_numpy() if hierarchy in table else everywhere
    inside = regions.inside & sided & valued
    if not inside.any():
        raise Refused(f"targets of {recording.subject} must lie in regions, got none that does")
    lost = {"without a hemisphere": valued & ~sided, f"without a {hierarchy}": ~valued}
    regions.check(valued, inside, lost, f" of {recording.subject}")
    chosen = recording.select_targets(inside, f"in a region, with a {hierarchy}")
    columns = [name for name in ("hemisphere", "roi") if name in table]
    rows = zip(table[columns].itertuples(index=False), regions.inside & sided, strict=True)
    sides = Regions.from_names([" ".join(map(str, words)) if there else "" for words, there in rows])
    unvalued = sides.left_out(sides.inside, valued, f"no target has a {hierarchy}")
    return chosen.leave_out(unvalued) if unvalued.count else chosen


@naming("subject_mean")
def subject_mean(recordings: Sequence[Recording], hierarchy: str) -> Recording:
    """Average the responses of subjects who saw the same images and have the same targets, as one subject.

    The ncsnr of the mean is unknown.

    Raises
    ------
    Refused : one subject; different images, targets or units in one of them
    """
    if len(recordings) < 2:
        raise Refused(f"subjects must be at least 2, got {len(recordings)}")
    by_image = [recording.select_presentations(np.argsort(recording.image_ids), "by image") for recording in recordings]
    first = by_image[0]
    for other in by_image[1:]:
        _check_alike(first, other, hierarchy)
    names = [recording.subject for recording in recordings]
    repeats = np.sum([recording.repeats for recording in by_image], axis=0)
    return Recording(
        responses=Mean([recording.responses for recording in by_image]),
        presentations=pd.DataFrame({"image": first.image_ids, "repeats": repeats}),
        targets=first.targets[[name for name in dict.fromkeys((*_READ, hierarchy, *_PLACE)) if name in first.targets]],
        subject=f"mean of {len(names)} subjects",
        units=first.units,
        space=first.space,
        geometry=first.geometry if all(other.geometry == first.geometry for other in recordings) else None,
        history=(f"averaged over subjects {', '.join(names)}",),
    )


def _check_alike(first: Recording, other: Recording, hierarchy: str) -> None:
    who = f"{first.subject} and {other.subject}"
    if not np.array_equal(other.image_ids, first.image_ids):
        common = len(np.intersect1d(other.image_ids, first.image_ids))
        counts = f"{len(first.image_ids)} and {len(other.image_ids)}, {common} of them in common"
        raise Refused(f"subjects must have seen the same images, got {counts} of {who}")
    different = [name for name in (*_READ, hierarchy) if not _same_column(name, other.targets, first.targets)]
    if different:
        raise Refused(f"subjects must have the same targets, got different {different} of {who}")
    if other.units != first.units:
        raise Refused(f"units must be the same, got {first.units!r} and {other.units!r} of {who}")


def _same_column(name: str, first: pd.DataFrame, other: pd.DataFrame) -> bool:
    if name not in first and name not in other:
        return True
    return name in first and name in other and first[name].equals(other[name])
