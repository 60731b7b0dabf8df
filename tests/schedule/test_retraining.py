"""Training again from scratch by what a session learned, on the quickstart's digits: as good, without a session."""

from itertools import islice
from pathlib import Path

import pytest
import torch

from ray_glocal import GlocalSession, Hyperparameter, LearnedSchedule, Settings

STEPS, WIDTH = 600, 32
CONFIG = {"lr": 1e-3, "momentum": 0.9, "weight_decay": 1e-4}
HYPER = (
    Hyperparameter("lr", CONFIG["lr"], 1e-4, 1.0, "log"),
    Hyperparameter("momentum", CONFIG["momentum"], 0.0, 0.99, "logit"),
    Hyperparameter("weight_decay", CONFIG["weight_decay"], 1e-6, 0.1, "log"),
)
BY_STEPS = Settings(overhead=None, duty_cycle=0.5, report_every=100)  # no clock decides


@pytest.fixture
def digits(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "examples"))
    import digits

    return digits


def final(digits, model):
    model.eval()
    with torch.no_grad():
        return float(digits.loss(model, digits.split()[1]))


def forever(loader):
    while True:
        yield from loader


def plainly(digits, name, seed, steps, schedule=None):
    """The final loss of a plain loop, by a schedule or with what it starts with."""
    model = digits.network(WIDTH, seed=seed)
    optimizer = digits.optimizer(name, model, CONFIG)
    scheduler = digits.cosine(STEPS, optimizer)
    scheduler = scheduler if schedule is None else schedule.scheduler(optimizer, scheduler)
    for batch in islice(forever(digits.Shuffled(digits.split()[0], seed=seed)), steps):
        optimizer.zero_grad()
        digits.loss(model, batch).backward()
        optimizer.step()
        scheduler.step()
    return final(digits, model)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seed"), [("sgd", 0), ("sgd", 1), ("adamw", 0)])
def test_training_again_by_the_schedule_is_as_good_as_the_session_was(digits, tmp_path, name, seed):
    """Of 24 such trainings, 16 with other seeds, the worst came to 1.32 times the session's loss (2026-11-29)."""
    model = digits.network(WIDTH, seed=seed)
    optimizer = digits.optimizer(name, model, CONFIG)
    training, validation, _ = digits.split()
    told = {"val_batches": [validation], "hyper": HYPER, "total_steps": STEPS, "settings": BY_STEPS}
    told["lr_scheduler"] = digits.cosine(STEPS, optimizer)
    session = GlocalSession(model, optimizer, digits.loss, digits.loss, **told)
    for batch in session.batches(digits.Shuffled(training, seed=seed)):
        session.step(batch)
    LearnedSchedule.from_session(session).write(tmp_path / "schedule.json")
    schedule = LearnedSchedule.read(tmp_path / "schedule.json")
    reached = final(digits, model)
    assert schedule.steps + schedule.taken_back == STEPS
    again = plainly(digits, name, seed, schedule.steps, schedule)
    if not schedule.taken_back:  # then each step is the session's own
        assert again == pytest.approx(reached, rel=1e-3)
    others = [plainly(digits, name, seed + 100, schedule.steps, schedule), again]
    assert max(others) < 1.5 * reached
    assert 3 * max(others) < plainly(digits, name, seed, STEPS)  # which is what it began with
