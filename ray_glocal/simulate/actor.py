"""One virtual actor: a trainable that lives in this process."""

from collections.abc import Callable
from typing import Any

from ray_glocal.simulate.tasks import Tasks


class Handle:
    """What Tune keeps of an actor."""

    class get_auto_filled_metrics:  # noqa: N801  # Tune calls `handle.get_auto_filled_metrics.remote(...)`
        """Tune's question for the metrics that it fills in itself."""

        @staticmethod
        def remote(**_: Any) -> dict[str, Any]:
            """None yet."""
            return {}


class Actor:
    """One actor.

    Args:
        make: The trainable's class.
        options: What it is constructed with.
        tasks: What it is busy with.

    Attributes:
        worker: Where it runs; None while it waits for one.
        config: Its trial's configuration.
        spent: Seconds that its trial has trained.
    """

    def __init__(self, make: Callable[..., Any], options: dict[str, Any], tasks: Tasks) -> None:
        self._make, self._options, self.tasks = make, options, tasks
        self._trainable: Any = None
        self.worker: int | None = None
        self.config: dict[str, Any] = options["config"]
        self.spent = 0.0

    @property
    def started(self) -> bool:
        """Whether its trainable lives."""
        return self._trainable is not None

    def start(self) -> None:
        """Construct the trainable, which may raise anything."""
        self._trainable = self._make(**self._options)

    def call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a method of the trainable returns; it may raise anything."""
        value = getattr(self._trainable, method)(*args, **kwargs)
        if method == "reset":
            self.config, self.spent = args[0], 0.0
        elif method == "restore":
            self.spent = float(args[0].metrics.get("time_total_s", 0.0))
        return value

    def stamp(self, result: dict[str, Any], seconds: float, now: float) -> None:
        """Give a result the virtual time that its training took, in the place of the true one."""
        self.spent += seconds
        result.update(time_this_iter_s=seconds, time_total_s=self.spent, timestamp=now + seconds)

    def stop(self) -> None:
        """End the trainable, if it lives."""
        if self._trainable is not None:
            self._trainable.stop()
