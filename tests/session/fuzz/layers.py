"""Layers with a forward of their own, as users write them: what the random models are made of besides torch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Function(nn.Module):
    """A function of torch's as a layer; it is told whether the model trains."""

    def __init__(self, function: Callable[..., Tensor], *, training: bool = False) -> None:
        super().__init__()
        self.function, self.told = function, training

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, training=self.training) if self.told else self.function(x)


class Residual(nn.Module):
    def __init__(self, inner: nn.Module, scale: float = 0.5) -> None:
        super().__init__()
        self.inner, self.scale = inner, scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.inner(x)


class Gated(nn.Module):
    """A gated linear unit of whatever doubles the width."""

    def __init__(self, doubling: nn.Module, dim: int) -> None:
        super().__init__()
        self.doubling, self.dim = doubling, dim

    def forward(self, x: Tensor) -> Tensor:
        return F.glu(self.doubling(x), self.dim)


class SelfBilinear(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.form = nn.Bilinear(width, width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.form(x, x).tanh()


class Prototypes(nn.Module):
    """Similarities to learnt points."""

    def __init__(self, width: int, similarity: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.points, self.similarity = nn.Parameter(torch.randn(width, width)), similarity

    def forward(self, x: Tensor) -> Tensor:
        return self.similarity(x[:, None], self.points[None])


class Keyword(nn.Module):
    """Calls what it holds by keyword."""

    def __init__(self, inner: nn.Module, name: str = "input") -> None:
        super().__init__()
        self.inner, self.name = inner, name

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(**{self.name: x})


# ---- norms ----


class TanhNorm(nn.BatchNorm1d):
    """A batch normalisation that goes on."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(super().forward(x))


class ShiftedNorm(nn.BatchNorm1d):
    """A batch normalisation of something else than its argument."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * 1.5 + 0.1 * x.square())


class CentredNorm(nn.LayerNorm):
    """A layer normalisation without division."""

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(-1, keepdim=True)) * self.weight + self.bias


class ResidualGroupNorm(nn.GroupNorm):
    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class ScaledGELU(nn.GELU):
    def forward(self, x: Tensor) -> Tensor:
        return 1.7 * super().forward(x)


class OwnStatistics(nn.Module):
    """Batch normalisation by the function, on buffers of one's own."""

    def __init__(self, width: int, momentum: float = 0.2) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("var", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.mean, self.var, self.gain, None, self.training, self.momentum)


class RunningScale(nn.Module):
    """Divides by a running root mean square of what came through, which depends on the parameters below it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("square", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                self.square.mul_(0.8).add_(0.2 * x.square().mean())
        return x / (self.square.clone() + 1e-3).sqrt()


class HandRMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt()


# ---- sequences [batch, time, features] ----


class Recurrent(nn.Module):
    """The outputs of a recurrent network."""

    def __init__(self, network: nn.RNNBase) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)[0]


class Celled(nn.Module):
    """A recurrent cell in a loop of one's own."""

    def __init__(self, cell: nn.RNNCellBase) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        state, out = None, []
        for moment in x.unbind(1):
            state = self.cell(moment, state)
            out.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(out, 1)


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence to itself."""

    def __init__(self, attention: nn.MultiheadAttention, *, keyword: bool = False, **options: Any) -> None:
        super().__init__()
        self.attention, self.keyword, self.options = attention, keyword, options

    def forward(self, x: Tensor) -> Tensor:
        if self.keyword:
            return x + self.attention(query=x, key=x, value=x, **self.options)[0]
        return x + self.attention(x, x, x, **self.options)[0]


class DoubledAttention(nn.MultiheadAttention):
    """Attention whose forward changes what comes out."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, **options: Any) -> tuple[Tensor, Any]:
        out, weights = super().forward(query, key, value, **options)
        return 2 * torch.tanh(out), weights


class ScaledDotProduct(nn.Module):
    """Attention by the function."""

    def __init__(self, width: int, *, causal: bool) -> None:
        super().__init__()
        self.project, self.causal = nn.Linear(width, 3 * width), causal

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.project(x).chunk(3, -1)
        return x + F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)


class Decoded(nn.Module):
    """A decoder layer that looks at its own input."""

    def __init__(self, layer: nn.TransformerDecoderLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, x.flip(1))


class Swapped(nn.Module):
    """Features before time around what it holds."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.transpose(1, 2)).transpose(1, 2)


class Bags(nn.Module):
    """Sums or means of embeddings as one feature more of every moment."""

    def __init__(self, tokens: int, width: int, **options: Any) -> None:
        super().__init__()
        self.each, self.bag = nn.Embedding(tokens, width), nn.EmbeddingBag(tokens, width, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.each(x) + self.bag(x)[:, None]


class OneHot(nn.Module):
    """An embedding by a matrix product."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(tokens, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(F.one_hot(x, self.linear.in_features).to(self.linear.weight.dtype))


# ---- images [batch, channels, height, width] ----


class Pooled(nn.Module):
    """Pools, and interpolates back."""

    def __init__(self, pool: nn.Module, mode: str, size: tuple[int, ...]) -> None:
        super().__init__()
        self.pool, self.mode, self.size = pool, mode, size

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.pool(x), size=self.size, mode=self.mode)


class Unpooled(nn.Module):
    """Max-pooling with indices, and unpooling by them."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.back = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.back(*self.pool(x))


class Warped(nn.Module):
    """Samples at learnt places."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.eye(2, 3) + 0.05 * torch.randn(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        places = self.places[None].expand(len(x), -1, -1)
        return F.grid_sample(x, F.affine_grid(places, list(x.shape), align_corners=False), align_corners=False)


class Patches(nn.Module):
    """Unfolds, mixes, and folds."""

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.mix, self.size = nn.Linear(4 * channels, 4 * channels), size

    def forward(self, x: Tensor) -> Tensor:
        patches = F.unfold(x, 2, stride=2).transpose(1, 2)
        return F.fold(self.mix(patches).transpose(1, 2), self.size, 2, stride=2)
