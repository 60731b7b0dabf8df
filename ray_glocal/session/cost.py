"""What a session costs: counted inner-step equivalents and measured seconds, hypergradients never left out."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

# One plain step (forward and backward pass) is one. A differentiated step repeats it, unless its graph was kept, and
# adds Hessian products of about two plain steps each.
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
    def recorded(self) -> Iterator[None]:
        """Charge the time of the block, one recorded step, to training as far as a plain one takes it."""
        start = time.perf_counter()
        yield
        taken = time.perf_counter() - start
        plain = min(taken, self.plain_seconds / self.plain_steps) if self.plain_steps else taken
        self.plain_seconds += plain
        self.extra_seconds += taken - plain

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


def window_steps(engine: str, window: int, again: float, entries: int, val_batches: int) -> float:
    """Inner-step equivalents of one differentiated window beyond its plain steps.

    Args:
        engine: `adjoint` or `forward`.
        window: Steps of the window.
        again: Passes by which they are run again.
        entries: Hyperparameter entries.
        val_batches: Validation batches of an outer gradient.
    """
    if engine == "adjoint":
        return again * REPLAY + window * HESSIAN_PRODUCT + val_batches
    return again * REPLAY + window * (HESSIAN_PRODUCT * entries + val_batches)
