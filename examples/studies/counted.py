"""A clock that counts instead of measuring: sessions whose time budget leads to the same windows on every machine.

One plain step takes one unit; a step of a window 2.2 more, each validation batch of its outer gradient 1.33, and each
of a report a third: what the engine costs on networks that are not dominated by Python.
"""

from collections.abc import Callable
from typing import Any

from ray_glocal import GlocalSession
from ray_glocal.hypergradient import Window

STEP, OUTER, FORWARD = 2.2, 1.33, 1 / 3  # in plain steps


class Count:
    """The clock; units are plain steps."""

    def __init__(self) -> None:
        self.units = 0.0

    def __call__(self) -> float:
        """Units since the start."""
        return self.units

    def after(self, price: Callable[..., float], action: Callable[..., Any]) -> Callable[..., Any]:
        """The same action, after which `price` of its arguments has passed."""

        def priced(*arguments: Any) -> Any:
            self.units += price(*arguments)
            return action(*arguments)

        return priced


def counted(session: GlocalSession) -> GlocalSession:
    """The same session, fresh, by a clock of its own."""
    count = Count()

    def window(told: Window) -> float:
        return STEP * len(told.snapshots) + OUTER * len(told.val_batches)

    whole: Any = session  # its parts are replaced one by one
    whole._meter._clock = count
    whole.problem.advance = count.after(lambda *_: 1.0, session.problem.advance)
    whole._tape.step = count.after(lambda *_: 1.0, session._tape.step)
    whole._heed = count.after(window, session._heed)
    whole.validation.mean = count.after(lambda *_: FORWARD * session.validation.count, session.validation.mean)
    return session
