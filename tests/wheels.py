"""Distributions of gradkern as a user gets them, and environments that hold one extra and nothing else."""

import email
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from email.message import Message
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
SHIPPED = ("csrc", "python", "gradkern", "docs", "examples", "tests", "benchmarks", "recipe")  # folders of an sdist


@dataclass(frozen=True)
class Wheel:
    names: list[str]
    metadata: Message
    folder: Path  # where it is unpacked

    @property
    def native(self) -> Path:
        (library,) = self.folder.glob("gradkern/_native*.so")
        return library

    @property
    def extras(self) -> set[str]:
        return set(self.metadata.get_all("Provides-Extra"))

    def requirements(self, extra: str) -> list[Requirement]:
        """What an extra adds to the core; "" is the core itself."""
        listed = [Requirement(line) for line in self.metadata.get_all("Requires-Dist")]
        core = [each for each in listed if each.marker is None]
        return (
            core if not extra else [each for each in listed if each.marker and each.marker.evaluate({"extra": extra})]
        )

    def run(self, code: str) -> str:
        """What code prints in a fresh interpreter that finds this wheel's gradkern first, then this folder's tests."""
        path = os.pathsep.join([str(self.folder), str(ROOT)])
        return command([sys.executable, "-c", code], cwd=self.folder, PYTHONPATH=path).stdout


def command(arguments: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(arguments, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    return done


def clean_checkout(copy: Path) -> Path:
    """The files of the repository that a build may read, without what an earlier build left among them."""
    built = shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info")
    for folder in SHIPPED:
        shutil.copytree(ROOT / folder, copy / folder, ignore=built)
    for made in ("_build", "reference", "tutorials"):  # by `make docs`
        shutil.rmtree(copy / "docs" / made, ignore_errors=True)
    for file in ROOT.iterdir():
        if file.is_file() and not file.name.startswith("."):
            shutil.copy(file, copy)
    return copy


def make_sdist(sources: Path, out: Path) -> Path:
    """The sdist as a build frontend makes it."""
    out.mkdir()
    code = f"from setuptools import build_meta; build_meta.build_sdist({str(out)!r})"
    command([sys.executable, "-c", code], cwd=sources)
    (path,) = out.glob("*.tar.gz")
    return path


def pip_wheel(sources: Path, out: Path, **environment: str) -> Path:
    """The wheel that pip builds, in isolation, from a folder or an sdist."""
    arguments = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(out), str(sources)]
    command(arguments, cwd=out.parent, **environment)
    (path,) = out.glob("*.whl")
    return path


def unpack(path: Path, folder: Path) -> Wheel:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
        names = archive.namelist()
        (metadata,) = (each for each in names if each.endswith(".dist-info/METADATA"))
        return Wheel(names, email.message_from_bytes(archive.read(metadata)), folder)


@dataclass(frozen=True)
class Environment:
    python: Path

    def __call__(self, *arguments: str, status: int = 0) -> str:
        """What Python prints, run with these arguments: on stdout, or on stderr if it is to fail."""
        done = subprocess.run([str(self.python), *arguments], **self._alone(), capture_output=True, text=True)
        if done.returncode != status:
            raise RuntimeError(f"{arguments} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stderr if status else done.stdout

    def until(self, beginning: str, *arguments: str) -> list[str]:
        """The lines that Python prints up to one with this beginning, at which it is stopped."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        lines = []
        with subprocess.Popen([str(self.python), "-u", *arguments], **self._alone(), **pipes) as process:
            for line in process.stdout:
                lines.append(line)
                if line.startswith(beginning):
                    process.terminate()
                    return lines
        raise RuntimeError(f"{arguments} ended with {process.returncode}\n{''.join(lines)}")

    @property
    def folder(self) -> Path:
        """Where its commands run."""
        return self.python.parents[1] / "work"

    def _alone(self) -> dict[str, Any]:
        self.folder.mkdir(exist_ok=True)
        return {"cwd": self.folder, "env": {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}}


def environment(wheel: Wheel, extra: str, folder: Path) -> Environment:
    """A virtual environment that holds the wheel and what it and an extra require, linked from this environment.

    Nothing is downloaded. A package that is required here and not installed is an error; what it requires itself may be
    missing, as after `pip install --no-deps`.
    """
    command([sys.executable, "-m", "venv", "--without-pip", str(folder)], cwd=folder.parent)
    (packages,) = folder.glob("lib/python*/site-packages")
    for path in wheel.folder.iterdir():
        (packages / path.name).symlink_to(path)
    for installed in _closure(wheel, extra):
        for top in {file.parts[0] for file in installed.files or []} - {"..", "__pycache__"}:
            source, link = Path(str(installed.locate_file(top))), packages / top
            if source.exists() and not link.exists():
                link.symlink_to(source)
    return Environment(folder / "bin" / "python")


def _closure(wheel: Wheel, extra: str) -> list[Distribution]:
    waiting = [*wheel.requirements(""), *wheel.requirements(extra)]
    direct = {_normalized(each.name) for each in waiting}
    closure: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted = waiting.pop()
        key = _normalized(wanted.name)
        for chosen in {"", *wanted.extras}:
            if (key, chosen) in seen:
                continue
            seen.add((key, chosen))
            if key == "gradkern":
                more = wheel.requirements(chosen)
                direct |= {_normalized(each.name) for each in more}
                waiting += more
                continue
            try:
                closure[key] = distribution(wanted.name)
            except PackageNotFoundError:
                if key in direct:
                    raise
                continue
            required = [Requirement(line) for line in closure[key].requires or []]
            waiting += [each for each in required if each.marker is None or each.marker.evaluate({"extra": chosen})]
    return list(closure.values())


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
