"""Validation losses that take derivatives themselves: physics-informed, gradient penalties, sensitivities."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.session import GlocalSession, Settings

from .cases import windows

SETTINGS = {"window": 8, "search_window": 8, "duty_cycle": 1.0, "act": 1e9, "act_small": 1e9}
STEPS = 8


def smooth():
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def fused():
    """Kernels that torch has no second derivative of, or a slow one."""
    return nn.Sequential(
        nn.Linear(5, 8),
        nn.LayerNorm(8),
        nn.GELU(),
        nn.Unflatten(1, (1, 8)),
        nn.TransformerEncoderLayer(8, 2, 8, 0.0, "gelu", batch_first=True),
        nn.Flatten(),
        nn.Linear(8, 3),
    ).double()


def data():
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(16, 5, generator=generator, dtype=torch.double), torch.randint(0, 3, (16,), generator=generator))
        for _ in range(STEPS + 2)
    ]


def plain_loss(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


def residual(model, batch):
    """Of a differential equation."""
    x = batch[0].clone().requires_grad_()
    u = model(x)[:, :1]
    (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    return (slope[:, :1] + u).square().mean()


def curvature(model, batch):
    """Of second order."""
    x = batch[0].clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), x, create_graph=True)
    return (bend + slope).square().mean()


def penalty(model, batch):
    """Whose graph nobody asked to keep: the loss depends on it all the same."""
    x = batch[0].clone().requires_grad_()
    loss = F.cross_entropy(model(x), batch[1])
    (slope,) = torch.autograd.grad(loss, x, retain_graph=True)
    return loss + slope.norm()


def functional(model, batch):
    def summed(x):
        return model(x).square().sum()

    return torch.func.grad(summed)(batch[0]).square().mean()


def by_itself(model, batch):
    """It turns gradients on by itself."""
    with torch.enable_grad():
        return residual(model, batch)


def backward(model, batch):
    """It leaves gradients in the parameters."""
    x = batch[0].clone().requires_grad_()
    model(x).sum().backward(retain_graph=True)
    return plain_loss(model, batch)


LOSSES = {each.__name__: each for each in (residual, curvature, penalty, functional, by_itself, backward)}


def plain(build, val_loss, lr):
    """The validation loss after a loop without a session, and its model."""
    torch.manual_seed(0)
    model, batches = build(), data()
    optimizer = torch.optim.SGD(model.parameters(), lr)
    for batch in batches[:STEPS]:
        optimizer.zero_grad()
        plain_loss(model, batch).backward()
        optimizer.step()
    model.eval()
    return sum(val_loss(model, batch).item() for batch in batches[STEPS:]) / 2, model


def trained(build, val_loss, lr=0.1, **more):
    torch.manual_seed(0)
    model, batches = build(), data()
    session = GlocalSession(
        model,
        torch.optim.SGD(model.parameters(), lr),
        plain_loss,
        val_loss,
        val_batches=batches[STEPS:],
        hyper=[Hyperparameter("lr", lr, lr / 1e3, lr * 1e3, "log")],
        total_steps=100,
        settings=windows(**{**SETTINGS, **more}),
    )
    for batch in batches[:STEPS]:
        session.step(batch)
    return session, model


@pytest.mark.parametrize("engine", ["adjoint", "forward"])
@pytest.mark.parametrize(
    ("val_loss", "build"),
    [*((each, smooth) for each in LOSSES.values()), *((each, fused) for each in LOSSES.values() if each != curvature)],
)
def test_its_derivative_is_right_and_the_weights_are_the_loops(build, val_loss, engine):
    session, model = trained(build, val_loss, engine=engine)
    told, alone = plain(build, val_loss, 0.1)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), alone.parameters(), strict=True))
    assert session.metrics()["val_loss"] == pytest.approx(told, rel=1e-12)
    step = 1e-4
    up, down = (plain(build, val_loss, 0.1 * math.exp(sign * step))[0] for sign in (1, -1))
    assert session.trace.rows[0].local == pytest.approx((up - down) / (2 * step), abs=1e-6 * max(1.0, abs(up)))


@pytest.mark.parametrize("val_loss", LOSSES.values(), ids=LOSSES)
def test_a_first_order_session_takes_them_and_reports_on_averaged_weights(val_loss):
    more = {"hypergradients": "first-order", "window": 4, "search_window": 4, "averaging": True}
    session, model = trained(smooth, val_loss, **more)
    assert [row.step for row in session.trace.rows] == [0, 4, 8]
    assert all(math.isfinite(row.local) for row in session.trace.rows[1:])  # after the probe
    assert [parameter.grad is None for parameter in model.parameters()] == [False] * 4, "those of the last step"
    told = session.metrics()["val_loss"]
    with session.averaged_weights():
        model.eval()
        right = sum(val_loss(model, batch).item() for batch in data()[STEPS:]) / 2
    assert told == pytest.approx(right, rel=1e-12)


def test_a_report_leaves_no_gradients_behind():
    session, model = trained(smooth, backward)
    kept = [parameter.grad for parameter in model.parameters()]
    session.problem.outer_gradient(data()[STEPS:], session.values)
    assert all(p.grad is g for p, g in zip(model.parameters(), kept, strict=True))
    session, model = trained(smooth, residual)
    assert session.metrics()["val_loss"] > 0
    assert all(parameter.grad is not None for parameter in model.parameters()), "those of the last step"


@pytest.mark.parametrize("told", [windows(), Settings()], ids=["windows", "first-order"])
def test_averaged_weights_are_validated_alike(told):
    torch.manual_seed(0)
    model = smooth()
    averaged = AveragedModel(model)
    session = GlocalSession(
        model,
        torch.optim.SGD(model.parameters(), 0.1),
        plain_loss,
        residual,
        val_batches=data()[STEPS:],
        hyper=[Hyperparameter("lr", 0.1, 1e-4, 1.0, "log")],
        total_steps=100,
        averaged=averaged,
        settings=told,
    )
    for batch in data()[:STEPS]:
        session.step(batch)
    right = sum(residual(averaged, batch).item() for batch in data()[STEPS:]) / 2
    assert session.metrics()["val_loss"] == pytest.approx(right, rel=1e-12)


def test_an_error_of_another_kind_is_the_losss_own():
    def broken(model, batch):
        return model(batch[0][:, :2]).sum()

    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        trained(smooth, broken)
