"""Whole small sessions on a problem that is learnt in a second: three clouds, and labels of which a part is noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.session import GlocalSession, Settings

TOTAL, BATCH, CLASSES, FEATURES, SOURCES = 300, 20, 3, 6, 4
CALM = Settings(window=8, search_window=4, overhead=None, duty_cycle=0.5, report_every=50)  # no clock decides
GATES = {"act", "act small", "hold", "roll back", "go back", "restart"}


def rate(start: float = 1e-4, **told: Any) -> Hyperparameter:
    return Hyperparameter("lr", start, 1e-6, 30.0, "log", **told)


def clouds(count: int, seed: int, *, noisy: bool = False) -> TensorDataset:
    """Points, their labels and their sources; on demand the labels of the latter half of the sources are random."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    points = torch.randn(count, FEATURES, generator=generator)
    points[torch.arange(count), labels] += 2.0
    sources = torch.randint(SOURCES, (count,), generator=generator)
    random = torch.randint(CLASSES, (count,), generator=generator)
    return TensorDataset(points, torch.where(sources >= SOURCES // 2, random, labels) if noisy else labels, sources)


def training(*, noisy: bool = False) -> DataLoader[Any]:
    return DataLoader(clouds(1000, 1, noisy=noisy), batch_size=BATCH, shuffle=True)


def held_out() -> DataLoader[Any]:
    return DataLoader(clouds(240, 2), batch_size=80)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(FEATURES, 16), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x)))


def plain_loss(model: nn.Module, batch: Sequence[Tensor]) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def by_source(model: nn.Module, batch: Sequence[Tensor], hyper: Any) -> Tensor:
    """A weight for each source."""
    weights = hyper["weights"][batch[2]]
    return (weights * F.cross_entropy(model(batch[0]), batch[1], reduction="none")).sum() / weights.sum()


def session(
    hyper: Sequence[Hyperparameter] = (rate(),),
    kind: type[torch.optim.Optimizer] = torch.optim.SGD,
    *,
    train: Callable[..., Tensor] = plain_loss,
    val: Callable[..., Tensor] = plain_loss,
    model: nn.Module | None = None,
    schedule: Callable[[torch.optim.Optimizer], Any] | None = None,
    options: dict[str, Any] | None = None,
    **told: Any,
) -> GlocalSession:
    torch.manual_seed(0)
    model = Network() if model is None else model
    optimizer = kind(model.parameters(), lr=1e-4, **(options or {}))
    told = {"total_steps": TOTAL, "settings": CALM, "val_batches": held_out(), "hyper": hyper, **told}
    told["lr_scheduler"] = None if schedule is None else schedule(optimizer)
    return GlocalSession(model, optimizer, train, val, **told)


def train_on(
    session: GlocalSession,
    until: int = TOTAL,
    *,
    noisy: bool = False,
    change: Callable[[int, list[Tensor]], list[Tensor]] | None = None,
) -> GlocalSession:
    """Train up to a step, on batches that may be changed, by the step before which they come."""
    for batch in session.batches(training(noisy=noisy)):
        session.step(batch if change is None else change(session.step_count, batch))
        if session.step_count == until:
            break
    return session


def evaluated(model: nn.Module, loss: Callable[..., Tensor] = plain_loss) -> float:
    """Mean loss over the validation batches, by hand."""
    model.eval()
    with torch.no_grad():
        losses = [loss(model, batch).item() for batch in held_out()]
    model.train()
    return sum(losses) / len(losses)


def without_session(kind: type[torch.optim.Optimizer], lr: float, options: dict[str, Any]) -> float:
    """The loss that a plain loop ends at."""
    torch.manual_seed(0)
    model, step = Network(), 0
    optimizer = kind(model.parameters(), lr=lr, **options)
    loader = training()
    while step < TOTAL:
        for batch in loader:
            optimizer.zero_grad()
            plain_loss(model, batch).backward()
            optimizer.step()
            step += 1
    return evaluated(model)
