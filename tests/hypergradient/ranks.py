"""What each rank of a data-parallel training does: a window on its share of every batch, differentiated."""

import gc
import sys
from pathlib import Path

import torch
import torch.distributed as dist
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


def told(problem, batches, val, room, products):
    tape = Tape(problem, len(batches), room, products=products)
    torch.manual_seed(3)
    window = record_window(problem, batches, val, problem.start_values(), tape=tape)
    found = {"adjoint": adjoint_trajectory(problem, window, 2, tape.products), "keeping": tape.keeping}
    if products == "exact":
        found["forward"] = forward_trajectory(problem, window)
    derivatives = {name: t.derivatives for name, t in found.items() if name != "keeping"}
    weights = [p.detach().clone() for p in problem.parameters]
    return {**derivatives, "weights": weights, "loss": found["adjoint"].loss, "graphs": tape.keeping.graphs}


def main(rank, count, folder, model, optimizer, room, products):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=count)
    case = Case.build(model, optimizer)
    problem = problem_of(case, DistributedDataParallel(case.problem.model))
    mine = [parts[rank] for parts in shares(case.batches, count)]
    val = [parts[rank] for parts in shares(case.val_batches, count)]
    torch.save(told(problem, mine, val, ROOM[room], products), Path(folder, f"{rank}.pt"))
    dist.barrier()
    del case, problem
    gc.collect()  # what still holds the group when its threads are gone makes the process abort as it ends
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    rank, count, *rest = sys.argv[1:]
    main(int(rank), int(count), *rest)
