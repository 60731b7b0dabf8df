"""Whether a step can be run a second time, as the probe and hypergradients of losses do; said where it cannot."""

from ray_glocal.hypergradient import Problem
from ray_glocal.hypergradient.problem.trained import listed
from ray_glocal.session.notices import Notices

SAME = 1e-5  # relative distance of two losses that are one, rounded differently


def repeatable(problem: Problem, notices: Notices) -> bool:
    """Whether what losses and model hold can be put back; said once where not.

    Args:
        problem: Whose surroundings are asked.
        notices: Where to say it.
    """
    held = problem.surroundings.unrepeatable
    if held:
        text = (
            f"{listed(held)} is an iterator that a loss or the model holds, and what it has given cannot be put "
            "back: the learning rate is searched for from its start value, and what the training loss reads stays "
            "as it is. Hold a list, or a generator that is made anew."
        )
        notices.say("iterator", text)
    return not held


def say_differing(first: float, again: float, notices: Notices) -> None:
    """Say that the losses of one step, run twice, differ, if they do.

    Args:
        first: Loss of the first run.
        again: Of the second.
        notices: Where to say it.
    """
    if abs(again - first) > SAME * abs(first):
        text = (
            f"Two runs of the first step differ: a loss of {again:.6g} and one of {first:.6g}. The "
            "loss draws on something that cannot be put back, and each hypergradient moves that on."
        )
        notices.say("repeated", text)
