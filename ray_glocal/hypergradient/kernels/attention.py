"""Scaled dot-product attention.

With P = softmax(scale Q K' + mask) and O = P V, a cotangent G of O is pulled back to P' G in V, to scale S K in Q and
to scale S' Q in K, where S = P (G V' - D), entry by entry, and D makes its rows sum to zero.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ray_glocal.hypergradient._compat import applied, softmax_backward
from ray_glocal.hypergradient.kernels.autocast import lowered
from ray_glocal.hypergradient.kernels.backends import fused
from ray_glocal.hypergradient.kernels.backward import Backward, unseen
from ray_glocal.hypergradient.kernels.blocks import blockwise, precise


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor | None:
    """Attention [..., queries, d], or None for what the formula does not cover."""
    heads, learnt = query.shape[:-2], attn_mask is not None and attn_mask.requires_grad
    if dropout_p or enable_gqa or learnt or (is_causal and attn_mask is not None):
        return None
    if key.shape[:-2] != heads or value.shape[:-2] != heads or (attn_mask is not None and attn_mask.ndim > query.ndim):
        return None
    inputs = lowered([query, key, value, attn_mask])
    result: Tensor = applied(Attention, *inputs, is_causal, scale)
    return result


class Attention(torch.autograd.Function):
    """Scaled dot-product attention by whatever kernel torch chooses."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        causal: bool,
        scale: float | None,
    ) -> Tensor:
        """The fused kernel, whose graph holds what its backward pass needs."""
        needed = ctx.needs_input_grad[:3]
        leaves = [t.detach().requires_grad_(n) for t, n in zip((query, key, value), needed, strict=True)]
        with torch.enable_grad(), fused():
            q, k, v = leaves
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, scale=scale)
        ctx.save_for_backward(query, key, value, mask)
        ctx.fused = out, [leaf for leaf in leaves if leaf.requires_grad]
        ctx.causal, ctx.scale = causal, scale
        ctx.set_materialize_grads(False)
        return out.detach()

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        """The fused kernel, as a function of its own; not `unseen`, for its graph holds saved tensors, too."""
        (g,) = cotangents
        if g is None:
            return (None,) * 6
        found = list(applied(AttentionBackward, g, *ctx.saved_tensors, ctx.causal, ctx.scale, ctx.fused))
        return *(found.pop(0) if n else None for n in ctx.needs_input_grad[:3]), *(None,) * 3


class AttentionBackward(Backward):
    """Cotangents of those of query, key and value that need one."""

    @staticmethod
    def forward(g: Tensor, query: Tensor, key: Tensor, value: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        """The fused kernel."""
        out, leaves = rest[-1]
        found: tuple[Tensor, ...] = torch.autograd.grad(out, leaves, g, retain_graph=True)
        return found

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep the inputs."""
        ctx.save_for_backward(*inputs[:5])
        ctx.causal, ctx.scale = inputs[5:7]
        ctx.set_materialize_grads(False)

    @staticmethod
    @unseen
    def backward(ctx: Any, saved: Sequence[Any], *cotangents: Tensor | None) -> Any:
        """The formula, for one block of heads after the other."""
        g, query, key, value, mask = saved
        needed = ctx.needs_input_grad[:4]
        if all(c is None for c in cotangents) or not any(needed):
            return (None,) * 8
        inputs, found = (query, key, value), list(cotangents)
        dual = [found.pop(0) if n else None for n in needed[1:]]
        dual = [torch.zeros_like(t) if c is None else c for t, c in zip(inputs, dual, strict=True)]
        scale = 1 / math.sqrt(query.shape[-1]) if ctx.scale is None else ctx.scale
        heads = [t.reshape(math.prod(t.shape[:-2]), *t.shape[-2:]) for t in (g, *inputs, *dual)]
        bias = additive(mask, query, key, ctx.causal)
        shared = bias is None or len(bias) == 1
        if bias is not None and not shared:
            heads.append(bias)

        def formula(*block: Tensor) -> list[Tensor]:
            g, q, k, v, a, b, c = (precise(t) for t in block[:7])
            return curvature(g, q, k, v, a, b, c, bias if shared else block[7], mask is not None, scale)

        second = blockwise(formula, heads, query.shape[-2] * key.shape[-2])
        shaped = [s.to(t.dtype).reshape(t.shape) for s, t in zip(second, (g, *inputs), strict=True)]
        return *(s if n else None for s, n in zip(shaped, needed, strict=True)), *(None,) * 4


def additive(mask: Tensor | None, query: Tensor, key: Tensor, causal: bool) -> Tensor | None:
    """What is added to the logits, [1 or heads, queries, keys]."""
    shape = query.shape[-2], key.shape[-2]
    if causal:
        mask = torch.ones(shape, dtype=torch.bool, device=query.device).tril()
    if mask is None:
        return None
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, dtype=query.dtype, device=mask.device).masked_fill(~mask, -math.inf)
    mask = precise(mask)
    if math.prod(mask.shape[:-2]) == 1:
        return mask.reshape(-1, *mask.shape[-2:]).expand(1, *shape)
    return mask.expand(*query.shape[:-2], *shape).reshape(-1, *shape)


def curvature(
    g: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    bias: Tensor | None,
    masked: bool,
    scale: float,
) -> list[Tensor]:
    """Pull cotangents of the backward pass back.

    Args:
        g: Cotangent of the output, [heads, queries, d].
        query: [heads, queries, e].
        key: [heads, keys, e].
        value: [heads, keys, d].
        a: Cotangent of the cotangent of the query, of its shape.
        b: The same of the key.
        c: The same of the value.
        bias: What is added to the logits, [1 or heads, queries, keys].
        masked: Whether some queries may see no key at all.
        scale: Factor of the logits.

    Returns:
        Cotangents of g, query, key and value.
    """
    query, a = query * scale, a * scale
    weights = _weights(query, key, bias, masked)
    # Logits move by `turned` where query and key move by a and b; both are centred within each row. What is written
    # over is needed no more: temporaries are the size of the weights, and fewer of them stay in the cache.
    turned = _centred(torch.bmm(a, key.mT).baddbmm_(query, b.mT), weights)
    pulled = _centred(torch.bmm(g, value.mT), weights)
    first, moved = weights * pulled, weights * turned
    second = (turned * pulled).baddbmm_(g, c.mT)
    second = softmax_backward(second, weights, -1, weights.dtype)
    return [
        torch.bmm(weights, c).baddbmm_(moved, value),
        torch.bmm(first, b).baddbmm_(second, key).mul_(scale),
        torch.bmm(first.mT, a).baddbmm_(second.mT, query),
        torch.bmm(moved.mT, g),
    ]


def _centred(rows: Tensor, weights: Tensor) -> Tensor:
    """Less the mean of each row under its weights; written over the rows, unless a derivative needs them."""
    means = (rows * weights).sum(-1, keepdim=True)
    return rows - means if torch.is_grad_enabled() else rows.sub_(means)


def _weights(query: Tensor, key: Tensor, bias: Tensor | None, masked: bool) -> Tensor:
    """Attention weights [heads, queries, keys] of scaled queries; zero for a query that sees no key."""
    if bias is None:
        return torch.softmax(torch.bmm(query, key.mT), -1)
    if not masked:
        return torch.softmax(torch.baddbmm(bias.to(query.dtype), query, key.mT), -1)
    blind = (bias == -math.inf).all(-1, keepdim=True)
    logits = torch.baddbmm(bias.masked_fill(blind, 0).to(query.dtype), query, key.mT)
    return torch.softmax(logits, -1).masked_fill(blind, 0)
