"""What a training step reads and writes beside parameters, buffers, optimizer and global generators.

Counters, generators of the user's own, tensors that are no buffers: whatever hangs on the model and on the losses by
attributes, containers, closures, defaults and the globals that they name. A loop without a session runs each step
once; where a session runs one again it puts all this back.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ray_glocal.hypergradient._compat import gradient_hooks
from ray_glocal.hypergradient.state.generators import Generator, set_state, state_of
from ray_glocal.hypergradient.state.holders import Holder, Listed
from ray_glocal.hypergradient.state.marks import Mark, alike, fingerprints, version_of, whole
from ray_glocal.hypergradient.state.references import opened, package, plain, spoken, unrepeatable
from ray_glocal.hypergradient.tuning import LAST, MOST_OBJECTS, SMALL


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
            set_state(generator, state)
        for held, value in self.values:
            if isinstance(held, np.ndarray):
                held[...] = value
            elif not alike(held, value):  # a graph may hold it, and goes by who wrote to it
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
        while ahead and len(self._seen) < MOST_OBJECTS:
            name, value = ahead.popleft()
            if id(value) not in self._seen and not plain(value):
                self._seen[id(value)] = value
                ahead.extend(self._looked_at(name, value))

    def _looked_at(self, name: str, value: Any) -> list[tuple[str, Any]]:
        """Note an object; what it leads to."""
        if isinstance(value, Tensor):
            return [(f"{name}'s hook", hook) for hook in (gradient_hooks(value) or {}).values()]
        if isinstance(value, Generator):
            self._generators.append(value)
        elif isinstance(value, np.ndarray):
            self._arrays.append(value)
        elif unrepeatable(value):
            self.unrepeatable.append(name)
        else:
            holders, items = opened(name, value)
            self._holders += holders
            self._numbered += [] if isinstance(value, nn.Module) and package(type(value)) == "torch" else holders
            return items
        return []

    def capture(self) -> Captured:
        """How all stands now."""
        contents = tuple((holder, holder.content()) for _, holder in self._holders)
        states = tuple((generator, state_of(generator)) for generator in self._generators)
        held = [item.value for item in self.items() if isinstance(item.value, Tensor)]
        small = [tensor for tensor in held if tensor.numel() <= SMALL]
        tensors = {id(tensor): tensor for tensor in (*small, *self._moving) if whole(tensor)}.values()
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
        pairs = zip(items.items(), fingerprints([item.tensor for item in items.values()]), strict=True)
        found = {n: (item, Mark(item.value, version_of(item.tensor), fingerprint)) for (n, item), fingerprint in pairs}
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
                    yield Item(spoken(name, key), holder, key, value)

    def _numbers(self) -> Iterator[Item]:
        """Numbers that are no counts; of a list the last ones."""
        for name, holder in self._numbered:
            entries = holder.entries()
            for key, value in entries[-LAST:] if isinstance(holder, Listed) else entries:
                if isinstance(value, float):
                    yield Item(spoken(name, key), holder, key, value)


def _writeable(value: Tensor | np.ndarray[Any, Any]) -> bool:
    """Whether a step may write to it: it is an array of numbers, or a tensor that no graph leads to."""
    if isinstance(value, Tensor):
        return value.grad_fn is None
    return value.dtype in (np.float32, np.float64) and value.flags.writeable
