"""What a training step reads and writes beside parameters, buffers, optimizer and global generators.

Counters, generators of the user's own, tensors that are no buffers: whatever hangs on the model and on the losses by
attributes, containers, closures, defaults and the globals that they name. A loop without a session runs each step
once; where a session runs one again it puts all this back.
"""

import argparse
import dis
import io
import math
import random
import sys
import sysconfig
import types
from collections import UserDict, UserList, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ray_glocal.hypergradient.state.holders import (
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
from ray_glocal.hypergradient.state.layout import FULL

Generator = torch.Generator | np.random.Generator | np.random.BitGenerator | np.random.RandomState | random.Random

MOST = 20_000  # objects that are looked at
# Whose objects hold nothing that a step depends on, or much that is none of its business.
FOREIGN = frozenset(sys.stdlib_module_names - {"__main__"}) | {"torch", "numpy", "ray", "ray_glocal", "tqdm", "wandb"}
INSTALLED = tuple(sysconfig.get_paths()[place] for place in ("purelib", "platlib"))
WIDTH = 2**12  # entries that have weights of their own when a tensor is told from others
GOLDEN = (math.sqrt(5) - 1) / 2
LAST = 8  # numbers of a list that are looked at, from its end: most are histories
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
    """A tensor, an array or a number in a container.

    Args:
        name: How it is spoken of.
        holder: The container.
        key: Where in it.
        value: Itself.
    """

    name: str
    holder: Holder
    key: Any
    value: Any

    @property
    def tensor(self) -> Tensor:
        """It as a tensor; an array's shares its memory."""
        if isinstance(self.value, np.ndarray):
            return torch.from_numpy(self.value)
        return self.value if isinstance(self.value, Tensor) else torch.tensor(self.value, dtype=torch.float64)

    @property
    def number(self) -> bool:
        """Whether it is one number."""
        return isinstance(self.value, float)

    @property
    def floats(self) -> bool:
        """Whether it could carry a derivative."""
        return self.number or self.tensor.is_floating_point()

    def put(self, tensor: Tensor) -> None:
        """Let another value stand in its place."""
        if isinstance(self.value, np.ndarray):
            self.value[...] = tensor.numpy()
        else:
            self.holder.put(self.key, tensor if isinstance(self.value, Tensor) else float(tensor))


@dataclass(frozen=True)
class Mark:
    """By what it is noticed that a tensor has changed: a number that tells it from others, or who wrote to it."""

    value: Any
    version: int
    told: float | None

    def differs(self, other: "Mark") -> bool:
        """Whether it holds something else."""
        if self.told is not None and other.told is not None:
            return self.told != other.told and not (math.isnan(self.told) and math.isnan(other.told))
        return self.value is not other.value or self.version != other.version


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
        self._written: list[np.ndarray[Any, Any]] = []  # large arrays likewise
        self._look()

    def _look(self) -> None:
        """Find all anew: a step may have put other containers into the places of those that were found."""
        self._holders: list[tuple[str, Holder]] = []
        self._generators: list[Generator] = []
        self._arrays: list[np.ndarray[Any, Any]] = []
        self.unrepeatable: list[str] = []  # names of iterators, which nobody can put back
        self._numbered: list[tuple[str, Holder]] = []  # those that are no module of torch's, whose numbers are options
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
        elif _unrepeatable(value):
            self.unrepeatable.append(name)
        else:
            holders, items = _opened(name, value)
            self._holders += holders
            self._numbered += [] if isinstance(value, nn.Module) and _root(type(value)) == "torch" else holders
            return items
        return []

    def capture(self) -> Captured:
        """How all stands now."""
        contents = tuple((holder, holder.content()) for _, holder in self._holders)
        states = tuple((generator, _state(generator)) for generator in self._generators)
        held = [item.value for item in self.items() if isinstance(item.value, Tensor)]
        small = [tensor for tensor in held if tensor.numel() <= SMALL]
        tensors = {id(tensor): tensor for tensor in (*small, *self._moving) if _whole(tensor)}.values()
        values: list[tuple[Any, Any]] = [(tensor, tensor.detach().clone()) for tensor in tensors]
        arrays = [*(array for array in self._arrays if array.size <= SMALL), *self._written]
        values += [(array, array.copy()) for array in arrays if array.flags.writeable]
        return Captured(contents, states, tuple(values))

    @property
    def moving(self) -> tuple[Tensor, ...]:
        """Tensors that were seen to be written to."""
        return tuple(self._moving)

    def marks(self) -> dict[str, tuple[Item, Mark]]:
        """Of every tensor, array and number that is not captured elsewhere, by name."""
        self._look()
        items = {item.name: item for item in self.items()}
        prints = _prints([item.tensor for item in items.values()])
        pairs = zip(items.items(), prints, strict=True)
        found = {n: (item, Mark(item.value, _version(item.tensor), told)) for (n, item), told in pairs}
        return found | {item.name: (item, Mark(item.value, 0, item.value)) for item in self._numbers()}

    def moved(self, before: Mapping[str, tuple[Item, Mark]]) -> list[Item]:
        """What is another, or holds something else, than when marks were taken; captured from now on."""
        now = self.marks()
        found = [item for name, (item, mark) in now.items() if name not in before or before[name][1].differs(mark)]
        known = {id(value) for value in (*self._moving, *self._written)}
        fresh = [item.value for item in found if id(item.value) not in known]
        there = {id(item.value) for item, _ in now.values()}
        self._moving = [tensor for tensor in self._moving if id(tensor) in there]  # others were replaced
        self._written = [array for array in self._written if id(array) in there]
        self._moving += [value for value in fresh if isinstance(value, Tensor)]
        self._written += [value for value in fresh if isinstance(value, np.ndarray) and value.size > SMALL]
        return found

    def items(self) -> Iterator[Item]:
        """Tensors that are not captured elsewhere, and arrays of numbers.

        None that a graph leads to, for a forward pass has just made it.
        """
        for name, holder in self._holders:
            for key, value in holder.entries():
                if isinstance(value, (Tensor, np.ndarray)) and id(value) not in self._apart and _writeable(value):
                    yield Item(_spoken(name, key), holder, key, value)

    def _numbers(self) -> Iterator[Item]:
        """Numbers that are no counts; of a list the last ones."""
        for name, holder in self._numbered:
            entries = holder.entries()
            for key, value in entries[-LAST:] if isinstance(holder, Listed) else entries:
                if isinstance(value, float):
                    yield Item(_spoken(name, key), holder, key, value)


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, complex, str, bytes, types.ModuleType))


def _writeable(value: Tensor | np.ndarray[Any, Any]) -> bool:
    """Whether a step may write to it: it is an array of numbers, or a tensor that no graph leads to."""
    if isinstance(value, Tensor):
        return value.grad_fn is None
    return value.dtype in (np.float32, np.float64) and value.flags.writeable


def _unrepeatable(value: Any) -> bool:
    """Whether it is an iterator that does not say where it stands; files, which are iterators, are written to."""
    if not isinstance(value, Iterator) or isinstance(value, io.IOBase):
        return False
    return not hasattr(value, "__dict__") or _root(type(value)) in FOREIGN


Found = tuple[list[tuple[str, Holder]], list[tuple[str, Any]]]  # containers, and what they lead to; by name


def _opened(name: str, value: Any) -> Found:
    """Containers that an object is or has, whose contents a step may change, and what they lead to."""
    for kinds, opened in OPENED:
        if isinstance(value, kinds):
            return opened(name, value)
    if isinstance(value, type):
        return ([], []) if _foreign(value) else _class(name, value)
    return ([], []) if _root(type(value)) in FOREIGN else _attributes(name, value)


def _foreign(kind: type) -> bool:
    """Whether a class is an installed package's, so that nobody counts in it."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None) or ""
    return _root(kind) in FOREIGN or file.startswith(INSTALLED)


def _sequence(name: str, value: Any) -> Found:
    items = [(f"{name}[{i}]", item) for i, item in enumerate(value)] if len(value) <= LARGEST else []
    if isinstance(value, set):
        return [(name, Members(value))], items
    if isinstance(value, tuple) and any(isinstance(item, Tensor) for _, item in items):
        return [(name, Fixed(value))], items
    return [(name, Listed(value))] if isinstance(value, (list, deque)) else [], items


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


def _class(name: str, kind: type) -> Found:
    """What a class of the user's own holds for all its objects, and what its functions refer to."""
    holder = Shared(kind)
    functions = [(name, each) for each in vars(kind).values() if isinstance(each, types.FunctionType)]
    return [(name, holder)], [*functions, *((f"{name}.{key}", item) for key, item in holder.entries())]


def _attributes(name: str, value: Any) -> Found:
    """Those of an object of the user's own, in slots or not."""
    holders: list[Holder] = [Slotted(value, slots)] if (slots := _slots(value)) else []
    holders += [Named(vars(value))] if hasattr(value, "__dict__") else []
    items = [(f"{name}.{key}", item) for holder in holders for key, item in holder.entries()]
    kinds = [(kind.__name__, kind) for kind in type(value).__mro__]
    return [(name, holder) for holder in holders], [*items, *kinds]


def _slots(value: Any) -> tuple[str, ...]:
    named = [vars(kind).get("__slots__", ()) for kind in type(value).__mro__]
    flat = [name for names in named for name in ((names,) if isinstance(names, str) else names)]
    return tuple(name for name in flat if not name.startswith("__"))


def _module(name: str, module: nn.Module) -> Found:
    """A module's tensors and attributes; of torch's own modules those that the user may have set, and hooks."""
    held = (module._modules, module._parameters, module._buffers)
    items: list[tuple[str, Any]] = [(_joined(name, key), item) for each in held for key, item in each.items()]
    holders: list[tuple[str, Holder]] = [(name, Named(each)) for each in held[1:] if each]
    own = _root(type(module)) != "torch"
    for key, value in vars(module).items():
        if key.endswith("hooks") and isinstance(value, dict):
            items += [(f"{name}'s hook", hook) for hook in value.values()]
        elif key not in MODULES_OWN and (own or not isinstance(value, tuple)):
            items.append((_joined(name, key), value))
    items += [(kind.__name__, kind) for kind in type(module).__mro__]
    return [*holders, (name, Named(vars(module)))], items


OPENED: tuple[tuple[Any, Callable[[str, Any], Found]], ...] = (
    (nn.Module, _module),
    ((list, deque, tuple, set, frozenset), _sequence),
    (dict, _mapping),
    ((types.SimpleNamespace, argparse.Namespace, UserDict, UserList), _attributes),
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


def _prints(tensors: Sequence[Tensor]) -> list[float | None]:
    """A number for each tensor of numbers that tells it from others, as far as looking at them takes little."""
    room = FULL
    found: list[float | None] = []
    for tensor in tensors:
        room -= tensor.numel()
        looked = room > 0 and _whole(tensor) and (tensor.is_floating_point() or tensor.is_complex())
        found.append(_print(tensor.detach()) if looked else None)
    return found


def _print(tensor: Tensor) -> float:
    """A sum of all entries, each with a weight of its own: of unit vectors all lengths are one."""
    real = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    flat = (real if real.dtype is torch.float64 else real.float()).reshape(-1)
    if flat.numel() <= WIDTH:
        return float(flat @ _weights(flat.numel(), flat.dtype, flat.device))
    rows = flat.numel() // WIDTH
    sums = flat[: rows * WIDTH].view(rows, WIDTH) @ _weights(WIDTH, flat.dtype, flat.device)
    return float(sums @ _weights(rows, flat.dtype, flat.device)) + _print(flat[rows * WIDTH :])


@lru_cache(maxsize=256)
def _weights(count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers around one that follow no pattern."""
    return (0.5 + (torch.arange(1, count + 1, dtype=torch.float64) * GOLDEN).frac()).to(device, dtype)


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
            fixed = isinstance(value, (type, types.ModuleType, types.FunctionType))
            yield variable, value if fixed else Global(function.__globals__, variable)


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
