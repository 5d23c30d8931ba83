"""What a row of the catalogue holds: a published model, how its images are preprocessed, and how it is built."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from gradkern.models._adapters import Adapter

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Source:
    """The licence of published weights, the paper, and what to do before a download that is gated."""

    licence: str
    citation: str
    gated: str | None = None


@dataclass(frozen=True)
class Preprocessing:
    """How the authors feed images."""

    mean: Color  # on the 0..255 scale
    std: Color
    interpolation: str
    shorter_side: int | None = None  # None: the whole image becomes a square


@dataclass(frozen=True)
class BuildRequest:
    """What is asked of a builder.

    Attributes
    ----------
    name : of the row
    weights : "pretrained", "random", or the path of a file or folder
    config : fields of the configuration to change
    source : of the row
    """

    name: str
    weights: str
    config: Mapping[str, Any] = field(default_factory=dict)
    source: Source | None = None


@dataclass(frozen=True)
class BuiltModel:
    """A model without its spec.

    Attributes
    ----------
    model : in any mode, on the CPU or the meta device
    weights_sha256 : digest of the file of its weights; None for random weights
    resolution : of its images, if that differs from the row's
    """

    model: Adapter
    weights_sha256: str | None = None
    resolution: int | None = None


class Builder(Protocol):
    """Builds a model, drawing random weights from torch's generator."""

    @property
    def origin(self) -> str:
        """Where the published weights are: a name on the Hugging Face hub, or a package."""

    def build(self, request: BuildRequest) -> BuiltModel: ...

    def published_files(self) -> list[Path]:
        """The files of the published weights on this machine; none where they are not here."""


@dataclass(frozen=True)
class Row:
    """A published model.

    Attributes
    ----------
    builder : how it is built
    parameters : millions, of all that is loaded, including heads and text tower
    heads : beside the image's features
    source, preprocessing : of the published weights
    resolution : of its images, in pixels
    """

    builder: Builder
    parameters: float
    heads: str
    source: Source
    preprocessing: Preprocessing
    resolution: int = 224
