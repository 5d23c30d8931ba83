"""Tables in text files (TSV, CSV), whose words stay words."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from gradkern.recordings._formats.names import MISSING

_READ: dict[str, Any] = {"low_memory": False, "index_col": False, "encoding": "utf-8-sig"}


def read_table(path: Path, columns: Iterable[str], separator: str = ",", names: Iterable[str] = ()) -> pd.DataFrame:
    """A table in a text file, with these columns at least.

    Parameters
    ----------
    path : the file
    columns : that must be there
    separator : of the cells
    names : columns that hold names: their cells stay text, "0003" and "null" too, and None where a cell is "n/a" or
        empty. In other columns with words too, only these two are missing

    Raises
    ------
    ValueError : no such table, a column is missing or there twice, or rows have more cells than there are columns
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # of cells beyond the columns, which pandas drops
            header = pd.read_csv(path, sep=separator, header=None, nrows=1, dtype=str, encoding="utf-8-sig")
            listed = header.iloc[0].fillna("").tolist()
            table = pd.read_csv(path, sep=separator, dtype=dict.fromkeys(set(names) & set(listed), str), **_READ)
            table = _with_words(table, path, separator, set(names))
    except (ValueError, pd.errors.ParserWarning) as error:  # pandas' errors are ValueErrors
        raise ValueError(f"{path} cannot be read as a table: {' '.join(str(error).split())}") from error
    for name in columns:
        if name not in table:
            raise ValueError(f"{path} must have the column {name!r}, got {list(table.columns)}")
        if listed.count(name) > 1:
            raise ValueError(f"{path} must have the column {name!r} once, got {listed.count(name)}")
    return table


def _with_words(table: pd.DataFrame, path: Path, separator: str, names: set[str]) -> pd.DataFrame:
    """The table with words such as "None", "null" and "NA", which pandas takes for missing."""
    worded = [
        name
        for name in table.columns
        if name in names or (not pd.api.types.is_numeric_dtype(table[name]) and table[name].isna().any())
    ]
    if not worded:
        return table
    again = pd.read_csv(
        path, sep=separator, dtype=str, usecols=worded, keep_default_na=False, na_values=list(MISSING), **_READ
    )
    return table.assign(**{name: again[name].astype(object).where(again[name].notna(), None) for name in worded})
