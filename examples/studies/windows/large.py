"""Two networks of a size that keeps a GPU busy: a residual network over images, a causal transformer over tokens.

At scale one they have 11 and 51 million parameters; `scale` multiplies their widths. They are differentiated in three
precisions, of which `precise` and `cast` bring about.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from windows.networks import Block, Network

PIXELS, KINDS, IMAGES = 32, 10, 128
TOKENS, CONTEXT, DEPTH, HEADS, TEXTS = 12288, 256, 12, 8, 16

# `float32`: no tensor cores. `tf32`: matrix products and convolutions keep ten bits of the inputs' mantissas.
# `bf16`: parameters in float32, losses under autocast, the rest as in `tf32`.
PRECISIONS = ("float32", "tf32", "bf16")


# ---- a residual network ----


class Residual(nn.Module):
    """Two convolutions, each normalised, beside the identity or, where the shape changes, a convolution of size one."""

    def __init__(self, narrow: int, wide: int, stride: int) -> None:
        super().__init__()
        first = [nn.Conv2d(narrow, wide, 3, stride, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
        self.body = nn.Sequential(*first, nn.Conv2d(wide, wide, 3, 1, 1, bias=False), nn.BatchNorm2d(wide))
        aside = [nn.Conv2d(narrow, wide, 1, stride, bias=False), nn.BatchNorm2d(wide)]
        self.aside = nn.Sequential(*aside) if stride > 1 or narrow != wide else nn.Identity()

    def forward(self, seen: Tensor) -> Tensor:
        """Of [batch, channels, side, side]."""
        return F.relu(self.body(seen) + self.aside(seen))


def resnet(scale: float) -> nn.Module:
    """ResNet-18 (He et al. 2016) as it is trained on small images: a first layer of three by three, and no pooling."""
    widths = [max(2, round(64 * scale)) * 2**stage for stage in range(4)]
    stem = [nn.Conv2d(3, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()]
    blocks = [
        Residual(narrow, wide, stride)
        for before, width, first in zip([widths[0], *widths], widths, (1, 2, 2, 2), strict=False)
        for narrow, wide, stride in ((before, width, first), (width, width, 1))
    ]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], KINDS))


def pictures(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noise, and classes that have nothing to do with it."""
    inputs = torch.randn(count, 3, PIXELS, PIXELS, generator=generator)
    return inputs, torch.randint(KINDS, (count,), generator=generator)


# ---- a transformer ----


class Decoder(nn.Module):
    """Twelve blocks over tokens, those of the smaller transformer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = nn.Embedding(TOKENS, width)
        self.places = nn.Parameter(0.02 * torch.randn(CONTEXT, width))
        self.blocks = nn.Sequential(*(Block(width, HEADS) for _ in range(DEPTH)))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, TOKENS, bias=False))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [batch * time, token]."""
        logits: Tensor = self.leave(self.blocks(self.enter(tokens) + self.places))
        return logits.flatten(0, 1)


def gpt(scale: float) -> nn.Module:
    """512 wide."""
    return Decoder(HEADS * max(1, round(512 / HEADS * scale)))


def texts(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Tokens and, flat, the ones to foretell."""
    drawn = torch.randint(TOKENS, (2, count, CONTEXT), generator=generator)
    return drawn[0], drawn[1].flatten()


LARGE: Mapping[str, Network] = {"resnet": Network(resnet, pictures, IMAGES), "gpt": Network(gpt, texts, TEXTS)}


# ---- precisions ----


@contextmanager
def precise(precision: str) -> Iterator[None]:
    """Let torch round the inputs of products in single precision, or not; as before at the end."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = precision != "float32"
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def cast(loss: Callable[..., Tensor], device: str) -> Callable[..., Tensor]:
    """A loss that computes in bfloat16 where autocast holds that safe."""

    def lower(model: nn.Module, batch: Sequence[Any]) -> Tensor:
        with torch.autocast(device, torch.bfloat16):
            return loss(model, batch)

    return lower
