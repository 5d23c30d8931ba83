"""What is common to everything that watches calls of torch: their names, arguments and results."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, cast

from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from gradkern.models._kept_slots import flat

Shapes = tuple[tuple[int, ...], ...]  # of tensors, in the order of `tensors_in`

_SAMPLE = 64  # values of a tensor that tell the rows of one image from those of another


@dataclass(frozen=True)
class Call:
    """A call of the forward pass of one image alone.

    Attributes
    ----------
    function : that was called
    inputs, outputs : shapes of the tensors that it was given, and that it returned
    rows : position among the inputs -> some values of an input whose first axis holds several rows of the image
    """

    function: Any
    inputs: Shapes
    outputs: Shapes
    rows: Mapping[int, Tensor] = field(default_factory=dict)


Trace = tuple[Call, ...]  # every call of a forward pass

_NOT_IN_PLACE = ("__invert__", "__index__", "__int__", "__init__", "__iter__")

# Functions written in Python that use weights through other functions: they are looked into.
COMPOSITES = {functional.multi_head_attention_forward}


def call_inside(mode: TorchFunctionMode, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Run a function of torch.nn.functional so that the mode sees the calls it makes.

    Such a function hands itself over to any active mode before it does anything; this copy of it does not.
    """
    original = cast(FunctionType, function)
    blind = {name: lambda *args: False for name in vars(functional) if name.startswith("has_torch_function")}
    copy = FunctionType(original.__code__, {**original.__globals__, **blind}, original.__name__, original.__defaults__)
    copy.__kwdefaults__ = original.__kwdefaults__
    with mode:
        return copy(*args, **kwargs)


def name_of_call(function: Any) -> str:
    return str(getattr(function, "__name__", function))


def tensors_in(output: Any) -> list[Tensor]:
    return [value for value in flat(output) if isinstance(value, Tensor)]


def as_parts(output: Any) -> Any:
    """What a model returned as tensors in containers, where it is an object that holds them."""
    if isinstance(output, Tensor | dict | tuple | list):
        return output
    return vars(output) if hasattr(output, "__dict__") else ()


def shapes_of(output: Any) -> Shapes:
    return tuple(tuple(tensor.shape) for tensor in tensors_in(output))


def sample_of(tensor: Tensor) -> Tensor:
    """A few values of a tensor, at places that its shape alone decides."""
    values = tensor.detach().reshape(-1)
    return values[:: max(1, len(values) // _SAMPLE)].clone()


def is_in_place(function: Any) -> bool:
    """Whether a function overwrites its first argument."""
    name = name_of_call(function)
    return (
        name == "__setitem__"
        or (name.startswith("__i") and name.endswith("__") and name not in _NOT_IN_PLACE)
        or (name.endswith("_") and not name.endswith("__"))
    )


def swap(value: Any, replacements: dict[int, Any]) -> Any:
    """A call's arguments with some of them, by id, replaced."""
    if id(value) in replacements:
        return replacements[id(value)]
    if isinstance(value, dict):
        return {key: swap(item, replacements) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(swap(item, replacements) for item in value)
    return value
