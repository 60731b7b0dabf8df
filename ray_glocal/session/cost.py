"""What a session costs: counted inner-step equivalents and measured seconds, hypergradients never left out."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

# One plain step (forward and backward pass) is one. A differentiated step repeats it with its graph kept and adds
# Hessian products of about two plain steps each.
REPLAY = 1.0
HESSIAN_PRODUCT = 2.0


@dataclass
class Cost:
    """Running totals of one session.

    Args:
        plain_steps: Inner steps taken.
        extra_steps: Counted cost of everything else, in inner-step equivalents: hypergradients and validation.
        plain_seconds: Measured time in plain steps.
        extra_seconds: Measured time in hypergradients, forecasts and outer steps.
    """

    plain_steps: float = 0.0
    extra_steps: float = 0.0
    plain_seconds: float = 0.0
    extra_seconds: float = 0.0

    @contextmanager
    def plain(self) -> Iterator[None]:
        """Charge the time of the block to training."""
        start = time.perf_counter()
        yield
        self.plain_seconds += time.perf_counter() - start

    @contextmanager
    def extra(self, steps: float) -> Iterator[None]:
        """Charge the time of the block, and so many inner-step equivalents, to the hypergradients."""
        start = time.perf_counter()
        yield
        self.extra_seconds += time.perf_counter() - start
        self.extra_steps += steps

    def metrics(self) -> dict[str, float]:
        """Totals as they are reported."""
        seconds = self.plain_seconds + self.extra_seconds
        return {
            "cost/steps": self.plain_steps + self.extra_steps,
            "cost/seconds": seconds,
            "cost/share": self.extra_seconds / seconds if seconds else 0.0,
        }


def window_steps(engine: str, window: int, entries: int, val_batches: int) -> float:
    """Inner-step equivalents of one differentiated window beyond its plain steps."""
    if engine == "adjoint":
        return window * (REPLAY + HESSIAN_PRODUCT) + val_batches
    return window * (REPLAY + HESSIAN_PRODUCT * entries + val_batches)
