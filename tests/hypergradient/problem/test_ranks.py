"""Data-parallel training: the ranks' means are what one process finds on the joined batch."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ..cases import Case, relative
from ..ranks import derivatives, problem_of, shares

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]


def on_ranks(count, folder, *asked):
    command = [sys.executable, "-m", "tests.hypergradient.ranks"]
    at_work = [
        subprocess.Popen([*command, str(rank), str(count), str(folder), *asked], cwd=ROOT, stderr=subprocess.PIPE)
        for rank in range(count)
    ]
    for process in at_work:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(count)]


def joined(model, optimizer, products, count):
    """One process that accumulates what the ranks see at once."""
    case = Case.build(model, optimizer)
    val = [part for parts in shares(case.val_batches, count) for part in parts]
    problem = problem_of(case, case.problem.model, accumulate=count)
    return derivatives(problem, shares(case.batches, count), val, None, products)


@pytest.mark.parametrize(
    ("model", "optimizer", "room", "products"),
    [
        ("mlp", "sgd", "graphs", "exact"),
        ("mlp", "adamw", "states", "exact"),
        ("attention", "adamw", "graphs", "exact"),
        ("gru", "rmsprop", "nothing", "exact"),
        ("mlp", "sgd", "graphs", "differences"),
    ],
)
def test_ranks_find_what_one_process_finds_on_the_joined_batch(tmp_path, model, optimizer, room, products):
    first, second = on_ranks(2, tmp_path, model, optimizer, room, products)
    truth = joined(model, optimizer, products, 2)
    tolerance = 1e-6 if products == "exact" else 1e-4
    for name in {"adjoint", "forward"} & truth.keys():
        assert torch.equal(first[name], second[name])
        assert relative(first[name], truth[name]) < tolerance
    assert first["loss"] == pytest.approx(truth["loss"], rel=1e-9)
    assert first["graphs"] == (room == "graphs" and products == "exact")
    for a, b, c in zip(first["weights"], second["weights"], truth["weights"], strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c, rtol=1e-9, atol=1e-12)
