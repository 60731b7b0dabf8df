"""Three networks of every size: a perceptron, a convolutional network and a transformer over symbols.

`scale` multiplies their width; at one they have 269,000, 20,000 and 110,000 parameters. A network comes with what draws
a batch for it: random inputs and targets, for neither time nor memory depends on what they say.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE, CLASSES = 28, 10
SYMBOLS, TIME, HEADS = 84, 64, 4
Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]  # inputs and targets, by the number of examples


@dataclass(frozen=True)
class Network:
    """How a network is made at a scale, and what it is trained on: a batch's examples and how many."""

    make: Callable[[float], nn.Module]
    draw: Draw
    batch: int = 64


def perceptron(scale: float) -> nn.Module:
    """Two hidden layers of 256."""
    width = round(256 * scale)
    layers = [nn.Linear(SIDE**2, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, CLASSES)]
    return nn.Sequential(nn.Flatten(), *layers)


def convolutional(scale: float) -> nn.Module:
    """Two convolutions, of 16 and 32 channels, each pooled to half its side."""
    narrow, wide = round(16 * scale), round(32 * scale)
    first = [nn.Conv2d(1, narrow, 3, padding=1), nn.GELU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(narrow, wide, 3, padding=1), nn.GELU(), nn.MaxPool2d(2)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(wide * (SIDE // 4) ** 2, CLASSES))


class Block(nn.Module):
    """Pre-norm causal attention by torch's fused operator, and a perceptron.

    Keys have no bias: its gradient is zero in theory and rounding in practice, which Adam would enlarge.
    """

    def __init__(self, width: int, heads: int = HEADS) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attend, self.join = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.think = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, seen: Tensor) -> Tensor:
        """Of [batch, time, width]."""
        batch, time, width = seen.shape
        parts = (
            self.attend(self.norms[0](seen))
            .view(batch, time, 3, self.heads, width // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        query, key, value = parts.unbind(0)
        heard = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        seen = seen + self.join(heard.transpose(1, 2).reshape(seen.shape))
        thought: Tensor = self.think(self.norms[1](seen))
        return seen + thought


class Transformer(nn.Module):
    """Two blocks over symbols."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter, self.places = nn.Embedding(SYMBOLS, width), nn.Parameter(0.02 * torch.randn(TIME, width))
        self.blocks = nn.Sequential(Block(width), Block(width))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, SYMBOLS))

    def forward(self, symbols: Tensor) -> Tensor:
        """Logits [batch * time, symbol]."""
        answers: Tensor = self.leave(self.blocks(self.enter(symbols) + self.places))
        return answers.flatten(0, 1)


def transformer(scale: float) -> nn.Module:
    """64 wide."""
    return Transformer(HEADS * round(64 / HEADS * scale))


def images(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noise, and classes that have nothing to do with it."""
    inputs = torch.randn(count, 1, SIDE, SIDE, generator=generator)
    return inputs, torch.randint(CLASSES, (count,), generator=generator)


def symbols(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Symbols and, flat, the ones to foretell."""
    drawn = torch.randint(SYMBOLS, (2, count, TIME), generator=generator)
    return drawn[0], drawn[1].flatten()


NETWORKS = {
    "mlp": Network(perceptron, images, 128),
    "cnn": Network(convolutional, images, 64),
    "transformer": Network(transformer, symbols, 16),
}
