"""A noisy quadratic, the training problem whose hypergradients are understood best (Wu et al. 2018).

An example is a point; the loss is half its squared distance from the parameters, in a metric of wide spectrum.
"""

import torch
from torch import Tensor, nn

from tasks.split import Split

SIZE = 24  # parameters
CONDITION = 300.0  # largest over smallest curvature


class Point(nn.Module):
    """Parameters that start far from every example; answers differences in the metric's units."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(3 * torch.randn(SIZE))
        self.roots: Tensor
        self.register_buffer("roots", torch.logspace(0, -0.5, SIZE, CONDITION))

    def forward(self, examples: Tensor) -> Tensor:
        """Scaled differences, shape [batch, parameter]."""
        differences: Tensor = (self.place - examples) * self.roots
        return differences


def points() -> Split:
    """4,000 points to train, 1,000 to validate, 1,000 to test, around one; their labels say nothing."""
    draws = 2 * torch.randn(6000, SIZE, generator=torch.Generator().manual_seed(0)) + 1
    return Split.cut(draws, torch.zeros(6000, dtype=torch.long), (4000, 1000, 1000))
