"""What each rank of a data-parallel training does with a session."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ray_glocal.hypergradient import Clipping, Hyperparameter
from ray_glocal.session import GlocalSession, Settings

from .cases import entropy, windows

LIVELY = windows(window=8, search_window=6, val_batches=8, act=0.2, act_small=0.1, report_every=20, overhead=2.0)
CYCLE = replace(LIVELY, overhead=None, duty_cycle=0.5)
SETTINGS = {
    "cycle": CYCLE,
    "resumed": CYCLE,
    "first-order": Settings(window=8, search_window=4, val_batches=8, overhead=None, duty_cycle=0.5, report_every=20),
    "budget": windows(window=8, search_window=6, overhead=2.0, report_every=20),
}
STEPS = 80


def draw(seed, count):
    """Batches of four for two ranks each."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 2, 4, 6, generator=generator, dtype=torch.float64)
    return inputs, (inputs.sum(-1) * 2).long().abs() % 3


def part(data, rank):
    """A rank's batches."""
    return [(x[rank], y[rank]) for x, y in zip(*data, strict=True)]


def begin(settings, ranks, wrap=None):
    """A session on the batches of some ranks; of several in one process, they are accumulated."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3)).double()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    hyper = [Hyperparameter("lr", 0.01, 1e-5, 1.0, "log"), Hyperparameter("weight_decay", 0.01, 1e-6, 1.0, "log")]
    shares = [part(draw(1, 20), rank) for rank in ranks]
    train = [batch for together in zip(*shares, strict=True) for batch in together]
    val = [batch for rank in ranks for batch in part(draw(2, 4), rank)]
    session = GlocalSession(
        model if wrap is None else wrap(model),
        optimizer,
        entropy,
        entropy,
        val_batches=val,
        hyper=hyper,
        total_steps=STEPS,
        clipping=Clipping(norm=1.0),
        accumulate=len(ranks),
        settings=SETTINGS[settings],
    )
    return session, train


def trained(session, train, stop=STEPS):
    """What it comes to."""
    for batch in session.batches(train):
        session.step(batch)
        if session.step_count == stop:
            break
    metrics = {k: v for k, v in session.metrics().items() if not k.startswith("cost/")}
    weights = [p.detach().clone() for p in session.problem.parameters]
    steps = [row.step for row in session.trace.rows]
    return {"weights": weights, "values": dict(session.values), "metrics": metrics, "steps": steps}


def take_part(rank, folder, settings):
    session, train = begin(settings, [rank], DistributedDataParallel)
    if settings == "resumed":  # half-way, through the checkpoint of the first, in the middle of a window
        trained(session, train, 43)
        if rank == 0:
            session.save(Path(folder, "saved"))
        dist.barrier()
        session, train = begin(settings, [rank], DistributedDataParallel)
        session.restore(Path(folder, "saved"))
    torch.save(trained(session, train), Path(folder, f"{rank}.pt"))


if __name__ == "__main__":
    from tests.process_group import gloo  # from the root, where ranks are started; pytest has another path

    torch.set_num_threads(1)
    rank, folder, settings = sys.argv[1:]
    with gloo(folder, int(rank), 2):
        take_part(int(rank), folder, settings)
