"""Kernels that stay torch's, and whose second derivative is a formula's: the corners that the audit leaves out."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ray_glocal.hypergradient.kernels import twice_differentiable
from ray_glocal.hypergradient.kernels.distance import FEW, cdist


def derived(model, *inputs):
    """Loss and gradients with their graph, as a window takes them."""
    with twice_differentiable(model):
        loss = model(*inputs).square().mean()
        return loss, *torch.autograd.grad(loss, list(model.parameters()), create_graph=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_keeps_its_bits(dtype):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 8)),
        nn.Hardsigmoid(),
        nn.utils.parametrizations.weight_norm(nn.Linear(8, 3), dim=1),
    )
    x = torch.randn(5, 4)
    with torch.autocast("cpu", dtype):
        truth = model(x).square().mean()
        loss, *found = derived(model, x)
    truth = truth, *torch.autograd.grad(truth, list(model.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(truth, (loss, *found), strict=True))
    second = torch.autograd.grad(found, list(model.parameters()), found, allow_unused=True)
    assert all(s is None or torch.isfinite(s).all() for s in second)


def test_rows_that_meet_have_distances_without_a_derivative():
    x = torch.randn(4, 3, dtype=torch.float64)
    x[2] = x[1]
    x.requires_grad_()
    with twice_differentiable(nn.Identity()):
        (found,) = torch.autograd.grad(torch.cdist(x, x).square().sum(), x, create_graph=True)
        (pairs,) = torch.autograd.grad(F.pdist(x).square().sum(), x, create_graph=True)
    truth = 4 * (4 * x - x.sum(0))
    assert torch.allclose(found, truth)
    assert torch.allclose(pairs, truth / 2)
    (second,) = torch.autograd.grad(pairs, x, torch.ones_like(x))
    assert torch.isfinite(second).all()


def test_many_rows_are_left_to_torch():
    few, many = torch.zeros(FEW, 2), torch.zeros(FEW + 1, 2)
    assert cdist(few, few) is not None
    assert cdist(few, many) is None
    assert cdist(many, few, compute_mode="donot_use_mm_for_euclid_dist") is not None
    assert cdist(few, few, compute_mode="use_mm_for_euclid_dist") is None


def test_a_single_row_has_margins_too():
    x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    with twice_differentiable(nn.Identity()):
        (found,) = torch.autograd.grad(F.multi_margin_loss(x, torch.tensor(1), p=2) ** 2, x, create_graph=True)
    short = (1 - x[1] + x[[0, 2]]).clamp_min(0)
    (truth,) = torch.autograd.grad((short.square().sum() / 3) ** 2, x, create_graph=True)
    along = torch.arange(3.0, dtype=torch.float64)
    second, right = (torch.autograd.grad(g, x, along)[0] for g in (found, truth))
    assert torch.allclose(second, right)


def test_empty_bags_are_zero():
    model = nn.EmbeddingBag(4, 3)
    with twice_differentiable(model):
        out = model(torch.tensor([0, 2]), torch.tensor([0, 0, 2]))
        found = torch.autograd.grad(out.square().sum(), list(model.parameters()), create_graph=True)
    assert torch.equal(out[[0, 2]], torch.zeros(2, 3))
    (second,) = torch.autograd.grad(found, list(model.parameters()), found)
    assert torch.equal(second[1], torch.zeros(3))
    assert torch.allclose(second[0], found[0][0])


@pytest.mark.parametrize("batched", [False, True])
def test_products_with_several_tangents_at_once(batched):
    torch.manual_seed(0)
    model = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)).double()
    parameters = list(model.parameters())
    found = derived(model, torch.randn(5, 4, dtype=torch.float64))[1:]
    tangents = [torch.randn(2, *p.shape, dtype=torch.float64) for p in parameters]
    truth = [torch.autograd.grad(found, parameters, [t[i] for t in tangents], retain_graph=True) for i in range(2)]
    if batched:
        rows = torch.autograd.grad(found, parameters, tangents, is_grads_batched=True)
        for row, *single in zip(rows, *truth, strict=True):
            assert torch.allclose(row, torch.stack(single))
    assert all(torch.isfinite(t).all() for row in truth for t in row)


def test_labels_that_are_written_to_are_noticed():
    labels, x = torch.tensor([0, 2]), torch.randn(2, 3, requires_grad=True)
    with twice_differentiable(nn.Identity()):
        loss = F.multi_margin_loss(x, labels, p=2)
        labels.zero_()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            torch.autograd.grad(loss, x, create_graph=True)
