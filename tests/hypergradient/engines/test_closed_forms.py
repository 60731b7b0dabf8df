"""Hypergradients that paper and pencil know."""

import numpy as np
import pytest
import torch
from torch import nn

from ray_glocal.hypergradient import (
    Hyperparameter,
    Problem,
    adjoint_trajectory,
    forward_trajectory,
    global_hypergradient,
    record_window,
)
from ray_glocal.hypergradient.engines.oracle import final_loss

TOLERANCE = 1e-8
CURVATURE = np.array([0.3, 1.0, 2.5])
START = np.array([1.0, -2.0, 0.7])
TARGET = np.array([0.2, 0.1, -0.3])


class Point(nn.Module):
    def __init__(self, start):
        super().__init__()
        self.at = nn.Parameter(torch.as_tensor(start, dtype=torch.float64).clone())


def powers(lr, momentum, steps):
    """Loss after heavy-ball descent on the quadratic: the k-th power of the step's matrix, per direction."""
    ends = []
    for curvature, start in zip(CURVATURE, START, strict=True):
        step = np.array([[1 - lr * curvature, -lr * momentum], [curvature, momentum]])  # of (weight, buffer)
        ends.append((np.linalg.matrix_power(step, steps) @ np.array([start, 0.0]))[0])
    return 0.5 * np.sum((np.array(ends) - TARGET) ** 2)


def complex_step(function, *at):
    """Derivatives to machine precision (Squire & Trapp 1998)."""
    tiny = 1e-30
    shifted = [[a + 1j * tiny * (i == j) for j, a in enumerate(at)] for i in range(len(at))]
    return np.array([np.imag(function(*point)) / tiny for point in shifted])


def quadratic(momentum):
    model = Point(START)
    hyper = [Hyperparameter("lr", 0.2, scale="log"), *([Hyperparameter("momentum", momentum)] if momentum else [])]
    curvature, target = torch.from_numpy(CURVATURE), torch.from_numpy(TARGET)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=momentum)
    return Problem(
        model,
        optimizer,
        lambda m, _: 0.5 * (curvature * m.at**2).sum(),
        lambda m, _: 0.5 * (m.at - target).square().sum(),
        hyper,
    )


@pytest.mark.parametrize("momentum", [0.0, 0.1, 0.9])
def test_every_local_hypergradient_of_a_quadratic(momentum):
    problem = quadratic(momentum)
    window = record_window(problem, [None] * 30, [None], problem.start_values())
    found = forward_trajectory(problem, window).derivatives.numpy()
    at = (0.2, momentum) if momentum else (0.2,)
    for k, row in enumerate(found, start=1):
        truth = complex_step(lambda lr, mu=0.0, k=k: powers(lr, mu, k), *at)
        np.testing.assert_allclose(row, truth, rtol=TOLERANCE, atol=1e-14)
    np.testing.assert_allclose(adjoint_trajectory(problem, window).derivatives[-1], truth, rtol=TOLERANCE)


def ridge_data():
    rng = np.random.default_rng(0)
    X, X_val = rng.normal(size=(40, 5)), rng.normal(size=(30, 5))
    w = rng.normal(size=5)
    return X, X @ w + rng.normal(size=40), X_val, X_val @ w + rng.normal(size=30)


def ridge_truth(penalty):
    """Validation loss at the regularised solution and its derivative in the penalty, by the implicit function."""
    X, y, X_val, y_val = ridge_data()
    H = X.T @ X / len(y) + penalty * np.eye(5)
    w = np.linalg.solve(H, X.T @ y / len(y))
    residual = X_val @ w - y_val
    gradient = X_val.T @ residual / len(y_val)
    return 0.5 * np.mean(residual**2), -gradient @ np.linalg.solve(H, w)


def ridge(in_loss, **options):
    X, y, X_val, y_val = map(torch.from_numpy, ridge_data())
    model = Point(np.zeros(5))

    def train(m, _, hyper):
        penalty = 0.5 * hyper["penalty"] * m.at.square().sum() if in_loss else 0.0
        return 0.5 * (X @ m.at - y).square().mean() + penalty

    def val(m, _):
        return 0.5 * (X_val @ m.at - y_val).square().mean()

    hyper = Hyperparameter("penalty" if in_loss else "weight_decay", 0.1, scale="log")
    return Problem(model, torch.optim.SGD(model.parameters(), lr=0.4, **options), train, val, [hyper])


@pytest.mark.parametrize("in_loss", [True, False], ids=["penalty", "weight_decay"])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.5}, {"momentum": 0.5, "nesterov": True}], ids=str)
def test_a_long_run_of_ridge_regression_ends_in_the_implicit_hypergradient(in_loss, options):
    problem = ridge(in_loss, **options)
    run = [None] * 300
    found = global_hypergradient(problem, run, [None], problem.start_values())
    loss, derivative = ridge_truth(0.1)
    assert found.loss == pytest.approx(loss, rel=TOLERANCE)
    assert float(found.derivatives[-1]) == pytest.approx(derivative, rel=TOLERANCE)
    assert final_loss(problem, run, [None], problem.start_values()) == pytest.approx(loss, rel=TOLERANCE)


def test_the_lags_of_a_long_run_grow_towards_the_implicit_hypergradient():
    """The Neumann series of implicit differentiation: its partial sums close in on the limit geometrically."""
    problem = ridge(True)
    model = problem.model
    run = [None] * 300
    record_window(problem, run, [None], problem.start_values())
    lags = global_hypergradient(problem, run, [None], problem.start_values()).derivatives[:, 0]
    X, y, *_ = ridge_data()
    H = X.T @ X / len(y) + 0.1 * np.eye(5)
    w = model.at.detach().numpy()
    _, _, X_val, y_val = ridge_data()
    gradient = X_val.T @ (X_val @ w - y_val) / len(y_val)
    step, partial = np.eye(5) - 0.4 * H, np.zeros(5)
    for lag in range(60):
        partial = partial + 0.4 * np.linalg.matrix_power(step, lag) @ gradient
        assert float(lags[lag]) == pytest.approx(-partial @ w, rel=TOLERANCE)
