"""What exact products miss: nothing on smooth models, the known share where it is known; and nothing is left behind."""

import math
from unittest.mock import Mock

import pytest
import torch
from torch import nn
from torch.autograd import Function
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from ray_glocal.hypergradient import Hyperparameter, Problem
from ray_glocal.hypergradient.gradient import consistency as module
from ray_glocal.hypergradient.gradient.consistency import Consistency, consistency, outer_consistency

BOTH = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])


class First(nn.Module):
    """A module that returns more than its result."""

    def __init__(self, inner, *, several=False):
        super().__init__()
        self.inner, self.several = inner, several

    def forward(self, x):
        return self.inner(*([x] * 3 if self.several else [x]))[0]


class Again(nn.Module):
    """Runs a layer again in the backward pass."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        return checkpoint(lambda y: self.inner(y).tanh(), x, use_reentrant=False)


class Tokens(nn.Module):
    """Looks something up by the signs of its inputs."""

    def __init__(self, *, bag=False):
        super().__init__()
        self.table = nn.EmbeddingBag(2, 4) if bag else nn.Embedding(2, 4)
        self.bag = bag

    def forward(self, x):
        found = self.table((x.flatten(1) > 0).long())
        return (found if self.bag else found.mean(1))[:, None] * torch.ones_like(x)


VECTORS = {  # of [batch, 4, 4]
    "linear": lambda: nn.Linear(4, 4),
    "bilinear": lambda: Pairs(),
    "convolution": lambda: nn.Conv1d(4, 4, 3, padding=1),
    "transposed convolution": lambda: nn.ConvTranspose1d(4, 4, 3),
    "images": lambda: nn.Sequential(nn.Unflatten(0, (-1, 1)), nn.Conv2d(1, 2, 2), nn.AvgPool2d(2)),
    "volumes": lambda: nn.Sequential(nn.Unflatten(0, (-1, 1)), nn.Unflatten(2, (2, 2)), nn.Conv3d(1, 2, (1, 1, 2))),
    "upsampling": lambda: nn.Sequential(nn.Linear(4, 4), nn.Upsample(scale_factor=2, mode="linear")),
    "recurrent": lambda: First(nn.RNN(4, 4, batch_first=True)),
    "gated": lambda: First(nn.GRU(4, 4, batch_first=True)),
    "long memory": lambda: First(nn.LSTM(4, 4, batch_first=True)),
    "attention": lambda: First(nn.MultiheadAttention(4, 2, batch_first=True), several=True),
    "transformer": lambda: nn.TransformerEncoderLayer(4, 2, 6, activation="gelu", batch_first=True),
    "layer norm": lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)),
    "group norm": lambda: nn.Sequential(nn.Linear(4, 4), nn.GroupNorm(2, 4)),
    "batch norm": lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)),
    "instance norm": lambda: nn.Sequential(nn.Linear(4, 4), nn.InstanceNorm1d(4, affine=True)),
    "local norm": lambda: nn.Sequential(nn.Linear(4, 4), nn.LocalResponseNorm(2)),
    "embedding": Tokens,
    "bag": lambda: Tokens(bag=True),
    "dropout": lambda: nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.4)),
    "weight norm": lambda: parametrizations.weight_norm(nn.Linear(4, 4)),
    "checkpoint": Again,
    **{
        kind.__name__: lambda kind=kind: nn.Sequential(nn.Linear(4, 4), kind())
        for kind in (nn.GELU, nn.SiLU, nn.Softplus, nn.Mish, nn.LogSigmoid, nn.ELU, nn.Tanhshrink, nn.PReLU, nn.ReLU)
    },
}


class Pairs(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Bilinear(4, 4, 4)

    def forward(self, x):
        return self.inner(x, x.flip(1))


class Net(nn.Module):
    """A layer of some kind, and a head."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.head = inner, nn.Linear(1, 3)

    def forward(self, x):
        return self.head(self.inner(x).flatten(1).cos().sum(1, keepdim=True).reshape(len(x), -1)[:, :1])


def entropy(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1]) + model(batch[0]).square().mean()


def problem_of(model, loss=entropy, val=None):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Problem(model, optimizer, loss, val or loss, [Hyperparameter("lr", 0.1, scale="log")])


def batch_of(dtype=torch.float64):
    return torch.randn(6, 4, 4, dtype=torch.float64).to(dtype), torch.randint(3, (6,))


def told(problem, batch):
    return consistency(problem, problem.snapshot(batch, problem.start_values(), problem.capture()))


SINGLE = ("linear", "batch norm", "dropout", "gated", "weight norm", "bag")


@pytest.mark.parametrize(
    ("kind", "dtype"), [*((kind, torch.float64) for kind in VECTORS), *((kind, torch.float32) for kind in SINGLE)]
)
def test_nothing_is_missing_from_smooth_models(kind, dtype):
    torch.manual_seed(1)
    problem = problem_of(Net(VECTORS[kind]()).to(dtype))
    found = told(problem, batch_of(dtype))
    assert found.known
    assert found.missing < 1e-6
    assert found.asymmetry < 1e-6
    assert outer_consistency(problem, [batch_of(dtype), batch_of(dtype)], problem.start_values()) < 1e-6


def test_the_iteration_of_spectral_normalisation_is_missing_where_it_moves():
    """Its vectors are found from the weight without a graph, in training only."""
    torch.manual_seed(1)
    problem = problem_of(Net(parametrizations.spectral_norm(nn.Linear(4, 4))).double())
    assert told(problem, batch_of()).missing > 1e-3
    assert outer_consistency(problem, [batch_of()], problem.start_values()) < 1e-6


# ---- shares that are known ----


class Weight(nn.Module):
    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.w = nn.Parameter(torch.linspace(0.5, 2, 5, dtype=dtype))


def partly(seen, hidden):
    """Whose gradient is (seen + hidden) w, of which derivatives see one part."""
    return lambda model, _: (seen / 2 * model.w.square() + hidden * model.w.detach() * model.w).sum()


@BOTH
@pytest.mark.parametrize(("seen", "hidden"), [(1, 0), (0, 1), (3, 1), (1, 0.01), (1, -0.5), (1, -3)])
def test_the_share_of_a_detached_part_is_what_is_missing(seen, hidden, dtype):
    problem = problem_of(Weight(dtype), partly(seen, hidden))
    found = told(problem, 0)
    assert found.missing == pytest.approx(abs(hidden) / max(abs(seen), abs(seen + hidden)), rel=1e-5, abs=1e-7)
    assert found.asymmetry < 1e-6
    outer = outer_consistency(problem, [0], problem.start_values())
    whole = seen + 2 * hidden
    assert outer == pytest.approx(abs(hidden) / max(abs(seen + hidden), abs(whole)), rel=1e-5, abs=1e-7)


def test_a_number_that_is_read_off_a_tensor_is_missing():
    problem = problem_of(Weight(), lambda model, _: model.w.sum() * float(model.w.detach().sum()))
    assert told(problem, 0).missing == pytest.approx(1.0, rel=1e-6)


def test_a_linear_loss_misses_nothing():
    assert told(problem_of(Weight(), lambda model, _: model.w.sum()), 0) == Consistency(0.0, 0.0)


class Flat(Function):
    """A square whose backward pass is given as a constant."""

    @staticmethod
    def forward(ctx, x):
        ctx.slope = 2 * x.detach()
        return x.square()

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.slope


class Once(Flat):
    """The same, and it says so."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return grad * ctx.slope


@pytest.mark.parametrize("function", [Flat, Once])
def test_backward_passes_that_cannot_be_differentiated_are_missing(function):
    problem = problem_of(Weight(), lambda model, _: function.apply(model.w).sum())
    assert told(problem, 0).missing == pytest.approx(1.0, rel=1e-6)


def aligned(model, _):
    logits = torch.outer(model.w, torch.arange(4, dtype=model.w.dtype)).log_softmax(-1)
    return F.ctc_loss(logits[:, None], torch.tensor([[1, 2]]), torch.tensor([5]), torch.tensor([2]))


def test_functions_without_a_second_derivative_are_missing_entirely():
    assert told(problem_of(Weight(), aligned), 0).missing == math.inf


def test_functions_that_are_replaced_in_windows_are_not():
    assert told(problem_of(Weight(), lambda model, _: F.hardsigmoid(model.w - 1).square().sum()), 0).missing < 1e-6


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.tensor([1.5], dtype=torch.float64))
        self.y = nn.Parameter(torch.tensor([-0.5], dtype=torch.float64))


@pytest.mark.parametrize("factor", [1.0, 3.0, -1.0])
def test_a_hook_makes_the_derivative_no_hessian(factor):
    """Of x y it is ((0, a), (1, 0)) where a hook multiplies the gradient of x by a."""
    model = Two()
    model.x.register_hook(lambda grad: factor * grad)
    found = told(problem_of(model, lambda model, _: (model.x * model.y).sum()), 0)
    u, v = ([float(part) for part in each] for each in module._directions([model.x.detach(), model.y.detach()]))
    pairs = [(a, b) for a in (u, v) for b in (u, v)]
    products = [factor * a[0] * b[1] + a[1] * b[0] for a, b in pairs]
    expected = 2 * abs(products[1] - products[2]) / sum(map(abs, products))
    assert found.missing < 1e-6
    assert found.asymmetry == pytest.approx(expected, rel=1e-5, abs=1e-7)


# ---- where nothing is found ----


def unknown(problem, batch=0):
    found = told(problem, batch)
    assert not found.known
    return math.isnan(outer_consistency(problem, [batch], problem.start_values()))


def test_models_that_know_no_double_precision_are_left_open():
    other = torch.ones(5)
    for loss in (
        lambda model, _: torch.dot(model.w, other).exp(),
        lambda model, _: torch.linalg.solve(torch.eye(5), model.w).sum(),
    ):
        assert unknown(problem_of(Weight(torch.float32), loss))


def test_models_that_are_too_large_are_left_open(monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 4)
    assert unknown(problem_of(Weight(), partly(1, 1)))


def test_models_that_are_compiled_are_left_open():
    model = Weight()
    model._orig_mod = nn.Identity()
    assert unknown(problem_of(model, partly(1, 1)))


def test_losses_full_of_jumps_are_left_open():
    assert unknown(problem_of(Weight(), lambda model, _: (model.w * (model.w * 1e9).sin().detach()).sum()))


# ---- nothing is left behind ----


class Busy(nn.Module):
    """Draws, counts, writes to a buffer, replaces another one, ties a weight and listens."""

    def __init__(self):
        super().__init__()
        self.inner, self.norm, self.head = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)
        self.tied = self.inner.weight
        self.register_buffer("written", torch.zeros(1))
        self.register_buffer("replaced", torch.zeros(1))
        self.generator, self.count, self.seen = torch.Generator().manual_seed(3), 0, []

    def forward(self, x):
        x = x[:, 0] + 0.1 * torch.rand(1, generator=self.generator) + 0.1 * torch.rand(1)
        self.count += 1
        self.seen.append(self.count)
        self.written.add_(1)
        self.replaced = self.replaced + 1
        return self.head(self.norm(self.inner(x)).tanh() @ self.tied)


def held(model):
    """Every tensor by name and place, with the very object and its bits, and all else that may have changed."""
    tensors = [
        (f"{name}.{key}", id(tensor), tensor.dtype, tensor.detach().clone())
        for name, each in model.named_modules()
        for place in (each._parameters, each._buffers)
        for key, tensor in place.items()
        if tensor is not None
    ]
    hooks = [list((p._backward_hooks or {}).values()) for p in model.parameters()]
    state = model.generator.get_state().tolist(), torch.get_rng_state().tolist()
    modes = [each.training for each in model.modules()]
    gradients = [None if p.grad is None else (id(p.grad), p.grad.tolist()) for p in model.parameters()]
    return tensors, [hooks, state, modes, gradients, model.count, list(model.seen), id(model.tied)]


@BOTH
def test_everything_comes_back(dtype):
    torch.manual_seed(0)
    model = Busy().to(dtype)
    calls = Mock()  # a list would be put back
    model.head.weight.register_hook(lambda grad: (calls(grad.dtype), 2 * grad)[1])
    problem, batch = problem_of(model), batch_of(dtype)
    problem.differentiate(batch, {})
    calls.reset_mock()
    inputs, labels = (t.clone() for t in batch)
    snapshot = problem.snapshot(batch, problem.start_values(), problem.capture())
    tensors, others = held(model)
    for work in (
        lambda: consistency(problem, snapshot).missing,
        lambda: outer_consistency(problem, [batch], problem.start_values()),
    ):
        assert work() < 1e-6
        after, rest = held(model)
        assert [(n, i, d) for n, i, d, _ in after] == [(n, i, d) for n, i, d, _ in tensors]
        assert all(torch.equal(a[3], b[3]) for a, b in zip(after, tensors, strict=True))
        assert rest == others
    assert {call.args[0] for call in calls.call_args_list} == {torch.float64}  # hooks took part
    assert torch.equal(batch[0], inputs)
    assert torch.equal(batch[1], labels)


def test_everything_comes_back_when_a_loss_raises():
    model = Busy()
    problem, batch = problem_of(model), batch_of(torch.float32)
    snapshot = problem.snapshot(batch, problem.start_values(), problem.capture())
    tensors, others = held(model)

    def broken(model, batch):
        model(batch[0])
        raise ValueError("no more")

    problem.train_loss = problem.val_loss = broken
    for work in (
        lambda: consistency(problem, snapshot),
        lambda: outer_consistency(problem, [batch], problem.start_values()),
    ):
        with pytest.raises(ValueError, match="no more"):
            work()
        after, rest = held(model)
        assert [(n, i) for n, i, _, _ in after] == [(n, i) for n, i, _, _ in tensors]
        assert rest == others
