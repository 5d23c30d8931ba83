"""Where modules keep tensors that are neither parameters nor buffers of their state."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

_OWN = frozenset(vars(nn.Module()))  # attributes of every module: parameters, buffers, modules, hooks


@dataclass(frozen=True)
class Slot:
    """An attribute of a module that holds tensors: itself a tensor, or a dict or a list of them."""

    module: nn.Module
    path: str  # of the module
    name: str

    @property
    def value(self) -> Any:
        return getattr(self.module, self.name)

    @property
    def group(self) -> tuple[type, str]:
        """What modules of one class keep under one name is emptied together."""
        return type(self.module), self.name

    def __str__(self) -> str:
        return f"{self.path}.{self.name}" if self.path else self.name


def kept_slots(model: nn.Module) -> list[Slot]:
    """Attributes, and buffers that no state holds, with floating-point tensors."""
    slots = []
    for path, module in model.named_modules():
        passing = {
            name: module._buffers[name] for name in module._non_persistent_buffers_set if name in module._buffers
        }
        for name, value in {**own_attributes(module), **passing}.items():
            if any(isinstance(t, Tensor) and t.is_floating_point() for t in flat(value)):
                slots.append(Slot(module, path, name))
    return slots


def detach(slot: Slot) -> None:
    """Leave out the graph that a tensor was computed with, which is not the graph of the passes to come."""
    value = slot.value
    if isinstance(value, dict):
        value.update({key: _detached(item) for key, item in value.items()})
    elif isinstance(value, list):
        value[:] = [_detached(item) for item in value]
    elif isinstance(value, Tensor) and value.requires_grad:
        setattr(slot.module, slot.name, value.detach())


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) and value.requires_grad else value


def own_attributes(module: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if name not in _OWN}


def flat(*values: Any) -> Iterator[Any]:
    """The values inside tuples, lists and dicts, one after another."""
    for value in values:
        if isinstance(value, dict):
            yield from flat(*value.values())
        elif isinstance(value, tuple | list):
            yield from flat(*value)
        else:
            yield value
