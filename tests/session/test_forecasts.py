"""The schedule's future, and what windows foretell together."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from ray_glocal.hypergradient import Hyperparameter, Problem, adjoint_trajectory, record_window
from ray_glocal.koopman import forecaster
from ray_glocal.koopman.pooling import pooled
from ray_glocal.koopman.window_forecast import window_forecast
from ray_glocal.session.notices import Notices
from ray_glocal.session.outline import Outline
from ray_glocal.session.schedule import Schedule
from ray_glocal.session.windows.forecasts import WindowForecasts

STEPS = 40
SCHEDULES = {
    "none": lambda _: None,
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS),
    "step": lambda o: lr_scheduler.StepLR(o, 7, 0.3),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step)),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=STEPS + 1, cycle_momentum=False),
    "warm-up, then cosine": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=5), lr_scheduler.CosineAnnealingLR(o, STEPS - 5)], [5]
    ),
}


def problem(schedule, lr=0.1, more=()):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 1)).double()
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 2 * lr}]
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=0.9)
    scheduled = SCHEDULES[schedule](optimizer)
    hyper = [Hyperparameter("lr", lr, 1e-4, 1.0, "log", groups=(0,)), Hyperparameter("momentum", 0.9, 0, 1, "logit")]

    def loss(model, batch, values):
        scale = sum(value.square().sum() for value in values.values())
        return (1 + scale) * (model(batch[0]) - batch[1]).square().mean()

    made = Problem(model, optimizer, loss, loss, [*hyper, *more])
    return made, Schedule(scheduled, made, Notices())


def batches(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draws = [torch.randn(8, 3, generator=generator, dtype=torch.float64) for _ in range(count)]
    return [(x, x.sum(1, keepdim=True).tanh()) for x in draws]


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_future_that_is_foreseen_comes_and_nothing_is_disturbed(name):
    made, schedule = problem(name)
    before = schedule.as_plain(), [dict(g, params=None) for g in made.optimizer.param_groups]
    bases = made.base_rates()
    factors = schedule.foresee(STEPS)
    assert (schedule.as_plain(), [dict(g, params=None) for g in made.optimizer.param_groups]) == before
    for batch, foreseen in zip(batches(STEPS), factors, strict=True):
        rates = [float(group["lr"]) for group in made.optimizer.param_groups]
        assert rates == pytest.approx(list(foreseen * bases), rel=1e-12)
        made.advance(batch, made.start_values())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch's own, on a sequence of schedules
            schedule.step()


def test_only_a_schedule_that_ends_low_anneals():
    annealed = {}
    for name in SCHEDULES:
        _, schedule = problem(name)
        annealed[name] = Outline(schedule.foresee(STEPS)).annealed
    assert annealed == {
        "none": False,
        "cosine": True,
        "step": True,
        "lambda": False,
        "one cycle": True,
        "warm-up, then cosine": True,
    }


def test_windows_are_pooled_in_flow_time_and_survive_a_checkpoint():
    made, schedule = problem("none")
    told, factors = forecaster("evidence"), schedule.foresee(STEPS)
    forecasts, sightings = WindowForecasts(made, told, told, factors), []
    rate = 0.15  # the mean of the two groups'
    for start in (0, 8, 16):
        for _ in range(8):
            forecasts.advance()
        window = record_window(made, batches(8, start), batches(2, 99), made.start_values())
        trajectory = adjoint_trajectory(made, window)
        series = made.pull_back(window.values, trajectory.derivatives).numpy()
        sightings.append(window_forecast(told, series, np.full(8, rate), rate * (STEPS - start), rate * start))
        if start == 16:
            again = WindowForecasts(made, told, told, factors)
            again.load_plain(forecasts.as_plain())
            assert again.forecast(window, series, "lag", 24).mean == pytest.approx(pooled(sightings).mean, rel=1e-9)
        forecast = forecasts.forecast(window, series, "lag", start + 8)
        assert forecast.mean == pytest.approx(pooled(sightings).mean, rel=1e-9)
        assert forecast.deviation == pytest.approx(pooled(sightings).deviation, rel=1e-9)
    alone = WindowForecasts(made, told, told, factors)
    assert alone.searched(series, 24).mean == pytest.approx(told.forecast(series, STEPS - 24 - 8).mean)
    forecasts.forget()
    assert not forecasts.as_plain()["sightings"]


def test_of_a_vector_the_last_window_alone_is_heard():
    """Two windows that see different entries do not contradict each other."""
    scales = Hyperparameter("scales", torch.ones(2))
    made, schedule = problem("none", more=[scales, Hyperparameter("scale", 1.0)])
    told, factors = forecaster("mean"), schedule.foresee(STEPS)
    forecasts, sightings = WindowForecasts(made, told, told, factors), []
    window = record_window(made, batches(8), batches(2, 99), made.start_values())
    for start, entries in ((0, [1.0, 1.0, 1.0, 0.0, 1.0]), (8, [1.0, 1.0, 0.0, 1.0, -1.0])):
        for _ in range(8):
            forecasts.advance()
        series = np.linspace(0.5, 1, 8)[:, None] * entries
        forecast = forecasts.forecast(window, series, "lag", start + 8)
        sightings.append(window_forecast(told, series, np.full(8, 0.15), 0.15 * (STEPS - start), 0.15 * start))
    several, last = pooled(sightings), sightings[-1].forecast
    for part in ("mean", "deviation"):
        expected = np.where([True, True, False, False, True], getattr(several, part), getattr(last, part))
        assert getattr(forecast, part) == pytest.approx(expected, rel=1e-9)
    assert forecast.mean[2] == 0
    assert abs(forecast.mean[3]) > abs(several.mean[3])
    assert forecast.deviation[3] < several.deviation[3]
