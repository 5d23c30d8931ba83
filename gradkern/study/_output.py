"""Output folders that are either whole or not there."""

import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

import gradkern

MARK = "scores.nc"  # by which an output folder is known to be one


def made_by() -> dict[str, str]:
    """When, and with which versions."""
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "gradkern": gradkern.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def check_free(folder: Path, overwrite: bool, mark: str = MARK) -> None:
    """Refuse a folder that exists, unless it is to be overwritten.

    Parameters
    ----------
    mark : a file that every such result has: a folder without it is none

    Raises
    ------
    FileExistsError : it exists and `overwrite` is false, or it holds something else than results of gradkern
    NotADirectoryError : it is a file, or lies in something that is no folder
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"output: {folder} is a file, wanted a folder")
    if folder.exists() and not overwrite:
        raise FileExistsError(f"output: {folder} exists; name another folder, or give --overwrite to replace it")
    if folder.exists() and any(folder.iterdir()) and not (folder / mark).is_file():
        raise FileExistsError(
            f"output: {folder} holds no {mark}, so it is no result of gradkern and is not overwritten"
        )
    parent = folder.resolve().parent
    if not parent.is_dir():
        raise NotADirectoryError(f"output: {parent} is not a folder, so {folder.name} cannot be written in it")


@contextmanager
def written_whole(folder: Path, overwrite: bool, mark: str = MARK) -> Iterator[Path]:
    """A folder to write into, which takes the name `folder` only if all went well.

    What was there before is kept until then, and removed last.
    """
    check_free(folder, overwrite, mark)
    target = folder.resolve()
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    aside.chmod(0o755)
    try:
        yield aside
        check_free(folder, overwrite, mark)
        if target.exists():
            old = aside.with_name(aside.name + "-old")
            target.rename(old)
            try:
                aside.rename(target)
            except OSError:
                old.rename(target)
                raise
            shutil.rmtree(old)
        else:
            aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
