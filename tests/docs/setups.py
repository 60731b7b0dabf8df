"""What the blocks of a page take for granted: a tiny model, its loaders and losses; each anew for each block."""

from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, TensorDataset

import ray_glocal
from ray_glocal import Hyperparameter


def _data(count, *more):
    generator = torch.Generator().manual_seed(0)
    centres = 2 * torch.randn(10, 8, generator=generator)
    labels = torch.arange(count) % 10
    images = centres[labels] + torch.randn(count, 8, generator=generator)
    return TensorDataset(images, labels, *more)


def _loaders():
    train = DataLoader(_data(320), batch_size=32, shuffle=True, generator=torch.Generator().manual_seed(1))
    return train, DataLoader(_data(100), batch_size=50)


def _network(width=16):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, width), torch.nn.GELU(), torch.nn.Linear(width, 10))


def _loss(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


def _weighted_loss(model, batch, hyper):
    images, labels = batch
    each = F.cross_entropy(model(images), labels, reduction="none")
    return (hyper["class_weight"][labels] * each).mean() * 10


@torch.no_grad()
def accuracy(model, batches):
    hits = [(model(images).argmax(1) == labels).float() for images, labels in batches]
    return float(torch.cat(hits).mean())


def _optimizer(model, lr=1e-3, weight_decay=1e-2):
    return torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)


def loop():
    """A plain loop whose training loss reads weights of classes."""
    model, (train_loader, val_loader) = _network(), _loaders()
    optimizer = _optimizer(model)
    return {
        "torch": torch,
        "model": model,
        "optimizer": optimizer,
        "lr_scheduler": torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 200),
        "train_loss": _weighted_loss,
        "val_loss": _loss,
        "train_loader": train_loader,
        "val_loader": val_loader,
        "accuracy": accuracy,
        "GlocalSession": ray_glocal.GlocalSession,
        "hyper": [
            Hyperparameter("lr", 1e-3, lower=1e-5, upper=1.0, scale="log"),
            Hyperparameter("class_weight", torch.ones(10) / 10, scale="simplex"),
        ],
    }


def rate():
    """The same with a plain loss, the learning rate alone being adapted."""
    told = loop()
    return {**told, "train_loss": _loss, "hyper": told["hyper"][:1]}


def _build(config):
    model = _network(config.get("width", 16))
    return model, _optimizer(model, config["lr"], config["weight_decay"])


def tune():
    """A Tune experiment's parts."""
    train_loader, val_loader = _loaders()
    return {
        "build": _build,
        "train_loss": _loss,
        "val_loss": _loss,
        "loss": _loss,
        "train_loader": train_loader,
        "val_loader": val_loader,
        "accuracy": accuracy,
    }


def readme():
    """The same, with the names that the README's example says to import."""
    from ray import tune as of_ray

    names = ("GlocalScheduler", "GlocalSearch", "GlocalSession", "adapted", "best_config")
    return {
        **tune(),
        **{name: getattr(ray_glocal, name) for name in names},
        "tune": of_ray,
        "epochs": 20,
        "CosineAnnealingLR": CosineAnnealingLR,
    }


def sources():
    """A model and batches that tell the source of each example."""
    train = DataLoader(_data(320, torch.arange(320) % 20), batch_size=32)
    model, (_, val_loader) = _network(), _loaders()
    return {"model": model, "optimizer": _optimizer(model), "train_loader": train, "val_loader": val_loader}


def many():
    """The page's losses before, and what each trial builds anew."""
    return {**{name: told for name, told in sources().items() if name.endswith("loader")}, "build": _build}


def examples():
    """The page's session before, and batches without sources."""
    model, (train_loader, val_loader) = _network(), _loaders()
    return {"model": model, "optimizer": _optimizer(model), "train_loader": train_loader, "val_loader": val_loader}


def plain():
    """Nothing."""
    return {}


def experiment(results):
    """The results of an experiment, and how its models were built."""
    own = {"results": results, "folder": Path(results.experiment_path), "CosineAnnealingLR": CosineAnnealingLR}
    return {**tune(), **own}


KINDS = (loop, rate, tune, readme, sources, many, examples, plain)
SETUPS = SimpleNamespace(**{kind.__name__: kind for kind in KINDS})
