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


def check_self_contained(path: Path, file: Any) -> None:
    """Refuse an HDF5 file parts of which are in other files: no hash of the file is of these, and they may be anywhere.

    Raises
    ------
    ValueError : an external link, or a dataset whose values are in another file
    """
    import h5py

    groups: list[Any] = [file]
    outside: list[str] = []

    def look(name: str, item: Any) -> None:
        if isinstance(item, h5py.Group):
            groups.append(item)
        elif item.external or (item.is_virtual and any(part.file_name != "." for part in item.virtual_sources())):
            outside.append(name)

    file.visititems(look)
    for group in groups:
        for name in group:
            if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
                outside.append(f"{group.name.rstrip('/')}/{name}")
    if outside:
        raise ValueError(f"{path} must hold all that it is made of, got {outside[0]!r} in another file")
