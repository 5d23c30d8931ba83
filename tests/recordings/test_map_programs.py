"""Maps as Connectome Workbench reads them: its own words about each field of the files."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradkern.recordings import Parcels, SurfaceMesh, VolumeGrid, save_maps
from tests.fake_datasets import geometries
from tests.fake_datasets.geometries import AFFINE

WB = shutil.which("wb_command")
pytestmark = pytest.mark.skipif(WB is None, reason="connectome-workbench is not installed: wb_command reads no map")
VALUES = {"a": [0.5, 0.25], "b": [0.0, 1.0]}


def workbench(*arguments: object) -> str:
    assert WB is not None
    done = subprocess.run([WB, *map(str, arguments)], capture_output=True, text=True, check=True, timeout=60)
    return " ".join(done.stdout.split())


def read(*arguments: object) -> list[float]:
    return [float(number) for number in workbench(*arguments).split()]


@pytest.mark.parametrize("ending", [".func.gii", ".shape.gii"])
def test_surfaces(ending: str, tmp_path: Path) -> None:
    recording = geometries.surface([0, 10 + 7], SurfaceMesh({"left": 10, "right": 12}, "fsaverage5"))
    left, right = save_maps(VALUES, recording, tmp_path / f"x{ending}", stat="r")
    for path, structure, count in ((left, "CortexLeft", 10), (right, "CortexRight", 12)):
        said = workbench("-file-information", path)
        for words in ("Type: Metric", f"Structure: {structure}", f"Number of Vertices: {count}", "Number of Maps: 2"):
            assert words in said
        assert workbench("-file-information", path, "-only-map-names") == "a b"
        assert f" {count - 1} a 2 " in said  # NaN at all vertices but one
    roi = ["-reduce", "COUNT_NONZERO"]
    assert read("-metric-stats", left, *roi) == [10, 9]  # NaN is not zero; one value of b is
    assert "1 0.250 0.250 0.250" in workbench("-file-information", right)  # smallest, largest and mean


def test_grayordinates(tmp_path: Path) -> None:
    models = geometries.brain_models()
    (path,) = save_maps(VALUES, geometries.grayordinates([0, 24], models), tmp_path / "g.dscalar.nii", stat="r")
    said = workbench("-file-information", path)
    for words in (
        "Type: CIFTI - Dense Scalar", "ALONG_ROW map type: SCALARS", "ALONG_COLUMN map type: BRAIN_MODELS",
        "Volume Dims: 5,6,7", "Volume Space: -2,0,0,90;0,2,0,-126;0,0,2.5,-72", "CortexLeft: 12 out of 20 vertices",
        "CortexRight: 9 out of 20 vertices", "HippocampusLeft: 4 voxels",
    ):  # fmt: skip
        assert words in said
    assert workbench("-file-information", path, "-only-map-names") == "a b"
    assert read("-cifti-stats", path, "-reduce", "MAX") == [0.5, 1]
    workbench("-cifti-separate", path, "COLUMN", "-metric", "CORTEX_LEFT", tmp_path / "left.func.gii")
    assert read("-metric-stats", tmp_path / "left.func.gii", "-reduce", "MAX") == [0.5, 0]


def test_parcels(tmp_path: Path) -> None:
    parcels = Parcels(geometries.brain_models(), ("V1", "V4", "deep"), np.arange(25), np.arange(25) // 9)
    recording = geometries.recording(pd.DataFrame({"label": ["deep", "V1"]}), parcels, space="fsLR")
    (path,) = save_maps([1.0, 2.0], recording, tmp_path / "p.pscalar.nii", stat="r")
    said = workbench("-file-information", path)
    for words in ("Type: CIFTI - Parcel Scalar", "ALONG_COLUMN map type: PARCELS", "Parcel 1: V1", "Parcel 3: deep"):
        assert words in said
    assert re.search(r"1\.000 2\.000 1\.500 .* r$", said)


def test_volumes(tmp_path: Path) -> None:
    recording = geometries.volume([3, 77], VolumeGrid((4, 5, 6), AFFINE, 1))
    (path,) = save_maps(VALUES, recording, tmp_path / "v.nii.gz", stat="r")
    said = workbench("-file-information", path)
    for words in ("Type: Volume", "Number of Maps: 2", "Dimensions: 4, 5, 6, 2", "NIFTI_TYPE_FLOAT32"):
        assert words in said
    for row in AFFINE[:3]:
        assert " ".join(f"{number:.6f}" for number in row) in said
    assert "IJK = (0,0,0): XYZ = (90, -126, -72)" in said
