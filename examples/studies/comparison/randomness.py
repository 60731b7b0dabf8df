"""Random draws of a training's own, though many trainings take turns in one process."""

from types import TracebackType

import torch


class Randomness:
    """torch's global generator as one training knows it, inside a `with`; outside as it was.

    Args:
        seed: Where it begins.
    """

    def __init__(self, seed: int) -> None:
        self._own = torch.Generator().manual_seed(seed).get_state()

    def __enter__(self) -> None:
        self._outside = torch.get_rng_state()
        torch.set_rng_state(self._own)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._own = torch.get_rng_state()
        torch.set_rng_state(self._outside)
