"""A graph that outlives the step says what it said: after everything that it was made of was written to."""

import gc
import weakref
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ray_glocal.hypergradient import Hyperparameter, Problem
from ray_glocal.hypergradient.gradient.field import GradientField
from ray_glocal.hypergradient.trouble import OverwrittenError, WindowError
from ray_glocal.hypergradient.window.graphs import taped
from ray_glocal.hypergradient.window.saved import Saved

from ..cases import entropy

TOLD = r"a tensor of shape \(3,\) that a loss had used was written to after the step"


def saved(*tensors, written=()):
    return Saved([(t, t.detach().clone()) for t in tensors], written)


@torch.no_grad()
def spoil(*tensors):
    for tensor in tensors:
        tensor.mul_(-3).add_(1) if tensor.is_floating_point() or tensor.is_complex() else tensor.zero_()


def gradients(loss, *inputs):
    return torch.autograd.grad(loss, inputs, retain_graph=True)


@pytest.mark.parametrize(
    "view",
    [
        lambda w: w,
        lambda w: w[1:],
        lambda w: w[:, 1],
        lambda w: w.t(),
        lambda w: w.reshape(-1)[2:4],
        lambda w: w.unbind(1)[2],
        lambda w: w.expand(2, 3, 3),
        lambda w: w.diagonal(),
    ],
    ids=["whole", "rows", "column", "turned", "slice", "unbound", "expanded", "diagonal"],
)
def test_views_of_a_parameter_are_saved_as_they_were(view):
    weight = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    made = saved(weight)
    with made.hooks():
        loss = view(weight).exp().mul(view(weight)).square().sum()
    before = gradients(loss, weight)
    again = gradients(view(weight).exp().mul(view(weight)).square().sum(), weight)
    assert torch.equal(before[0], again[0])
    spoil(weight)
    assert torch.equal(gradients(loss, weight)[0], before[0])


def test_copies_are_held_in_place_of_parameters_and_count_no_memory():
    weight, inputs = torch.ones(4, requires_grad=True), torch.ones(4)
    made = saved(weight, inputs)
    with made.hooks():
        (weight * inputs).sum()
    assert made.held == {}


def test_what_a_parameter_held_in_between_is_held_then():
    """It was written to inside of the step, so that the copy says something else."""
    weight = torch.ones(3, dtype=torch.float64, requires_grad=True)
    made = saved(weight)
    spoil(weight)
    with made.hooks():
        loss = weight.square().sum()
    expected = 2 * weight.detach()
    spoil(weight)
    assert torch.equal(gradients(loss, weight)[0], expected)


def test_buffers_and_batches_may_be_written_to():
    weight = torch.ones(3, requires_grad=True)
    buffer, batch = torch.arange(3.0), torch.arange(3.0) + 5
    made = saved(weight, batch, written=[buffer])
    with made.hooks():
        loss = (weight * buffer[:] * batch[:3]).sum()
    expected = buffer * batch
    spoil(buffer, batch)
    assert torch.equal(gradients(loss, weight)[0], expected)


def test_numbers_that_are_conjugated_are_saved_conjugated():
    weight, batch = torch.ones(3, requires_grad=True), torch.randn(3, dtype=torch.complex64)
    made = saved(weight, batch)
    with made.hooks():
        loss = (weight * batch.conj() * (1 + 2j)).real.sum() + (weight * batch.conj().imag).sum()
    expected = (batch.conj() * (1 + 2j)).real + batch.conj().imag
    spoil(batch)
    torch.testing.assert_close(gradients(loss, weight)[0], expected)


def test_sparse_tensors_are_saved_themselves():
    weight, sparse = torch.randn(3, 3, requires_grad=True), torch.eye(3).to_sparse()
    made = saved(weight, sparse, written=[sparse])
    with made.hooks():
        loss = torch.sparse.mm(sparse, weight).square().sum()
    assert torch.equal(gradients(loss, weight)[0], 2 * weight.detach())


def test_a_tensor_that_is_written_to_elsewhere_is_noticed():
    weight, other = torch.ones(3, requires_grad=True), torch.arange(3.0)
    with saved(weight).hooks():
        loss = (weight * other).sum()
    assert torch.equal(gradients(loss, weight)[0], torch.arange(3.0))
    other.add_(1)
    with pytest.raises(OverwrittenError, match=TOLD):
        gradients(loss, weight)
    assert issubclass(OverwrittenError, WindowError)


def test_a_result_that_is_written_to_later_is_noticed():
    weight = torch.ones(3, requires_grad=True)
    with saved(weight).hooks():
        hidden = weight.exp()
        loss = hidden.sum()
    hidden.detach().zero_()
    with pytest.raises(OverwrittenError, match=TOLD):
        gradients(loss, weight)


def test_a_graph_dies_with_its_last_reader():
    gc.collect()
    gc.disable()
    try:
        weight = torch.ones(3, requires_grad=True)
        made = saved(weight)
        with made.hooks():
            hidden = weight.exp().tanh()  # operations that save their own results
            loss = hidden.square().sum()
        first = torch.autograd.grad(loss, weight, create_graph=True)[0]
        hook = partial(print)  # which the graph holds
        hidden.grad_fn.register_hook(hook)
        died = [weakref.ref(hook), weakref.ref(hidden), weakref.ref(first)]
        del loss, hidden, first, hook, made
        assert [each() for each in died] == [None] * 3
    finally:
        gc.enable()


class Net(nn.Module):
    """Reads a buffer that it writes to, and a slice of a weight."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 6), nn.Linear(6, 3)
        self.register_buffer("scale", torch.ones(6))

    def forward(self, x):
        self.scale.mul_(0.9)
        hidden = torch.tanh(F.linear(x, self.inner.weight, self.inner.bias)) * self.scale
        return self.outer(hidden) + hidden @ self.inner.weight[:, :3].cos()


def test_a_kept_step_gives_the_same_products_when_all_was_written_to():
    torch.manual_seed(0)
    net = Net().double()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    problem = Problem(net, optimizer, entropy, entropy, [Hyperparameter("lr", 0.1, scale="log")])
    batch = (torch.randn(5, 4, dtype=torch.float64), torch.randint(3, (5,)))
    snapshot = problem.snapshot(batch, problem.start_values(), problem.capture())
    along = [torch.randn_like(p) for p in net.parameters()]
    problem.place(snapshot.start)
    truth = GradientField.of(problem, snapshot).pull_back(along, []).parameters
    problem.place(snapshot.start)
    field = taped(problem, snapshot, batch)
    spoil(*net.parameters(), *net.buffers(), *batch)
    kept = field.pull_back(along, []).parameters
    assert all(torch.equal(a, b) for a, b in zip(kept, truth, strict=True))
    assert any(float(p.abs().max()) > 0 for p in kept)
