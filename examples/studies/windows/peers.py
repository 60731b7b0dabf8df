"""Who else differentiates a window of SGD, and what to install for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ray_glocal.hypergradient import Problem

Peer = Callable[[Problem, Sequence[Any], Sequence[Any]], Tensor]


@dataclass(frozen=True)
class Source:
    """Where a peer's function is, and the package that it needs: a requirement, empty where torch is enough."""

    module: str
    function: str
    requirement: str = ""

    @property
    def installed(self) -> bool:
        """Whether it can be run here."""
        return not self.requirement or find_spec(self.requirement.partition("==")[0]) is not None

    def load(self) -> Peer:
        """Its function, run with attention's math kernel: the fused ones have no second derivative."""
        plain: Peer = getattr(import_module(self.module), self.function)

        def peer(problem: Problem, batches: Sequence[Any], val: Sequence[Any]) -> Tensor:
            with sdpa_kernel(SDPBackend.MATH):
                return plain(problem, batches, val)

        return peer


PEERS = {
    "unroll": Source("windows.unroll", "unrolled"),
    "higher": Source("windows.higher_peer", "innerloop", "higher==0.2.1"),
    "torchopt": Source("windows.torchopt_peer", "meta_sgd", "torchopt==0.7.3"),
}
