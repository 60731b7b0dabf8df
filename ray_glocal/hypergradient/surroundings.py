"""What a training step reads and writes beside parameters, buffers, optimizer and global generators.

Counters, generators of the user's own, tensors that are no buffers: whatever hangs on the model and on the losses by
attributes, containers, closures, defaults and the globals that they name. A loop without a session runs each step
once; where a session runs one again it puts all this back.
"""

import math
import random
import sys
import types
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ray_glocal.hypergradient.layout import FULL

Holder = Any  # a list, a deque, a dict, or a closure's cell
Generator = torch.Generator | np.random.Generator | np.random.RandomState | random.Random

LARGEST = 1024  # entries beyond which a container is data, of which only the length is kept
MOST = 20_000  # objects that are looked at
# Whose objects hold nothing that a step depends on, or much that is none of its business.
FOREIGN = frozenset(sys.stdlib_module_names - {"__main__"}) | {"torch", "numpy", "ray", "ray_glocal", "tqdm", "wandb"}
ITERATORS: tuple[type, ...] = (
    types.GeneratorType,
    map,
    filter,
    zip,
    enumerate,
    reversed,
    type(iter([])),
    type(iter(())),
    type(iter({})),
)
MODULES_OWN = frozenset(vars(nn.Module()))  # what every module has


@dataclass(frozen=True)
class Captured:
    """How surroundings stood.

    Args:
        contents: Containers, with what each held.
        states: Generators, with the state of each.
        values: Tensors that are known to move, with a copy of each.
    """

    contents: tuple[tuple[Holder, Any], ...]
    states: tuple[tuple[Generator, Any], ...]
    values: tuple[tuple[Tensor, Tensor], ...]

    @torch.no_grad()
    def restore(self) -> None:
        """Put all back to it."""
        for holder, content in self.contents:
            _refill(holder, content)
        for generator, state in self.states:
            _set_state(generator, state)
        for tensor, value in self.values:
            tensor.copy_(value)


@dataclass(frozen=True)
class GlobalName:
    """A global that a function names and that holds no container."""

    namespace: dict[str, Any]
    name: str


@dataclass(frozen=True)
class Item:
    """A tensor in a container.

    Args:
        name: How it is spoken of.
        holder: The container.
        key: Where in it.
        tensor: Itself.
    """

    name: str
    holder: Holder
    key: Any
    tensor: Tensor

    def put(self, tensor: Tensor) -> None:
        """Let another one stand in its place."""
        if isinstance(self.holder, types.CellType):
            self.holder.cell_contents = tensor
        else:
            self.holder[self.key] = tensor


@dataclass(frozen=True)
class Mark:
    """By what it is noticed that a tensor has changed: its length, or, where it is too large, who wrote to it."""

    tensor: Tensor
    version: int
    length: float | None

    def differs(self, other: "Mark") -> bool:
        """Whether it holds something else."""
        if self.length is not None and other.length is not None:
            return self.length != other.length and not (math.isnan(self.length) and math.isnan(other.length))
        return self.tensor is not other.tensor or self.version != other.version


class Surroundings:
    """Finds what hangs on some roots, and can put it back.

    Args:
        roots: Objects by the names under which they are spoken of.
        apart: Tensors that are captured elsewhere.
    """

    def __init__(self, roots: Mapping[str, Any], apart: Sequence[Tensor]) -> None:
        self._apart = {id(tensor) for tensor in apart}
        self._holders: list[tuple[str, Holder]] = []
        self._generators: list[Generator] = []
        self._moving: list[Tensor] = []  # tensors that were seen to be written to
        self.unrepeatable: list[str] = []  # names of iterators, which nobody can put back
        self._seen: dict[int, Any] = {}  # objects are kept alive, or their ids would name others
        ahead = deque(roots.items())
        while ahead and len(self._seen) < MOST:
            name, value = ahead.popleft()
            if id(value) not in self._seen and not _plain(value):
                self._seen[id(value)] = value
                ahead.extend(self._looked_at(name, value))

    def _looked_at(self, name: str, value: Any) -> list[tuple[str, Any]]:
        """Note an object; what it leads to."""
        if isinstance(value, Tensor):
            return [(f"{name}'s hook", hook) for hook in (value._backward_hooks or {}).values()]
        if isinstance(value, Generator):
            self._generators.append(value)
        elif isinstance(value, ITERATORS):
            self.unrepeatable.append(name)
        else:
            holders, items = _opened(name, value)
            self._holders += holders
            return items
        return []

    def capture(self) -> Captured:
        """How all stands now."""
        contents = tuple((holder, _content(holder)) for _, holder in self._holders)
        states = tuple((generator, _state(generator)) for generator in self._generators)
        return Captured(contents, states, tuple((tensor, tensor.detach().clone()) for tensor in self._moving))

    @property
    def moving(self) -> tuple[Tensor, ...]:
        """Tensors that were seen to be written to."""
        return tuple(self._moving)

    def marks(self) -> dict[str, tuple[Item, Mark]]:
        """Of every tensor that is not captured elsewhere, by name."""
        items = {item.name: item for item in self.items()}
        lengths = _lengths([item.tensor for item in items.values()])
        pairs = zip(items.items(), lengths, strict=True)
        return {n: (item, Mark(item.tensor, item.tensor._version, length)) for (n, item), length in pairs}

    def moved(self, before: Mapping[str, tuple[Item, Mark]]) -> list[Item]:
        """Tensors that are others, or hold something else, than when marks were taken; captured from now on."""
        now = self.marks()
        found = [item for name, (item, mark) in now.items() if name not in before or before[name][1].differs(mark)]
        known = {id(tensor) for tensor in self._moving}
        self._moving += [item.tensor for item in found if id(item.tensor) not in known]
        return found

    def items(self) -> Iterator[Item]:
        """Tensors that are not captured elsewhere; none that a graph leads to, for a forward pass has just made it."""
        for name, holder in self._holders:
            for key, value in _entries(holder):
                if isinstance(value, Tensor) and id(value) not in self._apart and value.grad_fn is None:
                    yield Item(_spoken(name, holder, key), holder, key, value)


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, complex, str, bytes, type, types.ModuleType))


def _opened(name: str, value: Any) -> tuple[list[tuple[str, Holder]], list[tuple[str, Any]]]:
    """Containers that an object is or has, whose contents a step may change, and what they lead to; by name."""
    if isinstance(value, nn.Module):
        return _module(name, value)
    if isinstance(value, (list, deque, tuple, set, frozenset)):
        items = [(f"{name}[{i}]", item) for i, item in enumerate(value)] if len(value) <= LARGEST else []
        return [(name, value)] if isinstance(value, (list, deque)) else [], items
    if isinstance(value, dict):
        return [(name, value)], [(f"{name}[{k!r}]", v) for k, v in value.items()] if len(value) <= LARGEST else []
    if isinstance(value, types.CellType):
        return [(name, value)], _cell_items(name, value)
    if isinstance(value, GlobalName):
        return [(name, value)], []
    if isinstance(value, types.FunctionType):
        return [], list(_reached(name, value))
    if isinstance(value, types.MethodType):
        return [], [(name, value.__func__), (name, value.__self__)]
    if isinstance(value, partial):
        return [], [(name, value.func), (f"{name}.args", value.args), (f"{name}.keywords", value.keywords)]
    if _root(type(value)) in FOREIGN or not hasattr(value, "__dict__"):
        return [], []
    return [(name, vars(value))], [(f"{name}.{key}", item) for key, item in vars(value).items()]


def _module(name: str, module: nn.Module) -> tuple[list[tuple[str, Holder]], list[tuple[str, Any]]]:
    """A module's tensors and attributes; those of torch's own modules are their configuration, hooks apart."""
    held = (module._modules, module._parameters, module._buffers)
    items = [(_joined(name, key), item) for each in held for key, item in each.items()]
    holders: list[tuple[str, Holder]] = [(name, each) for each in held[1:] if each]
    own = _root(type(module)) != "torch"
    for key, value in vars(module).items():
        if key.endswith("hooks") and isinstance(value, dict):
            items += [(f"{name}'s hook", hook) for hook in value.values()]
        elif own and key not in MODULES_OWN:
            items.append((_joined(name, key), value))
    return [*holders, (name, vars(module))] if own else holders, items


def _joined(name: str, key: str) -> str:
    """Names as a model's own state knows them."""
    return key if name == "model" else f"{name}.{key}"


def _root(kind: type) -> str:
    """The package that a class comes from."""
    return kind.__module__.split(".")[0]


def _entries(holder: Holder) -> list[tuple[Any, Any]]:
    if isinstance(holder, types.CellType):
        return [(None, value) for _, value in _cell_items("", holder)]
    if isinstance(holder, GlobalName):
        return []
    if len(holder) > LARGEST:
        return []
    return list(holder.items()) if isinstance(holder, dict) else list(enumerate(holder))


def _spoken(name: str, holder: Holder, key: Any) -> str:
    if isinstance(holder, types.CellType):
        return name
    return _joined(name, key) if isinstance(key, str) else f"{name}[{key!r}]"


def _lengths(tensors: Sequence[Tensor]) -> list[float | None]:
    """Norms of tensors of numbers, as far as looking at them takes little."""
    room = FULL
    found: list[float | None] = []
    for tensor in tensors:
        room -= tensor.numel()
        looked = room > 0 and tensor.layout is torch.strided and (tensor.is_floating_point() or tensor.is_complex())
        found.append(torch.linalg.vector_norm(tensor.detach()).item() if looked else None)
    return found


def _cell_items(name: str, cell: types.CellType) -> list[tuple[str, Any]]:
    try:
        return [(name, cell.cell_contents)]
    except ValueError:  # not filled yet
        return []


def _reached(name: str, function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function of the user's refers to: its closure, defaults, and globals by the names in its code."""
    if (function.__module__ or "").split(".")[0] in FOREIGN:
        return
    code = function.__code__
    for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        yield f"{name}'s {variable}", cell
    for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield f"{name}'s default", default
    for variable in _names(code):
        if variable in function.__globals__:
            value = function.__globals__[variable]
            scalar = _plain(value) and not isinstance(value, (type, types.ModuleType))
            yield variable, GlobalName(function.__globals__, variable) if scalar else value


def _names(code: types.CodeType) -> Iterator[str]:
    """Names that a function's code, and that of the functions in it, may look up."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _content(holder: Holder) -> Any:
    if isinstance(holder, types.CellType):
        try:
            return (holder.cell_contents,)
        except ValueError:
            return ()
    if isinstance(holder, GlobalName):
        return holder.namespace.get(holder.name)
    if isinstance(holder, dict):
        return dict(holder) if len(holder) <= LARGEST else len(holder)
    return list(holder) if len(holder) <= LARGEST else len(holder)


def _refill(holder: Holder, content: Any) -> None:
    """Let a container hold what it held, by identity; nothing is written where nothing was changed."""
    if isinstance(holder, types.CellType):
        if content and (not _content(holder) or holder.cell_contents is not content[0]):
            holder.cell_contents = content[0]
    elif isinstance(holder, GlobalName):
        if holder.namespace.get(holder.name) is not content:
            holder.namespace[holder.name] = content
    elif isinstance(content, int):
        while len(holder) > content:  # what was added is taken off again
            holder.popitem() if isinstance(holder, dict) else holder.pop()
    elif isinstance(holder, dict):
        if len(holder) != len(content) or any(holder.get(key, holder) is not value for key, value in content.items()):
            holder.clear()
            holder.update(content)
    elif len(holder) != len(content) or any(a is not b for a, b in zip(holder, content, strict=True)):
        holder.clear()
        holder.extend(content)


def _state(generator: Generator) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.get_state() if isinstance(generator, np.random.RandomState) else generator.getstate()


def _set_state(generator: Generator, state: Any) -> None:
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(state)
    else:
        generator.setstate(state)
