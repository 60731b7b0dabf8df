"""One virtual actor: a trainable that lives in this process."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ray_glocal.simulate._compat import Session, configuration
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
        config: Its trial's configuration, once it has started.
        spent: Seconds that its trial has trained.
    """

    def __init__(self, make: Callable[..., Any], options: dict[str, Any], tasks: Tasks) -> None:
        self._make, self._options, self.tasks = make, options, tasks
        self._trainable: Any = None
        self._session = Session()
        self.worker: int | None = None
        self.config: dict[str, Any] = {}
        self.spent = 0.0

    @property
    def started(self) -> bool:
        """Whether its trainable lives."""
        return self._trainable is not None

    def start(self) -> None:
        """Construct the trainable, which may raise anything."""
        self._take_over(self._options["config"])
        with self._session.in_place():
            self._trainable = self._make(**self._options)

    def call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a method of the trainable returns; it may raise anything."""
        if method == "reset":
            self._take_over(args[0])
        elif method == "restore":
            self.spent = float(args[0].metrics.get("time_total_s", 0.0))
        with self._session.in_place():
            return getattr(self._trainable, method)(*args, **kwargs)

    def stamp(self, result: dict[str, Any], seconds: float, now: float) -> None:
        """Give a result the virtual time that its training took, in the place of the true one."""
        self.spent += seconds
        result.update(time_this_iter_s=seconds, time_total_s=self.spent, timestamp=now + seconds)

    def end(self) -> None:
        """End the trial's function, if it has one.

        Raises:
            ArgumentError: It does not end.
        """
        self._session.end()

    def stop(self) -> None:
        """End the trainable, if it lives.

        Raises:
            ArgumentError: Its function does not end.
        """
        if self._trainable is not None:
            self.end()
            with self._session.in_place(), suppress(Exception):  # Ray hears nothing of it either
                self._trainable.stop()

    def _take_over(self, config: dict[str, Any]) -> None:
        self.config, self.spent = configuration(config), 0.0
