"""NSD-imagery, on small files of its layout: the betas of the right runs, under the names of the targets."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from gradkern.recordings import load, load_nsd_imagery
from tests.fake_datasets.nsd import GRID, V, put

TRIALS = 720
ROWS = {"visA": 0, "visB": 192, "visC": 384, "imgA_1": 144, "imgB_1": 336, "imgC_1": 528, "imgA_2": 576, "imgB_2": 624}
ROWS["imgC_2"] = 672
BETAS = "nsddata_betas/ppdata/subj02/{}/nsdimagerybetas_fithrf_GLMdenoise_RR"


class Fake:
    """Subject 2: `order` is the target of every trial by run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        random = np.random.default_rng(0)
        self.order = {run: random.permutation(np.repeat([f"{run[3]}{i}" for i in range(6)], 8)) for run in ROWS}
        for run in ROWS:
            self.write_trials(run)
        self.surface: NDArray[Any] = random.standard_normal((TRIALS, 2 * V)).astype(np.float32)
        for side, part in zip(("lh", "rh"), (self.surface[:, :V], self.surface[:, V:]), strict=True):
            put(folder, f"{BETAS.format('fsaverage')}/{side}.betas_nsdimagery.mgh", part.T[:, None, None])
        self.volume = random.integers(1, 900, (TRIALS, *GRID[::-1])).astype(np.int16)
        (folder / BETAS.format("func1pt8mm")).mkdir(parents=True)
        with h5py.File(folder / BETAS.format("func1pt8mm") / "betas_nsdimagery.hdf5", "w") as file:
            file["betas"] = self.volume

    def write_trials(self, run: str) -> Path:
        path = self.folder / f"nsddata/bdata/nsdimagery/nsdimagery_subj02_{run}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        order = self.order[run]
        pd.DataFrame({"TRIAL": np.arange(len(order)) + 1, "CONDITION": order}).to_csv(path, sep="\t", index=False)
        return path


@pytest.fixture
def made(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


@pytest.mark.parametrize(("condition", "start", "count"), [("vision", "vis", 144), ("imagery", "img", 288)])
def test_betas_of_the_targets(made: Fake, condition: str, start: str, count: int) -> None:
    recording = load_nsd_imagery(made.folder, 2, condition=condition)
    runs = sorted((run for run in ROWS if run.startswith(start)), key=lambda run: ROWS[run])
    rows = np.concatenate([np.arange(ROWS[run], ROWS[run] + 48) for run in runs])
    np.testing.assert_array_equal(np.asarray(recording.responses), made.surface[rows])
    names = recording.image_names or ()
    assert [names[i] for i in recording.image_ids] == [name for run in runs for name in made.order[run]]
    assert len(recording.presentations) == count
    assert len(names) == 18
    volume = load("nsd-imagery", made.folder, subject=2, condition=condition, space="func1pt8mm")
    np.testing.assert_allclose(np.asarray(volume.responses), made.volume[rows].reshape(count, -1) / 300, rtol=1e-6)


def test_what_does_not_fit_is_named(made: Fake) -> None:
    with pytest.raises(ValueError, match="condition must be one of"):
        load_nsd_imagery(made.folder, 2, condition="attention")
    made.order["visB"] = made.order["visB"][:-1]
    path = made.write_trials("visB")
    with pytest.raises(ValueError, match=f"load_nsd_imagery: {path} must have 6 conditions 8 times each, got 47"):
        load_nsd_imagery(made.folder, 2)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"nsdimagery_subj02_visB\.tsv is missing"):
        load_nsd_imagery(made.folder, 2)
    assert load_nsd_imagery(made.folder, 2, condition="imagery").responses.shape == (288, 2 * V)
