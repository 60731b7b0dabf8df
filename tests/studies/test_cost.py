"""The study of cost: what holds of memory by construction."""

import sys

import pytest
import torch

import cost
import pricing
from study import study


def test_both_engines_find_the_same_global_hypergradient():
    backward, forward = (cost.Bench.of("digits-mlp", 5).overall(engine, 12) for engine in cost.ENGINES)
    assert torch.allclose(forward.double().cpu(), backward, rtol=1e-3, atol=1e-6)


def test_weights_of_one_leave_the_plain_loss():
    bench = cost.Bench.of("digits-mlp", 7)
    batch, model = bench.loader[0], bench.problem.model
    weighted = cost.weighted_loss(model, batch, {"weights": torch.ones(4)})
    assert float(weighted.detach()) == pytest.approx(float(cost.train_loss(model, batch).detach()))


def test_a_window_keeps_parameters_buffers_and_the_batch_of_each_step():
    def memory(engine, length, entries=1):
        bench = cost.Bench.of("digits-mlp", entries)
        bench.train(2)
        bench.problem.optimizer.zero_grad()
        return cost.growth(lambda: bench.local(engine, length))

    bench = cost.Bench.of("digits-mlp", 1)
    copies = 2 * sum(p.numel() * 4 for p in bench.problem.parameters)
    batch = sum(tensor.nbytes for tensor in bench.batches(1)[0])
    assert (memory("adjoint", 16) - memory("adjoint", 8)) / 8 == pytest.approx(copies + batch, rel=0.01)
    assert memory("forward", 8, entries=10) > memory("forward", 8) + 8 * copies


def told(steps, share):
    """Rows of one task: an adjoint window for one and for a thousand hyperparameters, a forecast, and a session."""
    local = {"task": "t", "what": "local", "engine": "adjoint", "length": 10, "memory": 2.0}
    forward = {**local, "engine": "forward", "entries": 1, "steps": 100.0}
    windows = [{**local, "entries": q, "steps": 10 * s} for q, s in zip((1, 1000), steps, strict=True)]
    forecast = {**local, "what": "forecast", "engine": "evidence", "entries": 1, "steps": 5.0}
    whole = {**local, "what": "global", "entries": 1, "length": 200, "steps": 900.0}
    session = {"task": "t", "entries": 3, "ratio": 1 + 2 * share, "counted": 1 + share, "share": share, "memory": 1.0}
    return [*windows, forward, forecast, whole], [session]


def test_conclusions_are_those_of_the_rows():
    page = pricing.found(*told((4.0, 6.0), 0.1))
    assert "a step of a window costs 4 plain ones for q = 1, and 1.5 times as much for q = 1,000." in page
    assert "*Global over glocal*, over 200 steps: 20 times by the adjoint engine." in page
    assert "takes 1.2 times the processor time of a plain training, 1.1 by its own count" in page
    assert "10 % go into hypergradients" in page
    other = pricing.found(*told((3.0, 3.0), 0.2))
    assert "a step of a window costs 3 plain ones for q = 1, and 1 times as much for q = 1,000." in other
    assert "takes 1.4 times the processor time" in other


@pytest.mark.slow
def test_the_page_of_a_short_run(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["cost.py", "--smoke", "--workers", "1", "--out", str(tmp_path)])
    cost.main(study("cost", None))
    page = (tmp_path / "README.md").read_text()
    assert page.count("| digits-mlp | 10 |") == 4
    assert (tmp_path / "figure.png").exists()
