"""Subclasses of layers that are replaced in windows, calls by keyword, and normalisation by functions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from ..fuzz import layers as own
from ..fuzz.loops import Loop
from .networks import looped, mlp


class Sequenced(nn.Module):
    """Vectors as sequences of eight moments of four features, around a layer."""

    def __init__(self, inner):
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(5, 32), inner, nn.Linear(32, 3)

    def forward(self, x):
        return self.last(self.inner(self.first(x).view(-1, 8, 4)).flatten(1))


class Conditional(nn.Module):
    """A normalisation for each class of inputs."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 3)
        self.norms = nn.ModuleList([nn.BatchNorm1d(8), nn.BatchNorm1d(8)])

    def forward(self, x):
        hidden, second = self.first(x), x[:, 0] > 0
        out = torch.empty_like(hidden)
        out[second], out[~second] = self.norms[0](hidden[second]), self.norms[1](hidden[~second])
        return self.last(out.tanh())


class ClassGains(nn.Module):
    """One normalisation, whose gains are embedded."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(5, 8), nn.BatchNorm1d(8, affine=False), nn.Linear(8, 3)
        self.gains = nn.Embedding(2, 8)

    def forward(self, x):
        return self.last(torch.tanh(self.norm(self.first(x)) * self.gains((x[:, 0] > 0).long())))


class Ghost(nn.BatchNorm1d):
    """Batch normalisation of parts of the batch."""

    def forward(self, x):
        return torch.cat([super(Ghost, self).forward(part) for part in x.chunk(2)])


class Blended(nn.BatchNorm1d):
    """Reads running statistics while it trains, as batch renormalisation does."""

    def forward(self, x):
        mean = 0.5 * (x.mean(0) + self.running_mean.clone())
        super().forward(x)
        return (x - mean) * self.weight + self.bias


class Skipping(nn.BatchNorm1d):
    """Normalises only now and then."""

    def forward(self, x):
        return super().forward(x) if float(x.detach().mean()) > 0 else x


class SquaredNorm(nn.GroupNorm):
    def forward(self, x):
        return super().forward(x) ** 2


class GainedNorm(nn.LayerNorm):
    def forward(self, input):
        return F.layer_norm(input, self.normalized_shape, 1 + self.weight, self.bias, self.eps)


class HalfGELU(nn.GELU):
    def forward(self, input):
        left, right = input.chunk(2, -1)
        return torch.cat([super().forward(left), right], -1)


def twice(norm):
    """The same module in two places."""
    return nn.Sequential(norm, nn.Linear(8, 8), norm, nn.Tanh())


def frozen_statistics() -> Loop:
    """A normalisation that stays in eval mode while the rest trains."""

    class Held(nn.BatchNorm1d):
        def train(self, mode=True):
            return super().train(False)

    return looped(mlp(Held(8), nn.Tanh()))


def inside(*middle):
    return lambda: looped(mlp(*[make() for make in middle], nn.Tanh()))


def sequenced(make):
    return lambda: looped(Sequenced(make()).double())


def attention(**options):
    return lambda: own.SelfAttention(nn.MultiheadAttention(4, 2, batch_first=True), **options)


FOLLOWED = {
    "subclass of BatchNorm": inside(lambda: own.TanhNorm(8)),
    "subclass of BatchNorm, another argument": inside(lambda: own.ShiftedNorm(8)),
    "subclass of BatchNorm, in parts": inside(lambda: Ghost(8)),
    "subclass of BatchNorm, skipping": inside(lambda: Skipping(8)),
    "subclass of LayerNorm": inside(lambda: own.CentredNorm(8)),
    "subclass of LayerNorm, by the function": inside(lambda: GainedNorm(8)),
    "subclass of GroupNorm": inside(lambda: own.ResidualGroupNorm(2, 8)),
    "subclass of GroupNorm, squared": inside(lambda: SquaredNorm(2, 8)),
    "subclass of GELU": inside(own.ScaledGELU),
    "subclass of GELU, of a half": inside(HalfGELU),
    "subclass of MultiheadAttention": sequenced(
        lambda: own.SelfAttention(own.DoubledAttention(4, 2, batch_first=True))
    ),
    "BatchNorm by keyword": inside(lambda: own.Keyword(nn.BatchNorm1d(8))),
    "LayerNorm by keyword": inside(lambda: own.Keyword(nn.LayerNorm(8))),
    "GroupNorm by keyword": inside(lambda: own.Keyword(nn.GroupNorm(2, 8))),
    "GELU by keyword": inside(lambda: own.Keyword(nn.GELU())),
    "MultiheadAttention by keyword": sequenced(attention(keyword=True, need_weights=False)),
    "MultiheadAttention, weights asked": sequenced(attention()),
    "F.layer_norm by keyword": inside(lambda: own.Function(lambda x: F.layer_norm(input=x, normalized_shape=(8,)))),
    "F.batch_norm without buffers": inside(lambda: own.Function(lambda x: F.batch_norm(x, None, None, training=True))),
    "class-conditional normalisation": lambda: looped(Conditional().double()),
    "class-conditional gains": lambda: looped(ClassGains().double()),
    "normalisation in two places": inside(lambda: twice(nn.BatchNorm1d(8))),
    "normalisation with frozen statistics": frozen_statistics,
    "InstanceNorm": sequenced(lambda: nn.InstanceNorm1d(8)),
    "cumulative BatchNorm": inside(lambda: nn.BatchNorm1d(8, momentum=None)),
}
EITHER = {
    "F.batch_norm on own buffers": inside(lambda: own.OwnStatistics(8)),
    "F.batch_norm on own buffers, fast": inside(lambda: own.OwnStatistics(8, 0.9)),
    "BatchNorm that reads statistics in training": inside(lambda: Blended(8)),
    "InstanceNorm with running statistics": sequenced(lambda: nn.InstanceNorm1d(8, track_running_stats=True)),
    "InstanceNorm with fast statistics": sequenced(
        lambda: nn.InstanceNorm1d(8, track_running_stats=True, momentum=0.9)
    ),
    "weight_norm": inside(lambda: parametrizations.weight_norm(nn.Linear(8, 8))),
    "spectral_norm": inside(lambda: parametrizations.spectral_norm(nn.Linear(8, 8))),
}
