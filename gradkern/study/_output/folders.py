"""Output folders of commands, which are either complete or not there, and what made them."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

import gradkern
from gradkern._files import folder_written_whole
from gradkern.errors import naming

MARK = "scores.nc"  # a file that every output folder of the demo holds


def made_by() -> dict[str, str]:
    """The time, and the versions of what computes."""
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "gradkern": gradkern.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


@naming("output")
def check_free(folder: Path, overwrite: bool, mark: str = MARK) -> None:
    """Refuse a folder that exists, unless it is to be overwritten.

    Parameters
    ----------
    mark : a file that every result of the command holds: a folder without it holds something else

    Raises
    ------
    FileExistsError : it exists and `overwrite` is false, or it holds something else than results of gradkern
    NotADirectoryError : it is a file, or lies in something that is no folder
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file, wanted a folder")
    if folder.exists() and not overwrite:
        raise FileExistsError(f"{folder} exists; name another folder, or give --overwrite to replace it")
    if folder.exists() and any(folder.iterdir()) and not (folder / mark).is_file():
        raise FileExistsError(f"{folder} holds no {mark}, so it is no result of gradkern and is not overwritten")
    parent = folder.resolve().parent
    if not parent.is_dir():
        raise NotADirectoryError(f"{parent} is not a folder, so {folder.name} cannot be written in it")


@contextmanager
def written_whole(folder: Path, overwrite: bool, mark: str = MARK) -> Iterator[Path]:
    """A folder to write into, which takes the name `folder` only if all went well.

    A former result is kept until then, and removed last. The name is checked before the work and after it, see
    `check_free`.
    """
    check_free(folder, overwrite, mark)
    with folder_written_whole(folder.resolve()) as aside:
        yield aside
        check_free(folder, overwrite, mark)
