"""A training script as people bring it on their first day."""

import torch
from torch import nn
from torch.utils.data import TensorDataset

from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.session import GlocalSession

from .cases import entropy, windows

LR = Hyperparameter("lr", 0.01, 1e-5, 1.0, "log")
POOR = windows(overhead=1e-9)


def data():
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(160, 5, generator=generator, dtype=torch.float64)
    return TensorDataset(inputs, torch.randint(0, 3, (160,), generator=generator))


def network(*, norm=False):
    torch.manual_seed(0)
    middle = [nn.BatchNorm1d(8)] if norm else []
    return nn.Sequential(nn.Linear(5, 8), *middle, nn.Tanh(), nn.Dropout(0.0), nn.Linear(8, 3)).double()


def session_of(model, optimizer=None, hyper=(LR,), total=640, settings=POOR, **more):
    optimizer = optimizer or torch.optim.SGD(model.parameters(), 0.01)
    more = {"val_batches": [data()[:32]], **more}
    return GlocalSession(
        model, optimizer, entropy, entropy, hyper=list(hyper), total_steps=total, settings=settings, **more
    )


def batches():
    return [data()[16 * i : 16 * i + 16] for i in range(10)]
