"""The averaged weights that a session is seen at: the user's own average where there is one, else the session's."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray_glocal.hypergradient.state.copies import copied, write
from ray_glocal.session.course import Course

PREFIX = "module."  # before the names of an `AveragedModel`'s weights


class AveragedWeights:
    """The weights of a training's average, whoever keeps it.

    Args:
        course: Of the training; its problem knows the user's own average.
    """

    def __init__(self, course: Course) -> None:
        self._course, self._problem = course, course.problem

    @property
    def reported(self) -> bool:
        """Whether reports are at them."""
        return self._course.settings.averaging or self._problem.averaged is not None

    @property
    def ours(self) -> bool:
        """Whether those that checkpoints tell are the session's own."""
        return self._course.settings.averaging and self._problem.averaged is None

    def loss(self) -> float:
        """Validation loss of a whole pass at them."""
        course = self._course
        return course.averaged_loss() if self._problem.averaged is None else course.loss(theirs=True)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model have them, and its own again afterwards."""
        theirs = self._problem.averaged
        if theirs is None:
            with self._course.averages.applied():
                yield
            return
        own, averaged = ([*held.parameters(), *held.buffers()] for held in (self._problem.model, theirs.module))
        held = copied(own)
        write(own, averaged)
        try:
            yield
        finally:
            write(own, held)

    def state_dict(self) -> dict[str, Any] | None:
        """They by the model's names; none where reports are not at them."""
        if self._problem.averaged is not None:
            state = self._problem.averaged.state_dict()
            return {name.removeprefix(PREFIX): v for name, v in state.items() if name.startswith(PREFIX)}
        return self._course.averages.state_dict() if self.ours else None
