"""Where hyperparameters act: options of an optimizer's parameter groups, or the losses."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ray_glocal.errors import ArgumentError, UnreadError
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Hyperparameter
from ray_glocal.hypergradient.rules import UpdateRule
from ray_glocal.options import NEVER_ZERO


@dataclass(frozen=True)
class Binding:
    """Where a hyperparameter acts: an option of some parameter groups, or (`field` is None) the losses."""

    hyperparameter: Hyperparameter
    field: str | None
    groups: tuple[int, ...]


def bound(
    hyperparameters: Sequence[Hyperparameter], optimizer: torch.optim.Optimizer, rule: UpdateRule, *, read: bool
) -> tuple[Binding, ...]:
    """Bind every hyperparameter.

    Args:
        hyperparameters: At least one.
        optimizer: The one whose options some of them set.
        rule: The optimizer's update rule.
        read: Whether any loss takes those that are no options.

    Raises:
        ArgumentError: No or unknown hyperparameters, names or options twice, groups out of range, or a learning rate
            or momentum of zero.
    """
    bindings = tuple(_bound(hyper, optimizer, rule, read=read) for hyper in hyperparameters)
    if not bindings:
        remedy = "Name at least one; a run without any needs no session."
        raise ArgumentError("hyper", "hold at least one hyperparameter", tuple(hyperparameters), remedy)
    names = [hyper.name for hyper in hyperparameters]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        remedy = "Tell them apart by name and point both to their option by `field`."
        raise ArgumentError("hyper", "have a name of its own for each hyperparameter", twice, remedy)
    targets = [(b.field, group) for b in bindings if b.field for group in b.groups]
    twice = sorted({field for field, group in targets if targets.count((field, group)) > 1})
    if twice:
        remedy = "Leave out all but one for each, or give them different `groups`."
        raise ArgumentError("hyper", "set each option of a parameter group once", twice, remedy)
    return bindings


def _bound(hyper: Hyperparameter, optimizer: torch.optim.Optimizer, rule: UpdateRule, *, read: bool) -> Binding:
    chosen = tuple(range(len(optimizer.param_groups))) if hyper.groups is None else hyper.groups
    field = rule.aliases.get(hyper.field_name, hyper.field_name)
    if field in rule.fields:
        _check_option(hyper, field, chosen, len(optimizer.param_groups))
        return Binding(hyper, field, chosen)
    if hyper.field is None and hyper.groups is None and read:
        return Binding(hyper, None, ())
    fields = ", ".join((*rule.fields, *rule.aliases))
    required = f"name options of {type(optimizer).__name__} ({fields}) or values that a loss reads"
    remedy = "Correct the name, or give the losses a third argument, `hyper`, that reads it."
    raise UnreadError("hyper", required, hyper.name, remedy)


def _check_option(hyper: Hyperparameter, field: str, groups: Sequence[int], count: int) -> None:
    if not groups or any(not 0 <= g < count for g in groups):
        rule = f"be indices of the {count} parameter groups for {hyper.name!r}"
        raise ArgumentError("groups", rule, hyper.groups, "Count from 0, or leave `groups` out for all of them.")
    if hyper.value.numel() != 1:
        remedy = "For several, give each parameter group a hyperparameter of its own, by `field` and `groups`."
        raise ArgumentError("start", f"be one number for the optimizer's {field!r}", tuple(hyper.value.shape), remedy)
    if field in NEVER_ZERO and float(hyper.value) == 0:
        remedy = "At zero torch keeps no momentum buffer, so nothing can be differentiated; start at 1e-3, say."
        remedy = remedy if field == "momentum" else "At zero nothing trains; start at 1e-4, say."
        raise ArgumentError("start", f"be above zero for hyperparameter {hyper.name!r}", 0.0, remedy)
