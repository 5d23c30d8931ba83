"""Single runs of a BIDS data set, raw and as fMRIPrep leaves them, with what is needed to know the right answer."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiMetaData
from numpy.typing import NDArray

from gradkern.recordings import Recording, load_bids

SPACE, GRID, TIMES, STEP = "MNI152NLin2009cAsym", (3, 2, 2), 60, 2.0
FOLDER = "derivatives/fmriprep/sub-01/func"


def series(seed: int = 0, times: int = TIMES) -> NDArray[np.float32]:
    """A random walk around 1,000, [x, y, z, times]."""
    walk = np.random.default_rng(seed).standard_normal((*GRID, times)).cumsum(-1)
    return (1000 + 4 * walk).astype(np.float32)


def rows(names: Sequence[str], apart: float = 8.0) -> list[tuple[float, float, str]]:
    return [(4 + apart * number, 1.0, name) for number, name in enumerate(names)]


@dataclass
class FakeRun:
    """A run: its events, its series, and what header and sidecar say of it."""

    folder: Path
    entities: str = "run-1"
    events: Sequence[tuple[float, float, str]] | None = tuple(rows([f"im{i}" for i in range(12)]))
    values: NDArray[Any] = field(default_factory=series)
    affine: NDArray[Any] = field(default_factory=lambda: np.diag([2.0, 2.0, 2.0, 1.0]))
    mask_affine: NDArray[Any] | None = None
    header_step: float = STEP
    unit: str = "sec"
    sidecar: dict[str, Any] = field(default_factory=lambda: {"RepetitionTime": STEP})
    confounds: dict[str, Sequence[Any]] | None = None
    ending: str = ".nii.gz"

    @property
    def stem(self) -> str:
        return f"sub-01_task-img_{self.entities}".rstrip("_")

    def write(self) -> "FakeRun":
        raw, done = self.folder / "sub-01/func", self.folder / FOLDER
        raw.mkdir(parents=True, exist_ok=True)
        done.mkdir(parents=True, exist_ok=True)
        if self.events is not None:
            write_events(raw / f"{self.stem}_events.tsv", self.events)
        image = nibabel.Nifti1Image(self.values, self.affine)
        image.header.set_xyzt_units("mm", self.unit)
        image.header["pixdim"][4] = self.header_step
        start = f"{self.stem}_space-{SPACE}_desc-"
        nibabel.save(image, done / f"{start}preproc_bold{self.ending}")
        mask = np.ones(self.values.shape[:3], np.uint8)
        affine = self.affine if self.mask_affine is None else self.mask_affine
        nibabel.save(nibabel.Nifti1Image(mask, affine), done / f"{start}brain_mask.nii.gz")
        (done / f"{start}preproc_bold.json").write_text(json.dumps(self.sidecar))
        if self.confounds is not None:
            lines = [
                "\t".join(self.confounds),
                *("\t".join(map(str, row)) for row in zip(*self.confounds.values(), strict=True)),
            ]
            (done / f"{self.stem}_desc-confounds_timeseries.tsv").write_text("\n".join(lines) + "\n")
        return self


def write_events(path: Path, events: Sequence[tuple[float, float, str]]) -> None:
    lines = ["onset\tduration\tstim_file", *("\t".join(map(str, row)) for row in events)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_hemispheres(
    folder: Path, name: str, values: NDArray[Any], step: str | None = "2000.0", flat: bool = False
) -> None:
    """GIFTI files of both hemispheres; `name` has {} for the side, `values` are [times, vertices]."""
    for side in "LR":
        meta = GiftiMetaData({} if step is None else {"TimeStep": step})
        arrays = [
            GiftiDataArray(np.ascontiguousarray(array, dtype=np.float32), datatype="float32", meta=meta)
            for array in ([values.T] if flat else values)
        ]
        nibabel.save(GiftiImage(darrays=arrays), folder / name.format(side))


def load(folder: Path, space: str = SPACE, **options: Any) -> Recording:
    return load_bids(folder, "01", "img", "stim_file", space=space, **options)


def sampled(values: NDArray[Any], onsets: Sequence[float], step: float = STEP, first: int = 0) -> NDArray[np.float64]:
    """The right responses [onsets, voxels] in float64, x fastest: percent of the mean about the trend."""
    flat = values.T.reshape(values.shape[-1], -1).astype(np.float64)
    time = np.arange(len(flat))
    line = np.polynomial.polynomial.polyfit(time[first:], flat[first:], 1)
    mean = flat[first:].mean(0)
    percent = 100 * (flat - np.polynomial.polynomial.polyval(time, line).T) / mean
    at = (np.asarray(onsets) + 5.5) / step
    return np.stack([np.interp(at, time, column) for column in percent.T], 1)
