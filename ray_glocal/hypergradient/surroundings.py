"""What a training step reads and writes beside parameters, buffers, optimizer and global generators.

Counters, generators of the user's own, tensors that are no buffers: whatever hangs on the model and on the losses by
attributes, containers, closures, defaults and the globals that they name. A loop without a session runs each step
once; where a session runs one again it puts all this back.
"""

import dis
import math
import random
import sys
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ray_glocal.hypergradient.holders import (
    LARGEST,
    Cell,
    Fixed,
    Global,
    Holder,
    Listed,
    Members,
    Named,
    Shared,
    Slotted,
)
from ray_glocal.hypergradient.layout import FULL

Generator = torch.Generator | np.random.Generator | np.random.BitGenerator | np.random.RandomState | random.Random

MOST = 20_000  # objects that are looked at
# Whose objects hold nothing that a step depends on, or much that is none of its business.
FOREIGN = frozenset(sys.stdlib_module_names - {"__main__"}) | {"torch", "numpy", "ray", "ray_glocal", "tqdm", "wandb"}
SMALL = 2**12  # entries up to which a tensor or an array is captured whether it was seen to move or not
LOOKS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL"})
MODULES_OWN = frozenset(vars(nn.Module()))  # what every module has


@dataclass(frozen=True)
class Captured:
    """How surroundings stood.

    Args:
        contents: Containers, with what each held.
        states: Generators, with the state of each.
        values: Tensors and arrays that are small or known to move, with a copy of each.
    """

    contents: tuple[tuple[Holder, Any], ...]
    states: tuple[tuple[Generator, Any], ...]
    values: tuple[tuple[Any, Any], ...]

    @torch.no_grad()
    def restore(self) -> None:
        """Put all back to it."""
        for holder, content in self.contents:
            holder.refill(content)
        for generator, state in self.states:
            _set_state(generator, state)
        for held, value in self.values:
            if isinstance(held, np.ndarray):
                held[...] = value
            elif not _alike(held, value):  # a graph may hold it, and goes by who wrote to it
                held.copy_(value)


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
        self.holder.put(self.key, tensor)


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
        self._roots = dict(roots)
        self._apart = {id(tensor) for tensor in apart}
        self._moving: list[Tensor] = []  # tensors that were seen to be written to
        self._look()

    def _look(self) -> None:
        """Find all anew: a step may have put other containers into the places of those that were found."""
        self._holders: list[tuple[str, Holder]] = []
        self._generators: list[Generator] = []
        self._arrays: list[np.ndarray[Any, Any]] = []
        self.unrepeatable: list[str] = []  # names of iterators, which nobody can put back
        self._seen: dict[int, Any] = {}  # objects are kept alive, or their ids would name others
        ahead = deque(self._roots.items())
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
        elif isinstance(value, np.ndarray):
            self._arrays.append(value)
        elif isinstance(value, Iterator) and not hasattr(value, "__dict__"):
            self.unrepeatable.append(name)
        else:
            holders, items = _opened(name, value)
            self._holders += holders
            return items
        return []

    def capture(self) -> Captured:
        """How all stands now."""
        contents = tuple((holder, holder.content()) for _, holder in self._holders)
        states = tuple((generator, _state(generator)) for generator in self._generators)
        small = [item.tensor for item in self.items() if item.tensor.numel() <= SMALL]
        tensors = {id(tensor): tensor for tensor in (*small, *self._moving) if _whole(tensor)}.values()
        values: list[tuple[Any, Any]] = [(tensor, tensor.detach().clone()) for tensor in tensors]
        values += [(array, array.copy()) for array in self._arrays if array.size <= SMALL and array.flags.writeable]
        return Captured(contents, states, tuple(values))

    @property
    def moving(self) -> tuple[Tensor, ...]:
        """Tensors that were seen to be written to."""
        return tuple(self._moving)

    def marks(self) -> dict[str, tuple[Item, Mark]]:
        """Of every tensor that is not captured elsewhere and that is found now, by name."""
        self._look()
        items = {item.name: item for item in self.items()}
        lengths = _lengths([item.tensor for item in items.values()])
        pairs = zip(items.items(), lengths, strict=True)
        return {n: (item, Mark(item.tensor, _version(item.tensor), length)) for (n, item), length in pairs}

    def moved(self, before: Mapping[str, tuple[Item, Mark]]) -> list[Item]:
        """Tensors that are others, or hold something else, than when marks were taken; captured from now on."""
        now = self.marks()
        found = [item for name, (item, mark) in now.items() if name not in before or before[name][1].differs(mark)]
        known = {id(tensor) for tensor in self._moving}
        there = {id(item.tensor) for item, _ in now.values()}
        self._moving = [tensor for tensor in self._moving if id(tensor) in there]  # others were replaced
        self._moving += [item.tensor for item in found if id(item.tensor) not in known]
        return found

    def items(self) -> Iterator[Item]:
        """Tensors that are not captured elsewhere; none that a graph leads to, for a forward pass has just made it."""
        for name, holder in self._holders:
            for key, value in holder.entries():
                if isinstance(value, Tensor) and id(value) not in self._apart and value.grad_fn is None:
                    yield Item(_spoken(name, key), holder, key, value)


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, complex, str, bytes, types.ModuleType))


Found = tuple[list[tuple[str, Holder]], list[tuple[str, Any]]]  # containers, and what they lead to; by name


def _opened(name: str, value: Any) -> Found:
    """Containers that an object is or has, whose contents a step may change, and what they lead to."""
    for kinds, opened in OPENED:
        if isinstance(value, kinds):
            return opened(name, value)
    return ([], []) if _root(type(value)) in FOREIGN else _attributes(name, value)


def _sequence(name: str, value: Any) -> Found:
    items = [(f"{name}[{i}]", item) for i, item in enumerate(value)] if len(value) <= LARGEST else []
    if isinstance(value, tuple) and not any(isinstance(item, Tensor) for _, item in items):
        return [], items
    return [(name, _holder(value))] if isinstance(value, KINDS) else [], items


def _mapping(name: str, value: dict[Any, Any]) -> Found:
    holder = Named(value)
    return [(name, holder)], [(f"{name}[{key!r}]", item) for key, item in holder.entries()]


def _closed_over(name: str, value: types.CellType) -> Found:
    holder = Cell(value)
    return [(name, holder)], [(name, item) for _, item in holder.entries()]


def _function(name: str, value: types.FunctionType) -> Found:
    return [(name, Named(vars(value)))] if vars(value) else [], list(_reached(name, value))


def _method(name: str, value: types.MethodType) -> Found:
    return [], [(name, value.__func__), (name, value.__self__)]


def _partial(name: str, value: partial[Any]) -> Found:
    return [], [(name, value.func), (f"{name}.args", value.args), (f"{name}.keywords", value.keywords)]


def _named(name: str, value: Global) -> Found:
    return [(name, value)], [(name, item) for _, item in value.entries()]


def _attributes(name: str, value: Any) -> Found:
    """Those of an object of the user's own, in slots or not."""
    holders: list[Holder] = [Slotted(value, slots)] if (slots := _slots(value)) else []
    holders += [Named(vars(value))] if hasattr(value, "__dict__") else []
    items = [(f"{name}.{key}", item) for holder in holders for key, item in holder.entries()]
    return [(name, holder) for holder in holders], [*items, (type(value).__name__, type(value))]


def _class(name: str, value: type) -> Found:
    """Data that the instances of a class of the user's own share."""
    if _root(value) in FOREIGN:
        return [], []
    holder = Shared(value)
    items = [(f"{name}.{key}", item) for key, item in holder.entries()]
    return [(name, holder)], [*items, *((base.__name__, base) for base in value.__bases__)]


def _slots(value: Any) -> tuple[str, ...]:
    named = [vars(kind).get("__slots__", ()) for kind in type(value).__mro__]
    flat = [name for names in named for name in ((names,) if isinstance(names, str) else names)]
    return tuple(name for name in flat if not name.startswith("__"))


def _module(name: str, module: nn.Module) -> Found:
    """A module's tensors and attributes; those of torch's own modules lead nowhere, hooks apart."""
    held = (module._modules, module._parameters, module._buffers)
    items: list[tuple[str, Any]] = [(_joined(name, key), item) for each in held for key, item in each.items()]
    holders: list[tuple[str, Holder]] = [(name, Named(each)) for each in held[1:] if each]
    own = _root(type(module)) != "torch"
    for key, value in vars(module).items():
        if key.endswith("hooks") and isinstance(value, dict):
            items += [(f"{name}'s hook", hook) for hook in value.values()]
        elif own and key not in MODULES_OWN:
            items.append((_joined(name, key), value))
    items += [(type(module).__name__, type(module))] if own else []
    return [*holders, (name, Named(vars(module)))], items


INNER: Mapping[type, Callable[[Any], Holder]] = {
    list: Listed,
    deque: Listed,
    tuple: Fixed,
    set: Members,
    dict: Named,
}
KINDS = tuple(INNER)


def _holder(value: Any) -> Holder:
    """Of a container, which may be of a subclass."""
    return next(made(value) for kind, made in INNER.items() if isinstance(value, kind))


OPENED: tuple[tuple[Any, Callable[[str, Any], Found]], ...] = (
    (type, _class),
    (nn.Module, _module),
    ((list, deque, tuple, set, frozenset), _sequence),
    (dict, _mapping),
    (types.CellType, _closed_over),
    (Global, _named),
    (types.FunctionType, _function),
    (types.MethodType, _method),
    (partial, _partial),
)


def _joined(name: str, key: str) -> str:
    """Names as a model's own state knows them."""
    return key if name == "model" else f"{name}.{key}"


def _spoken(name: str, key: Any) -> str:
    if key is None:
        return name
    return _joined(name, key) if isinstance(key, str) else f"{name}[{key!r}]"


def _root(kind: type) -> str:
    """The package that a class comes from."""
    return kind.__module__.split(".")[0]


def _whole(tensor: Tensor) -> bool:
    """Whether a tensor is one that can be compared and written to entry by entry."""
    return tensor.layout is torch.strided and not tensor.is_nested and not tensor.is_inference()


def _version(tensor: Tensor) -> int:
    """How often it was written to; inference tensors do not count that."""
    return 0 if tensor.is_inference() else tensor._version


def _alike(held: Tensor, value: Tensor) -> bool:
    """Whether two tensors of one shape hold the same, NaN for NaN."""
    return torch.equal(held, value) or bool(((held == value) | (held.isnan() & value.isnan())).all())


def _lengths(tensors: Sequence[Tensor]) -> list[float | None]:
    """Norms of tensors of numbers, as far as looking at them takes little."""
    room = FULL
    found: list[float | None] = []
    for tensor in tensors:
        room -= tensor.numel()
        looked = room > 0 and _whole(tensor) and (tensor.is_floating_point() or tensor.is_complex())
        found.append(torch.linalg.vector_norm(tensor.detach()).item() if looked else None)
    return found


def _reached(name: str, function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function of the user's refers to: its closure, defaults, and globals by the names in its code."""
    if (function.__module__ or "").split(".")[0] in FOREIGN:
        return
    code = function.__code__
    for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        yield f"{name}'s {variable}", cell
    if function.__defaults__:
        yield f"{name}'s default", function.__defaults__
    if function.__kwdefaults__:
        yield f"{name}'s default", function.__kwdefaults__
    for variable in _names(code):
        if variable in function.__globals__:
            value = function.__globals__[variable]
            if isinstance(value, type):
                yield variable, value
            elif not isinstance(value, types.ModuleType):
                yield variable, Global(function.__globals__, variable)


def _names(code: types.CodeType) -> Iterator[str]:
    """Globals that a function's code, and that of the functions in it, may look up or set."""
    yield from (told.argval for told in dis.get_instructions(code) if told.opname in LOOKS)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _state(generator: Generator) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    if isinstance(generator, np.random.BitGenerator):
        return generator.state
    return generator.get_state() if isinstance(generator, np.random.RandomState) else generator.getstate()


def _set_state(generator: Generator, state: Any) -> None:
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif isinstance(generator, np.random.BitGenerator):
        generator.state = state
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(state)
    else:
        generator.setstate(state)
