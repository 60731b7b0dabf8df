"""Digits under ASHA: an ordinary function trainable, with epochs and accuracy."""

import torch
import torch.nn.functional as F
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

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


def train(config):
    torch.manual_seed(0)
    train_batches, val_batches = loaders()
    model = nn.Sequential(nn.Linear(64, config["width"]), nn.GELU(), nn.Linear(config["width"], 10))
    kind = OPTIMIZERS[config["optimizer"]]
    optimizer = kind(model.parameters(), lr=config["lr"], weight_decay=config["weight_decay"])
    steps = EPOCHS * len(train_batches)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(EPOCHS):
        model.train()
        for images, labels in train_batches:
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
            schedule.step()
        model.eval()
        with torch.no_grad():
            tune.report({"accuracy": accuracy(model, val_batches)})


def main(samples=12):
    scheduler = ASHAScheduler(metric="accuracy", mode="max", max_t=EPOCHS)
    config = tune.TuneConfig(scheduler=scheduler, num_samples=samples, reuse_actors=True)
    results = tune.Tuner(train, param_space=SPACE, tune_config=config).fit()
    best = results.get_best_result("accuracy", "max")
    print(f"accuracy {best.metrics['accuracy']:.3f} with {best.config}")


if __name__ == "__main__":
    main()
