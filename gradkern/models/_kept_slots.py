"""Where modules keep tensors that are neither parameters nor buffers of their state."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from torch import Tensor, nn

_OWN = frozenset(vars(nn.Module()))  # attributes of every module: parameters, buffers, modules, hooks


@dataclass(frozen=True)
class Slot:
    """An attribute, of a module or of an object that it has, with tensors: a tensor, or a dict or a list of them."""

    module: nn.Module
    path: str  # of the module
    name: str
    held: Any = None  # the object that has the attribute; None: the module itself

    @property
    def holder(self) -> Any:
        return self.module if self.held is None else self.held

    @property
    def value(self) -> Any:
        return getattr(self.holder, self.name)

    @property
    def group(self) -> tuple[type, str]:
        """What modules of one class keep under one name is emptied together."""
        return type(self.holder), self.name

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
            if _has_reals(value):
                slots.append(Slot(module, path, name))
            elif _is_plain_object(value):
                inner = vars(value).items()
                slots += [Slot(module, path, key, value) for key, item in inner if _has_reals(item)]
    return slots


def global_slots(model: nn.Module) -> list[Slot]:
    """Dicts and lists with floating-point tensors beside the model's classes, which their methods name."""
    owners = {type(module): (path, module) for path, module in model.named_modules()}
    found: dict[tuple[int, str], Slot] = {}
    for kind, (path, module) in owners.items():
        for namespace, name in global_containers(kind):
            if _has_reals(getattr(namespace, name)):
                found.setdefault((id(namespace), name), Slot(module, path, name, namespace))
    return list(found.values())


def global_containers(kind: type) -> tuple[tuple[Any, str], ...]:
    """Module and name of the dicts and lists that a class's methods name, of classes outside torch."""
    found = []
    for base in kind.__mro__:
        namespace = sys.modules.get(base.__module__)
        if namespace is None or base.__module__.partition(".")[0] in ("torch", "builtins", "gradkern"):
            continue
        named: set[str] = set()
        for member in vars(base).values():
            if isinstance(member, FunctionType):
                named.update(member.__code__.co_names)
        values = vars(namespace)
        found += [(namespace, name) for name in sorted(named & values.keys()) if type(values[name]) in (dict, list)]
    return tuple(found)


def _has_reals(value: Any) -> bool:
    return any(isinstance(tensor, Tensor) and tensor.is_floating_point() for tensor in flat(value))


def _is_plain_object(value: Any) -> bool:
    return hasattr(value, "__dict__") and not callable(value) and not isinstance(value, Tensor)


def detach(slot: Slot) -> None:
    """Leave out the graph that a tensor was computed with, which is not the graph of the passes to come."""
    value = slot.value
    if isinstance(value, dict):
        value.update({key: _detached(item) for key, item in value.items()})
    elif isinstance(value, list):
        value[:] = [_detached(item) for item in value]
    elif isinstance(value, Tensor) and value.requires_grad:
        setattr(slot.holder, slot.name, value.detach())


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
