"""A session on a task's configuration, at counted prices."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

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


def session_of(
    task: Task,
    training: Training,
    config: Mapping[str, Any],
    *,
    settings: Settings | None = None,
    prices: Prices | None = None,
) -> GlocalSession:
    """A session of a training that is ready to begin.

    Args:
        task: Whose space says what is adapted.
        training: Of the configuration.
        config: Start values.
        settings: Of the session.
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
        settings=settings,
    )
    return session if prices is None else counted(session, prices.of_session())
