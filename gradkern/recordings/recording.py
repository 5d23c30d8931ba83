"""Responses of one subject to images, and what is known of them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Recording:
    """Responses [presentations, targets] of one subject.

    Parameters
    ----------
    responses : float [presentations, targets]
    image_ids : int [presentations], 0-based places in the image source that was shown
    targets : one label a target (a region, a voxel, a sensor at a time), all different
    subject, units : words
    images : the image source, uint8, each [h, w] or [h, w, 3]; None where it lies elsewhere
    noise_variance : [targets], variance of the responses over repeats of one image, in squared units: of what is in
        `responses`, so of the mean where repeats were averaged; None where it is not known
    provenance : where it came from: source, citation, licence

    Raises
    ------
    ValueError : shapes that do not fit together, NaN or infinite responses, ids that point outside the images
    """

    responses: np.ndarray
    image_ids: np.ndarray
    targets: tuple[str, ...]
    subject: str
    units: str
    images: np.ndarray | None = None
    noise_variance: np.ndarray | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        responses = self.responses
        if responses.ndim != 2 or responses.dtype.kind != "f":
            raise ValueError(
                f"Recording: responses must be float [presentations, targets], got {responses.dtype} "
                f"{list(responses.shape)}"
            )
        n, v = responses.shape
        if self.image_ids.shape != (n,) or self.image_ids.dtype.kind not in "iu":
            raise ValueError(
                f"Recording: image_ids must be integers [{n}], got {self.image_ids.dtype} {list(self.image_ids.shape)}"
            )
        if len(self.targets) != v or len(set(self.targets)) != v:
            raise ValueError(f"Recording: targets must be {v} different labels, got {len(set(self.targets))}")
        if self.noise_variance is not None and self.noise_variance.shape != (v,):
            raise ValueError(f"Recording: noise_variance must be [{v}], got {list(self.noise_variance.shape)}")
        bad = np.argwhere(~np.isfinite(responses))
        if len(bad) > 0:
            row, column = bad[0]
            raise ValueError(
                f"Recording: responses must be finite, got {len(bad)} NaN or infinite values, the first at "
                f"presentation {row}, target {self.targets[column]!r}"
            )
        if self.images is not None:
            self.check_images(len(self.images))

    def check_images(self, count: int) -> None:
        """Refuse an image source of `count` images that the ids do not fit."""
        low, high = (int(self.image_ids.min()), int(self.image_ids.max())) if len(self.image_ids) else (0, -1)
        if low < 0 or high >= count:
            raise ValueError(
                f"Recording: image_ids must lie in 0..{count - 1} for {count} images, got {low}..{high} "
                "(are they 1-based, or of another set of images?)"
            )

    def noise_ceiling(self) -> np.ndarray:
        """Largest correlation that a perfect model can reach with these responses, [targets].

        r = sqrt(signal variance / total variance), signal = total - noise, total = variance over images (ddof 1).
        Where the noise exceeds the total, the ceiling is NaN.

        Raises
        ------
        ValueError : the recording has no noise_variance
        """
        if self.noise_variance is None:
            raise ValueError("Recording: a noise ceiling needs noise_variance, which this recording has not")
        total = self.responses.astype(np.float64).var(axis=0, ddof=1)
        signal = total - self.noise_variance
        ceiling: np.ndarray = np.sqrt(np.where(signal > 0, signal, np.nan) / total)
        return ceiling
