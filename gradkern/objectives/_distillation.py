"""Self-distillation: the image as presented against a teacher's view of it."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from gradkern.errors import naming
from gradkern.objectives._augment import check_scale, crops, teacher_of
from gradkern.objectives._base import TargetObjective, check_positive, check_seed
from gradkern.objectives._interface import Batch, Prepared


class _CropObjective(TargetObjective):
    """An objective whose targets are a teacher's outputs for crops of the image, made by `prepare`."""

    views: int
    seed: int
    student_temperature: float
    teacher_temperature: float
    scale: tuple[float, float]

    def targets(self, output: Any, batch: Batch) -> Tensor:
        """What the teacher gives for the crops, [n, views - 1, ...]."""
        targets: Tensor = self._context(batch, Tensor)
        return targets

    def _check(self) -> None:
        if isinstance(self.views, bool) or not isinstance(self.views, int) or self.views < 2:
            raise ValueError(f"views must be an integer of at least 2 (one is the image), got {self.views!r}")
        check_seed(self.seed)
        check_scale(self.scale)
        check_positive(student_temperature=self.student_temperature, teacher_temperature=self.teacher_temperature)

    def _teacher_outputs(self, model: Any, batch: Batch) -> list[Any]:
        teacher = teacher_of(model)
        return [teacher(crops(batch, self.seed, view, self.scale)) for view in range(1, self.views)]


@dataclass(frozen=True)
class SelfDistillation(_CropObjective):
    """Cross-entropy of the student's prototypes against a teacher's, over seeded crops of the same image.

    l_i = mean_v sum_k -p_vik log softmax(s_i / student_temperature)_k,
    p_vi = softmax((t_vi - center) / teacher_temperature)

    with s the head's projection [n, K] of the image as presented and t_v that of crop v by `model.teacher` (else the
    model itself), without gradient; `model.center` [K] is 0 if there is none.

    Parameters
    ----------
    views : number of views of an image, itself included; `views - 1` are crops
    seed : crops are drawn from (seed, image index, view) alone
    student_temperature, teacher_temperature : softmax temperatures
    scale : smallest and largest area of a crop, as fractions of the image's

    Raises
    ------
    ValueError : fewer than 2 views, temperatures or areas out of range

    Notes
    -----
    Caron et al., ICCV 2021 (DINO), equations 2 and 3. The model needs its own trained projection head.
    """

    views: int = 2
    seed: int = 0
    student_temperature: float = 0.1
    teacher_temperature: float = 0.04
    scale: tuple[float, float] = (0.4, 1.0)
    name: str = "self-distillation"
    exact: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("projection",)

    @naming("SelfDistillation")
    def __post_init__(self) -> None:
        self._check()

    @torch.no_grad()
    def prepare(self, model: Any, batch: Batch) -> Prepared:
        """The teacher's probabilities of the prototypes for each crop, [n, views - 1, K]."""
        center = getattr(model, "center", None)
        targets = []
        for output in self._teacher_outputs(model, batch):
            projection = self._field(output, "projection")
            centered = projection if center is None else projection - center.to(projection)
            targets.append((centered / self.teacher_temperature).softmax(1))
        return Prepared(context=torch.stack(targets, 1))

    def losses(self, output: Any, batch: Batch, targets: Tensor) -> Tensor:
        log_p = (self._field(output, "projection") / self.student_temperature).log_softmax(1)
        return -(targets.to(log_p) * log_p[:, None]).sum(2).mean(1)


@dataclass(frozen=True)
class SelfDistillationSurrogate(_CropObjective):
    """Self-distillation without a head, on the image's normalised features: a surrogate.

    With f the features of the image as presented, g_v the teacher's of crop v (without gradient), and ^ for unit norm::

        "cosine"        : l_i = mean_v 1 - <f^_i, g^_vi>
        "cross-entropy" : l_i = mean_v sum_k -softmax(g^_vi / teacher_temperature)_k
                          log softmax(f^_i / student_temperature)_k

    Parameters
    ----------
    loss : "cosine" or "cross-entropy"
    views, seed, student_temperature, teacher_temperature, scale : as in SelfDistillation

    Raises
    ------
    ValueError : an unknown loss, fewer than 2 views, temperatures or areas out of range

    Notes
    -----
    For models published without their heads (Siméoni et al. 2025, DINOv3). The cosine is that of Chen & He, CVPR 2021
    (SimSiam), without its predictor.
    """

    loss: str = "cosine"
    views: int = 2
    seed: int = 0
    student_temperature: float = 0.1
    teacher_temperature: float = 0.04
    scale: tuple[float, float] = (0.4, 1.0)
    name: str = "self-distillation-surrogate"
    exact: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("features",)

    @naming("SelfDistillationSurrogate")
    def __post_init__(self) -> None:
        if self.loss not in ("cosine", "cross-entropy"):
            raise ValueError(f"loss must be 'cosine' or 'cross-entropy', got {self.loss!r}")
        self._check()

    @torch.no_grad()
    def prepare(self, model: Any, batch: Batch) -> Prepared:
        """The teacher's normalised features of each crop, [n, views - 1, d]."""
        features = [normalize(self._field(output, "features"), dim=1) for output in self._teacher_outputs(model, batch)]
        return Prepared(context=torch.stack(features, 1))

    def losses(self, output: Any, batch: Batch, targets: Tensor) -> Tensor:
        features = normalize(self._field(output, "features"), dim=1)[:, None]
        targets = targets.to(features)
        if self.loss == "cosine":
            return (1 - (features * targets).sum(2)).mean(1)
        log_p = (features / self.student_temperature).log_softmax(2)
        return -((targets / self.teacher_temperature).softmax(2) * log_p).sum(2).mean(1)
