"""Functions whose second derivative is missing, wrong, or not what the loop does."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from ..fuzz import layers as own
from ..fuzz import losses
from ..fuzz.around_models import StraightThrough
from ..fuzz.loops import Loop
from .networks import LR, SGD, looped, mlp


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


class DetachedSquare(Square):
    """Its backward pass cuts the graph."""

    @staticmethod
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0].detach() * gradient


class NumpySquare(Square):
    """Its backward pass leaves torch."""

    @staticmethod
    def backward(ctx, gradient):
        return torch.from_numpy(2 * ctx.saved_tensors[0].detach().numpy()) * gradient


class WrittenSquare(Square):
    """Its backward pass computes under `no_grad`."""

    @staticmethod
    def backward(ctx, gradient):
        with torch.no_grad():
            slope = 2 * ctx.saved_tensors[0]
        return slope * gradient


class KeptSquare(torch.autograd.Function):
    """Keeps its argument as an attribute, past `save_for_backward`."""

    @staticmethod
    def forward(ctx, x):
        ctx.x = x.detach().clone()
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * ctx.x * gradient


class TwiceSquare(Square):
    """Differentiable as often as one likes."""

    @staticmethod
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


class Reversed(torch.autograd.Function):
    """Gradient reversal: the loop goes along something that is no gradient."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -0.5 * gradient


def squared(kind):
    def build() -> Loop:
        model = nn.Sequential(nn.Linear(5, 8), own.Function(kind.apply), nn.Linear(8, 3)).double()
        return looped(model, optimizer=SGD(model.parameters(), LR, momentum=0.5))

    return build


# ---- without a second derivative in torch ----


def lossy(criterion):
    return lambda: looped(mlp(), lambda m, b: criterion(m(b[0]), b[1]), lambda m, b: F.cross_entropy(m(b[0]), b[1]))


def _ctc(out, label):
    chances = out.log_softmax(-1)[:, None]
    return F.ctc_loss(chances, torch.ones(1, 1).long(), torch.tensor([16]), torch.tensor([1]))


def connectionist() -> Loop:
    loss = lambda m, b: _ctc(m(b[0]), b[1])  # noqa: E731
    return looped(mlp(), loss, loss)


def bagged(mode, *, sparse=False):
    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.bag, self.head = nn.EmbeddingBag(9, 8, mode=mode, sparse=sparse), nn.Linear(8, 3)

        def forward(self, x):
            return self.head(self.bag((x.abs() * 4).long().clamp(max=8)).tanh())

    return lambda: looped(Bag().double())


def embedded(**options):
    class Embedded(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.head = nn.Embedding(9, 8, **options), nn.Linear(8, 3)

        def forward(self, x):
            return self.head(self.table((x.abs() * 4).long().clamp(max=8)).mean(1).tanh())

    return lambda: looped(Embedded().double())


def inside(function):
    return lambda: looped(mlp(own.Function(function)))


# ---- complex ----


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(5, 3, dtype=torch.cdouble) * 0.5)

    def forward(self, x):
        return ((x + 1j * x**2) @ self.w).abs()


class RealPairs(nn.Module):
    """Complex weights in pairs of real parameters."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(5, 3, 2))

    def forward(self, x):
        return ((x + 1j * x**2) @ torch.view_as_complex(self.w)).abs()


class PartlyComplex(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.w = nn.Linear(5, 5).double(), nn.Parameter(torch.randn(5, 3, dtype=torch.cdouble) * 0.5)

    def forward(self, x):
        return (self.first(x) @ self.w.real.sin() + x @ self.w.imag).tanh()


def complex_buffer() -> Loop:
    class Rotated(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(5, 8).double(), nn.Linear(8, 3).double()
            self.register_buffer("phase", torch.exp(1j * torch.linspace(0, 3, 8, dtype=torch.double)))

        def forward(self, x):
            return self.last((self.first(x) * self.phase).abs())

    return looped(Rotated())


# ---- losses that differentiate ----


def _residual(model, batch):
    x = batch[0].clone().requires_grad_()
    u = model(x)[:, :1]
    (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    return (slope[:, :1] + u).square().mean()


def _penalised(model, batch):
    x = batch[0].clone().requires_grad_()
    out = model(x)
    (slope,) = torch.autograd.grad(out.logsumexp(-1).sum(), x, create_graph=True)
    return F.cross_entropy(out, batch[1]) + 0.1 * slope.square().sum(-1).mean()


def _attacked(model, batch):
    """Adversarial training by the sign of a gradient."""
    x = batch[0].clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(model(x), batch[1]), x)
    return F.cross_entropy(model(batch[0] + 0.05 * slope.sign()), batch[1])


def _curved(model, batch):
    x = batch[0].clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), x, create_graph=True)
    return F.cross_entropy(model(batch[0]), batch[1]) + bend.square().mean()


def both(loss):
    return lambda: looped(mlp(), loss, loss)


def sharpened() -> Loop:
    """Sharpness-aware: the gradient at a point that a gradient led to, detached."""
    model = mlp()
    held = list(model.parameters())

    def train(m, b):
        found = torch.autograd.grad(F.cross_entropy(m(b[0]), b[1]), held)
        names = [name for name, _ in m.named_parameters()]
        moved = {n: p + 0.05 * g for n, p, g in zip(names, held, found, strict=True)}
        return F.cross_entropy(torch.func.functional_call(m, moved, (b[0],)), b[1])

    return looped(model, train)


# ---- constants that depend on parameters ----


def detached_length() -> Loop:
    return looped(mlp(own.Function(lambda x: 2 * x / (1 + x.detach().norm(dim=-1, keepdim=True)))))


def hard_attention() -> Loop:
    """A maximum that is computed under `no_grad`."""

    def scaled(x):
        with torch.no_grad():
            top = x.abs().max()
        return torch.tanh(x / (0.5 + top))

    return looped(mlp(own.Function(scaled)))


def self_paced() -> Loop:
    def train(m, b):
        each = F.cross_entropy(m(b[0]), b[1], reduction="none")
        return (each * torch.exp(-each.detach())).mean()

    return looped(mlp(), train)


def number_of_a_tensor() -> Loop:
    """A step length that goes by `float`."""

    def train(m, b):
        loss = F.cross_entropy(m(b[0]), b[1])
        return loss * float(loss.detach())

    return looped(mlp(), train)


def pseudo_labelled() -> Loop:
    def train(m, b):
        out = m(b[0])
        return F.cross_entropy(out, (3 * out.detach()).softmax(-1)) + F.cross_entropy(out, b[1])

    return looped(mlp(), train)


def straight_through() -> Loop:
    return looped(StraightThrough(mlp()).double())


FOLLOWED = {
    "function differentiable twice": squared(TwiceSquare),
    "complex weights as real pairs": lambda: looped(RealPairs().double()),
    "complex buffer": complex_buffer,
    "Fourier transforms": inside(lambda x: torch.fft.irfft(torch.fft.rfft(x).cos(), 8).tanh()),
    "validation loss that differentiates": both(_residual),
    "gradient penalty in both losses": both(_penalised),
    "adversarial training": both(_attacked),
    "second derivatives in both losses": both(_curved),
    "Embedding": embedded(),
}
EITHER = {
    "Embedding by frequency": embedded(scale_grad_by_freq=True),
    "function that reverses gradients": lambda: looped(mlp(own.Function(Reversed.apply), nn.Tanh())),
    "function differentiable once": squared(Square),
    "function that detaches in backward": squared(DetachedSquare),
    "function that leaves torch in backward": squared(NumpySquare),
    "function without gradient in backward": squared(WrittenSquare),
    "function that keeps its argument": squared(KeptSquare),
    "complex weights": lambda: looped(Complex()),
    "complex weights beside real ones": lambda: looped(PartlyComplex()),
    "loss without double backward, CTC": connectionist,
    "multi-margin loss": lossy(losses.KINKED["multi-margin"]),
    "multi-label margin loss": lossy(lambda out, label: F.multilabel_margin_loss(out, F.one_hot(label, 3))),
    "cdist": inside(lambda x: torch.cdist(x, x[:8], compute_mode="donot_use_mm_for_euclid_dist")),
    "pdist": lossy(lambda out, label: F.cross_entropy(out, label) + F.pdist(out).mean()),
    "hardsigmoid": inside(F.hardsigmoid),
    "EmbeddingBag, sum": bagged("sum"),
    "EmbeddingBag, mean": bagged("mean"),
    "EmbeddingBag, sparse": bagged("sum", sparse=True),
    "Embedding, sparse": embedded(sparse=True),
    "Embedding of bounded norm": embedded(max_norm=1.0),
    "sharpness-aware": sharpened,
    "detached length": detached_length,
    "maximum under no_grad": hard_attention,
    "weights by the detached loss": self_paced,
    "weight by a number": number_of_a_tensor,
    "pseudo-labels": pseudo_labelled,
    "straight through": straight_through,
}
# Products by differences are beside these: smooth, and no first derivative is missing.
DIFFERENCES = (
    "function differentiable once",
    "function that detaches in backward",
    "function that leaves torch in backward",
    "function that keeps its argument",
    "loss without double backward, CTC",
    "cdist",
    "pdist",
    "EmbeddingBag, sum",
    "EmbeddingBag, mean",
    "weights by the detached loss",
    "pseudo-labels",
)
