"""Tensors that a model keeps beside its parameters: tables that it computes once in eval mode, for example.

A table that was computed from parameters before a pass is a constant in that pass: its parameters would have no
gradient, and nothing would show it. What a model keeps is therefore as it was before every pass, and without the tables
that the model computes by itself when it runs. What it computes elsewhere (in `train` or `eval`) is found by changing
the parameters of a copy.
"""

import copy
import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradkern.models._kept_slots import (
    Slot,
    detach,
    flat,
    global_containers,
    global_slots,
    kept_slots,
    own_attributes,
)

_DEEPEST = 4  # containers within containers


class KeptTensors:
    """What a model keeps at one time, to be put back later.

    Parameters
    ----------
    model : whose modules are looked through
    functions : of `function_caches`, whose caches are emptied when the rest is put back
    """

    def __init__(self, model: nn.Module, functions: Sequence[Any] = ()):
        self._functions = functions
        self._before = [(container, copy.copy(container)) for container in _containers(model)]

    def put_back(self) -> None:
        """Undo changes of attributes, dicts and lists that have to do with tensors; empty the caches of functions."""
        for function in self._functions:
            function.cache_clear()
        for container, before in self._before:
            if isinstance(container, list):
                is_same = len(container) == len(before) and all(a is b for a, b in zip(container, before, strict=True))
                if not is_same and (_holds_tensor(container) or _holds_tensor(before)):
                    container[:] = before
                continue
            for key in [key for key in container if key not in before]:
                if _holds_tensor(container[key]):
                    del container[key]
            for key, value in before.items():
                now = container.get(key)
                if now is not value and (_holds_tensor(value) or _holds_tensor(now)):
                    container[key] = value


def without_tables(model: nn.Module, run: Callable[[], Any]) -> dict[str, tuple[str, ...]]:
    """Empty the tables that a model computes by itself when it runs.

    Returns the tables that stay -> names of the parameters that they were computed from. They are left without the
    graph that they were computed with.

    Parameters
    ----------
    model : in eval mode
    run : a forward pass of one image without gradient
    """
    slots = [*kept_slots(model), *global_slots(model)]
    stays = {group for group in {slot.group for slot in slots} if not _is_filled_again(_of(slots, group), run)}
    left = [slot for slot in slots if slot.group in stays]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    made_of = {str(slot): tuple(sources) for slot in left if (sources := _sources(slot, names))}
    for slot in left:
        detach(slot)
    return made_of


def function_caches(model: nn.Module) -> list[Any]:
    """Functions beside the model's classes that keep what they return (`functools.lru_cache`)."""
    modules = {base.__module__ for module in model.modules() for base in type(module).__mro__}
    found = []
    for name in modules:
        if name.partition(".")[0] not in ("torch", "builtins", "gradkern") and name in sys.modules:
            values = list(vars(sys.modules[name]).values())
            values += [member for kind in values if isinstance(kind, type) for member in vars(kind).values()]
            found += [v for v in values if isinstance(v, functools._lru_cache_wrapper) and v.__module__ == name]
    return found


def _of(slots: list[Slot], group: tuple[type, str]) -> list[Slot]:
    return [slot for slot in slots if slot.group == group]


def _is_filled_again(slots: list[Slot], run: Callable[[], Any]) -> bool:
    """Whether the model, without what it keeps in these slots, computes it again; else it is put back."""
    modules = nn.ModuleList(slot.module for slot in slots)
    for empty in (_set_none, _remove):
        before = KeptTensors(modules)
        for slot in slots:
            empty(slot)
        emptied = KeptTensors(modules)
        try:
            run()
            is_filled = all(any(isinstance(t, Tensor) for t in flat(getattr(s.holder, s.name, None))) for s in slots)
        except Exception:  # whatever a model raises that misses what it needs
            is_filled = False
        if is_filled:
            emptied.put_back()
            return True
        before.put_back()
    return False


def _set_none(slot: Slot) -> None:
    value = slot.value
    if isinstance(value, dict | list):
        value.clear()
    else:
        setattr(slot.holder, slot.name, None)


def _remove(slot: Slot) -> None:
    delattr(slot.holder, slot.name)


def _sources(slot: Slot, names: Mapping[int, str]) -> list[str]:
    """Names of the parameters that a table was computed from, as far as its graph or a change of mode tells."""
    graphs = [t.grad_fn for t in flat(slot.value) if isinstance(t, Tensor) and t.grad_fn is not None]
    if graphs:
        return sorted({names[id(parameter)] for parameter in _parameters_behind(graphs) if id(parameter) in names})
    parameters = dict(slot.module.named_parameters())
    if not any(_has_own_modes(module) for module in slot.module.modules()) or not _depends(slot, list(parameters)):
        return []
    return [names[id(p)] for name, p in parameters.items() if id(p) in names and _depends(slot, [name])]


def _has_own_modes(module: nn.Module) -> bool:
    kind = type(module)
    return kind.train is not nn.Module.train or kind.eval is not nn.Module.eval


def _parameters_behind(graphs: list[Any]) -> list[Tensor]:
    seen, found = set(graphs), []
    while graphs:
        node = graphs.pop()
        if hasattr(node, "variable"):
            found.append(node.variable)
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                graphs.append(following)
    return found


@torch.no_grad()
def _depends(slot: Slot, names: Sequence[str]) -> bool:
    """Whether a change of mode after a change of these parameters changes what is kept."""
    try:
        module = copy.deepcopy(slot.module)
        for name in names:
            parameter = module.get_parameter(name)
            if parameter.is_floating_point():
                parameter.add_(1)
        module.train()
        module.eval()
        now = [t for t in flat(getattr(module, slot.name, None)) if isinstance(t, Tensor)]
    except Exception:  # a module that cannot be copied or set to another mode keeps what it has
        return False
    before = [t for t in flat(slot.value) if isinstance(t, Tensor)]
    return len(now) == len(before) and any(
        a.shape == b.shape and not torch.equal(a, b) for a, b in zip(now, before, strict=True)
    )


def _containers(model: nn.Module) -> Iterator[Any]:
    """Dicts and lists that a model's modules keep things in."""
    seen: set[int] = set()

    def inside(value: Any, depth: int) -> Iterator[Any]:
        if depth > _DEEPEST or id(value) in seen or isinstance(value, nn.Module | Tensor | type):
            return
        seen.add(id(value))
        if type(value) in (dict, list):
            yield value
        if isinstance(value, Mapping | list | tuple):
            for item in value.values() if isinstance(value, Mapping) else value:
                yield from inside(item, depth + 1)
        elif hasattr(value, "__dict__") and not callable(value):
            yield vars(value)
            for item in vars(value).values():
                yield from inside(item, depth + 1)

    for kind in {type(module) for module in model.modules()}:
        for namespace, name in global_containers(kind):
            yield from inside(getattr(namespace, name), 1)
    for module in model.modules():
        yield vars(module)
        buffers = vars(module).get("_buffers")
        if isinstance(buffers, dict):  # of a scripted module, they are no dict
            yield buffers
        for value in own_attributes(module).values():
            yield from inside(value, 1)


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_tensor(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_holds_tensor(item) for item in value)
    return isinstance(value, Tensor)
