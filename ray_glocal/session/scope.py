"""The scope of an adaptation: what is adapted, what is not, and how often, said as training begins and as it ends."""

import logging

from ray_glocal.errors import UnreadError
from ray_glocal.hypergradient import Problem
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Values
from ray_glocal.hypergradient.problem.trained import listed
from ray_glocal.options import DECAY_RATES
from ray_glocal.session.adaptation import DROPPED, Adaptation
from ray_glocal.session.course import Course
from ray_glocal.session.notices import Notices
from ray_glocal.session.pacing.cost import WINDOW

STAYING = "decay rates alone"  # key of the warning that there is nothing else

logger = logging.getLogger(__name__)


def say_levelled(problem: Problem, notices: Notices, values: Values) -> None:
    """Say of each hyperparameter that sets groups which the user gave different values, where all begin.

    Args:
        problem: Before its options are written.
        notices: Where to say it.
        values: At the start.
    """
    for name, own in problem.levelled().items():
        numbers = ", ".join(f"{value:g}" for value in own)
        start = float(values[name])
        notices.say(
            f"groups of {name}",
            f"{name!r} sets parameter groups that have different values, {numbers}: all begin at {start:g}. Give it "
            "those that it is meant for by `groups=`.",
        )


def say_foreseen(course: Course, adaptation: Adaptation) -> None:
    """Say ahead of the first step what is adapted, what is not, and how often."""
    count, held = adaptation.foreseen(), _held(course)
    names = [hyper.name for hyper in course.problem.hyperparameters if hyper.name not in held]
    staying = _staying(held) if held else ""
    if not names:
        course.notices.say(STAYING, f"Nothing will be adapted. {staying}")
    elif count:
        known = ", ".join(names), count, course.total_steps, f" {staying}" if held else ""
        logger.info("Adapts %s: up to %d hypergradients in %d steps.%s", *known)
    else:
        course.notices.say("no hypergradient foreseen", f"Nothing will be adapted. {adaptation.scarcity()}")


def _held(course: Course) -> list[str]:
    """Names that stay at their start: momentum and betas, under first-order hypergradients."""
    if course.settings.hypergradients == "windows":
        return []
    return [b.hyperparameter.name for b in course.problem.bindings if b.field in DECAY_RATES]


def _staying(held: list[str]) -> str:
    """The sentence that says so."""
    stay = "stays at its start" if len(held) == 1 else "stay at their starts"
    return f'{listed(held)} {stay}: decay rates are adapted by `Settings(hypergradients="windows")` alone.'


def check_read(problem: Problem) -> None:
    """Check that somebody has read each name: one that neither the optimizer nor a loss knows is a slip of the pen.

    Args:
        problem: After its first step.

    Raises:
        UnreadError: Nobody has read one.
    """
    unread = [b.hyperparameter.name for b in problem.bindings if b.field is None]
    unread = [name for name in unread if name not in problem.reads]
    if unread:
        fields = ", ".join((*problem.rule.fields, *problem.rule.aliases))
        remedy = f"The optimizer's options are {fields}; any other name must be read from `hyper` by a loss."
        raise UnreadError("hyper", "name what the optimizer or a loss uses", unread[0], remedy)


def say_unadapted(course: Course, adaptation: Adaptation) -> None:
    """Say at the end what was not adapted, for there was no hypergradient, or the search took them all."""
    if course.notices.said(STAYING):
        return
    if not adaptation.count:
        why = "Every window was dropped." if course.notices.said(DROPPED) else adaptation.scarcity()
        course.notices.say("no hypergradient", f"Nothing was adapted: there was no hypergradient. {why}")
        return
    held = _held(course)
    named = [b.hyperparameter.name for b in course.problem.bindings if b.field != "lr"]
    others = [name for name in named if name not in held]
    if others and WINDOW not in course.meter.cost.first:
        pace = "overhead" if course.settings.duty_cycle is None else "duty_cycle"
        course.notices.say(
            "search alone",
            f"Only the learning rate was adapted: its search took all {adaptation.count} hypergradients, and "
            f"nothing was learned of {listed(others)}. Train longer, or raise `Settings({pace}=...)`.",
        )
