"""The cluster that is simulated: workers, how long things take on it, and what goes wrong."""

import math
from dataclasses import dataclass

from ray_glocal.errors import ArgumentError


@dataclass(frozen=True)
class Outage:
    """A node that is lost for a while.

    Args:
        time: When, in seconds of the simulation.
        node: Which, counted from 0.
        seconds: How long until it is back; infinite for never.
    """

    time: float
    node: int
    seconds: float = math.inf


@dataclass(frozen=True)
class Cluster:
    """Workers and their delays, all in seconds of the simulation.

    Args:
        workers: Trials that run at once, at least 1.
        start: From a trial's turn to its first step: process, imports, data.
        report: That a result takes on its way.
        save: That a checkpoint takes.
        restore: That going on from one takes.
        failures: Mean number of times that a busy worker dies, per second.
        workers_per_node: Workers that an outage takes with it, at least 1.
        outages: Nodes that are lost.

    Raises:
        ArgumentError: A number is out of its range.
    """

    workers: int = 4
    start: float = 0.0
    report: float = 0.0
    save: float = 0.0
    restore: float = 0.0
    failures: float = 0.0
    workers_per_node: int = 1
    outages: tuple[Outage, ...] = ()

    def __post_init__(self) -> None:
        counts = {"workers": "trials that run at once", "workers_per_node": "workers that an outage takes with it"}
        for name, counted in counts.items():
            if getattr(self, name) < 1:
                raise ArgumentError(name, "be at least 1", getattr(self, name), f"It counts {counted}.")
        for name in ("start", "report", "save", "restore", "failures"):
            if not 0 <= getattr(self, name) < math.inf:
                unit = "deaths per second" if name == "failures" else "seconds"
                remedy = f"It counts {unit} of the simulation; leave it out for none."
                raise ArgumentError(name, "be finite and not negative", getattr(self, name), remedy)
        for outage in self.outages:
            if not 0 <= outage.node < self.nodes or not outage.time >= 0 or not outage.seconds > 0:
                rule = f"name a node below {self.nodes}, a time from 0 and a positive length"
                remedy = "Count nodes from 0, as in Outage(time=60.0, node=0, seconds=30.0)."
                raise ArgumentError("outages", rule, outage, remedy)

    @property
    def nodes(self) -> int:
        """How many nodes the workers are spread over."""
        return -(-self.workers // self.workers_per_node)

    def node(self, worker: int) -> int:
        """The node of a worker."""
        return worker // self.workers_per_node
