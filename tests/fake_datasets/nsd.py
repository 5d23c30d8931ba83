"""A small NSD: subject 2 with two sessions, on fsaverage and in the volume, and its time series."""

from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.io import savemat

from gradkern.recordings._readers import NSD_TRIALS as TRIALS

V = 8  # vertices of a hemisphere
GRID = (2, 3, 4)  # x, y, z
BETAS = "nsddata_betas/ppdata/subj02/{}/betas_fithrf_GLMdenoise_RR"
DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"
LOG = "nsddata/ppdata/subj02/behav/responses.tsv"


def put(folder: Path, name: str, values: NDArray[Any]) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".mgh", ".mgz")):
        values = values if values.dtype.kind == "i" else values.astype(np.float32)
        nibabel.save(nibabel.MGHImage(values, np.eye(4)), path)
    else:
        nibabel.save(nibabel.Nifti1Image(values, np.diag([1.8, 1.8, 1.8, 1])), path)
    return path


def write_ctab(folder: Path, name: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("0 Unknown 0 0 0 0\n1 early 255 0 0 0\n5 ventral 0 255 0 0\n")


class FakeNSD:
    """A folder of subject 2 with two sessions, and what is in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        random = np.random.default_rng(0)
        self.order = np.concatenate([random.permutation(10_000) for _ in range(3)]) + 1
        self.subjectim = np.stack([random.permutation(73_000)[:10_000] for _ in range(8)]) + 1
        self.shared = self.subjectim[:1, :1000]
        self.subjectim[1, :1000] = self.shared
        (folder / DESIGN).parent.mkdir(parents=True)
        savemat(
            folder / DESIGN, {"masterordering": self.order[None], "subjectim": self.subjectim, "sharedix": self.shared}
        )
        self.surface = random.standard_normal((2, TRIALS, 2 * V))
        self.volume = random.standard_normal((2, TRIALS, int(np.prod(GRID))))
        self.volume[0, 0, 5] = 0  # a response, not a gap
        parts = BETAS.format("fsaverage")
        for number, session in enumerate(self.surface, 1):
            for side, part in zip(("lh", "rh"), (session[:, :V], session[:, V:]), strict=True):
                put(folder, f"{parts}/{side}.betas_session{number:02d}.mgh", part.T[:, None, None])
        self.ncsnr = random.uniform(0.1, 1, 2 * V)
        for side, part in zip(("lh", "rh"), (self.ncsnr[:V], self.ncsnr[V:]), strict=True):
            put(folder, f"{parts}/{side}.ncsnr.mgh", part[:, None, None])
            labels = np.array([0, 1, 1, 5, 0, 0, 5, 1], np.int32)[:, None, None]
            put(folder, f"nsddata/freesurfer/fsaverage/label/{side}.streams.mgz", labels)
        write_ctab(folder, "nsddata/freesurfer/fsaverage/label/streams.mgz.ctab")
        parts = BETAS.format("func1pt8mm")
        (folder / parts).mkdir(parents=True)
        for number, session in enumerate(self.volume, 1):
            grid = (300 * session).round().astype(np.int16).reshape(TRIALS, *GRID[::-1])  # x fastest
            with h5py.File(folder / parts / f"betas_session{number:02d}.hdf5", "w") as file:
                file.create_dataset("betas", data=grid, chunks=(TRIALS, 1, 1, 1))
        put(folder, f"{parts}/ncsnr.nii.gz", np.arange(24, dtype=np.float32).reshape(GRID, order="F"))
        labels = np.zeros(GRID, np.int32)
        labels[1, 2, 3], labels[0, 0, 1] = 5, 1
        put(folder, "nsddata/ppdata/subj02/func1pt8mm/roi/streams.nii.gz", labels)
        write_ctab(folder, "nsddata/freesurfer/subj02/label/streams.mgz.ctab")

    def design(self) -> dict[str, Any]:
        return {"masterordering": self.order[None], "subjectim": self.subjectim, "sharedix": self.shared}

    def ids(self, subject: int = 2) -> NDArray[Any]:
        """0-based, of the first two sessions."""
        return self.subjectim[subject - 1, self.order[: 2 * TRIALS] - 1] - 1

    def surfaces(self, brain: str = "fsaverage", vertices: int = V) -> NDArray[Any]:
        """Write the white surfaces of a brain; their vertices [2 v, 3], left and right mirrored."""
        left = np.random.default_rng(3).uniform([-60, -90, -20], [-5, 60, 60], (vertices, 3))
        right = left * [-1, 1, 1]
        folder = self.folder / "nsddata/freesurfer" / brain / "surf"
        folder.mkdir(parents=True, exist_ok=True)
        for side, points in (("lh", left), ("rh", right)):
            nibabel.freesurfer.write_geometry(folder / f"{side}.white", points, np.array([[0, 1, 2]]))
        return np.vstack([left, right])

    def hemispheres(self, space: str = "func1pt8mm", atlas: str = "HCP_MMP1") -> NDArray[Any]:
        """Write masks of the hemispheres' cortex, by the first axis, less a corner; the sides [v], x fastest."""
        i, j, k = np.indices(GRID)
        cortex = (j > 0) | (k > 0)
        for side, number in (("lh", 0), ("rh", 1)):
            labels = np.where(cortex & (i == number), np.where(k > 1, 1, 0), -1).astype(np.int32)
            put(self.folder, f"nsddata/ppdata/subj02/{space}/roi/{side}.{atlas}.nii.gz", labels)
        return np.where(cortex, np.where(i == 0, "left", "right"), "").ravel(order="F")

    def log(self, subject: int = 2) -> None:
        path = self.folder / LOG
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pd.DataFrame({"SUBJECT": 2, "SESSION": np.repeat([1, 2], TRIALS), "73KID": self.ids(subject) + 1})
        table.to_csv(path, sep="\t", index=False)


class FakeNSDTimeSeries:
    """Time series beside a small NSD: session 1 has twelve runs, session 2 a run of rest before and after them."""

    home = "nsddata_timeseries/ppdata/subj02/func1pt8mm"
    step = 4 / 3
    counts = (*(63, 62) * 6,)  # images in a run

    def __init__(self, nsd: FakeNSD) -> None:
        self.folder = nsd.folder
        random = np.random.default_rng(1)
        starts = [0, *np.cumsum(self.counts)[:-1].tolist()]
        self.series: dict[tuple[int, int], NDArray[Any]] = {}
        for session in (1, 2):
            ids = nsd.ids()[TRIALS * (session - 1) : TRIALS * session] + 1
            runs = [ids[start : start + count] for start, count in zip(starts, self.counts, strict=True)]
            if session == 2:
                runs = [ids[:0], *runs, ids[:0]]
            for number, shown in enumerate(runs, 1):
                design = np.zeros(225, int)
                design[9 + 3 * np.arange(len(shown))] = shown
                values = (1000 + 10 * random.standard_normal((*GRID, 226))).astype(np.int16)
                self.series[session, number] = values
                name = f"timeseries/timeseries_session{session:02d}_run{number:02d}.nii.gz"
                put(self.folder, f"{self.home}/{name}", values)
                path = self.design(session, number)
                path.parent.mkdir(parents=True, exist_ok=True)
                np.savetxt(path, design, fmt="%d")
        mask = np.zeros(GRID, np.int16)
        mask[1, 2, 3] = mask[0, 0, 1] = mask[1, 0, 0] = 1
        put(self.folder, "nsddata/ppdata/subj02/func1pt8mm/brainmask.nii.gz", mask)

    def design(self, session: int, run: int) -> Path:
        return self.folder / f"{self.home}/design/design_session{session:02d}_run{run:02d}.tsv"
