"""Hooks of parameters are left out for a while, and come back as they were."""

import pytest
import torch

from ray_glocal.hypergradient.problem.hooks import waiting, without_hooks


def parameters():
    return [torch.ones(1, requires_grad=True) for _ in range(3)]


def test_hooks_are_left_out_inside_and_back_outside_in_their_order():
    bare, hooked, twice = held = parameters()
    hooked.register_hook(lambda grad: 2 * grad)
    handles = [twice.register_hook(lambda grad: grad + 1), twice.register_hook(lambda grad: 3 * grad)]
    assert [float(g) for g in torch.autograd.grad(sum(held), held)] == [1, 2, 6]
    with without_hooks(held):
        assert [float(g) for g in torch.autograd.grad(sum(held), held)] == [1, 1, 1]
    assert [float(g) for g in torch.autograd.grad(sum(held), held)] == [1, 2, 6]
    handles[0].remove()
    assert [float(g) for g in torch.autograd.grad(sum(held), held)] == [1, 2, 3]
    assert bare._backward_hooks is None


def test_hooks_come_back_when_something_raises():
    held = parameters()
    held[0].register_hook(lambda grad: 2 * grad)
    with pytest.raises(RuntimeError, match="no more"), without_hooks(held):
        raise RuntimeError("no more")
    assert float(torch.autograd.grad(held[0] * 1, held[0])[0]) == 2


def test_hooks_that_wait_for_accumulated_gradients_are_seen():
    held = parameters()
    held[0].register_hook(lambda grad: grad)
    assert not waiting(held)
    handle = held[1].register_post_accumulate_grad_hook(lambda parameter: None)
    assert waiting(held)
    handle.remove()
    assert not waiting(held)
