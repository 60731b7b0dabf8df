"""A small transformer whose activations are made noisy by strengths given with its inputs."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suites.blocks import noisy


class Causal(nn.Module):
    """One pre-norm block of self-attention and feed-forward over symbols, each seeing those before it."""

    def __init__(self, symbols: int, width: int, length: int, activation: str = "gelu", heads: int = 4) -> None:
        super().__init__()
        self.heads, self.activation = heads, getattr(F, activation)
        self.enter = nn.Embedding(symbols, width)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        self.attend, self.attended = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.leave = nn.Linear(width, symbols)
        self.register_buffer("hidden", torch.ones(length, length, dtype=torch.bool).triu(1))

    def forward(self, symbols: Tensor, strengths: Sequence[Tensor] = ()) -> Tensor:
        """Logits [batch, time, symbol]; strengths of noise after entry, attention, widening, narrowing, last norm."""
        entry, attention, wide, narrow, last = strengths or [None] * 5
        seen = _noisy(self.enter(symbols) + self.places, entry)
        seen = seen + _noisy(self._attention(self.norms[0](seen)), attention)
        inner = _noisy(self.activation(self.widen(self.norms[1](seen))), wide)
        seen = seen + _noisy(self.narrow(inner), narrow)
        return self.leave(_noisy(self.norms[2](seen), last))

    def groups(self) -> tuple[list[Tensor], ...]:
        """Parameters of embedding, positions, attention, feed-forward, norms, and head."""
        attention = [*self.attend.parameters(), *self.attended.parameters()]
        feed = [*self.widen.parameters(), *self.narrow.parameters()]
        norms, head = list(self.norms.parameters()), list(self.leave.parameters())
        return list(self.enter.parameters()), [self.places], attention, feed, norms, head

    def _attention(self, seen: Tensor) -> Tensor:
        parts = self.attend(seen).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # [batch, head, ...]
        queries, keys, values = parts.unbind()
        scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
        shares = scores.masked_fill(self.hidden, -torch.inf).softmax(-1)
        return self.attended((shares @ values).transpose(1, 2).flatten(2))


def _noisy(seen: Tensor, strength: Tensor | None) -> Tensor:
    return seen if strength is None else noisy(seen, strength)
