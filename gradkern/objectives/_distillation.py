"""Self-distillation: the image as presented against a teacher's view of it."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from gradkern.objectives._augment import check_scale, crops, teacher_of
from gradkern.objectives._base import Targeted, check_positive, check_seed, part, prepared
from gradkern.objectives._interface import Batch, Prepared


def _check(objective: "SelfDistillation | SelfDistillationSurrogate") -> None:
    where = type(objective).__name__
    if isinstance(objective.views, bool) or not isinstance(objective.views, int) or objective.views < 2:
        raise ValueError(f"{where}: views must be an integer of at least 2 (one is the image), got {objective.views!r}")
    check_seed(where, objective.seed)
    check_scale(where, objective.scale)
    check_positive(
        where, student_temperature=objective.student_temperature, teacher_temperature=objective.teacher_temperature
    )


@dataclass(frozen=True)
class SelfDistillation(Targeted):
    """Cross-entropy of the student's prototypes against a teacher's, over seeded crops of the same image.

    l_i = mean_v sum_k -p_vik log softmax(s_i / student_temperature)_k,
    p_vi = softmax((t_vi - center) / teacher_temperature)

    with s the head's projection [n, K] of the image as presented and t_v that of crop v by `model.teacher` (else the
    model itself), without gradient; `model.center` [K] is 0 if there is none.

    Parameters
    ----------
    views : of an image, the presented one included; `views - 1` are crops
    seed : crops are drawn from (seed, image index, view) alone
    student_temperature, teacher_temperature : softmax temperatures
    scale : smallest and largest area of a crop, of the image's

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

    def __post_init__(self) -> None:
        _check(self)

    @torch.no_grad()
    def prepare(self, model: Any, batch: Batch) -> Prepared:
        """Targets [n, views - 1, K]."""
        teacher, center = teacher_of(model), getattr(model, "center", None)
        targets = []
        for view in range(1, self.views):
            projection = part(self.name, teacher(crops(batch, self.seed, view, self.scale)), "projection")
            centred = projection if center is None else projection - center.to(projection)
            targets.append((centred / self.teacher_temperature).softmax(1))
        return Prepared(context=torch.stack(targets, 1))

    def targets(self, output: Any, batch: Batch) -> Tensor:
        """The teacher's prototypes of the crops, [n, views - 1, K]."""
        found: Tensor = prepared(self.name, batch, Tensor)
        return found

    def against(self, output: Any, batch: Batch, targets: Tensor) -> Tensor:
        log_p = (part(self.name, output, "projection") / self.student_temperature).log_softmax(1)
        return -(targets.to(log_p) * log_p[:, None]).sum(2).mean(1)


@dataclass(frozen=True)
class SelfDistillationSurrogate(Targeted):
    """Self-distillation without a head, on the image's normalised features: a surrogate.

    With f the features of the image as presented, g_v those of crop v by the teacher (no gradient), ^ of norm 1:

    "cosine"        : l_i = mean_v 1 - <f^_i, g^_vi>
    "cross-entropy" : l_i = mean_v sum_k -softmax(g^_vi / teacher_temperature)_k
                      log softmax(f^_i / student_temperature)_k

    Parameters
    ----------
    loss : "cosine" or "cross-entropy"
    views, seed, student_temperature, teacher_temperature, scale : as of SelfDistillation

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

    def __post_init__(self) -> None:
        if self.loss not in ("cosine", "cross-entropy"):
            raise ValueError(f"SelfDistillationSurrogate: loss must be 'cosine' or 'cross-entropy', got {self.loss!r}")
        _check(self)

    @torch.no_grad()
    def prepare(self, model: Any, batch: Batch) -> Prepared:
        """The teacher's normalised features [n, views - 1, d]."""
        teacher = teacher_of(model)
        views = [teacher(crops(batch, self.seed, view, self.scale)) for view in range(1, self.views)]
        return Prepared(context=torch.stack([normalize(part(self.name, v, "features"), dim=1) for v in views], 1))

    def targets(self, output: Any, batch: Batch) -> Tensor:
        """The teacher's normalised features of the crops, [n, views - 1, d]."""
        found: Tensor = prepared(self.name, batch, Tensor)
        return found

    def against(self, output: Any, batch: Batch, targets: Tensor) -> Tensor:
        features = normalize(part(self.name, output, "features"), dim=1)[:, None]
        targets = targets.to(features)
        if self.loss == "cosine":
            return (1 - (features * targets).sum(2)).mean(1)
        log_p = (features / self.student_temperature).log_softmax(2)
        return -((targets / self.teacher_temperature).softmax(2) * log_p).sum(2).mean(1)
