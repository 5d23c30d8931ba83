"""Why an image has other features alone than in its batch: random numbers, rounding, or images that mix."""

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from gradkern.features._engine.images import ImageSource
from gradkern.features._engine.plan import CapturePlan

_NUDGES = (1e-7, 3e-7, 1e-6, 3e-6)  # of each pixel, relative: as much as the rounding of a deep model comes to
_DRAWS = 2  # of each
_FALLS_SHORT = 4.0  # rounding that was tried moves features by at least a fourth of what rounding did


class NudgedImages(ImageSource):
    """Images whose pixels are moved by as little as rounding does."""

    def __init__(self, images: ImageSource, size: float, seed: int):
        self._source, self._nudge, self._seed = images, size, seed
        self.reader = images.reader
        self.hashes = images.hashes

    def __len__(self) -> int:
        return len(self._source)

    def _load(self, i: int) -> Tensor:
        image = self._source.load(i)
        generator = torch.Generator().manual_seed(self._seed)
        noise = torch.randn(image.shape, generator=generator, dtype=torch.float32, device="cpu")
        return image * (1 + self._nudge * noise.to(image.device, image.dtype))

    def batch(self, start: int, stop: int) -> Tensor:
        return self.at(range(start, stop))


def moved_by_rounding(run: Callable[[float, int], Tensor], alone: Tensor, deviation: float) -> float | None:
    """How far rounding alone moves a feature, if that is as far as it was found to be moved; else None.

    An activation at its kink, or a gradient that nearly cancels, is moved far by the smallest change of the image.

    Parameters
    ----------
    run : size of the change and seed -> the feature of the changed image, alone
    alone : the feature of the image, alone
    deviation : norm of the difference that is to be explained
    """
    furthest = 0.0
    for size in _NUDGES:
        for seed in range(_DRAWS):
            furthest = max(furthest, float((run(size, seed) - alone).norm()))
            if _FALLS_SHORT * furthest >= deviation:
                return furthest
    return None


def in_double(plan: CapturePlan) -> CapturePlan:
    """The same capture by copies of the model and the objective in float64, in which rounding all but vanishes.

    What an image has of others in its batch, or of its place there, stays as large as it is.
    """
    model, layers, objective = copy.deepcopy((plan.model, dict(plan.layers), plan.objective))
    for part in (model, objective, *vars(objective).values()) if hasattr(objective, "__dict__") else (model,):
        if isinstance(part, nn.Module):
            part.double()
    return replace(plan, model=model, layers=layers, objective=objective, dtype=torch.float64, kept=None)
