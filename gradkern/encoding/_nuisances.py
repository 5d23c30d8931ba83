"""How hard an image is for the model, in numbers: covariates for tests of gradients."""

import numpy as np
import xarray as xr

from gradkern.errors import Refused, naming
from gradkern.features._features import Features


@naming("nuisances")
def nuisances(features: Features, kind: str = "gradient") -> xr.DataArray:
    """Numbers that an image's gradient may reflect only because the image is hard for the model.

    The columns are "loss"; "entropy" of the model's prediction in nats, where it has logits; and "log norm/LAYER" of
    the gradient at each layer. The norm is that of the gradient's sketch, which has a relative error of about
    1 / sqrt(2 k).

    Parameters
    ----------
    features : of `capture`, with an objective
    kind : of gradient

    Returns
    -------
    [image, nuisance] in float64

    Raises
    ------
    ValueError : no such kind, or losses that are not finite
    Refused : an image whose gradient is zero, of which there is no logarithm; or no loss is known
    """
    layers = [layer for captured_kind, layer in features if captured_kind == kind]
    if not layers or kind == "activation":
        kinds = sorted({captured_kind for captured_kind, _ in features})
        raise ValueError(f"kind must be a gradient of the features, got {kind!r}; there are {kinds}")
    if features.losses.isnan().all():
        raise Refused("features must have the losses of the images, got none (given(..., losses=))")
    columns = {"loss": features.losses.double().numpy()}
    if features.entropy is not None:
        columns["entropy"] = features.entropy.double().numpy()
    for layer in layers:
        norm = features[kind, layer].double().flatten(1).norm(dim=1).numpy()
        if (norm == 0).any():
            raise Refused(f"{kind} of {layer!r} must not be zero, got that for image {norm.argmin()}")
        columns[f"log norm/{layer}"] = np.log(norm)
    bad = [name for name, values in columns.items() if not np.isfinite(values).all()]
    if bad:
        raise ValueError(f"features must be finite, got others in {', '.join(bad)}")
    return xr.DataArray(
        np.column_stack(list(columns.values())), dims=("image", "nuisance"), coords={"nuisance": list(columns)}
    )
