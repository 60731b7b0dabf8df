"""A learning-rate schedule as plain factors, one for each inner step."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient.problem.problem import Problem

Factor = float | Sequence[float]  # for every parameter group, or one for each


def scheduled(problem: Problem, batches: Iterable[Any], factors: Sequence[Factor] | None) -> Iterator[Any]:
    """Yield the batches; ahead of each, the learning rates are set to its factor of the base rates.

    A group's base rate is its adapted one, else its `initial_lr`, else its `lr` when the first batch is asked for.

    Args:
        problem: The bilevel problem, its options written.
        batches: One for each inner step.
        factors: As many as batches; `None` leaves the rates alone.

    Raises:
        ArgumentError: There are fewer factors than batches, or not one for each parameter group.
    """
    if factors is None:
        yield from batches
        return
    bases = problem.base_rates()
    for step, batch in enumerate(batches):
        if step >= len(factors):
            raise ArgumentError("factors", "be as many as batches", len(factors), "Give one for each inner step.")
        problem.set_rates(bases, factors[step])
        yield batch
