"""Small networks with smooth activations: hypergradients of ReLU networks at high learning rates hold nowhere."""

import torch
from torch import Tensor, nn


def linear(inputs: int, classes: int) -> nn.Module:
    """Logistic regression."""
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, classes))


def perceptron(inputs: int, width: int, classes: int) -> nn.Module:
    """One hidden layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, classes))


def convolutional(side: int, width: int, classes: int) -> nn.Module:
    """Two convolutions, of `width` and twice as many channels, each halving the side of [1, side, side] images."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(2 * width * (side // 4) ** 2, classes),
    )


class Recurrent(nn.Module):
    """A GRU over symbols or rows of an image; answers at every step, or at the last one."""

    def __init__(self, inputs: int, width: int, classes: int, *, symbols: bool) -> None:
        super().__init__()
        self.symbols = symbols
        self.enter = nn.Embedding(inputs, width) if symbols else nn.Linear(inputs, width)
        self.cells = nn.GRU(width, width, batch_first=True)
        self.leave = nn.Linear(width, classes)

    def forward(self, batch: Tensor) -> Tensor:
        """Logits [batch, class] of images [batch, 1, side, side], or [batch, time, class] of symbols [batch, time]."""
        seen, _ = self.cells(self.enter(batch if self.symbols else batch.flatten(1, 2)))
        answers: Tensor = self.leave(seen if self.symbols else seen[:, -1])
        return answers


class Transformer(nn.Module):
    """Pre-norm self-attention over symbols (causal) or rows of an image (averaged at the end)."""

    def __init__(self, inputs: int, width: int, classes: int, *, symbols: bool, length: int, layers: int = 1) -> None:
        super().__init__()
        self.symbols = symbols
        self.enter = nn.Embedding(inputs, width) if symbols else nn.Linear(inputs, width)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, batch: Tensor) -> Tensor:
        """As of `Recurrent`."""
        seen = self.enter(batch if self.symbols else batch.flatten(1, 2)) + self.places
        mask = nn.Transformer.generate_square_subsequent_mask(seen.shape[1]).to(seen) if self.symbols else None
        for layer in self.layers:
            seen = layer(seen, src_mask=mask, is_causal=self.symbols)
        answers: Tensor = self.leave(seen if self.symbols else seen.mean(1))
        return answers
