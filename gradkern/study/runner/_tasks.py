"""The tasks that a study is cut into: what decides their numbers, and what they need to be computed.

The identity of a task is the hash of everything that changes a number of its result: contents of files, settings, and
the version of the code's format. Paths, executors and memory are not among it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from gradkern.study.runner._contents import hash_facts

FORMATS = {"capture": 1, "fit": 1, "verdict": 1}  # raised when the code of a kind gives other numbers


@dataclass(frozen=True)
class CaptureOrder:
    """Images [start, stop) of a set, through a model and back from an objective.

    Attributes
    ----------
    model, objective, images : names in the study file; the objective is "none" for activations
    kinds, layers : that are captured
    """

    model: str
    objective: str
    images: str
    start: int
    stop: int
    kinds: tuple[str, ...]
    layers: tuple[str, ...]


@dataclass(frozen=True)
class SpacesOrder:
    """Features of one model and objective at all images of a set: where its blocks are.

    Attributes
    ----------
    units : of the captures, in the order of the images
    kinds, layers : that are used
    """

    model: str
    objective: str
    units: tuple[str, ...]
    kinds: tuple[str, ...]
    layers: tuple[str, ...]


@dataclass(frozen=True)
class FitOrder:
    """Targets [start, stop) of a recording, predicted from the features of a model under an objective.

    Attributes
    ----------
    spaces : that are scored
    covariates : activations that controls need; None: none do
    """

    recording: str
    start: int
    stop: int
    spaces: SpacesOrder
    covariates: SpacesOrder | None = None


@dataclass(frozen=True)
class VerdictOrder:
    """The claims about a model and an objective, on the recordings of an image set."""

    model: str
    objective: str
    images: str
    activations: SpacesOrder
    gradients: SpacesOrder
    untrained: SpacesOrder | None = None


Order = CaptureOrder | FitOrder | VerdictOrder


@dataclass(frozen=True, eq=False)
class Task:
    """A part of a study whose result appears whole or not at all.

    Attributes
    ----------
    kind : "capture", "fit" or "verdict"
    name : in words, such as "fit/dino/norm/sub-01/0-100"
    facts : everything that changes a number
    order : what is computed
    needs : identities of tasks whose results are read
    unit : of a capture, what its layers and kinds are of
    """

    kind: str
    name: str
    facts: Mapping[str, Any]
    order: Order
    needs: tuple[str, ...] = ()
    unit: str = field(default="")

    @cached_property
    def id(self) -> str:
        """32 hexadecimal digits, of everything that changes a number."""
        return hash_facts({"kind": self.kind, "format": FORMATS[self.kind], **self.facts})

    @property
    def place(self) -> str:
        """The folder of the result inside the store."""
        return f"{self.kind}/{self.unit}/{self.id}" if self.unit else f"{self.kind}/{self.id}"


def unit_of(facts: Mapping[str, Any]) -> str:
    """The identity of what captures of several layers and kinds share."""
    return hash_facts({"kind": "capture", "format": FORMATS["capture"], **facts})
