"""Trainables that follow a curve instead of training."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import tune

from ray_glocal.errors import ArgumentError

Curve = Callable[[Mapping[str, Any], int], Mapping[str, float]]  # of a configuration and an iteration, from 1


def following(curve: Curve, iterations: int) -> type[tune.Trainable]:
    """A trainable that reports `curve(config, iteration)` at each of so many iterations, and then is done.

    Args:
        curve: A formula, or a function that looks its values up in a table.
        iterations: Length of a training, at least 1.

    Raises:
        ArgumentError: `iterations` is below 1.
    """
    if iterations < 1:
        raise ArgumentError("iterations", "be at least 1", iterations, "It counts the results of a training.")

    class Follower(tune.Trainable):  # type: ignore[misc]  # Ray ships no types
        def setup(self, config: dict[str, Any]) -> None:
            self.at = 0

        def step(self) -> dict[str, Any]:
            self.at += 1
            return {**curve(self.config, self.at), "done": self.at >= iterations}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            Path(checkpoint_dir, "at.json").write_text(json.dumps(self.at), encoding="utf-8")

        def load_checkpoint(self, checkpoint: str) -> None:
            self.at = json.loads(Path(checkpoint, "at.json").read_text(encoding="utf-8"))

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.at = 0
            return True

    return Follower
