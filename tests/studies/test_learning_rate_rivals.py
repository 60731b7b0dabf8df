"""Rivals of the learning-rate study against independent truths: the library's engines, differences, closed forms."""

import math
from itertools import islice

import pytest
import torch

from ray_glocal.hypergradient import Hyperparameter, Problem, forward_trajectory, record_window
from ray_glocal.hypergradient.engines.oracle import finite_differences
from rivals.direction import directions, flat
from rivals.global_descent import GlobalDescent, differentiated
from rivals.greedy import Greedy
from rivals.hypergradient_descent import HypergradientDescent
from rivals.plain import Plain
from rivals.real_time import RealTime, carried, elasticity
from rivals.tangent import Tangent
from rivals.training import LOWER, MOMENTUM, UPPER, WEIGHT_DECAY, Run, Training
from tasks import loss

STEPS = 12
RATES = {"sgd": 0.05, "adamw": 0.01}
both = pytest.mark.parametrize("optimizer", RATES)


def begun(optimizer, steps=STEPS, lr=None, task="digits-mlp"):
    return Training(Run(task, optimizer, lr or RATES[optimizer], 3, steps))


def twin(optimizer):
    """The same training as a problem of the library, in double precision."""
    training = begun(optimizer)
    training.model.double()
    batches = [(inputs.double(), targets) for inputs, targets in training.batches()]
    val = [(inputs.double(), targets) for inputs, targets in training.val_batches()]
    hyper = [Hyperparameter("lr", training.lr, LOWER, UPPER, "log")]
    return Problem(training.model, training.optimizer, loss, loss, hyper), batches, val


@both
def test_the_carried_tangent_gives_the_local_hypergradients_of_the_forward_engine(optimizer):
    problem, batches, val = twin(optimizer)
    truth = forward_trajectory(problem, record_window(problem, batches, val, problem.start_values()))
    expected = problem.pull_back(problem.start_values(), truth.derivatives).flatten().tolist()
    training = begun(optimizer)
    found = [
        tangent.along(training.outer_gradient(training.val_batches())[1])
        for tangent in carried(training, training.batches())
    ]
    assert found == pytest.approx(expected, rel=1e-3)


@both
def test_the_slope_of_a_whole_training_is_the_difference_of_two(optimizer):
    problem, batches, val = twin(optimizer)
    truth = finite_differences(problem, batches, val, problem.start_values(), (1e-4,))
    _, slope = differentiated(begun(optimizer).run)
    assert slope == pytest.approx(float(truth.derivatives), rel=1e-3)


@both
def test_a_step_goes_along_its_direction(optimizer):
    training = begun(optimizer)
    for batch in islice(training.batches(), 3):
        before = [p.detach().double().clone() for p in training.parameters]
        training.advance(batch)
        steps = [(b - p.detach()) / training.lr for b, p in zip(before, training.parameters, strict=True)]
        assert torch.allclose(flat(directions(training.optimizer, before)).double(), flat(steps), atol=1e-4)


def test_a_rate_that_stands_still_leaves_plain_training():
    run = begun("sgd").run
    plain = Plain().train(run)
    for rival in (HypergradientDescent(0.0, True), HypergradientDescent(0.0, False), RealTime(0.0), Greedy(0.0)):
        still = rival.train(run)
        assert still.rates == pytest.approx(plain.rates)
        assert torch.allclose(flat(list(still.model.parameters())), flat(list(plain.model.parameters())), atol=1e-6)


@pytest.mark.parametrize("multiplicative", [False, True])
def test_hypergradient_descent_follows_the_closed_form_on_a_parabola(monkeypatch, multiplicative):
    """Of x^2 / 2 without momentum the product is x (1 - lr) x; its cosine is one while lr < 1."""
    training = begun("sgd", steps=1)
    x = torch.nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
    training.optimizer = torch.optim.SGD([x], lr=0.1, momentum=1e-30)
    training.gradient = lambda batch: x.grad.fill_(x.item()).item()
    training.batches = lambda: range(6)
    x.grad = torch.zeros_like(x)
    monkeypatch.setattr("rivals.hypergradient_descent.Training", lambda run: training)
    beta = 0.02
    rates = HypergradientDescent(beta, multiplicative).train(training.run).rates
    lr, place, expected = 0.1, 3.0, [0.1]
    for _ in range(5):
        last, place = place, place * (1 - lr)
        lr = lr * (1 + beta) if multiplicative else lr + beta * place * last
        expected.append(lr)
    assert rates == pytest.approx(expected)


def test_a_lost_tangent_starts_anew():
    training = begun("sgd")
    (tangent,) = carried(training, islice(training.batches(), 1))
    tangent.moved[0].fill_(math.inf)
    assert elasticity(training, tangent) == 0
    assert all(not moved.any() for moved in tangent.moved)


def test_parameters_without_any_gradient_keep_a_finite_tangent():
    used, unused = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = torch.optim.AdamW([used, unused], lr=0.1, weight_decay=0.0)
    tangent = Tangent(optimizer)
    for _ in range(3):
        before = [p.detach().clone() for p in (used, unused)]
        turned = tangent.differentiate((used**2).sum() + 0 * (unused**2).sum())
        optimizer.step()
        tangent.follow(turned, before)
    assert not tangent.moved[1].any()
    assert tangent.moved[0].isfinite().all()


def test_every_rival_stays_inside_the_bounds():
    for rival in (HypergradientDescent(10.0, False), RealTime(3.0, every=2), Greedy(9.0, window=4, period=6)):
        upward, edge = (rival.train(begun("sgd", lr=lr).run).rates for lr in (LOWER, UPPER))
        assert all(LOWER * 0.999 <= rate <= UPPER * 1.001 for rate in upward + edge)
        assert upward[-1] > 100 * LOWER


def test_costs_are_those_of_the_sessions_own_rule():
    run = begun("sgd", steps=20).run
    costs = {type(r).__name__: r.train(run).cost for r in (Plain(), RealTime(0.01), Greedy(0.1), GlobalDescent(2))}
    # A Hessian product is two steps; RTHO looks at 4 batches twice, the window of 16 repeats its steps once.
    assert costs["Plain"] == 20
    assert costs["RealTime"] == 20 * 3 + 2 * 4
    assert costs["Greedy"] == 20 + 16 * 3 + 4
    assert costs["GlobalDescent"] == 2 * (20 * 3 + 4)


def test_whole_trainings_keep_the_best_one():
    run = begun("sgd", steps=40, lr=1e-3).run
    assert GlobalDescent(3).train(run).rates[0] > run.lr
    first, slope = differentiated(run)
    assert slope < 0
    assert len(first.rates) == 40


@pytest.mark.parametrize("name", ["Prodigy", "ScheduleFree"])
def test_free_optimizers_learn(name):
    pytest.importorskip("prodigyopt")
    pytest.importorskip("schedulefree")
    from rivals import free

    run = begun("adamw", steps=60).run
    trained = getattr(free, name)().train(run)
    training = begun("adamw")
    assert loss(trained.model, training.data.val) < 0.8 * loss(training.model, training.data.val)
    assert trained.cost == 60


def test_everybody_trains_alike():
    training = begun("adamw")
    (group,) = training.optimizer.param_groups
    assert group["betas"][0] == MOMENTUM == begun("sgd").optimizer.param_groups[0]["momentum"]
    assert group["weight_decay"] == WEIGHT_DECAY
    assert len(training.val_batches()) == 4
    first, again = (begun("sgd").batches() for _ in range(2))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
