"""Metrics and checkpoints at any step: of now, measured once, and noticed by nobody."""

import json
import math

import pytest
import torch

from ray_glocal.session import GlocalSession

from .cases import LIVELY, PROMPT, QUIET, SECONDS, WAYS, Run, differences, drive, entropy, rows_of, state_of, val_loss
from .first_day import batches, data, network, session_of


def test_metrics_are_of_now_whenever_they_are_asked_for():
    model = network()
    session = session_of(model, total=640)
    for _, batch in zip(range(10), batches(), strict=True):
        session.step(batch)
    told = session.metrics()
    with torch.no_grad():
        assert told["val_loss"] == float(entropy(model, data()[:32]))
    assert (told["step"], told["windows"], told["hyper/lr"]) == (10, 0, 0.01)
    assert math.isfinite(told["train_loss"])
    assert math.isnan(told["forecast/final_loss"])
    assert session.metrics()["cost/steps"] == told["cost/steps"], "asked twice, it is measured once"


def test_before_the_first_step_too():
    assert session_of(network()).metrics()["step"] == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_report_is_not_measured_twice(way):
    count = []
    run = Run(settings=WAYS[way], val=lambda model, batch: count.append(1) or val_loss(model, batch))
    session = run.session()
    drive(session, session.batches(run.loader), 20)
    before = len(count)
    assert session.at_report
    told = session.metrics()
    assert told["step"] == 20
    assert len(count) == before


@pytest.mark.parametrize("settings", [QUIET, LIVELY, PROMPT], ids=["quiet", "lively", "first-order"])
def test_asking_between_reports_changes_no_bit_of_training(settings):
    told = []
    for curious in (False, True):
        run = Run(settings=settings)
        session, reports = run.session(), []
        for batch in session.batches(run.loader):
            if curious:
                session.metrics()
            session.step(batch)
            if session.at_report:
                costs = (*SECONDS, "cost/steps")
                reports.append({k: v for k, v in session.metrics().items() if k not in costs})
        told.append([state_of(run.model, run.optimizer), rows_of(session), reports])
    assert differences(*told) == []


@pytest.mark.parametrize("way", WAYS)
def test_a_checkpoint_taken_at_any_step_is_of_that_step(way):
    run = Run(settings=WAYS[way])
    session = run.session()
    drive(session, session.batches(run.loader), 13)
    told, folder = session.metrics(), session.checkpoint()
    again = Run(settings=WAYS[way]).session()
    again.restore(folder)
    assert again.step_count == 13
    assert again.metrics()["val_loss"] == told["val_loss"]


def test_metrics_are_plain_numbers_and_a_text():
    run = Run()
    session = run.session()
    drive(session, session.batches(run.loader), 20)
    metrics = session.metrics()
    assert {type(value) for name, value in metrics.items() if name != "warning"} <= {int, float}
    assert type(metrics["warning"]) is str
    json.dumps(metrics)
    assert isinstance(session, GlocalSession)
    assert metrics["cost/steps"] > 20
    assert LIVELY.report_every == metrics["step"] == 20
