"""What a study file says about images beside captures and recordings: tables of nuisances, labels and test images.

Rows are matched to images by 0-based ids or by names, or by their order if the file says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.hierarchy._regions import quoted
from gradkern.recordings._recording import Recording
from gradkern.recordings._stimuli import FileImages, folder_images
from gradkern.study._toml import located, wrong

ID_COLUMNS = ("image", "id", "name", "file")  # that say which image a row is of
_SPLIT = "split"
_WORDS = {"name": str, "file": str}
_ENDINGS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}


@dataclass(frozen=True)
class TableEntry:
    """A table that a study file names, or a column of one.

    Attributes
    ----------
    key : of the file, which errors name
    file : "" for the table of nuisances, or for the presentations of the recordings
    columns : to use; empty: all but the one that says which image a row is of
    in_order : row i is image i, and nothing in the table says so
    value : of the column "split", for test images
    """

    key: str
    file: str = ""
    columns: tuple[str, ...] = ()
    in_order: bool = False
    value: str = "test"


@dataclass(frozen=True)
class FolderEntry:
    """A folder of images that a study file names; `in_order`: image i is file i in the order of the names."""

    key: str
    folder: str
    in_order: bool = False


@dataclass(frozen=True, eq=False)
class StudyImages:
    """The images of a study, as tables are matched to them.

    Attributes
    ----------
    path : of the study file
    count : number of images
    names : of the images by id; None if nothing names them
    """

    path: Path
    count: int
    names: tuple[str, ...] | None

    def matrix(self, entry: TableEntry, also: Sequence[str] = ()) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        """Columns of numbers [images, m] of a table, and their names; columns in `also` are for something else."""
        table, ids = self._rows(entry)
        names = entry.columns or tuple(name for name in table if name not in (*ID_COLUMNS, *also))
        columns = [self._column(entry, table, name) for name in names]
        words = [name for name, column in zip(names, columns, strict=True) if column.dtype.kind not in "biuf"]
        if words or not names:
            got = f"words in {quoted(words)}" if words else f"only {quoted(table.columns)}"
            raise wrong(self.path, entry.key, "numbers (choose some by columns = [...])", got)
        values = np.column_stack([column.to_numpy(dtype=np.float64) for column in columns])
        bad = [name for name, good in zip(names, np.isfinite(values).all(0), strict=True) if not good]
        if bad:
            raise wrong(self.path, entry.key, "finite", f"NaN or inf in {quoted(bad)}")
        constant = [name for name, size in zip(names, np.ptp(values, axis=0), strict=True) if size == 0]
        if constant:
            raise wrong(self.path, entry.key, "columns that vary", f"the same number in all rows of {quoted(constant)}")
        return self._by_image(entry, values, ids), names

    def labels(self, entry: TableEntry) -> NDArray[Any]:
        """A column of labels [images] of a table: whole numbers or words."""
        table, ids = self._rows(entry)
        name = entry.columns[0] if entry.columns else self._only_column(entry, table)
        column = self._column(entry, table, name)
        if column.isna().any():
            raise wrong(self.path, entry.key, "a label for each image", f"none in {int(column.isna().sum())} rows")
        if column.dtype.kind not in "biu":
            if column.dtype.kind == "f":
                raise wrong(self.path, entry.key, "words or whole numbers", f"other numbers in {name!r}")
            column = column.astype(str)
        values = self._by_image(entry, column.to_numpy(), ids)
        if len(np.unique(values)) < 2:
            raise wrong(self.path, entry.key, "at least 2 different labels", repr(str(values[0])))
        return values

    def listed(self, entry: TableEntry) -> NDArray[np.bool_]:
        """Which images a table lists [images]; of a table with the column "split", those whose split is `value`."""
        table = self._read(entry)
        if _SPLIT in table:
            table = table[table[_SPLIT].astype(str) == entry.value]
        column = next((name for name in ID_COLUMNS if name in table), None)
        if column is None or table.empty:
            wanted = f"a table of images in a column {quoted(ID_COLUMNS)}"
            raise wrong(self.path, entry.key, wanted, f"{len(table)} rows of {quoted(table.columns)}")
        chosen = np.zeros(self.count, dtype=bool)
        chosen[self._ids(entry, table[column])] = True
        return chosen

    def by_split(self, entry: TableEntry, recordings: Sequence[Recording]) -> NDArray[np.bool_]:
        """Which images have this value in a column of the presentations [images]; all recordings must agree."""
        (column,), chosen, known = entry.columns, np.zeros(self.count, dtype=bool), np.zeros(self.count, dtype=bool)
        for recording in recordings:
            if column not in recording.presentations:
                got = f"{quoted(recording.presentations.columns)} of {recording.subject}"
                raise wrong(self.path, entry.key, f"a column of all presentations, {column!r}", got)
            inside = recording.presentations[column].astype(str).to_numpy() == entry.value
            ids = recording.image_ids
            other = known[ids] & (chosen[ids] != inside)
            if other.any():
                got = f"another for image {ids[other][0]} in {recording.subject}"
                raise wrong(self.path, entry.key, f"the same {column!r} in all recordings", got)
            chosen[ids], known[ids] = inside, True
        return chosen

    def _rows(self, entry: TableEntry) -> tuple[pd.DataFrame, NDArray[np.int64]]:
        """A table with a row for each image, and the image of each row."""
        table = self._read(entry)
        column = next((name for name in ID_COLUMNS if name in table), None)
        if column is None and not entry.in_order:
            wanted = f"a table with a column {quoted(ID_COLUMNS)}, or {{file = {entry.file!r}, in_order = true}}"
            raise wrong(self.path, entry.key, wanted, f"columns {quoted(table.columns)}")
        if column is not None and entry.in_order:
            raise wrong(self.path, entry.key, f"without in_order, as {column!r} says which image a row is of", "true")
        if len(table) != self.count:
            raise wrong(self.path, entry.key, f"a row for each of {self.count} images", f"{len(table)} rows")
        ids = np.arange(self.count) if column is None else self._ids(entry, table[column])
        return table, ids

    def _ids(self, entry: TableEntry, column: pd.Series) -> NDArray[np.int64]:
        """0-based ids of the images that a column names, each once."""
        if column.dtype.kind in "iu":
            ids: NDArray[np.int64] = column.to_numpy(dtype=np.int64)
            outside = (ids < 0) | (ids >= self.count)
            if outside.any():
                got = f"{ids[outside][0]} in {column.name!r}"
                raise wrong(self.path, entry.key, f"of images 0 to {self.count - 1}, counted from 0", got)
        else:
            ids = self._of_names(entry, column.astype(str))
        values, counts = np.unique(ids, return_counts=True)
        if (counts > 1).any():
            raise wrong(
                self.path, entry.key, "a row for each image", f"{counts.max()} for image {values[counts > 1][0]}"
            )
        return ids

    def _of_names(self, entry: TableEntry, column: pd.Series) -> NDArray[np.int64]:
        """Ids of images by their names, or by the ends of their paths without ending where these differ."""
        if self.names is None:
            wanted = "matched by 0-based ids in 'image', as no recording and no folder names the images"
            raise wrong(self.path, entry.key, wanted, f"names in {column.name!r}")
        with located(self.path, entry.key):
            return matched(list(column), self.names, f"{column.name!r}")

    def _by_image(self, entry: TableEntry, values: NDArray[Any], ids: NDArray[np.int64]) -> NDArray[Any]:
        ordered = np.empty_like(values)
        ordered[ids] = values
        return ordered

    def _column(self, entry: TableEntry, table: pd.DataFrame, name: str) -> pd.Series:
        if name not in table:
            nearest = get_close_matches(name, list(map(str, table.columns)), 1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise wrong(self.path, entry.key, f"a column of {quoted(table.columns)}", f"{name!r}{hint}")
        return table[name]

    def _only_column(self, entry: TableEntry, table: pd.DataFrame) -> str:
        names = [str(name) for name in table if name not in ID_COLUMNS]
        if len(names) != 1:
            wanted = "a table with one column of labels, or {file = ..., column = ...}"
            raise wrong(self.path, entry.key, wanted, quoted(names) or "none")
        return names[0]

    def _read(self, entry: TableEntry) -> pd.DataFrame:
        place = self.path.parent / Path(entry.file).expanduser()
        if not place.is_file():
            raise FileNotFoundError(f"{self.path}: {entry.key} must be there, but there is no {entry.file!r}")
        with located(self.path, f"{entry.key}, {entry.file}"):
            # an empty cell is missing, "NA" and "none" are words; a name of digits is no number
            table = pd.read_csv(
                place, sep=_ENDINGS[place.suffix.lower()], keep_default_na=False, na_values=[""], dtype=_WORDS
            )
        table.columns = table.columns.str.strip()
        return table


def is_table(name: str) -> bool:
    """Whether a name is that of a file with a table."""
    return Path(name).suffix.lower() in _ENDINGS


def matched(wanted: Sequence[str], names: Sequence[str], what: str) -> NDArray[np.int64]:
    """The index in `names` of each name, by whole names, or by ends of paths without ending if these are unique.

    Raises
    ------
    ValueError : a name is not among the names; the nearest one is named
    """
    found = places_of(wanted, names)
    lost = [name for name, number in zip(wanted, found, strict=True) if number is None]
    if lost:
        nearest = get_close_matches(lost[0], list(names), 1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(
            f"{what} must be names of images, got {lost[0]!r} and {len(lost) - 1} others that are not{hint}"
        )
    return np.array(found, dtype=np.int64)


def places_of(wanted: Sequence[str], names: Sequence[str]) -> list[int | None]:
    """The index in `names` of each name, by whole names, or by ends of paths without ending if these are unique."""
    whole = {name: number for number, name in enumerate(names)}
    stems: dict[str, int | None] = {}
    for number, name in enumerate(names):
        stem = PurePosixPath(name).stem
        stems[stem] = None if stem in stems else number
    return [whole.get(name, stems.get(PurePosixPath(name).stem)) for name in wanted]


def image_names(recordings: Sequence[Recording], count: int) -> tuple[str, ...] | None:
    """Names of the images by id, on which all recordings that have them must agree; None if none has.

    Raises
    ------
    ValueError : recordings have different names
    """
    named = [recording for recording in recordings if recording.image_names is not None]
    first: tuple[str, ...] | None = None
    for recording in named:
        names = tuple(recording.image_names or ())[:count]
        if first is not None and names != first:
            number = next(i for i, pair in enumerate(zip(names, first, strict=False)) if pair[0] != pair[1])
            got = f"{first[number]!r} in {named[0].subject} and {names[number]!r} in {recording.subject}"
            raise ValueError(f"image {number} must have one name in all recordings, got {got}")
        first = names
    return first if first is not None and len(first) == count else None


def folder_source(images: StudyImages, entry: FolderEntry) -> tuple[FileImages, tuple[str, ...]]:
    """The images of a folder by id, and their names.

    Raises
    ------
    FileNotFoundError : there is no such folder, or no image in it
    ValueError : images are not named and `in_order` is not said, other numbers of images, a name without a file
    """
    place = images.path.parent / Path(entry.folder).expanduser()
    with located(images.path, entry.key):
        source, names = folder_images(place)
    if images.names is None or entry.in_order:
        if images.names is not None:
            raise wrong(images.path, entry.key, "without in_order, as recordings name the images", "true")
        if not entry.in_order:
            wanted = f"{{folder = {entry.folder!r}, in_order = true}}, as no recording names the images"
            raise wrong(images.path, entry.key, wanted, repr(entry.folder))
        if len(names) != images.count:
            raise wrong(images.path, entry.key, f"a folder of {images.count} images", f"{len(names)}")
        return source, names
    with located(images.path, entry.key):
        numbers = matched(images.names, names, "names of the recordings' images")
    return FileImages([source.paths[number] for number in numbers]), tuple(names[number] for number in numbers)


@dataclass(frozen=True, eq=False)
class ImageFacts:
    """What is known about the images of a study, see `Study`; `notes` says what was read, `facts` of which files."""

    nuisances: NDArray[np.float64] | None = None
    labels: NDArray[Any] | None = None
    images: Any = None
    image_statistics: Any = None
    test_images: NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
