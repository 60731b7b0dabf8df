"""How a session adapts hyperparameters: what the loop asks of whoever does it."""

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from ray_glocal.forecast import Array

DROPPED = "window"  # key of the warning that a window was dropped


class Adaptation(Protocol):
    """Takes a session's inner steps, and adapts hyperparameters between them."""

    @property
    def count(self) -> int:
        """Hypergradients computed so far."""
        ...

    @property
    def judges_averages(self) -> bool:
        """Whether the losses that it judges are those of averaged weights."""
        ...

    @property
    def searching(self) -> bool:
        """Whether the learning rate's order of magnitude is searched for."""
        ...

    @property
    def elasticity(self) -> Array:
        """Relative change of the loss per unit of each coordinate, as far as is known, shape [q]."""
        ...

    def begin(self, batch: Any) -> None:
        """What comes before the first inner step, which will be on this batch."""
        ...

    def step(self, batch: Any) -> Tensor:
        """Take an inner step, the schedule's too; the detached training loss before it."""
        ...

    def respond(self) -> None:
        """What the step that was just taken asks for; after most of them nothing, which must not take long."""
        ...

    def retreat(self, trouble: str, *, to_first: bool) -> bool:
        """Go back to a good state, if there is trouble and a way to do better from there."""
        ...

    def review(self, loss: float) -> None:
        """At a report, whose loss is of a whole pass: whether training is alive, and there is room for more."""
        ...

    def potential(self, loss: float) -> float:
        """First-order improvement of a final loss that what remains can still buy."""
        ...

    def inherit(self) -> None:
        """Weights come from an ancestor, and the learning rate with them: it need not be searched for."""
        ...

    def foreseen(self) -> int:
        """Hypergradients that the whole run will buy, roughly."""
        ...

    def scarcity(self) -> str:
        """The sentence that says why there may be none, with the way out."""
        ...

    def as_plain(self) -> dict[str, Any]:
        """What a resumed run must know, as plain data."""
        ...

    def load_plain(self, plain: Mapping[str, Any]) -> None:
        """Inverse of `as_plain`."""
        ...

    def open_as_plain(self) -> list[dict[str, Any]]:
        """What is recorded of a window that is not complete yet, which may be large."""
        ...

    def load_open(self, plain: list[dict[str, Any]]) -> None:
        """Inverse of `open_as_plain`."""
        ...
