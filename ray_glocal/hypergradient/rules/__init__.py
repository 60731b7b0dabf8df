"""Differentiable update rules, one file per optimizer family; register a new one in `RULES`."""

from collections.abc import Mapping
from types import MappingProxyType

import torch

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient.lion import Lion
from ray_glocal.hypergradient.rules.adagrad import AdagradRule
from ray_glocal.hypergradient.rules.adam import AdamRule
from ray_glocal.hypergradient.rules.lion import LionRule
from ray_glocal.hypergradient.rules.muon import MuonRule
from ray_glocal.hypergradient.rules.rmsprop import RMSpropRule
from ray_glocal.hypergradient.rules.rule import Slots, Update, UpdateRule
from ray_glocal.hypergradient.rules.sgd import SGDRule

RULES: Mapping[type[torch.optim.Optimizer], UpdateRule] = MappingProxyType(
    {
        torch.optim.SGD: SGDRule(),
        torch.optim.Adam: AdamRule(),
        torch.optim.AdamW: AdamRule(decoupled=True),
        torch.optim.RMSprop: RMSpropRule(),
        torch.optim.Adagrad: AdagradRule(),
        Lion: LionRule(),
        **({torch.optim.Muon: MuonRule()} if hasattr(torch.optim, "Muon") else {}),  # new in torch 2.9
    }
)


def rule_for(optimizer: torch.optim.Optimizer) -> UpdateRule:
    """The update rule of an optimizer, by its exact class: a subclass may step differently.

    Raises:
        ArgumentError: No rule is registered for the class.
    """
    rule = RULES.get(type(optimizer))
    if rule is None:
        names = ", ".join(sorted(kind.__name__ for kind in RULES))
        remedy = "Use one of those, or register an update rule for it in `ray_glocal.hypergradient.rules.RULES`."
        raise ArgumentError("optimizer", f"be one of {names}", type(optimizer).__name__, remedy)
    return rule


__all__ = ["RULES", "Slots", "Update", "UpdateRule", "rule_for"]
