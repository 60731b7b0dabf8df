"""Batch normalisation (Ioffe & Szegedy 2015), group normalisation (Wu & He 2018), and what they share.

Cells are the entries that share a mean, a deviation, a scale and a shift: a channel of all examples in batch
normalisation, a channel of one example in group normalisation, where several consecutive cells form a group that has
one mean and one deviation. In a group of n entries, with r one over the deviation, y = (x - mean) r and the projection
P(z) = z - mean(z) - y mean(z y), a cotangent g of gamma y + beta is pulled back to r P(gamma g). That, and what it is
pulled back to in turn, is a sum of tensors times one number for each cell, and these follow from a few sums over cells.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ray_glocal.hypergradient._compat import applied
from ray_glocal.hypergradient.kernels.backward import Backward, unseen
from ray_glocal.hypergradient.kernels.blocks import precise
from ray_glocal.hypergradient.kernels.cells import aligned, entries, line, sums, wide

Mask = tuple[bool, bool, bool]


@dataclass(frozen=True)
class Grouping:
    """Where the cells of a tensor are.

    Args:
        group: How many consecutive cells have one mean and one deviation.
        each: Whether every example has cells of its own.
    """

    group: int = 1
    each: bool = False

    def cells(self, t: Tensor, like: Tensor) -> Tensor:
        """A tensor of the shape of `like` as [batch, cells, ...], in single precision at least."""
        if self.each:
            return precise(t).reshape(1, t.shape[0] * t.shape[1], -1)
        return aligned(precise(t), like)

    def back(self, t: Tensor, like: Tensor) -> Tensor:
        """From `cells` to the shape, the type and the memory format of `like`."""
        return aligned(t.reshape(like.shape).to(like.dtype), like)

    def copied(self, values: Tensor, like: Tensor) -> Tensor:
        """Numbers of channels as numbers of cells, in single precision at least."""
        return precise(values).repeat(len(like)) if self.each else precise(values)

    def summed(self, values: Tensor, like: Tensor) -> Tensor:
        """Numbers of cells, summed over the cells of each channel."""
        return values.reshape(len(like), -1).sum(0) if self.each else values

    def totals(self, values: Tensor) -> Tensor:
        """Sums over each group of numbers of its cells, [cells], put in the place of each."""
        return values if self.group == 1 else self.spread(values.reshape(-1, self.group).sum(1))

    def spread(self, values: Tensor) -> Tensor:
        """Numbers of groups, put in the place of each of their cells."""
        return values if self.group == 1 else values.repeat_interleave(self.group)


@dataclass(frozen=True)
class Statistics:
    """Mean and one over the deviation, of the group of each cell: [cells]."""

    mean: Tensor
    rate: Tensor

    @classmethod
    def of(cls, x: Tensor, grouping: Grouping, eps: float) -> "Statistics":
        """With their graph, of [batch, cells, ...]."""
        rows = x.transpose(0, 1).reshape(x.shape[1] // grouping.group, -1)
        variance, mean = torch.var_mean(rows, -1, correction=0)
        return cls(grouping.spread(mean), grouping.spread((variance + eps).rsqrt()))


class Pass(NamedTuple):
    """What a backward pass is given: a cotangent, what was normalised, by which scale and shift, and its moments."""

    g: Tensor
    x: Tensor
    gamma: Tensor | None
    beta: Tensor | None
    mean: Tensor
    rate: Tensor


class Kernel(ABC):
    """Torch's fused passes of a normalisation, called as torch calls them, and a formula for the second derivative."""

    @abstractmethod
    def forward(self, x: Tensor, gamma: Tensor | None, beta: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Any]:
        """The result, mean and one over the deviation of each group, and what else the backward pass takes."""

    @abstractmethod
    def backward(self, given: Pass, rest: Any, needed: Mask) -> Sequence[Tensor | None]:
        """Cotangents of x, gamma and beta, of which some are needed."""

    @abstractmethod
    def pulled_back(self, given: Pass, a: Tensor | None, b: Tensor | None, c: Tensor | None) -> Sequence[Tensor | None]:
        """Cotangents of g, x and gamma from those of the backward pass's results, in the shapes of a model."""


class Normalisation(torch.autograd.Function):
    """Normalisation by a kernel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor | None, beta: Tensor | None, kernel: Kernel) -> Tensor:
        """The fused kernel."""
        out, mean, rate, ctx.rest = kernel.forward(x, gamma, beta)
        ctx.save_for_backward(x, gamma, beta, mean, rate)
        ctx.kernel = kernel
        ctx.set_materialize_grads(False)
        return out

    @staticmethod
    @unseen
    def backward(ctx: Any, saved: Sequence[Tensor], *cotangents: Tensor | None) -> Any:
        """The fused kernel, as a function of its own."""
        (g,) = cotangents
        if g is None:
            return (None,) * 4
        needed = ctx.needs_input_grad[:3]
        return *applied(NormalisationBackward, g, *saved, ctx.kernel, ctx.rest, needed), None


class NormalisationBackward(Backward):
    """Cotangents of input, scale and shift."""

    @staticmethod
    def forward(
        g: Tensor,
        x: Tensor,
        gamma: Tensor | None,
        beta: Tensor | None,
        mean: Tensor,
        rate: Tensor,
        kernel: Kernel,
        rest: Any,
        needed: Mask,
    ) -> tuple[Tensor | None, ...]:
        """The fused kernel."""
        found = kernel.backward(Pass(g, x, gamma, beta, mean, rate), rest, needed)
        return tuple(part if wanted else None for part, wanted in zip(found, needed, strict=True))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep what the formula needs."""
        g, x, gamma, _, mean, rate, ctx.kernel, *_ = inputs
        ctx.save_for_backward(g, x, gamma, mean, rate)
        ctx.set_materialize_grads(False)

    @staticmethod
    @unseen
    def backward(ctx: Any, saved: Sequence[Tensor], *cotangents: Tensor | None) -> Any:
        """The formula."""
        needed = ctx.needs_input_grad[:3]
        if all(c is None for c in cotangents) or not any(needed):
            return (None,) * 9
        g, x, gamma, mean, rate = saved
        found = ctx.kernel.pulled_back(Pass(g, x, gamma, None, mean, rate), *cotangents)
        return *(f if wanted else None for f, wanted in zip(found, needed, strict=True)), *(None,) * 6


class OfCells(Kernel):
    """A kernel whose means, deviations, scales and shifts are those of cells."""

    grouping: Grouping
    eps: float

    def pulled_back(self, given: Pass, a: Tensor | None, b: Tensor | None, c: Tensor | None) -> list[Tensor | None]:
        """One formula for all of them."""
        g, x, gamma, _, mean, rate = given
        grouping = self.grouping
        cells, *along = (grouping.cells(t, x) for t in (x, g, torch.zeros_like(x) if a is None else a))
        scales = [None if v is None else grouping.copied(v, x) for v in (gamma, b, c)]
        statistics = Statistics(grouping.spread(mean.reshape(-1)), grouping.spread(rate.reshape(-1)))
        if torch.is_grad_enabled() or mean.dtype != cells.dtype:  # the kernel's have no derivative, or are not precise
            statistics = Statistics.of(cells, grouping, self.eps)
        in_g, in_x, in_gamma = curvature(cells, statistics, grouping, *along, *scales)
        in_scale = None if gamma is None else grouping.summed(in_gamma, x).to(gamma.dtype)
        return [grouping.back(in_g, g), grouping.back(in_x, x), in_scale]


def curvature(
    x: Tensor,
    of_x: Statistics,
    grouping: Grouping,
    g: Tensor,
    a: Tensor,
    gamma: Tensor | None,
    b: Tensor | None,
    c: Tensor | None,
) -> list[Tensor]:
    """Pull cotangents of the backward pass back.

    Args:
        x: What is normalised, [batch, cells, ...].
        of_x: Its statistics.
        grouping: Where its cells are.
        g: Cotangent of the normalised tensor, of the shape of x.
        a: Cotangent of the cotangent of x, of that shape.
        gamma: Scale, [cells]; ones where None.
        b: Cotangent of the cotangent of gamma, [cells]; zero where None.
        c: The same of the shift.

    Returns:
        Cotangents of g and x, of their shape, and of gamma, [cells].
    """
    mean, rate, total, part = of_x.mean, of_x.rate, grouping.totals, 1 / (entries(x) * grouping.group)
    one = torch.ones_like(rate)
    gamma, b, c = (d if v is None else v for v, d in ((gamma, one), (b, 0 * one), (c, 0 * one)))
    along_a, sum_a = sums(a, x, mean, rate)
    along_g, sum_g = sums(g, x, mean, rate)
    # With u = r P(a) = r (a - mean_a - slope_a y), the cotangent of gamma is the sum of g u.
    mean_a, slope_a = total(sum_a) * part, total(along_a) * part
    in_gamma = rate * torch.addcmul(sums(g, a, mean_a, one)[0], slope_a, along_g, value=-1)
    # The cotangent of y is of_g g + of_a a, which is projected; that of r is a multiple of y.
    scale, share = rate * gamma, rate * -part
    of_g, of_a = torch.addcmul(b, scale, slope_a, value=-1), share * total(gamma * along_g)
    along = share * total(torch.addcmul(torch.addcmul(gamma * in_gamma, of_g, along_g), of_a, along_a))
    shift = share * total(torch.addcmul(of_g * sum_g, of_a, sum_a))
    in_x = line(x, mean, rate, along, shift)
    in_x = in_x.addcmul_(g, wide(rate * of_g, x)).addcmul_(a, wide(rate * of_a, x))
    in_g = line(x, mean, rate, of_g, torch.addcmul(c, scale, mean_a, value=-1))
    return [in_g.addcmul_(a, wide(scale, x)), in_x, in_gamma]
