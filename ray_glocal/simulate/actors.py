"""Virtual actors: Tune's controller talks to them as to Ray's, and they live in this process, on a virtual clock."""

import random
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from ray_glocal.simulate._compat import FUNCTION_ENDED, RayActorError, RayTaskError, Ready, TrackedActor
from ray_glocal.simulate.actor import Actor, Handle
from ray_glocal.simulate.clock import Clock
from ray_glocal.simulate.cluster import Cluster, Outage
from ray_glocal.simulate.tasks import Tasks
from ray_glocal.simulate.workers import Workers

Seconds = Callable[[Mapping[str, Any], Mapping[str, Any]], float]  # of a configuration and its result


class VirtualActors:
    """Starts, runs, stops and loses actors, in the place of Ray's manager of them.

    Args:
        cluster: Where they run.
        clock: The virtual time.
        seconds: How long a call of `train` takes.
        seed: Of the failures.
    """

    def __init__(self, cluster: Cluster, clock: Clock, seconds: Seconds, seed: int) -> None:
        self.cluster, self.clock, self._seconds = cluster, clock, seconds
        self._random = random.Random(seed)
        self._workers = Workers(cluster)
        self._waiting: dict[TrackedActor, Actor] = {}
        self._actors: dict[TrackedActor, Actor] = {}
        self._failed: set[TrackedActor] = set()
        self._live_actors_to_ray_actors_resources: dict[
            TrackedActor, tuple[Handle, None]
        ] = {}  # the controller reads it
        self._count = 0
        self.busy_seconds = 0.0
        for outage in cluster.outages:
            clock.plan(outage.time, lambda outage=outage: self._lose(outage))  # type: ignore[misc]

    # ---- what the controller asks ----

    def next(self, timeout: float | None = None) -> bool:
        """Let one thing happen; whether there was one."""
        self._place()
        return self.clock.advance()

    def add_actor(
        self,
        cls: Callable[..., Any],
        resource_request: object,
        kwargs: dict[str, Any] | None = None,
        on_start: Any = None,
        on_stop: Any = None,
        on_error: Any = None,
    ) -> TrackedActor:
        """Ask for an actor; it starts as soon as a worker is free."""
        self._count += 1
        tracked = TrackedActor(self._count, on_start=on_start, on_stop=on_stop, on_error=on_error)
        self._waiting[tracked] = Actor(cls, kwargs or {}, Tasks(self.clock))
        return tracked

    def remove_actor(self, tracked_actor: TrackedActor, kill: bool = False, stop_future: object = None) -> bool:
        """Stop an actor; whether its `on_stop` will be called."""
        if tracked_actor in self._failed:
            return False
        if self._waiting.pop(tracked_actor, None) is not None:
            return False
        actor = self._actors[tracked_actor]
        if not actor.started:  # it has a worker and has not started: nobody is told
            self._leave(tracked_actor)
            return True
        actor.tasks.interrupt(lambda: self._stopped(tracked_actor))
        return True

    def schedule_actor_task(
        self,
        tracked_actor: TrackedActor,
        method_name: str,
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        on_result: Any = None,
        on_error: Any = None,
        _return_future: bool = False,
    ) -> Ready | None:
        """Call a method of an actor; the answer comes after the time that it takes.

        Raises:
            ArgumentError: A function does not end, and another trial was to follow it.
        """
        actor = self._actors.get(tracked_actor)
        if actor is None or not actor.started or method_name == "stop":
            return None
        if method_name == "reset":
            actor.end()
        try:
            value = actor.call(method_name, args or (), kwargs or {})
        except SystemExit:  # it takes the actor's process with it
            self._after(actor, 0.0, lambda: self._die(tracked_actor, on_error))
            return None
        except Exception as error:  # noqa: BLE001  # a user's trainable may raise anything, and Tune is told of it
            failure = RayTaskError.of(method_name, error)
            self._after(actor, 0.0, lambda: on_error and on_error(tracked_actor, failure))
            return None
        duration = self._delay(method_name)
        if method_name == "train" and FUNCTION_ENDED not in value:
            seconds = float(self._seconds(actor.config, value))
            actor.stamp(value, seconds, self.clock.now)
            duration += seconds
        death = self._random.expovariate(self.cluster.failures) if self.cluster.failures else float("inf")
        if death < duration:
            self._after(actor, death, lambda: self._die(tracked_actor, on_error))
        else:
            self._after(actor, duration, lambda: on_result and on_result(tracked_actor, value))
        actor.tasks.answer_error = on_error
        return Ready(value)

    def clear_actor_task_futures(self, tracked_actor: TrackedActor) -> None:
        """Nobody waits for an actor's answers any longer."""
        if tracked_actor in self._actors:
            self._actors[tracked_actor].tasks.cancel()

    def is_actor_started(self, tracked_actor: TrackedActor) -> bool:
        """Whether it runs."""
        return tracked_actor in self._actors

    def is_actor_failed(self, tracked_actor: TrackedActor) -> bool:
        """Whether it died."""
        return tracked_actor in self._failed

    def get_live_actors_resources(self) -> list[Any]:
        """None: workers are all that is counted."""
        return []

    def cleanup(self) -> None:
        """End what still runs.

        Raises:
            ArgumentError: A function does not end.
        """
        self._waiting.clear()
        with ExitStack() as leaving:  # all, even if one raises
            for tracked in self._actors:
                leaving.callback(self._leave, tracked)

    @property
    def num_live_actors(self) -> int:
        """Actors that have a worker."""
        return len(self._actors)

    @property
    def num_pending_actors(self) -> int:
        """Actors that wait for one."""
        return len(self._waiting)

    @property
    def num_total_actors(self) -> int:
        """Both."""
        return len(self._actors) + len(self._waiting)

    @property
    def num_actor_tasks(self) -> int:
        """Calls that are under way: one for each live actor, about."""
        return len(self._actors)

    # ---- what happens ----

    def _place(self) -> None:
        """Give free workers to those who wait, in their order."""
        while self._workers.free and self._waiting:
            tracked = next(iter(self._waiting))
            actor = self._waiting.pop(tracked)
            actor.worker = self._workers.take()
            self._actors[tracked] = actor
            self._live_actors_to_ray_actors_resources[tracked] = (Handle(), None)
            self._after(actor, self.cluster.start, lambda tracked=tracked: self._started(tracked))  # type: ignore[misc]

    def _started(self, tracked: TrackedActor) -> None:
        actor = self._actors[tracked]
        try:
            actor.start()
        except SystemExit:
            self._die(tracked, None)
            return
        except Exception as error:  # noqa: BLE001  # as above: a constructor of the user's
            self._die(tracked, None, RayTaskError.of("__init__", error))
            return
        tracked._on_start(tracked)

    def _stopped(self, tracked: TrackedActor) -> None:
        self._leave(tracked)
        if tracked._on_stop:
            tracked._on_stop(tracked)

    def _die(self, tracked: TrackedActor, on_error: Any, error: Exception | None = None) -> None:
        """The worker's process is gone: the controller hears it twice, of the actor and of its task, as from Ray."""
        failure = error or RayActorError()
        self._failed.add(tracked)
        self._leave(tracked)
        if tracked._on_error:
            tracked._on_error(tracked, failure)
        if on_error:
            on_error(tracked, failure)

    def _lose(self, outage: Outage) -> None:
        self._workers.lose(outage.node)
        for tracked, actor in list(self._actors.items()):
            if actor.worker is not None and self.cluster.node(actor.worker) == outage.node:
                self._die(tracked, actor.tasks.answer_error)
        if outage.seconds < float("inf"):
            self.clock.plan(outage.seconds, lambda: self._workers.regain(outage.node))

    def _leave(self, tracked: TrackedActor) -> None:
        """Give the worker back."""
        actor = self._actors.pop(tracked)
        self._live_actors_to_ray_actors_resources.pop(tracked)
        actor.tasks.cancel()
        actor.stop()
        if actor.worker is not None:
            self._workers.give_back(actor.worker)

    def _after(self, actor: Actor, duration: float, happen: Callable[[], Any]) -> None:
        self.busy_seconds += duration
        actor.tasks.add(duration, happen)

    def _delay(self, method: str) -> float:
        """What a call takes beside the training."""
        cluster = self.cluster
        delays = {"reset": cluster.start, "train": cluster.report, "save": cluster.save, "restore": cluster.restore}
        return delays.get(method, 0.0)
