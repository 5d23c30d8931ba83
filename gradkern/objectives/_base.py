"""What every objective of the package shares: it describes itself, and it reads the model's output with checks."""

import dataclasses
import hashlib
import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from gradkern._integers import as_seed
from gradkern.errors import naming

Fact = str | float | int | bool

_BARE_FIELDS = ("features", "logits", "embedding", "projection")  # what a model that returns one tensor may mean by it


class Objective:
    """Base class of objectives that describe themselves. Any function `objective(output, batch) -> [n]` will do too.

    Attributes
    ----------
    name : what results are filed under
    exact : True for the formula itself; False for a surrogate, which is not the loss that the model was trained with
    needs : fields of `Output` that the objective reads
    facts : name, exact and every setting, fit for JSON; a tensor is given by type, shape and SHA-256
    """

    name: str
    exact: ClassVar[bool]
    needs: ClassVar[tuple[str, ...]]

    def __call__(self, output: Any, batch: Any) -> Tensor:
        """The loss of each image of a batch, [n]."""
        raise NotImplementedError

    @property
    def facts(self) -> dict[str, Fact]:
        settings = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        stated = {key: _as_fact(value) for key, value in settings.items() if value is not None and key != "name"}
        return {"name": self.name, "exact": self.exact, **stated}

    @naming("objective")
    def _field(self, output: Any, field: str, axes: str = "n, d") -> Tensor:
        """A field of the model's output, in float32 or better, of the shape that the objective reads."""
        is_bare = isinstance(output, Tensor) and field in _BARE_FIELDS
        value = output if is_bare else getattr(output, field, None)
        if value is None and hasattr(output, field):
            raise TypeError(
                f"the model has no {field}, which objective {self.name!r} reads; choose another objective, or a model "
                f"with {field}"
            )
        if not isinstance(value, Tensor):
            wanted = f"be a tensor or have .{field}" if field in _BARE_FIELDS else f"have .{field}"
            raise TypeError(f"the model's output must {wanted}, got {type(output).__name__} (objective {self.name!r})")
        if value.dim() != axes.count(",") + 1:
            raise ValueError(f"{field} must be [{axes}], got shape {list(value.shape)} (objective {self.name!r})")
        return precise(value)

    @naming("objective")
    def _batch_rows(self, argument: str, table: Tensor, batch: Any) -> Tensor:
        """The rows of a table over all images that belong to the images of a batch, on the batch's device."""
        index = batch.index.to(table.device)
        if len(index) > 0 and int(index.max()) >= len(table):
            raise ValueError(
                f"{argument} must have a row for every image, got {len(table)} for image {int(index.max())} "
                f"(objective {self.name!r})"
            )
        return table[index].to(batch.images.device)

    @naming("objective")
    def _context(self, batch: Any, kind: type) -> Any:
        """The context that the objective's `prepare` made; an error if `prepare` did not run."""
        context = getattr(batch, "context", None)
        if not isinstance(context, kind):
            raise TypeError(
                f"batch.context must be what {self.name!r}.prepare(model, batch) made, got {type(context).__name__}"
            )
        return context


class TargetObjective(Objective):
    """Base class of objectives that compare the model's output with a target.

    `targets` makes the targets and `losses` compares the output with them, so that the targets of other images can be
    put in their place: the control "gradient/target-shuffled". Any object with these two methods has that control.

    Attributes
    ----------
    reads_output : whether `targets` reads the model's output; if not, it may be given None
    """

    reads_output: bool = False

    def targets(self, output: Any, batch: Any) -> Tensor:
        """What the images of a batch are compared with, [n, ...], without gradient."""
        raise NotImplementedError

    def losses(self, output: Any, batch: Any, targets: Tensor) -> Tensor:
        """The loss of each image of a batch, [n], given targets of these or of other images."""
        raise NotImplementedError

    def __call__(self, output: Any, batch: Any) -> Tensor:
        return self.losses(output, batch, self.targets(output, batch))


def name_of(objective: Callable[..., Any]) -> str:
    """The name of an objective: its `name` if it has one, else that of the function or the class."""
    return str(getattr(objective, "name", None) or getattr(objective, "__name__", type(objective).__name__))


def facts_of(objective: Callable[..., Any]) -> dict[str, Fact]:
    """The description of an objective for provenance: its `facts`, or the name of a user's function."""
    facts = getattr(objective, "facts", None)
    if facts is None:
        return {"name": name_of(objective), "exact": "user function"}
    return dict(facts() if callable(facts) else facts)


def _as_fact(value: Any) -> Fact:
    if isinstance(value, Tensor):
        content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return f"{describe(value)} sha256:{hashlib.sha256(content).hexdigest()}"
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, str | int | float) else str(value)


def describe(value: Any) -> str:
    """A value as error messages and facts name it: type and shape of a tensor, a number itself, else its type."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return repr(value) if isinstance(value, str | int | float | None) else type(value).__name__


def precise(x: Tensor) -> Tensor:
    """Half precision as float32; float32 and float64 as they are."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def check_matrix(argument: str, value: Any) -> None:
    if not isinstance(value, Tensor) or value.dim() != 2 or not value.is_floating_point() or len(value) == 0:
        raise ValueError(f"{argument} must be a floating-point tensor [rows, dimensions], got {describe(value)}")


def check_labels(argument: str, value: Any, classes: int) -> None:
    if not isinstance(value, Tensor) or value.dim() != 1 or value.dtype != torch.int64:
        raise ValueError(f"{argument} must be int64 [images], got {describe(value)}")
    check_classes(argument, value, classes)


def check_classes(argument: str, labels: Tensor, classes: int) -> None:
    if len(labels) > 0 and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(f"{argument} must lie in 0..{classes - 1}, got {int(labels.min())}..{int(labels.max())}")


def check_positive(**settings: float) -> None:
    for argument, value in settings.items():
        if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
            raise ValueError(f"{argument} must be a finite number above 0, got {value!r}")


def check_seed(seed: Any, argument: str = "seed") -> int:
    return as_seed(argument, seed)
