"""What each rank of a data-parallel training does: a window on its share of every batch, differentiated."""

import sys
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel

from ray_glocal.hypergradient import Clipping, Problem, adjoint_trajectory, forward_trajectory, record_window
from ray_glocal.hypergradient.window.tape import Tape

from .cases import Case

ROOM = {"graphs": None, "states": 20_000, "nothing": 0}


def shares(batches, count):
    """Each batch as micro-batches of equal size, one for each rank."""
    return [list(zip(*(t[: len(t) // count * count].chunk(count) for t in batch), strict=True)) for batch in batches]


def problem_of(case, model, **treatment):
    plain = case.problem
    losses = plain.train_loss, plain.val_loss
    return Problem(model, plain.optimizer, *losses, plain.hyperparameters, clipping=Clipping(norm=0.5), **treatment)


def derivatives(problem, batches, val, room, products):
    tape = Tape(problem, len(batches), room, products=products)
    torch.manual_seed(3)
    window = record_window(problem, batches, val, problem.start_values(), tape=tape)
    found = {"adjoint": adjoint_trajectory(problem, window, 2, tape.products), "keeping": tape.keeping}
    if products == "exact":
        found["forward"] = forward_trajectory(problem, window)
    trajectories = {name: t.derivatives for name, t in found.items() if name != "keeping"}
    weights = [p.detach().clone() for p in problem.parameters]
    return {**trajectories, "weights": weights, "loss": found["adjoint"].loss, "graphs": tape.keeping.graphs}


def take_part(rank, count, folder, model, optimizer, room, products):
    case = Case.build(model, optimizer)
    problem = problem_of(case, DistributedDataParallel(case.problem.model))
    mine = [parts[rank] for parts in shares(case.batches, count)]
    val = [parts[rank] for parts in shares(case.val_batches, count)]
    torch.save(derivatives(problem, mine, val, ROOM[room], products), Path(folder, f"{rank}.pt"))


if __name__ == "__main__":
    from tests.process_group import gloo  # from the root, where ranks are started; pytest has another path

    torch.set_num_threads(1)
    rank, count, folder, *case = sys.argv[1:]
    with gloo(folder, int(rank), int(count)):
        take_part(int(rank), int(count), folder, *case)
