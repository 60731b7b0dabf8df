"""What an object of the user's leads to: containers that a step may change, and what closures and names refer to."""

import argparse
import dis
import io
import sys
import sysconfig
import types
from collections import UserDict, UserList, deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch import Tensor, nn

from ray_glocal.hypergradient._compat import HOOKS, held_buffers, held_modules, held_parameters
from ray_glocal.hypergradient.state.holders import (
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
from ray_glocal.hypergradient.tuning import MOST_ENTRIES

# Whose objects hold nothing that a step depends on, or much that is none of its business.
FOREIGN = frozenset(sys.stdlib_module_names - {"__main__"}) | {"torch", "numpy", "ray", "ray_glocal", "tqdm", "wandb"}
INSTALLED = tuple(sysconfig.get_paths()[place] for place in ("purelib", "platlib"))
LOOKS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL"})
MODULES_OWN = frozenset(vars(nn.Module()))  # what every module has


def unrepeatable(value: Any) -> bool:
    """Whether it is an iterator that does not say where it stands; files, which are iterators, are written to."""
    if not isinstance(value, Iterator) or isinstance(value, io.IOBase):
        return False
    return not hasattr(value, "__dict__") or package(type(value)) in FOREIGN


Found = tuple[list[tuple[str, Holder]], list[tuple[str, Any]]]  # containers, and what they lead to; by name


def opened(name: str, value: Any) -> Found:
    """Containers that an object is or has, whose contents a step may change, and what they lead to."""
    for kinds, opens in OPENED:
        if isinstance(value, kinds):
            return opens(name, value)
    if isinstance(value, type):
        return ([], []) if _foreign(value) else _class(name, value)
    return ([], []) if package(type(value)) in FOREIGN else _attributes(name, value)


def _foreign(kind: type) -> bool:
    """Whether a class is an installed package's, so that nobody counts in it."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None) or ""
    return package(kind) in FOREIGN or file.startswith(INSTALLED)


def _sequence(name: str, value: Any) -> Found:
    items = [(f"{name}[{i}]", item) for i, item in enumerate(value)] if len(value) <= MOST_ENTRIES else []
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
    held = (held_modules(module), held_parameters(module), held_buffers(module))
    items: list[tuple[str, Any]] = [(_joined(name, key), item) for each in held for key, item in each.items()]
    holders: list[tuple[str, Holder]] = [(name, Named(each)) for each in held[1:] if each]
    own = package(type(module)) != "torch"
    for key, value in vars(module).items():
        if key.endswith(HOOKS) and isinstance(value, dict):
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
    yield from (instruction.argval for instruction in dis.get_instructions(code) if instruction.opname in LOOKS)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _joined(name: str, key: str) -> str:
    """Names as a model's own state knows them."""
    return key if name == "model" else f"{name}.{key}"


def spoken(name: str, key: Any) -> str:
    """How an entry of a container is spoken of."""
    if key is None:
        return name
    return _joined(name, key) if isinstance(key, str) else f"{name}[{key!r}]"


def plain(value: Any) -> bool:
    """Whether it leads to nothing that a step may change."""
    return value is None or isinstance(value, (bool, int, float, complex, str, bytes, types.ModuleType))


def package(kind: type) -> str:
    """The package that a class comes from."""
    return kind.__module__.split(".")[0]
