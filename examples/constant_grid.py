"""Bad starts against a grid: sessions from lr 1e-4, 1e-2 and 1 beside the best learning rate of a grid.

All train the digits problem for the same steps with momentum 0.9 and weight decay 1e-4 (where the sessions start).
The grid tries every half decade, constant and under the cosine schedule that the sessions use. Its best is picked
with hindsight, by the mean of the same validation losses that are compared.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from itertools import chain, islice, repeat
from statistics import mean

import torch

import digits
from ray_glocal import GlocalSession, Hyperparameter

GRID = [10 ** (power / 2) for power in range(-8, 1)]
STARTS = [1e-4, 1e-2, 1.0]


def build(name: str, lr: float, seed: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.set_num_threads(1)
    model = digits.network(64, seed)
    return model, digits.optimizer(name, model, {"lr": lr, "momentum": 0.9, "weight_decay": 1e-4})


def plain(name: str, lr: float, seed: int, steps: int, cosine: bool) -> float:
    """Validation loss after plain training."""
    training, validation, _ = digits.split()
    model, optimizer = build(name, lr, seed)
    schedule = digits.cosine(steps, optimizer) if cosine else None
    batches = digits.Shuffled(training, seed)
    for batch in islice(chain.from_iterable(repeat(batches)), steps):
        optimizer.zero_grad()
        digits.loss(model, batch).backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
    return float(digits.loss(model, validation).detach())


def adapted(name: str, lr: float, seed: int, steps: int) -> tuple[float, float]:
    """Validation loss after training with a session, and the share of its seconds that hypergradients took."""
    training, validation, _ = digits.split()
    model, optimizer = build(name, lr, seed)
    hyper = [
        Hyperparameter("lr", lr, 1e-4, 1.0, "log"),
        Hyperparameter("momentum", 0.9, 0.0, 0.99, "logit"),
        Hyperparameter("weight_decay", 1e-4, 1e-6, 1e-1, "log"),
    ]
    session = GlocalSession(
        model,
        optimizer,
        digits.loss,
        digits.loss,
        val_batches=[validation],
        hyper=hyper,
        total_steps=steps,
        lr_scheduler=digits.cosine(steps, optimizer),
    )
    for batch in session.batches(digits.Shuffled(training, seed)):
        session.step(batch)
    return session.metrics()["val_loss"], session.metrics()["cost/share"]


def grid(name: str, cosine: bool, seeds: range, steps: int, pool: ProcessPoolExecutor) -> float:
    """Print a grid's row; the mean loss of its best learning rate."""
    runs = {lr: [pool.submit(plain, name, lr, seed, steps, cosine) for seed in seeds] for lr in GRID}
    losses = {lr: mean(future.result() for future in futures) for lr, futures in runs.items()}
    best = min(losses, key=losses.__getitem__)
    row = " ".join(f"{value:6.3f}" for value in losses.values())
    print(f"{name:6} {'cosine' if cosine else 'constant':9} {row}   best {losses[best]:.4f} at {best:.2g}")
    return losses[best]


def sessions(name: str, best: float | None, seeds: range, steps: int, pool: ProcessPoolExecutor) -> None:
    """Print the sessions' rows, each beside the best of the constant grid where one was run."""
    runs = {lr: [pool.submit(adapted, name, lr, seed, steps) for seed in seeds] for lr in STARTS}
    for lr, futures in runs.items():
        losses, shares = zip(*(future.result() for future in futures), strict=True)
        ratio = f", {mean(losses) / best:.2f} of the best constant" if best else ""
        told = f"val loss {mean(losses):.4f} (worst seed {max(losses):.4f}){ratio}"
        print(f"{name:6} session from lr {lr:<6g} {told}, hypergradients {mean(shares):.0%} of its time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=digits.STEPS)
    parser.add_argument("--no-grid", action="store_true", help="run the sessions only")
    told = parser.parse_args()
    if not told.no_grid:
        print("learning rate    " + " ".join(f"{lr:6.2g}" for lr in GRID))
    with ProcessPoolExecutor(2) as pool:
        for name in ("sgd", "adamw"):
            seeds, best = range(told.seeds), None
            if not told.no_grid:
                best = grid(name, False, seeds, told.steps, pool)
                grid(name, True, seeds, told.steps, pool)
            sessions(name, best, seeds, told.steps, pool)


if __name__ == "__main__":
    main()
