"""The test bed: its data and losses, its grid, and a small part of it from recording to page."""

import subprocess
import sys
from collections import Counter
from itertools import islice

import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F

import bed
from cases import load_cases
from extrapolation import COMPARED
from ray_glocal.validation.case import Case
from tasks import TASKS
from tasks.quadratic import Point, points
from tasks.relabelled import FlaggedBatches, quadratic_loss, quadratic_train_loss, relabelled, train_loss

from .conftest import STUDIES

NEUTRAL = {"smoothing": torch.tensor(0.0), "noisy_weight": torch.tensor(1.0)}


def flagged(task, count=64):
    return relabelled(TASKS[task].data().train, 10, seed=1, most=count)


def test_a_fifth_of_the_examples_is_relabelled_and_flagged():
    whole = TASKS["digits-linear"].data().train
    inputs, targets, wrong = relabelled(whole, 10, seed=1)
    assert torch.equal(inputs, whole[0])
    assert wrong.mean() == pytest.approx(0.2, abs=0.04)
    assert torch.equal(targets[wrong == 0], whole[1][wrong == 0])
    assert (targets[wrong == 1] == whole[1][wrong == 1]).float().mean() < 0.25
    again, other = (relabelled(whole, 10, seed=seed)[1] for seed in (1, 2))
    assert torch.equal(targets, again)
    assert not torch.equal(targets, other)


def test_the_training_loss_is_torchs_label_smoothing_with_weights():
    model, (inputs, targets, wrong) = TASKS["digits-mlp"].model(0), flagged("digits-mlp")
    hyper = {"smoothing": torch.tensor(0.1), "noisy_weight": torch.tensor(0.3)}
    each = F.cross_entropy(model(inputs), targets, label_smoothing=0.1, reduction="none")
    expected = (each * torch.where(wrong == 1, 0.3, 1.0)).mean()
    torch.testing.assert_close(train_loss(model, (inputs, targets, wrong), hyper), expected)


def test_sequences_are_weighted_whole():
    logits, targets = torch.randn(4, 5, 7), torch.randint(7, (4, 5))
    wrong = torch.tensor([0.0, 1.0, 0.0, 1.0])
    hyper = {"smoothing": torch.tensor(0.2), "noisy_weight": torch.tensor(0.5)}
    each = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), label_smoothing=0.2, reduction="none")
    expected = (each.reshape(4, 5).mean(1) * torch.tensor([1, 0.5, 1, 0.5])).mean()
    torch.testing.assert_close(train_loss(lambda batch: logits, (logits, targets, wrong), hyper), expected)


def test_the_quadratic_is_one():
    """Its gradient is linear, and its curvatures span what they should."""
    torch.manual_seed(0)
    model, data = Point(), points()
    batch = (*data.val, torch.zeros(len(data.val[1])))
    torch.testing.assert_close(quadratic_train_loss(model, batch, NEUTRAL), quadratic_loss(model, data.val))
    hessian = torch.autograd.functional.hessian(
        lambda place: torch.func.functional_call(model, {"place": place}, data.val[0]).square().sum(-1).mean() / 2,
        model.place,
    )
    curvatures = hessian.diagonal()
    torch.testing.assert_close(hessian, curvatures.diag())
    assert float(curvatures.max() / curvatures.min()) == pytest.approx(300, rel=1e-3)


def test_flagged_batches_go_on_epoch_after_epoch():
    data = flagged("digits-linear", 96)
    batches = list(islice(FlaggedBatches(data, seed=0), 9))
    assert {len(batch[1]) for batch in batches} == {32}
    for epoch in (batches[:3], batches[3:6]):
        assert sorted(torch.cat([x.sum((1, 2, 3)) for x, _, _ in epoch])) == sorted(data[0].sum((1, 2, 3)))
    assert not torch.equal(batches[0][0], batches[3][0])


def test_the_grid_holds_every_task_and_keeps_the_seeds_of_final_comparisons():
    grid = bed.cells(smoke=False)
    assert {cell.task for cell in grid} == {*TASKS, "quadratic"}
    assert min(cell.seed for cell in grid) >= 100
    assert len(set(grid)) == len(grid)
    kinds = Counter((cell.optimizer, cell.schedule) for cell in grid)
    assert len(kinds) == 4
    for cell in grid:  # every value lies inside its bounds, or its construction would refuse
        lr, momentum, *others = bed.adapted(cell)
        assert (lr.start, momentum.start) == (cell.lr, 0.9)
        assert [hyper.name for hyper in others] == ["weight_decay", "smoothing", "noisy_weight"]


@pytest.mark.slow
def test_a_small_part_goes_from_recording_to_page(tmp_path):
    command = [sys.executable, str(STUDIES / "bed.py"), "--smoke", "--workers", "1", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    cases = load_cases(tmp_path / "cells")
    assert len(cases) == 8
    assert [case.labels[1] for case in cases] == ["momentum"] * 4 + ["beta1"] * 4
    assert all(isinstance(case, Case) and case.horizon > 0 for case in cases)
    page = (tmp_path / "README.md").read_text()
    assert "8 windows of 40 steps from 2 training runs" in page
    for name in COMPARED:
        assert f"| {name} | lag |" in page
    assert (tmp_path / "figure.png").exists()
    assert pq.read_table(tmp_path / "rows.parquet").num_rows > 2 * len(COMPARED)
    light = load_cases(tmp_path / "cases.parquet")
    for case, single in zip(
        sorted(cases, key=lambda c: (c.run, c.start)), sorted(light, key=lambda c: (c.run, c.start)), strict=True
    ):
        assert single.truth == pytest.approx(case.truth, rel=1e-6)
        assert single.earlier.shape == case.earlier.shape
