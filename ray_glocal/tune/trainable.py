"""The class twin of the function trainable: a `tune.Trainable` around a session."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from ray_glocal.session import GlocalSession
from ray_glocal.tune._compat import SHOULD_CHECKPOINT
from ray_glocal.tune.ancestry import storage_of
from ray_glocal.tune.deadline import deadline


class GlocalTrainable(tune.Trainable):  # type: ignore[misc]  # Ray ships no types
    """A Tune trainable whose one step trains up to the next report of its session.

    A subclass implements `build`, which also takes, by name, what `tune.with_parameters` gives. Checkpoints are saved
    with every report, so that trials survive failures and descendants have something to start from; set
    `checkpoint_at_report = False` to leave that to `CheckpointConfig`. Works with `reuse_actors=True`. Set
    `step_timeout` to seconds after which a step, up to one report, counts as hung: the worker ends, and Tune retries
    the trial from its last checkpoint as often as `max_failures` allows.
    """

    checkpoint_at_report = True
    step_timeout: float | None = None
    _stream: Iterator[Any] | None

    @abstractmethod
    def build(self, config: dict[str, Any]) -> tuple[GlocalSession, Iterable[Any]]:
        """The session of a trial, not restored, and its training batches.

        Further arguments, by name, are what `tune.with_parameters` gives.

        Args:
            config: The trial's configuration.
        """

    def setup(self, config: dict[str, Any], **parameters: Any) -> None:
        """Build the session, with as many torch threads as the trial has CPUs: oversubscription costs tenfold."""
        if self.is_actor():  # elsewhere, as in a notebook, nobody has been given CPUs
            torch.set_num_threads(_cpus())
        self._parameters = parameters
        self._open(config)

    def step(self) -> dict[str, Any]:
        """Train up to the next report and return the session's metrics."""
        with deadline(self.step_timeout):
            for batch in self._batches():
                self.session.step(batch)
                if self.session.at_report:
                    break
        metrics = {**self.session.metrics(), "done": self.session.done}
        return {**metrics, SHOULD_CHECKPOINT: True} if self.checkpoint_at_report else metrics

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the session's whole state."""
        self._begin()
        self.session.save(Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint: str | dict[str, Any] | None) -> None:
        """Continue exactly where `save_checkpoint` left off."""
        self.session.restore(Path(str(checkpoint)))
        self._restored = True
        self._stream = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another trial in the same process."""
        self._close()
        self._open(new_config)
        return True

    def cleanup(self) -> None:
        """Let go of the session."""
        self._close()

    def _open(self, config: dict[str, Any]) -> None:
        with storage_of(self):
            self.session, self._loader = self.build(config, **self._parameters)
        self._restored = False
        self._stream = None

    def _close(self) -> None:
        close = getattr(self.session, "close", None)
        if close is not None:
            close()

    def _begin(self) -> None:
        """Start afresh, from an ancestor's weights where there are any, unless a checkpoint was loaded."""
        if not self._restored:
            self.session.restore(None)
            self._restored = True

    def _batches(self) -> Iterator[Any]:
        self._begin()
        if self._stream is None:
            self._stream = iter(self.session.batches(self._loader))
        return self._stream


def _cpus() -> int:
    """CPUs that Ray has given to this trial, at least one."""
    return max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1)))
