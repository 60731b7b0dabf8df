"""Containers that a step may change: what they hold can be taken down, and put back."""

import types
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from ray_glocal.hypergradient.tuning import KEPT, MOST_ENTRIES

MISSING = object()  # of an attribute or a cell that was never filled


class Holder(Protocol):
    """One container."""

    def content(self) -> Any:
        """What it holds now, by identity."""
        ...

    def refill(self, content: Any) -> None:
        """Let it hold that again; nothing is written where nothing was changed."""
        ...

    def entries(self) -> list[tuple[Any, Any]]:
        """Its entries by their keys, unless they are data."""
        ...

    def put(self, key: Any, value: Any) -> None:
        """Set an entry."""
        ...


@dataclass(frozen=True)
class Listed:
    """A list or a deque."""

    items: list[Any] | deque[Any]

    def content(self) -> Any:
        """Its items; of many, their number."""
        return list(self.items) if len(self.items) <= KEPT else len(self.items)

    def refill(self, content: Any) -> None:
        """Take off what was added to many items; of few, each is put back."""
        if isinstance(content, int):
            while len(self.items) > content:
                self.items.pop()
        elif len(self.items) != len(content) or any(a is not b for a, b in zip(self.items, content, strict=True)):
            self.items.clear()
            self.items.extend(content)

    def entries(self) -> list[tuple[Any, Any]]:
        """Few items, by their places."""
        return list(enumerate(self.items)) if len(self.items) <= MOST_ENTRIES else []

    def put(self, key: Any, value: Any) -> None:
        """Set an item."""
        self.items[key] = value


@dataclass(frozen=True)
class Fixed:
    """A tuple: it holds the same for ever, but tensors in it can be written to."""

    items: tuple[Any, ...]

    def content(self) -> Any:
        """Nothing that could change."""
        return None

    def refill(self, content: Any) -> None:
        """Nothing to put back."""

    def entries(self) -> list[tuple[Any, Any]]:
        """Few items, by their places."""
        return list(enumerate(self.items)) if len(self.items) <= MOST_ENTRIES else []

    def put(self, key: Any, value: Any) -> None:
        """Write into an item."""
        self.items[key].copy_(value)


@dataclass(frozen=True)
class Named:
    """A dictionary, or the attributes of an object."""

    items: dict[Any, Any]

    def content(self) -> Any:
        """Its items; of many, their number."""
        return dict(self.items) if len(self.items) <= KEPT else len(self.items)

    def refill(self, content: Any) -> None:
        """Take off what was added to many items; of few, each is put back."""
        if isinstance(content, int):
            while len(self.items) > content:
                self.items.popitem()
        elif len(self.items) != len(content) or any(  # order counts
            a is not b or v is not w for (a, v), (b, w) in zip(self.items.items(), content.items(), strict=True)
        ):
            self.items.clear()
            self.items.update(content)

    def entries(self) -> list[tuple[Any, Any]]:
        """Few items."""
        return list(self.items.items()) if len(self.items) <= MOST_ENTRIES else []

    def put(self, key: Any, value: Any) -> None:
        """Set an item."""
        self.items[key] = value


@dataclass(frozen=True)
class Global:
    """A global that a function names."""

    namespace: dict[str, Any]
    name: str

    def content(self) -> Any:
        """What it is bound to."""
        return self.namespace.get(self.name, MISSING)

    def refill(self, content: Any) -> None:
        """Bind it again."""
        if content is not MISSING and self.content() is not content:
            self.namespace[self.name] = content

    def entries(self) -> list[tuple[Any, Any]]:
        """The one entry."""
        return [] if self.content() is MISSING else [(None, self.content())]

    def put(self, key: Any, value: Any) -> None:
        """Bind it."""
        self.namespace[self.name] = value


@dataclass(frozen=True)
class Cell:
    """A variable of a closure."""

    cell: types.CellType

    def content(self) -> Any:
        """What it holds."""
        try:
            return self.cell.cell_contents
        except ValueError:
            return MISSING

    def refill(self, content: Any) -> None:
        """Fill it again."""
        if content is not MISSING and self.content() is not content:
            self.cell.cell_contents = content

    def entries(self) -> list[tuple[Any, Any]]:
        """The one entry."""
        return [] if self.content() is MISSING else [(None, self.content())]

    def put(self, key: Any, value: Any) -> None:
        """Fill it."""
        self.cell.cell_contents = value


@dataclass(frozen=True)
class Slotted:
    """The attributes of an object that has slots."""

    owner: Any
    names: tuple[str, ...]

    def content(self) -> Any:
        """All that are filled."""
        return {name: value for name in self.names if (value := getattr(self.owner, name, MISSING)) is not MISSING}

    def refill(self, content: Any) -> None:
        """Fill them again."""
        for name in self.content().keys() - content.keys():
            delattr(self.owner, name)
        for name, value in content.items():
            if getattr(self.owner, name, MISSING) is not value:
                setattr(self.owner, name, value)

    def entries(self) -> list[tuple[Any, Any]]:
        """Those that are filled."""
        return list(self.content().items())

    def put(self, key: Any, value: Any) -> None:
        """Set one."""
        setattr(self.owner, key, value)


@dataclass(frozen=True)
class Members:
    """A set."""

    items: set[Any]

    def content(self) -> Any:
        """Its items; of many, their number."""
        return set(self.items) if len(self.items) <= KEPT else len(self.items)

    def refill(self, content: Any) -> None:
        """Let it hold them again; what was added to many items cannot be told from the rest."""
        if not isinstance(content, int) and self.items != content:
            self.items.clear()
            self.items.update(content)

    def entries(self) -> list[tuple[Any, Any]]:
        """None: its items have no keys."""
        return []

    def put(self, key: Any, value: Any) -> None:
        """Nothing is set in a set."""
        raise KeyError(key)


@dataclass(frozen=True)
class Shared:
    """Values that a class holds for all its objects, its methods and descriptors apart."""

    kind: type

    def content(self) -> Any:
        """All of them by name."""
        return {name: value for name, value in vars(self.kind).items() if _held(name, value)}

    def refill(self, content: Any) -> None:
        """Set them again."""
        now = self.content()
        for name in now.keys() - content.keys():
            delattr(self.kind, name)
        for name, value in content.items():
            if now.get(name, MISSING) is not value:
                setattr(self.kind, name, value)

    def entries(self) -> list[tuple[Any, Any]]:
        """All of them."""
        return list(self.content().items())

    def put(self, key: Any, value: Any) -> None:
        """Set one."""
        setattr(self.kind, key, value)


def _held(name: str, value: Any) -> bool:
    """Whether an attribute of a class is a value, not part of how it works."""
    return not name.startswith("__") and not hasattr(type(value), "__get__") and not isinstance(value, type)
