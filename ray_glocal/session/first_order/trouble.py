"""Whether training is lost: checks in order, of which the first that finds trouble has the word.

A few validation batches raise a suspicion, at no cost; whatever they cannot know for sure is confirmed by a whole pass,
or by the very batches on which the last good state was seen, for whole passes are rarer.
"""

from collections.abc import Callable
from functools import cached_property

from ray_glocal.session.course import Course
from ray_glocal.session.divergence import changed_by
from ray_glocal.session.first_order.memory import Memory
from ray_glocal.session.first_order.rates import left_alone
from ray_glocal.session.first_order.tuning import ABOVE, STANDS
from ray_glocal.session.tuning import CHECK_EVERY


class Look:
    """What can be known of training when an observation has been made; what costs passes is known when it is asked for.

    Args:
        course: Of the training.
        memory: Of the observations before.
        loss: Validation loss at the averaged weights, of a few batches.
        good_batches: Place of the batches on which the last good state was seen; None where it was on all.
    """

    def __init__(self, course: Course, memory: Memory, loss: float, good_batches: int | None) -> None:
        self.course, self.memory, self.loss, self._good_batches = course, memory, loss, good_batches
        self.lowest = course.lowest  # of the whole passes before

    @cached_property
    def whole(self) -> float:
        """The loss of a whole pass."""
        return self.course.averaged_loss()

    @cached_property
    def there(self) -> float | None:
        """That of the batches on which the last good state was seen; None where that was on all."""
        course, place = self.course, self._good_batches
        if place is None:
            return None
        with course.averages.applied():
            return course.few_loss(place)

    @property
    def idle(self) -> bool:
        """Whether the training loss, too, is no better than in the beginning."""
        lately = self.course.train_losses[-CHECK_EVERY:]
        return self.course.guard.idle(self.course.problem.ranks.mean(lately))

    @property
    def stands(self) -> bool:
        """Whether the loss has stood well above its best for some observations; beneath annealing it may."""
        course = self.course
        alone = left_alone(annealed=course.outline.annealed, progress=course.progress)
        return self.memory.above >= STANDS and not alone


def _jumped(look: Look) -> str:
    return look.course.guard.risen(look.loss, look.memory.best)


def _jumped_in_whole(look: Look) -> str:
    return look.course.guard.risen(look.whole, look.lowest)


def _jumped_there(look: Look) -> str:
    good = look.course.guard.good
    assert good is not None
    return "" if look.there is None else look.course.guard.risen(look.there, good.loss)


def _died(look: Look) -> str:
    return _dead(look, look.loss)


def _died_in_whole(look: Look) -> str:
    return _dead(look, look.whole)


def _dead(look: Look, loss: float) -> str:
    trouble = look.course.guard.collapsed(loss, look.course.problem)
    return trouble if trouble and look.idle else ""


def _stuck(look: Look) -> str:
    return f"the loss has stood above its best for {look.memory.above} looks" if look.stands else ""


def _stuck_in_whole(look: Look) -> str:
    if not look.stands or look.whole <= changed_by(look.lowest, ABOVE):
        return ""
    return f"the validation loss, {look.whole:.3g}, has stayed above {look.lowest:.3g} for {look.memory.above} looks"


Check = Callable[[Look], str]  # the sentence that says what is wrong, or an empty one
SUSPICIONS: tuple[Check, ...] = (_jumped, _died, _stuck)
CONFIRMATIONS: tuple[Check, ...] = (_jumped_in_whole, _jumped_there, _died_in_whole, _stuck_in_whole)


def _first(checks: tuple[Check, ...], look: Look) -> str:
    return next((trouble for check in checks if (trouble := check(look))), "")


def suspected(look: Look) -> str:
    """The sentence that says what the few batches suspect; empty where they suspect nothing."""
    return _first(SUSPICIONS, look)


def confirmed(look: Look) -> str:
    """The sentence that says what is wrong for sure; empty where the few batches were mistaken."""
    return _first(CONFIRMATIONS, look)
