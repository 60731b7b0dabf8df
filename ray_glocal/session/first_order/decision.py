"""What an observation leads to, each entry with its sentence."""

from collections.abc import Callable
from dataclasses import dataclass

from ray_glocal.forecast import Array
from ray_glocal.session.answer import Gate
from ray_glocal.session.first_order.memory import Memory


@dataclass(frozen=True)
class Move:
    """How each entry moves after an observation, what is remembered from then on, and what each entry is told.

    Args:
        move: On the line, of rates in e-folds, shape [q].
        memory: After it.
        verdict: Of an entry, whether it acts, acts small, or holds, and why: a sentence written when it is asked for.
    """

    move: Array
    memory: Memory
    verdict: Callable[[int], tuple[Gate, str]]

    @property
    def share(self) -> Array:
        """What each moves by, as the trace asks for it: zero where it holds."""
        return abs(self.move)

    def answer(self, index: int) -> Gate:
        """The answer for one entry."""
        return self.verdict(index)[0]

    def reason(self, index: int) -> str:
        """Its sentence."""
        return self.verdict(index)[1]
