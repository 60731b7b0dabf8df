"""Parameters that share an update: where a rule is elementwise, they are updated as one flat tensor."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from ray_glocal.hypergradient.problem.problem import Problem
from ray_glocal.hypergradient.rules import Slots
from ray_glocal.hypergradient.state.layout import Layout, portions
from ray_glocal.hypergradient.state.snapshot import Snapshot


@dataclass(frozen=True)
class Bucket:
    """Parameters of one group, age, precision and kind of buffers, by their places.

    Args:
        places: Indices into the problem's parameters.
        layout: How they lie side by side; None for a rule that is not elementwise, and takes each in its shape.
    """

    places: tuple[int, ...]
    layout: Layout | None

    def flat(self, tensors: Sequence[Tensor]) -> Tensor:
        """Tensors [*lead, *shape], one for each place, as one [*lead, entries]; copied where they lie apart."""
        return tensors[0] if self.layout is None else self.layout.whole(tensors)

    def held(self, slots: Sequence[Slots], name: str) -> Tensor:
        """Buffers of one name, flat."""
        return self.flat([slots[place][name] for place in self.places])

    def slots(self, slots: Sequence[Slots]) -> Slots:
        """All buffers, flat."""
        return {name: self.held(slots, name) for name in slots[self.places[0]]}

    def apart(self, flat: Tensor) -> list[Tensor]:
        """Inverse of `flat`, without a copy."""
        return [flat] if self.layout is None else self.layout.parts(flat)


def buckets(problem: Problem, snapshot: Snapshot, gradients: Sequence[Tensor | None]) -> Iterator[Bucket]:
    """All parameters that have a gradient."""
    state = snapshot.start
    if not problem.rule.elementwise:
        yield from (Bucket((place,), None) for place, gradient in enumerate(gradients) if gradient is not None)
        return
    ages = zip(problem.group_of, state.steps, state.slots, state.parameters, gradients, strict=True)
    kinds = [
        None if gradient is None else (group, age, tuple(slots), parameter.dtype, parameter.device)
        for group, age, slots, parameter, gradient in ages
    ]
    for places in portions(state.parameters, kinds):
        yield Bucket(tuple(places), Layout.of([state.parameters[place] for place in places]))
