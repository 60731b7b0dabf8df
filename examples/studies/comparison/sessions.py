"""A session on a task's configuration, at counted prices."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from comparison.averaging import weight
from comparison.prices import Prices
from counted import counted
from ray_glocal import GlocalSession, Settings, adapted
from ray_glocal.session import Adapted
from suites import Task, Training


def adapted_by(task: Task, config: Mapping[str, Any]) -> Adapted:
    """What a session adapts: the continuous domains of the space; some set an option of some parameter groups."""
    told = adapted(config, task.space)
    grouped = [
        replace(hyper, field=task.options[hyper.name].name, groups=task.options[hyper.name].groups)
        if hyper.name in task.options
        else hyper
        for hyper in told.hyperparameters
    ]
    return replace(told, hyperparameters=tuple(grouped))


def averaged_copy(model: nn.Module) -> AveragedModel:
    """Torch's own average of a model, over the last sixth of its training."""

    def follow(average: list[Tensor], present: list[Tensor], count: Tensor | int) -> None:
        if average[0].is_floating_point():  # torch hands over one kind at a time
            torch._foreach_lerp_(average, present, weight(int(count) + 1))
        else:  # counters of batch normalisation
            torch._foreach_copy_(average, present)

    return AveragedModel(model, multi_avg_fn=torch.no_grad()(follow), use_buffers=True)


def session_of(
    task: Task,
    training: Training,
    config: Mapping[str, Any],
    *,
    settings: Settings | None = None,
    averaged: bool = False,
    prices: Prices | None = None,
) -> GlocalSession:
    """A session of a training that is ready to begin.

    Args:
        task: Whose space says what is adapted.
        training: Of the configuration.
        config: Start values.
        settings: Of the session.
        averaged: Whether it keeps averaged weights and reports the loss at them.
        prices: By which it counts its time; the processor's clock without.
    """
    session = GlocalSession(
        training.model,
        training.optimizer,
        training.train_loss,
        training.val_loss,
        val_batches=training.val_batches,
        hyper=adapted_by(task, config),
        total_steps=task.steps,
        lr_scheduler=training.schedule,
        averaged=averaged_copy(training.model) if averaged else None,
        settings=settings,
    )
    return session if prices is None else counted(session, prices.of_session(averaged=averaged))
