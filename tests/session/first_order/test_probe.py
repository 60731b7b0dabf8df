"""The probe: the best of some rates along the first update, by closed forms and by optimizers that take the step."""

import copy
import math
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ray_glocal import Lion
from ray_glocal.hypergradient import Hyperparameter, Problem
from ray_glocal.session.first_order.probe import probe
from ray_glocal.session.first_order.tuning import PROBED

from ..cases import Network, dataset, differences, seed_all, state_of, train_loss

LR = (Hyperparameter("lr", 0.5, 1e-9, 1e3, "log"),)


class Point(nn.Module):
    def __init__(self, *start):
        super().__init__()
        self.at = nn.Parameter(torch.tensor(start, dtype=torch.float64))


def probed(model, loss, kind=torch.optim.SGD, batch=None, hyper=LR, **options):
    optimizer = kind(model.parameters(), **{"lr": 0.5, **options})
    problem = Problem(model, optimizer, loss, loss, hyper)
    return probe(problem, batch, problem.start_values()).rate


def bowl(curvature):
    """Half of a curvature times the square of the distance from (1, 1)."""
    return lambda model, batch: 0.5 * curvature * (model.at - 1).square().sum()


@pytest.mark.parametrize("curvature", [1e4, 70.0, 2.0, 0.3, 1e-3, 1e-9])
def test_of_a_parabola_it_is_the_rate_next_to_its_best_for_sgd(curvature):
    """A step at a rate r leaves (1 - r curvature)^2 of the loss, which is least at 1 / curvature."""
    best = min(PROBED, key=lambda rate: abs(1 - rate * curvature))
    assert probed(Point(3.0, -2.0), bowl(curvature)) == best


@pytest.mark.parametrize("distance", [1e-4, 0.03, 0.8, 9.0, 300.0])
def test_the_first_update_of_adamw_is_the_sign(distance):
    """Whatever the curvature, it comes from a distance to where it is to be by a rate that is the distance."""
    best = min(PROBED, key=lambda rate: abs(distance - rate))
    for curvature in (1e-3, 1e3):
        start = 1 + distance, 1 - distance
        assert probed(Point(*start), bowl(curvature), torch.optim.AdamW, weight_decay=9.0, eps=1e-30) == best


OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "adam": (torch.optim.Adam, {"weight_decay": 30.0}),
    "adamw": (torch.optim.AdamW, {"betas": (0.5, 0.9), "amsgrad": True}),
    "rmsprop": (torch.optim.RMSprop, {"centered": True, "momentum": 0.5}),
    "adagrad": (torch.optim.Adagrad, {"initial_accumulator_value": 0.1}),
    "lion": (Lion, {"weight_decay": 30.0}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("size", [0.03, 1.0, 40.0])
def test_it_is_the_rate_whose_own_step_leads_lowest(name, size):
    """A fresh optimizer for each rate, which takes the step."""
    kind, options = OPTIMIZERS[name]
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(20, 6, generator=generator, dtype=torch.float64)
    batch = inputs, torch.randint(3, (20,), generator=generator)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()

    def loss(model, batch):
        return F.cross_entropy(size * model(batch[0]), batch[1])

    losses = []
    for rate in PROBED:
        twin = copy.deepcopy(model)
        optimizer = kind(twin.parameters(), **{**options, "lr": rate, "weight_decay": 0.0})
        loss(twin, batch).backward()
        optimizer.step()
        losses.append(loss(twin, batch).item())
    assert probed(model, loss, kind, batch, **options) == PROBED[int(np.argmin(losses))]


def test_two_groups_take_the_updates_of_their_own():
    """With an epsilon of its own a group hardly moves, and it is the one that matters."""
    model = nn.ModuleList([Point(1.0), Point(1.0)])
    groups = [{"params": model[0].parameters(), "eps": 1e-30}, {"params": model[1].parameters(), "eps": 1e3}]
    optimizer = torch.optim.Adam(groups, lr=0.5)

    def loss(model, batch):
        return 1e-6 * (model[0].at - 1.1).square().sum() + (model[1].at - 2).square().sum()

    problem = Problem(model, optimizer, loss, loss, LR)
    losses = {rate: 1e-6 * (rate - 0.1) ** 2 + (1 - rate * 2 / 1002) ** 2 for rate in PROBED}
    assert probe(problem, None, problem.start_values()).rate == min(losses, key=losses.get) == 100


def test_groups_keep_the_ratios_of_their_rates():
    """The steeper one trains at a hundredth of the rate, and is no obstacle."""
    model = nn.ModuleList([Point(3.0), Point(3.0)])
    groups = [{"params": model[0].parameters(), "lr": 0.5}, {"params": model[1].parameters(), "lr": 0.005}]
    optimizer = torch.optim.SGD(groups)

    def loss(model, batch):
        return bowl(0.1)(model[0], batch) + bowl(10.0)(model[1], batch)

    problem = Problem(model, optimizer, loss, loss, LR)
    problem.write_options(None, problem.start_values())
    assert probe(problem, None, problem.start_values()).rate == 10.0


def test_groups_whose_rate_is_not_adapted_stay():
    """Else the steepest of them would hold the rate of the others down."""
    model = nn.ModuleList([Point(3.0), Point(3.0)])
    groups = [{"params": model[0].parameters()}, {"params": model[1].parameters(), "lr": 1e-6}]
    optimizer = torch.optim.SGD(groups, lr=0.5)

    def loss(model, batch):
        return bowl(0.1)(model[0], batch) + bowl(1e6)(model[1], batch)

    hyper = (Hyperparameter("lr", 0.5, 1e-9, 1e3, "log", groups=(0,)),)
    problem = Problem(model, optimizer, loss, loss, hyper)
    problem.write_options(None, problem.start_values())
    assert probe(problem, None, problem.start_values()).rate == 10.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_rates_at_which_the_loss_is_no_number_are_passed_over(bad):
    def loss(model, batch):
        whole = bowl(0.01)(model, batch)
        return whole * bad if model.at.sum() > 0.5 else whole

    assert probed(Point(0.0, 0.0), loss) == max(r for r in PROBED if 2 * r * 0.01 <= 0.5)


@pytest.mark.parametrize(
    "loss",
    [
        bowl(1e9),  # the smallest rate leads up already
        lambda model, batch: bowl(1.0)(model, batch) * 0.0,  # flat
        lambda model, batch: (model.at * math.nan).sum(),
        lambda model, batch: torch.where(model.at > 3.0, math.nan, model.at).sum() * -1,
    ],
)
def test_where_no_rate_leads_down_there_is_none(loss):
    start = (3.0, 3.0) if loss(Point(3.1, 3.1), None).isnan() else (0.0, 0.0)
    assert probed(Point(*start), loss) is None


def test_a_loss_that_is_not_a_number_yet_leaves_every_rate_better():
    """Infinite where training starts, and finite after a step: the lowest of those is taken."""
    loss = lambda model, batch: 0.5 * (model.at - 1).square().sum() + torch.where(model.at > 2.9, math.inf, 0.0).sum()  # noqa: E731
    assert probed(Point(3.0), loss) == 1.0


@pytest.mark.parametrize("name", ["sgd", "adamw", "rmsprop"])
@pytest.mark.parametrize("gradients", [False, True])
def test_all_is_as_it_was(name, gradients):
    """With dropout, running statistics, a buffer that no state dict holds, and draws from every generator."""
    seed_all(5)
    kind, options = OPTIMIZERS[name]
    model = Network().double()
    optimizer = kind(model.parameters(), lr=0.01, **options)
    problem = Problem(model, optimizer, train_loss, train_loss, LR)
    batch = tuple(tensor.clone() for tensor in dataset(16, torch.float64, 1).tensors)
    for parameter in model.parameters() if gradients else ():
        parameter.grad = torch.full_like(parameter, 7.0)
    before, kept = copy.deepcopy(state_of(model, optimizer)), copy.deepcopy(batch)
    own = [p.grad for p in model.parameters()]
    assert probe(problem, batch, problem.start_values()).rate in PROBED
    assert differences(before, state_of(model, optimizer)) == []
    assert differences(kept, batch) == []
    assert all(p.grad is held for p, held in zip(model.parameters(), own, strict=True))
    assert not gradients or all(bool((p.grad == 7).all()) for p in model.parameters())
    assert model.training


@pytest.mark.parametrize("seed", range(5))
def test_each_rate_is_tried_with_the_draws_of_the_first(seed):
    """Else a loss that is mostly noise would choose for its luck."""

    def loss(model, batch):
        noise = torch.rand(()).item() + np.random.rand() + random.random()  # noqa: NPY002
        return bowl(1.0)(model, batch) + 100 * noise

    seed_all(seed)
    assert probed(Point(0.0, 0.0), loss) == 1.0


def test_of_micro_batches_it_takes_the_first_and_hands_the_loss_a_copy():
    def loss(model, batch, hyper):
        value = 0.5 * batch.sum() * (model.at - 1).square().sum() * hyper["factor"]
        batch.zero_()
        return value

    model = Point(0.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    problem = Problem(model, optimizer, loss, loss, (*LR, Hyperparameter("factor", 10.0)), accumulate=2)
    batch = [torch.tensor([10.0]), torch.tensor([1e6])]
    assert probe(problem, batch, problem.start_values()).rate == 0.01
    assert [part.item() for part in batch] == [10.0, 1e6]
