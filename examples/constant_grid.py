"""Bad starts against a grid: sessions from lr 1e-4, 1e-2 and 1 beside the best constant learning rate of a grid.

Both train the digits problem for the same steps with momentum 0.9 and weight decay 1e-4 (where the session starts).
The grid tries every half decade; its best is picked with hindsight, by the same validation loss that is compared.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from statistics import mean

import digits
import torch

from ray_glocal import GlocalSession, Hyperparameter

GRID = [10 ** (power / 2) for power in range(-8, 1)]
STARTS = [1e-4, 1e-2, 1.0]


def build(name: str, lr: float, seed: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.set_num_threads(1)
    model = digits.network(64, seed)
    return model, digits.optimizer(name, model, {"lr": lr, "momentum": 0.9, "weight_decay": 1e-4})


def constant(name: str, lr: float, seed: int, steps: int) -> float:
    """Validation loss after plain training."""
    training, validation, _ = digits.split()
    model, optimizer = build(name, lr, seed)
    batches = digits.Shuffled(training, seed)
    taken = 0
    while taken < steps:
        for batch in batches:
            if taken == steps:
                break
            optimizer.zero_grad()
            digits.loss(model, batch).backward()
            optimizer.step()
            taken += 1
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


def compare(name: str, seeds: range, steps: int, pool: ProcessPoolExecutor) -> list[float]:
    """Print one optimizer's table; the ratios of the sessions to the best of the grid."""
    grid = {lr: [pool.submit(constant, name, lr, seed, steps) for seed in seeds] for lr in GRID}
    runs = {lr: [pool.submit(adapted, name, lr, seed, steps) for seed in seeds] for lr in STARTS}
    losses = {lr: mean(future.result() for future in futures) for lr, futures in grid.items()}
    for lr, value in losses.items():
        print(f"{name:6} constant lr {lr:8.2g}  val loss {value:.4f}")
    best = min(losses.values())
    ratios = []
    for lr, futures in runs.items():
        value = mean(future.result()[0] for future in futures)
        share = mean(future.result()[1] for future in futures)
        ratios.append(value / best)
        print(
            f"{name:6} session from {lr:7.2g}  val loss {value:.4f}  {value / best:.2f} of the best, share {share:.2f}"
        )
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=digits.STEPS)
    arguments = parser.parse_args()
    with ProcessPoolExecutor(2) as pool:
        for name in ("sgd", "adamw"):
            compare(name, range(arguments.seeds), arguments.steps, pool)


if __name__ == "__main__":
    main()
