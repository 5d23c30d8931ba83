"""Kay & Yeatman 2017: responses of ventral temporal cortex to 114 photographs and a blank image, in the package.

Kay, K. N. & Yeatman, J. D. Bottom-up and top-down computations in word- and face-selective cortex. eLife 6:e22341
(2017). Data: CC BY 3.0.
"""

from importlib.resources import files

import numpy as np
import pandas as pd

from gradkern.errors import naming
from gradkern.recordings._recording import Recording

CITATION = (
    "Kay, K. N. & Yeatman, J. D. (2017). Bottom-up and top-down computations in word- and face-selective cortex. "
    "eLife 6:e22341. https://doi.org/10.7554/eLife.22341"
)


@naming("load_kay2017")
def load_kay2017() -> Recording:
    """One subject of experiment 2: the regions VWFA and FFA, with the mean beta over the trials of each image.

    Responses are percent signal change, [115, 2]; the first image is a blank screen. Images are gray photographs,
    uint8 [115, 378, 378], without the background of the screen. `ncsnr` is that of a mean beta, whose noise variance is
    the squared standard error in the mean over images.

    Examples
    --------
    >>> from gradkern.recordings import load_kay2017
    >>> recording = load_kay2017()
    >>> recording.responses.shape, recording.labels
    ((115, 2), ('VWFA', 'FFA'))
    """
    with files("gradkern.recordings").joinpath("data/kay2017.npz").open("rb") as file:
        data = dict(np.load(file))
    labels = [str(roi) for roi in data["roi"]]
    noise = (data["beta_se"].astype(np.float64) ** 2).mean(axis=0)
    signal = data["beta"].var(axis=0, ddof=1, dtype=np.float64) - noise
    return Recording(
        responses=data["beta"],
        presentations=pd.DataFrame({"image": np.arange(len(data["beta"]))}),
        targets=pd.DataFrame({"label": labels, "roi": labels}),
        subject="experiment 2",
        units="percent signal change",
        images=data["images"],
        ncsnr=np.sqrt(np.where(signal > 0, signal, np.nan) / noise),
        provenance={
            "dataset": "Kay & Yeatman 2017, experiment 2",
            "citation": CITATION,
            "licence": "CC BY 3.0",
            "noise": "mean over images of the squared standard error of the beta",
        },
    )


def load_bootstraps() -> np.ndarray:
    """Mean betas of 100 bootstraps over trials, float32 [100, 115, 2], in the order of `load_kay2017().responses`.

    Examples
    --------
    >>> from gradkern.recordings import load_bootstraps
    >>> load_bootstraps().shape
    (100, 115, 2)
    """
    with files("gradkern.recordings").joinpath("data/kay2017.npz").open("rb") as file:
        betas: np.ndarray = np.load(file)["beta_boot"]
    return betas
