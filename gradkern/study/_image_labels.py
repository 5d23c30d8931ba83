"""Labels of images from a table, for objectives that compare the model's output with them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradkern._image_names import canonical
from gradkern.study._image_tables import ID_COLUMNS, is_table, places_of

_IMAGE_COLUMNS = (*ID_COLUMNS, "filename", "file_name", "image_name", "image_id", "stimulus", "path")
_LABEL_COLUMNS = ("label", "class", "target", "category", "text", "caption")


def read_labels(
    path: str,
    names: Sequence[str] | None,
    numbers: Sequence[int],
    columns: Sequence[str] = (),
    image_column: str | None = None,
) -> tuple[Tensor, str]:
    """A label for each image, from a table with a row for each, in any order.

    Parameters
    ----------
    path : .csv with commas, or .tsv or .txt with tabs, whose first line names the columns
    names : of the images, by which rows are found, whole or by the ends of paths without ending; None: the table has
        0-based numbers of the images
    numbers : of the images, 0-based, in their source
    columns : one of class numbers, or one for each class with its probability; by default one called label, class, ...,
        or the only one beside that of the images
    image_column : which image a row is of; by default one called image, id, name, file, ...

    Returns
    -------
    labels : int64 [images], or float32 [images, classes]
    note : which columns were read, and how many rows were of other images

    Raises
    ------
    FileNotFoundError : there is no such file
    ValueError : it is no table, lacks a column, has no row for an image or two that differ, or holds other labels
    """
    table = _read(path)
    of_image = _column(path, table, image_column, _IMAGE_COLUMNS, "--image-column")
    chosen = list(columns) or [_column(path, table.drop(columns=of_image), None, _LABEL_COLUMNS, "--label-column")]
    for name in chosen:
        _column(path, table, name, (), "--label-column")
    values = _numbers(path, table[chosen])
    rows = _rows(path, table[of_image], names, numbers)
    _check_agreement(path, table[of_image], values)
    others = len(table) - len(np.unique(rows))
    note = f"labels: {', '.join(map(repr, chosen))} of {path}, by {of_image!r}" + (
        f"; {others} rows are of other images" if others else ""
    )
    return torch.from_numpy(values[rows]), note


def _read(path: str) -> pd.DataFrame:
    place = Path(path).expanduser()
    if not place.is_file():
        raise FileNotFoundError(f"--labels must be a table, got {path!r}, which is no file")
    if not is_table(place.name):
        raise ValueError(f"--labels must be a .csv, .tsv or .txt file, got {path!r}")
    separator = "," if place.suffix.lower() == ".csv" else "\t"
    try:
        table = pd.read_csv(place, sep=separator, keep_default_na=False, dtype=str)
    except Exception as error:  # whatever pandas finds in a file that is no table
        raise ValueError(f"--labels must be a table, got {path!r}, which cannot be read as one ({error})") from error
    table.columns = table.columns.str.strip()
    if not len(table) or len(table.columns) < 2 or table.columns.has_duplicates:
        raise ValueError(
            f"--labels must have rows, and columns of images and of labels, got {len(table)} rows of "
            f"{', '.join(map(repr, table.columns))} in {path!r}"
        )
    return table


def _column(path: str, table: pd.DataFrame, given: str | None, usual: Sequence[str], option: str) -> str:
    """The column that is given, or the first of the usual ones, or the only one."""
    columns = [str(name) for name in table.columns]
    listed = ", ".join(map(repr, columns))
    if given is not None:
        if given not in columns:
            raise ValueError(f"{option} must be a column of {path}, {listed}, got {given!r}")
        return given
    found = [name for name in columns if name.lower() in usual]
    if len(found) != 1 and len(columns) != 1:
        got = f"several: {', '.join(map(repr, found))}" if found else "none that is known"
        raise ValueError(f"{option} must say which column of {path} ({listed}) it is, got {got}")
    return found[0] if found else columns[0]


def _numbers(path: str, cells: pd.DataFrame) -> NDArray[np.int64] | NDArray[np.float32]:
    """Class numbers [rows] of one column, or probabilities [rows, classes] of several."""
    kind = np.float32 if cells.shape[1] > 1 else np.int64
    wanted = "probabilities" if cells.shape[1] > 1 else "class numbers, counted from 0 as the model's classes are"
    for name in cells:
        for number, cell in enumerate(cells[name]):
            try:
                kind(cell)
            except (ValueError, OverflowError) as error:
                got = repr(cell) if cell.strip() else "an empty cell"
                raise ValueError(
                    f"--labels must be {wanted}, got {got} in row {number + 1} of {name!r} in {path}"
                ) from (error)
    values = cells.to_numpy().astype(kind)
    return values[:, 0] if cells.shape[1] == 1 else values  # type: ignore[no-any-return]


def _rows(path: str, column: pd.Series, names: Sequence[str] | None, numbers: Sequence[int]) -> NDArray[np.int64]:
    """The row of each image."""
    words = [canonical(word.strip().replace("\\", "/")) for word in column]
    if names is None:
        names = [str(number) for number in numbers]
        by_number = {word: row for row, word in enumerate(words)}
        places = [by_number.get(name) for name in names]
        what = "the 0-based number of each image, which has no name"
    else:
        places, what = places_of(names, words), "the name of each image"
    lost = [name for name, place in zip(names, places, strict=True) if place is None]
    if lost:
        raise ValueError(
            f"--labels must have {what} in {column.name!r}, got none for {len(lost)} of {len(numbers)}, first "
            f"{lost[0]!r} ({path} begins with {words[0]!r})"
        )
    return np.array(places, dtype=np.int64)


def _check_agreement(path: str, column: pd.Series, values: NDArray[np.int64] | NDArray[np.float32]) -> None:
    """Rows of one image have one label."""
    first: dict[str, int] = {}
    for row, word in enumerate(column):
        before = first.setdefault(word, row)
        if not np.array_equal(values[before], values[row]):
            raise ValueError(
                f"--labels must be one for each image, got {values[before]} and {values[row]} for {word!r} in {path}"
            )
