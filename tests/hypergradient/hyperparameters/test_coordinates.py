"""Coordinates: a bijection, its derivative, and what lies on the edge."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.hypergradient.hyperparameters.coordinates import (
    EDGE,
    Identity,
    Log,
    Logit,
    Simplex,
    Softplus,
    coordinate,
)

lines = st.lists(st.floats(-8, 8), min_size=2, max_size=6).map(lambda x: torch.tensor(x, dtype=torch.float64))
bounds = st.tuples(st.floats(-50, 50), st.floats(0.1, 50)).map(lambda b: (b[0], b[0] + b[1]))


def all_kinds(lower, upper):
    return [Identity(), Log(), Softplus(), Logit(), Logit(lower, upper)]


unhurried = settings(deadline=None)  # the first call pays for torch's start


@unhurried
@given(lines, bounds)
def test_values_go_to_the_line_and_back(line, limits):
    for kind in all_kinds(*limits):
        value = kind.to_value(line)
        torch.testing.assert_close(kind.to_line(value), line, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(kind.to_value(kind.to_line(value)), value, rtol=1e-10, atol=1e-10)


@unhurried
@given(lines)
def test_shares_go_to_the_line_and_back(line):
    value = Simplex().to_value(line)
    assert float(value.sum()) == pytest.approx(1)
    torch.testing.assert_close(Simplex().to_line(value), line - line.mean(), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(Simplex().to_value(Simplex().to_line(value)), value)


@unhurried
@given(lines, bounds)
def test_pulled_back_derivatives_are_those_of_autograd(line, limits):
    for kind in [*all_kinds(*limits), Simplex()]:
        at = line.clone().requires_grad_()
        value = kind.to_value(at)
        derivatives = torch.stack([torch.linspace(-1, 2, len(line)).double(), torch.ones(len(line)).double()])
        truth = torch.stack([torch.autograd.grad(value, at, d, retain_graph=True)[0] for d in derivatives])
        found = kind.pull_back(value.detach(), derivatives)
        torch.testing.assert_close(found, truth, rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(kind.pull_back(value.detach(), derivatives[0]), truth[0], rtol=1e-7, atol=1e-9)


def test_a_simplex_keeps_its_shape_and_pulls_back_every_row_alone():
    line = torch.randn(2, 3, dtype=torch.float64).requires_grad_()
    value = Simplex().to_value(line)
    rows = torch.randn(4, 2, 3, dtype=torch.float64)
    truth = torch.stack([torch.autograd.grad(value, line, row, retain_graph=True)[0] for row in rows])
    torch.testing.assert_close(Simplex().pull_back(value.detach(), rows), truth)


def test_values_on_an_edge_are_read_a_little_inside():
    logit = Logit(1.0, 3.0)
    edges = torch.tensor([1.0, 3.0], dtype=torch.float64)
    inside = torch.tensor([1.0 + 2 * EDGE, 3.0 - 2 * EDGE], dtype=torch.float64)
    torch.testing.assert_close(logit.to_value(logit.to_line(edges)), inside)
    slope = logit.pull_back(edges, torch.ones(2, dtype=torch.float64))
    assert torch.isfinite(logit.to_line(edges)).all()
    assert (slope > 0).all()


def test_extreme_lines_stay_finite_where_the_domain_is():
    far = torch.tensor([-700.0, 700.0], dtype=torch.float64)
    for kind in (Logit(), Softplus(), Log(), Simplex()):
        assert torch.isfinite(kind.to_value(far)).all()
    small = torch.tensor([1e-12, 1e-300, 80.0], dtype=torch.float64)
    torch.testing.assert_close(Softplus().to_value(Softplus().to_line(small)), small, rtol=1e-9, atol=0.0)


def test_one_unit_of_log_is_one_e_fold():
    one, e = torch.ones((), dtype=torch.float64), torch.tensor(math.e, dtype=torch.float64)
    assert float(Log().to_line(e) - Log().to_line(one)) == pytest.approx(1)


def test_decay_rates_live_between_zero_and_one_whatever_their_bounds():
    for name in ("momentum", "beta1", "beta2", "alpha", "dampening"):
        assert Hyperparameter(name, 0.5, 0.3, 0.7, "logit").coordinate == Logit(0.0, 1.0)
    assert Hyperparameter("mine", 0.5, 0.3, 0.7, "logit", field="beta1").coordinate == Logit(0.0, 1.0)
    assert Hyperparameter("smoothing", 0.5, 0.3, 0.7, "logit").coordinate == Logit(0.3, 0.7)


@pytest.mark.parametrize(
    ("scale", "kind"), [("log", Log), ("softplus", Softplus), ("identity", Identity), ("simplex", Simplex)]
)
def test_a_scale_names_its_coordinate(scale, kind):
    assert coordinate(scale, 0.0, 1.0) == kind()


@unhurried
@given(st.floats(-1e6, 1e6))
def test_clipping_lands_between_the_bounds(value):
    hyper = Hyperparameter("lr", 0.1, 1e-3, 1.0, "log")
    clipped = float(hyper.clip(torch.tensor(value, dtype=torch.float64)))
    assert 1e-3 <= clipped <= 1.0
    assert clipped == value or not 1e-3 <= value <= 1.0
