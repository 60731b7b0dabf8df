"""Whether a step that is run a second time is the same step."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient._compat import is_compiled
from ray_glocal.hypergradient.problem.problem import Problem
from ray_glocal.hypergradient.state.snapshot import Snapshot
from ray_glocal.hypergradient.tuning import CLOSE, HALF_SLACK, SLACK


def difference(problem: Problem, first: Snapshot, again: Sequence[Tensor | None]) -> str:
    """The sentence that says that a step run a second time is another one; empty where it is the same."""
    assert first.slope is not None
    pairs = list(zip(problem.parameters, first.slope.parameters, again, strict=True))
    present = [p for p, a, b in pairs if (a is None) != (b is None)]
    if present:
        name = problem.name_of(present[0])
        return f"the loss depends on {name!r} in one of two runs of the same step only"
    both = [(p, a, b) for p, a, b in pairs if a is not None and b is not None]
    off = [(apart([b], [a]), p) for p, a, b in both]
    plain, second = [a for _, a, _ in both], [b for _, _, b in both]
    alike = problem.ranks.unanimous(same(second, plain) or apart(second, plain) < CLOSE)
    if alike:
        return ""
    worst, parameter = max(off, key=lambda each: each[0] if each[0] == each[0] else math.inf)
    return (
        f"two runs of one step differ: the gradient of {problem.name_of(parameter)!r} by {worst:.2g} of its "
        "length. The loss draws on something that cannot be put back, or a hook changes gradients after the "
        "backward pass"
    )


def check_compiled(problem: Problem, with_graph: Sequence[Tensor], without: Sequence[Tensor]) -> None:
    """Check that a compiled model computes the same eagerly, as windows run it.

    Raises:
        ArgumentError: Gradients of one step differ.
    """
    dtype = problem.parameters[0].dtype
    slack = HALF_SLACK if torch.is_autocast_enabled() else SLACK.get(dtype, HALF_SLACK)
    if is_compiled(problem.model) and (error := apart(with_graph, without)) > slack:
        remedy = (
            "Windows run it eagerly. With dropout set torch._inductor.config.fallback_random = True, so that both "
            "draw alike; else pass the model uncompiled."
        )
        got = f"a relative difference of {error:.2g}"
        raise ArgumentError("model", "compute the same compiled and eagerly", got, remedy)


def same(found: Sequence[Tensor], plain: Sequence[Tensor]) -> bool:
    """Whether two lists of tensors agree bit for bit, NaN with NaN."""
    return all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(found, plain, strict=True))


def apart(found: Sequence[Tensor], plain: Sequence[Tensor]) -> float:
    """Relative difference of two lists of tensors."""
    distance = sum(float((a - b).double().square().sum()) for a, b in zip(found, plain, strict=True))
    length = sum(float(b.double().square().sum()) for b in plain)
    return math.sqrt(distance / length) if length else math.sqrt(distance)
