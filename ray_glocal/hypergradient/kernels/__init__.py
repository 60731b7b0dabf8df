"""Kernels that can be differentiated as often as a window needs.

Torch's fused kernels have no second derivative (attention), or one that is put together from many passes over memory
(normalisation). Here each keeps its fused forward and backward pass, bit for bit, and gets a second derivative
that is a formula: the backward pass is a function of its own, whose backward pass that formula is.
"""

from ray_glocal.hypergradient.kernels.eager import differentiable_in_eval
from ray_glocal.hypergradient.kernels.moments import moments
from ray_glocal.hypergradient.kernels.substitution import twice_differentiable

__all__ = ["differentiable_in_eval", "moments", "twice_differentiable"]
