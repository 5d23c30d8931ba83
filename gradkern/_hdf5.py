"""HDF5 files, whose errors of many kinds become one that names the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def reading_hdf5(path: Path) -> Iterator[Any]:
    """An HDF5 file, opened for reading.

    Raises
    ------
    ValueError : it is no such file, or is damaged: h5py raises errors of many kinds for what HDF5 finds in one
    """
    import h5py

    try:
        with h5py.File(path) as file:
            yield file
    except FileNotFoundError:
        raise
    except Exception as error:
        if isinstance(error, ValueError) and str(error).startswith(str(path)):
            raise  # a check of what the file holds
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} cannot be read as HDF5: {reason} (is it damaged or cut short?)") from error
