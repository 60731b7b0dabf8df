"""What is kept of the steps of a window, by the memory that there is."""

import logging
import math
from dataclasses import dataclass

import torch

from ray_glocal.hypergradient.gradient.products import EXACT, Products
from ray_glocal.hypergradient.problem.problem import Problem
from ray_glocal.hypergradient.state.snapshot import Snapshot
from ray_glocal.hypergradient.tuning import MEMORY

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Keeping:
    """What is kept of the steps of a window.

    Args:
        graphs: Whether their graphs are.
        stride: Steps from one state that is kept to the next; those between are run again from there.
        pinned: Whether states lie in page-locked memory of the host.
        products: Where Hessian products will come from.
        slopes: Whether first derivatives are.
    """

    graphs: bool
    stride: int = 1
    pinned: bool = False
    products: Products = EXACT
    slopes: bool = False

    @property
    def again(self) -> float:
        """Passes by which a step is run again when it is differentiated, beyond that of its Hessian product."""
        return 0.0 if self.graphs else float(self.products is EXACT) + (self.stride > 1)


@dataclass(frozen=True)
class Room:
    """Memory for a window's steps.

    Args:
        steps: Of the longest window.
        device: Bytes on the device of the parameters; None for 1 GiB, or half of what is free on a GPU.
        host: Bytes in page-locked memory beside a GPU.
    """

    steps: int
    device: int | None
    host: int

    def agreed(self, problem: Problem) -> int:
        """Bytes on the device, as the ranks agree on them."""
        memory = self.device if self.device is not None else _free(problem.parameters[0].device)
        return int(problem.ranks.agreed(memory))

    def states(self, problem: Problem, snapshot: Snapshot, memory: int, products: Products, *, slopes: bool) -> Keeping:
        """Where the states of a window go that keeps no graphs.

        Args:
            problem: The bilevel problem.
            snapshot: A step, with its state.
            memory: Bytes on the device, as agreed.
            products: Where Hessian products will come from.
            slopes: Whether first derivatives are kept.
        """
        gradients = sum(p.nbytes for p in problem.parameters) if slopes else 0
        size = (snapshot.start.nbytes + gradients) * self.steps
        if size <= memory:
            return Keeping(graphs=False, products=products, slopes=slopes)
        if problem.parameters[0].is_cuda and snapshot.start.nbytes * self.steps <= self.host:
            return Keeping(graphs=False, pinned=True, products=products, slopes=slopes)
        stride = math.isqrt(self.steps - 1) + 1
        logger.info("Windows of %.3g bytes exceed the memory: %d steps are run again at a time.", size, stride)
        return Keeping(graphs=False, stride=stride, products=products, slopes=slopes)


def _free(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else MEMORY
