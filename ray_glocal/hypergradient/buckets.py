"""Parameters that share an update: where a rule is elementwise, they are updated as one flat tensor."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from ray_glocal.hypergradient.layout import Layout
from ray_glocal.hypergradient.problem import Problem
from ray_glocal.hypergradient.state import Snapshot

FULL = 2**26  # entries beyond which an update's temporaries would take more memory than calls take time


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

    def apart(self, flat: Tensor) -> list[Tensor]:
        """Inverse of `flat`, without a copy."""
        return [flat] if self.layout is None else self.layout.parts(flat)


def buckets(problem: Problem, snapshot: Snapshot, gradients: Sequence[Tensor | None]) -> Iterator[Bucket]:
    """All parameters that have a gradient."""
    state = snapshot.start
    together: dict[object, list[int]] = {}
    for place, (parameter, gradient) in enumerate(zip(state.parameters, gradients, strict=True)):
        if gradient is None:
            continue
        if not problem.rule.elementwise:
            yield Bucket((place,), None)
            continue
        kind = (
            problem.group_of[place],
            state.steps[place],
            tuple(state.slots[place]),
            parameter.dtype,
            parameter.device,
        )
        places = together.setdefault(kind, [])
        if places and sum(state.parameters[i].numel() for i in places) + parameter.numel() > FULL:
            yield _bucket(snapshot, places)
            places = together[kind] = []
        places.append(place)
    for places in together.values():
        yield _bucket(snapshot, places)


def _bucket(snapshot: Snapshot, places: Sequence[int]) -> Bucket:
    return Bucket(tuple(places), Layout.of([snapshot.start.parameters[place] for place in places]))
