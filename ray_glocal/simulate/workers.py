"""The workers of a simulated cluster: free, taken, or lost with their node."""

import heapq
from collections import Counter

from ray_glocal.simulate.cluster import Cluster


class Workers:
    """Hands out workers, the lowest number first.

    Args:
        cluster: Whose they are; all are free.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._free = list(range(cluster.workers))  # a heap
        self._taken: set[int] = set()
        self._lost: Counter[int] = Counter()  # nodes, and how many outages of each are under way

    @property
    def free(self) -> int:
        """How many can be taken."""
        return len(self._free)

    def take(self) -> int:
        """Take a free one."""
        worker = heapq.heappop(self._free)
        self._taken.add(worker)
        return worker

    def give_back(self, worker: int) -> None:
        """Free a taken one, unless its node is lost."""
        self._taken.discard(worker)
        if not self._lost[self._cluster.node(worker)]:
            heapq.heappush(self._free, worker)

    def lose(self, node: int) -> None:
        """Hand out no worker of a node any longer."""
        self._lost[node] += 1
        self._free = [worker for worker in self._free if self._cluster.node(worker) != node]
        heapq.heapify(self._free)

    def regain(self, node: int) -> None:
        """An outage is over; with the last one of a node its workers are free."""
        self._lost[node] -= 1
        if self._lost[node]:
            return
        for worker in range(self._cluster.workers):
            if self._cluster.node(worker) == node and worker not in self._taken:
                heapq.heappush(self._free, worker)
