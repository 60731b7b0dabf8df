"""Windows in which parameters begin to train: their earlier steps are those of parameters that had no gradient yet."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from ray_glocal.hypergradient.problem.problem import Problem
from ray_glocal.hypergradient.state.snapshot import InnerState, Slope, Snapshot


def joined(problem: Problem, snapshots: Sequence[Snapshot], before: Sequence[Tensor]) -> list[Snapshot]:
    """Steps that were recorded while only some of the present parameters trained, as steps of them all.

    Args:
        problem: The bilevel problem, with its present parameters.
        snapshots: Recorded steps.
        before: The parameters then; where one of them trains no longer the steps cannot be differentiated together.
    """
    known = {id(parameter): place for place, parameter in enumerate(before)}
    places = [known.get(id(parameter)) for parameter in problem.parameters]
    if [place for place in places if place is not None] != list(range(len(before))):
        trouble = "a parameter stopped training in the middle of it"
        return [replace(snapshot, trouble=snapshot.trouble or trouble) for snapshot in snapshots]
    every = enumerate(zip(problem.parameters, places, strict=True))
    frozen = {i: parameter.detach().clone() for i, (parameter, place) in every if place is None}
    return [_joined(problem, snapshot, places, frozen) for snapshot in snapshots]


def _joined(problem: Problem, snapshot: Snapshot, places: Sequence[int | None], frozen: dict[int, Tensor]) -> Snapshot:
    def among(gradients: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
        return tuple(None if place is None else gradients[place] for place in places)

    field, slope = snapshot.field, snapshot.slope
    return replace(
        snapshot,
        frozen=frozenset(frozen) | {i for i, place in enumerate(places) if place in snapshot.frozen},
        state=None if snapshot.state is None else _state(problem, snapshot, snapshot.state, places, frozen),
        slope=None if slope is None else Slope(among(slope.parameters), slope.hyper),
        field=field and replace(field, parameters=problem.parameters, gradients=among(field.gradients)),
    )


def _state(
    problem: Problem,
    snapshot: Snapshot,
    state: InnerState,
    places: Sequence[int | None],
    frozen: dict[int, Tensor],
) -> InnerState:
    """A state with the parameters that were frozen in it, as they are now, and no buffers of theirs."""
    parameters, slots, steps = [], [], []
    for i, place in enumerate(places):
        if place is None:
            held, step = problem.rule.read(frozen[i], {}, snapshot.options[problem.group_of[i]])
            parameters.append(frozen[i])
        else:
            held, step = state.slots[place], state.steps[place]
            parameters.append(state.parameters[place])
        slots.append(held)
        steps.append(step)
    return replace(state, parameters=tuple(parameters), slots=tuple(slots), steps=tuple(steps))
