"""A search of three short sessions on a virtual clock, where nothing but the package is installed."""

import importlib.metadata
import platform

import torch
from ray import tune
from torch.optim.lr_scheduler import CosineAnnealingLR

from ray_glocal import GlocalScheduler, GlocalSearch, GlocalSession, adapted
from ray_glocal.simulate import simulate

STEPS = 1000
SPACE = {"width": tune.choice([8, 16]), "lr": tune.loguniform(1e-4, 1.0), "weight_decay": tune.loguniform(1e-6, 1e-1)}


def loss(model, batch):
    inputs, targets = batch
    return (model(inputs) - targets).square().mean()


def train(config):
    torch.manual_seed(0)
    inputs = torch.randn(512, 4)
    targets = inputs.sin().sum(1, keepdim=True)
    batches = list(zip(inputs[:448].split(32), targets[:448].split(32), strict=True))
    width = config["width"]
    model = torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.GELU(), torch.nn.Linear(width, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"], weight_decay=config["weight_decay"])
    session = GlocalSession(
        model,
        optimizer,
        loss,
        loss,
        val_batches=[(inputs[448:], targets[448:])],
        hyper=adapted(config, SPACE),
        total_steps=STEPS,
        lr_scheduler=CosineAnnealingLR(optimizer, STEPS),
    )
    session.restore(tune.get_checkpoint())
    for batch in session.batches(batches):
        session.step(batch)
        if session.at_report:
            tune.report(session.metrics(), checkpoint=session.checkpoint())


def main():
    search = GlocalSearch(SPACE, metric="val_loss", mode="min")
    told = {"scheduler": GlocalScheduler(), "search_alg": search, "num_samples": 3}
    best = simulate(train, SPACE, metric="val_loss", mode="min", **told).best()
    names = ("torch", "ray", "numpy", "pyarrow", "ray_glocal")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    print(f"Python {platform.python_version()}, {versions}: validation loss {best:.3f}")
    assert best < 0.5, "an untrained network has 1.7"


if __name__ == "__main__":
    main()
