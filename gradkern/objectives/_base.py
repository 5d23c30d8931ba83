"""What every objective of the package has in common: what it says of itself, and how it reads the model's output."""

import dataclasses
import hashlib
import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

Fact = str | float | int | bool

_BARE = ("features", "logits", "embedding", "projection")  # what a model that returns one tensor may mean by it


class Stated:
    """An objective that states what it is.

    Attributes
    ----------
    name : what results are filed under
    exact : True, the formula itself; False, a surrogate: not the loss that the model was trained with
    needs : fields of `Output` that it reads
    facts : name, exact and every setting, fit for JSON; a tensor is given by type, shape and SHA-256
    """

    name: str
    exact: ClassVar[bool]
    needs: ClassVar[tuple[str, ...]]

    @property
    def facts(self) -> dict[str, Fact]:
        settings = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        named = {key: _fact(value) for key, value in settings.items() if value is not None and key != "name"}
        return {"name": self.name, "exact": self.exact, **named}


class Targeted(Stated):
    """An objective that compares the model's output with a target: `targets` makes it, `against` is the loss.

    So that what another image is compared with can be put in its place: the control "gradient/target-shuffled". Any
    object with these three members has that control.

    Attributes
    ----------
    reads_output : whether `targets` reads the model's output; if not, it may be given None
    """

    reads_output: bool = False

    def targets(self, output: Any, batch: Any) -> Tensor:
        """What the images of a batch are compared with, [n, ...], without gradient."""
        raise NotImplementedError

    def against(self, output: Any, batch: Any, targets: Tensor) -> Tensor:
        """The loss [n] of the images of a batch against targets of theirs, or of other images."""
        raise NotImplementedError

    def __call__(self, output: Any, batch: Any) -> Tensor:
        return self.against(output, batch, self.targets(output, batch))


def _fact(value: Any) -> Fact:
    if isinstance(value, Tensor):
        content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        kind = str(value.dtype).removeprefix("torch.")
        return f"{kind} {list(value.shape)} sha256:{hashlib.sha256(content).hexdigest()}"
    return value if isinstance(value, str | int | float) else str(value)


def name_of(objective: Callable[..., Any]) -> str:
    """The name of an objective: `.name` if it has one, else the function's or the class's."""
    return str(getattr(objective, "name", None) or getattr(objective, "__name__", type(objective).__name__))


def facts_of(objective: Callable[..., Any]) -> dict[str, Fact]:
    """What is known of an objective, for provenance; of a plain function its name and that it is the user's."""
    facts = getattr(objective, "facts", None)
    if facts is None:
        return {"name": name_of(objective), "exact": "user function"}
    return dict(facts() if callable(facts) else facts)


def part(objective: str, output: Any, field: str, axes: str = "n, d") -> Tensor:
    """A field of the model's output, in float32 or better, of the shape that the objective reads."""
    is_bare = isinstance(output, Tensor) and field in _BARE
    value = output if is_bare else getattr(output, field, None)
    if value is None and hasattr(output, field):
        raise TypeError(
            f"objective: the model has no {field}, which objective {objective!r} reads; choose another objective, or "
            f"a model with {field}"
        )
    if not isinstance(value, Tensor):
        kinds = f"be a tensor or have .{field}" if field in _BARE else f"have .{field}"
        raise TypeError(
            f"objective: the model's output must {kinds}, got {type(output).__name__} (objective {objective!r})"
        )
    if value.dim() != axes.count(",") + 1:
        raise ValueError(
            f"objective: {field} must be [{axes}], got shape {list(value.shape)} (objective {objective!r})"
        )
    return precise(value)


def precise(x: Tensor) -> Tensor:
    """Half precision as float32; float32 and float64 as they are."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def rows(objective: str, argument: str, table: Tensor, batch: Any) -> Tensor:
    """The rows of a table over all images that belong to the images of a batch, on the batch's device."""
    index = batch.index.to(table.device)
    if len(index) > 0 and int(index.max()) >= len(table):
        raise ValueError(
            f"objective: {argument} must have a row for every image, got {len(table)} for image {int(index.max())} "
            f"(objective {objective!r})"
        )
    return table[index].to(batch.images.device)


def prepared(objective: str, batch: Any, kind: type) -> Any:
    """What the objective's `prepare` made; an error if it did not run."""
    context = getattr(batch, "context", None)
    if not isinstance(context, kind):
        raise TypeError(
            f"objective: batch.context must be what {objective!r}.prepare(model, batch) made, got "
            f"{type(context).__name__}"
        )
    return context


def check_matrix(where: str, argument: str, value: Any) -> None:
    if not isinstance(value, Tensor) or value.dim() != 2 or not value.is_floating_point() or len(value) == 0:
        raise ValueError(f"{where}: {argument} must be a floating-point tensor [rows, dimensions], got {told(value)}")


def check_labels(where: str, argument: str, value: Any, classes: int) -> None:
    if not isinstance(value, Tensor) or value.dim() != 1 or value.dtype != torch.int64:
        raise ValueError(f"{where}: {argument} must be int64 [images], got {told(value)}")
    if len(value) > 0 and not 0 <= int(value.min()) <= int(value.max()) < classes:
        raise ValueError(
            f"{where}: {argument} must lie in 0..{classes - 1}, got {int(value.min())}..{int(value.max())}"
        )


def check_positive(where: str, **settings: float) -> None:
    for argument, value in settings.items():
        if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
            raise ValueError(f"{where}: {argument} must be a finite number above 0, got {value!r}")


def check_seed(where: str, seed: Any) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"{where}: seed must be an integer of at least 0, got {seed!r}")


def told(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return repr(value) if isinstance(value, str | int | float | None) else type(value).__name__
