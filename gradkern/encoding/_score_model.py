"""A model against a recording in one call: captured, sketched and scored in memory."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor, nn

from gradkern.encoding._score import score
from gradkern.encoding._spaces import join_captures, unit_gradients
from gradkern.errors import Refused, naming
from gradkern.features._capture import capture
from gradkern.models._spec import ModelSpec
from gradkern.objectives._interface import ObjectiveFunction
from gradkern.recordings._recording import Recording
from gradkern.recordings._stimuli import ChosenImages
from gradkern.ridge._cross_validation import CrossValidation

_SCORED_HERE = ("out", "names")  # arguments of `capture` that this call decides


@naming("score_model")
def score_model(
    model: nn.Module,
    images: Tensor | Sequence[Any] | None,
    objective: ObjectiveFunction | None,
    recording: Recording,
    cv: CrossValidation | None = None,
    **capturing: Any,
) -> xr.Dataset:
    """Score a model's activations and gradients against a recording, layer by layer, without files.

    `capture` sketches the layers, each image's gradient is brought to unit length, and `score` predicts the responses
    by ridge regression: the numbers are those of the same calls one after another, and of `gradkern capture` and
    `gradkern encode`. Features are in memory: 4 k bytes for each image, layer and kind.

    Parameters
    ----------
    model : of `load_model`, or any module
    images : of the model's size and preprocessed, as in `capture`; or pixels, uint8 [h, w, 3] each, such as the image
        source of a recording, which a model of `load_model` preprocesses. None: those that the recording shows
    objective : as in `capture`; with None, activations alone
    recording : rows are matched with its images as in `score`: by names and pixels where both have them, else by place
    cv : as in `score`
    **capturing : other arguments of `capture`, such as `layers`, `kinds` and `sketch`

    Returns
    -------
    Dataset : as of `score`; `set_index(feature=["model", "objective", "kind", "layer"])` selects feature spaces

    Raises
    ------
    Refused : images are None and the recording has none
    ValueError, TypeError : as `capture` and `score`; pixels for a model without a spec

    Examples
    --------
    >>> import numpy as np, pandas as pd, torch, gradkern
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(1))
    >>> shown, voxels = pd.DataFrame({"image": range(40)}), pd.DataFrame({"label": ["a", "b"]})
    >>> brain = gradkern.Recording(np.random.randn(40, 2), shown, voxels, subject="s", units="z")
    >>> loss = gradkern.objectives.FeatureNorm()
    >>> score_model(model, torch.randn(40, 3, 8, 8), loss, brain, layers=["0", "2"]).r.shape
    (4, 5, 2)
    """
    for name in _SCORED_HERE:
        if name in capturing:
            raise TypeError(f"{name} must be left out, as nothing is written and images have their own names, got it")
    given = _prepared(model, recording if images is None else images, recording)
    kinds = ("activation",) if objective is None else ("activation", "gradient")
    features = capture(model, given, objective, **{"kinds": kinds, **capturing})
    return score(unit_gradients(join_captures([features])), recording, cv)


def _prepared(model: nn.Module, images: Any, recording: Recording) -> Any:
    """Images as `capture` takes them: pixels are preprocessed when their batch comes, and keep their names."""
    names = getattr(images, "names", None)
    if images is recording:
        if recording.images is None:
            raise Refused("the recording must have images, got none; give them by images=")
        shown = np.unique(recording.image_ids).tolist()
        images = ChosenImages(recording.images, shown)
        names = None if recording.image_names is None else [recording.image_names[number] for number in shown]
    if hasattr(images, "pixel_hash") or not hasattr(images, "__getitem__") or not _are_pixels(images):
        return images
    spec = getattr(model, "spec", None)
    if not isinstance(spec, ModelSpec):
        raise ValueError(
            "images must be preprocessed for a model without a spec, got pixels; load_model(model) describes a module"
        )
    return spec.prepared(images, names)


def _are_pixels(images: Any) -> bool:
    """Whether images are uint8, or of PIL, so that a model cannot take them as they are."""
    if isinstance(images, Mapping) or not len(images):
        return False
    dtype = getattr(images[0], "dtype", None)
    return dtype is None or str(dtype).removeprefix("torch.") == str(np.dtype(np.uint8))
