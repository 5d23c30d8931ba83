"""What is common to everything that watches calls of torch: their names, arguments and results."""

from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, cast

from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Shapes = tuple[tuple[int, ...], ...]  # of the tensors that a call returned
Trace = tuple[tuple[Any, Shapes], ...]  # every call of a forward pass: the function and what it returned

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


def flat(*values: Any) -> Iterator[Any]:
    """The values inside tuples, lists and dicts, one after another."""
    for value in values:
        if isinstance(value, dict):
            yield from flat(*value.values())
        elif isinstance(value, tuple | list):
            yield from flat(*value)
        else:
            yield value


def tensors_in(output: Any) -> list[Tensor]:
    return [value for value in flat(output) if isinstance(value, Tensor)]


def shapes_of(output: Any) -> Shapes:
    return tuple(tuple(tensor.shape) for tensor in tensors_in(output))


def swap(value: Any, replacements: dict[int, Any]) -> Any:
    """A call's arguments with some of them, by id, replaced."""
    if id(value) in replacements:
        return replacements[id(value)]
    if isinstance(value, dict):
        return {key: swap(item, replacements) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(swap(item, replacements) for item in value)
    return value
