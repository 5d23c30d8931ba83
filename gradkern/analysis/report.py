"""One self-contained HTML page: what was done, the numbers, the figures, and what they do and do not say."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import xarray as xr
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from gradkern.analysis.layerwise import GRADIENT_KINDS


@dataclass(frozen=True)
class Picture:
    """A figure as a file and in the page."""

    name: str
    caption: str
    png: bytes

    @classmethod
    def of(cls, name: str, caption: str, figure: Figure) -> "Picture":
        """Draw the figure, once: a second drawing may differ by a pixel."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": "gradkern"})
        return cls(name, caption, buffer.getvalue())


@dataclass(frozen=True)
class Best:
    """The best layer of one kind and objective for one target."""

    target: str
    kind: str
    objective: str
    layer: str
    r: float
    low: float
    high: float


def best_layers(scores: xr.Dataset) -> list[Best]:
    """For each target, the layer with the largest r of the activations and of each gradient (of unit length)."""
    found = []
    for target in scores.target.values[::-1]:
        here = scores.sel(target=target)
        found.append(_best(str(target), "activation", "–", here.activation, here.activation_interval))
        for kind in GRADIENT_KINDS:
            for objective in scores.objective.values:
                of = here.sel(objective=objective, scaling="unit length")
                found.append(_best(str(target), kind, str(objective), of[kind], of[f"{kind}_interval"]))
    return found


def _best(target: str, kind: str, objective: str, r: xr.DataArray, interval: xr.DataArray) -> Best:
    top = int(np.argmax(r.values))
    low, high = (float(interval[top].sel(bound=bound)) for bound in ("low", "high"))
    return Best(target, kind.replace("_", " "), objective, str(r.layer.values[top]), float(r[top]), low, high)


def write_report(scores: xr.Dataset, pictures: Sequence[Picture], facts: Mapping[str, Any]) -> str:
    """The page as HTML; pictures are inside it.

    Parameters
    ----------
    facts : provenance, printed as a table at the end
    """
    template = files("gradkern.analysis").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    shown = [(p.name, p.caption, base64.b64encode(p.png).decode()) for p in pictures]
    comparisons = [
        (str(t), float(scores.noise_ceiling.sel(target=t)), float(scores.pixels.sel(target=t)))
        for t in scores.target.values[::-1]
    ]
    return environment.from_string(template).render(
        best=best_layers(scores), comparisons=comparisons, pictures=shown, facts=facts, layers=scores.sizes["layer"]
    )
