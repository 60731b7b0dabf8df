"""Digits under ray_glocal: the script of ASHA with the lines that differ."""

import torch
import torch.nn.functional as F
from ray import tune
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ray_glocal import GlocalScheduler, GlocalSearch, GlocalSession, adapted

EPOCHS = 20
SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "width": tune.choice([32, 64, 128]),
    "lr": tune.loguniform(1e-4, 1.0),
    "weight_decay": tune.loguniform(1e-6, 1e-1),
}
OPTIMIZERS = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}


def loaders():
    raw = load_digits()
    images, labels = torch.tensor(raw.data / 16, dtype=torch.float32), torch.tensor(raw.target)
    train, val = (TensorDataset(images[rows], labels[rows]) for rows in (slice(1000), slice(1000, None)))
    return DataLoader(train, batch_size=32, shuffle=True, drop_last=True), DataLoader(val, batch_size=200)


def accuracy(model, batches):
    hits = [(model(images).argmax(1) == labels).float() for images, labels in batches]
    return float(torch.cat(hits).mean())


def loss(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


def train(config):
    torch.manual_seed(0)
    train_batches, val_batches = loaders()
    model = nn.Sequential(nn.Linear(64, config["width"]), nn.GELU(), nn.Linear(config["width"], 10))
    kind = OPTIMIZERS[config["optimizer"]]
    optimizer = kind(model.parameters(), lr=config["lr"], weight_decay=config["weight_decay"])
    steps = EPOCHS * len(train_batches)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    hyper = adapted(config, SPACE)
    session = GlocalSession(
        model, optimizer, loss, loss, val_batches=val_batches, hyper=hyper, total_steps=steps, lr_scheduler=schedule
    )
    session.restore(tune.get_checkpoint())
    for epoch in session.epochs(train_batches):
        for batch in epoch:
            session.step(batch)
        value = session.evaluate(lambda model: accuracy(model, val_batches))
        tune.report({**session.metrics(), "accuracy": value}, checkpoint=session.checkpoint())


def main(samples=12):
    search = GlocalSearch(SPACE, metric="accuracy", mode="max")
    config = tune.TuneConfig(scheduler=GlocalScheduler(), search_alg=search, num_samples=samples, reuse_actors=True)
    results = tune.Tuner(train, param_space=SPACE, tune_config=config).fit()
    best = results.get_best_result("accuracy", "max")
    print(f"accuracy {best.metrics['accuracy']:.3f} with {best.config}")


if __name__ == "__main__":
    main()
