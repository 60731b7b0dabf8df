"""The study of cost: what holds of memory by construction."""

import sys

import pytest
import torch

import cost
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


@pytest.mark.slow
def test_the_page_of_a_short_run(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["cost.py", "--smoke", "--workers", "1", "--out", str(tmp_path)])
    cost.main(study("cost", None))
    page = (tmp_path / "README.md").read_text()
    assert page.count("| digits-mlp | 10 |") == 4
    assert (tmp_path / "figure.png").exists()
