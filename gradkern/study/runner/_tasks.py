"""The tasks that a study is cut into: what decides their numbers, and what they need to be computed.

The identity of a task is the hash of everything that changes a number of its result: contents of files, settings, and
the version of the code's format. Paths, executors and memory are not among it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from gradkern.study.runner._contents import hash_facts

# raised when the code of a kind gives other numbers
FORMATS = {"capture": 1, "fit": 1, "unique": 1, "permutations": 1, "maps": 1, "figures": 1, "verdict": 1}

_INPUTS = ("model", "images", "objective", "labels", "recording", "recordings", "tables")


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
class TargetsOrder:
    """Targets [start, stop) of a recording, and the features of a model under an objective.

    Attributes
    ----------
    spaces : that are scored or tested
    covariates : activations beside them; None: none are needed
    """

    recording: str
    start: int
    stop: int
    spaces: SpacesOrder
    covariates: SpacesOrder | None = None


class FitOrder(TargetsOrder):
    """Targets that are predicted from features."""


class UniqueOrder(TargetsOrder):
    """Targets whose unique variance by gradients is estimated and tested beside activations."""


class PermutationsOrder(TargetsOrder):
    """Targets whose scores are tested against those of permuted responses."""


@dataclass(frozen=True)
class ScoresOrder:
    """Results about a recording that are put together: places of those of its blocks of targets, in their order.

    Attributes
    ----------
    activations, gradients : fits; `activations` is empty where they are not needed
    unique : of gradients; () where they are not asked for
    """

    recording: str
    activations: tuple[str, ...]
    gradients: tuple[str, ...]
    unique: tuple[str, ...]


@dataclass(frozen=True)
class MapsOrder:
    """Maps of the scores of a model and an objective at the targets of a recording."""

    model: str
    objective: str
    scores: ScoresOrder

    @property
    def recording(self) -> str:
        return self.scores.recording


@dataclass(frozen=True)
class FiguresOrder:
    """Figures of the scores of a model and an objective at all recordings of an image set."""

    model: str
    objective: str
    images: str
    scores: tuple[ScoresOrder, ...]


@dataclass(frozen=True)
class VerdictOrder:
    """The claims about a model and an objective, on the recordings of an image set."""

    model: str
    objective: str
    images: str
    activations: SpacesOrder
    gradients: SpacesOrder
    untrained: SpacesOrder | None = None


Order = CaptureOrder | TargetsOrder | MapsOrder | FiguresOrder | VerdictOrder


@dataclass(frozen=True, eq=False)
class Task:
    """A part of a study whose result appears whole or not at all.

    Attributes
    ----------
    kind : one of `FORMATS`
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
    def inputs(self) -> dict[str, Any]:
        """What the task reads: identities of results, and hashes of the files of this study, by what they are of."""
        read = {name: self.facts[name] for name in _INPUTS if self.facts.get(name) is not None}
        return {"results": list(self.needs), **read}

    @property
    def place(self) -> str:
        """The folder of the result inside the store."""
        return f"{self.kind}/{self.unit}/{self.id}" if self.unit else f"{self.kind}/{self.id}"


def unit_of(facts: Mapping[str, Any]) -> str:
    """The identity of what captures of several layers and kinds share."""
    return hash_facts({"kind": "capture", "format": FORMATS["capture"], **facts})
