"""Hands the native part to CMake; everything else is in pyproject.toml and CMakeLists.txt."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


def tool(name: str) -> str:
    """The program that the build requirement of this name brought, else the one on the PATH."""
    try:
        brought = [f.locate() for f in files(name) or [] if f.name == name and f.parent.name == "bin"]
    except PackageNotFoundError:
        brought = []
    path = str(brought[0]) if brought else shutil.which(name)
    if path is None:
        sys.exit(f"gradkern: {name} is needed to build; pip install {name}")
    return path


class CMakeBuild(build_ext):
    """Builds gradkern._native by CMakeLists.txt with Ninja."""

    def build_extension(self, ext: Extension) -> None:
        import pybind11  # here, so that making an sdist needs setuptools alone

        target = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        build = Path(self.build_temp).resolve()
        cmake = tool("cmake")
        # fresh: an isolated build leaves behind the path of a ninja that is gone the next time
        configure = [cmake, "--fresh", "-G", "Ninja", "-S", str(Path(__file__).resolve().parent), "-B", str(build)]
        settings = {
            "CMAKE_MAKE_PROGRAM": tool("ninja"),
            "Python_EXECUTABLE": sys.executable,
            "pybind11_DIR": pybind11.get_cmake_dir(),
            "GRADKERN_CUDA": os.environ.get("GRADKERN_CUDA", "AUTO"),
        }
        subprocess.run(configure + [f"-D{key}={value}" for key, value in settings.items()], check=True)
        subprocess.run([cmake, "--build", str(build)], check=True)
        subprocess.run([cmake, "--install", str(build), "--prefix", str(target)], check=True)


setup(ext_modules=[Extension("gradkern._native", [])], cmdclass={"build_ext": CMakeBuild})
