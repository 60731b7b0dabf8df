"""Gradient clipping between the gradient and the optimizer: as torch clips, and its derivative."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient._compat import foreach_norm

Gradients = Sequence[Tensor | None]
_TINY = 1e-6  # torch adds it to the norm


@dataclass(frozen=True)
class Clipping:
    """How gradients are clipped before the optimizer sees them: by norm, then by value; None leaves either out.

    Args:
        norm: Largest norm of all gradients together, as in `torch.nn.utils.clip_grad_norm_`.
        value: Largest magnitude of an entry, as in `torch.nn.utils.clip_grad_value_`.

    Examples:
        >>> Clipping(norm=1.0)
        Clipping(norm=1.0, value=None)

    Raises:
        ArgumentError: A limit that is not positive.
    """

    norm: float | None = None
    value: float | None = None

    def __post_init__(self) -> None:
        for name, limit in (("norm", self.norm), ("value", self.value)):
            if limit is not None and not limit > 0:
                raise ArgumentError(f"clipping.{name}", "be positive", limit, "Leave it out not to clip.")

    def clip(self, parameters: Sequence[Tensor]) -> None:
        """Clip the gradients that parameters hold, in place, by torch's own functions."""
        if self.norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, self.norm)
        if self.value is not None:
            torch.nn.utils.clip_grad_value_(parameters, self.value)

    def clipped(self, gradients: Gradients) -> tuple[Tensor | None, ...]:
        """Clipped copies of gradients."""
        if self.norm is not None:
            share = self._share(gradients)
            gradients = [None if g is None else g * share.to(g.device) for g in gradients]
        if self.value is not None:
            gradients = [None if g is None else g.clamp(-self.value, self.value) for g in gradients]
        return tuple(gradients)

    def pull_back(self, gradients: Gradients, cotangents: Sequence[Tensor]) -> list[Tensor]:
        """Cotangents in gradients, from ones in what they are clipped to."""
        return self._through_norm(gradients, self._through_value(gradients, cotangents))

    def push_forward(self, gradients: Gradients, tangents: Sequence[Tensor]) -> list[Tensor]:
        """Tangents [q, ...] of clipped gradients, from ones of the gradients."""
        return self._through_value(gradients, self._through_norm(gradients, tangents))

    def _through_value(self, gradients: Gradients, moved: Sequence[Tensor]) -> list[Tensor]:
        if self.value is None:
            return list(moved)
        pairs = zip(self._by_norm(gradients), moved, strict=True)
        return [m if g is None else m * (g.abs() <= self.value) for g, m in pairs]

    def _through_norm(self, gradients: Gradients, moved: Sequence[Tensor]) -> list[Tensor]:
        """Its derivative is symmetric: s (m - g <g, m> / (|g| (|g| + tiny))), where s is the share, if below one."""
        if self.norm is None:
            return list(moved)
        length, share = self._length(gradients), self._share(gradients)
        pairs = [(g, m) for g, m in zip(gradients, moved, strict=True) if g is not None]
        inner = [(m.reshape(*m.shape[: m.ndim - g.ndim], -1) @ g.flatten()).to(length.device) for g, m in pairs]
        along = torch.stack(inner).sum(0) / (length * (length + _TINY)) * (share < 1)
        return [
            m if g is None else share.to(m) * (m - _like(along, g).to(m) * g)
            for g, m in zip(gradients, moved, strict=True)
        ]

    def _by_norm(self, gradients: Gradients) -> Gradients:
        if self.norm is None:
            return gradients
        share = self._share(gradients)
        return [None if g is None else g * share.to(g.device) for g in gradients]

    def _share(self, gradients: Gradients) -> Tensor:
        """What torch multiplies every gradient by."""
        assert self.norm is not None
        return torch.clamp(self.norm / (self._length(gradients) + _TINY), max=1.0)

    def _length(self, gradients: Gradients) -> Tensor:
        lengths = foreach_norm([g for g in gradients if g is not None])  # as torch's own clipping does
        length: Tensor = torch.linalg.vector_norm(torch.stack([each.to(lengths[0].device) for each in lengths]))
        return length


def _like(factors: Tensor, gradient: Tensor) -> Tensor:
    """Factors [...] as [..., 1, ...], to multiply a gradient."""
    return factors.reshape(*factors.shape, *(1 for _ in gradient.shape))
