"""What a page holds of its figures, so that it stays small enough to be sent: the rest lies in files beside it."""

from collections.abc import Sequence
from typing import NamedTuple

from gradkern.study.report._picture import Picture

MOST = 14_000_000  # characters of figures, their numbers and meshes; with its words a page stays under 15 MB


class Contents(NamedTuple):
    """Names of the pictures whose numbers are in the page, of those that can be turned in it, and the meshes of these.

    Every picture itself is in the page.
    """

    tables: frozenset[str]
    scenes: frozenset[str]
    meshes: dict[str, str]


def contents_of(pictures: Sequence[Picture], most: int = MOST) -> Contents:
    """What fits: all pictures, then scenes, then tables, the smallest first."""
    used = sum(len(picture.source()) for picture in pictures)
    scenes: set[str] = set()
    meshes: dict[str, str] = {}
    for picture in sorted(pictures, key=lambda one: 0 if one.scene is None else len(one.scene.packed())):
        if picture.scene is None:
            continue
        new = {name: mesh for name, mesh in picture.scene.meshes.items() if name not in meshes}
        size = len(picture.scene.packed()) + sum(map(len, new.values()))
        if used + size <= most:
            used, scenes, meshes = used + size, scenes | {picture.name}, meshes | new
    tables: set[str] = set()
    sizes = {picture.name: len(picture.table()) for picture in pictures if picture.data}  # packed once: it takes time
    for name, size in sorted(sizes.items(), key=lambda entry: entry[1]):
        if used + size <= most:
            used, tables = used + size, tables | {name}
    return Contents(frozenset(tables), frozenset(scenes), meshes)
