"""The pull-back of a rule that gives no formula for it: autograd over its update."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from ray_glocal.hypergradient.rules.rule import Pulled, Slots, Update, UpdateRule


class ByAutograd:
    """Gives an update rule its `pull_back` by autograd; several times as slow as one by hand."""

    def pull_back(
        self: UpdateRule,
        taken: Update,
        wanted: Collection[str],
        cotangent: Tensor,
        slot_cotangents: Mapping[str, Tensor],
    ) -> Pulled:
        return pull_back(self, taken, wanted, cotangent, slot_cotangents)


@torch.enable_grad()
def pull_back(
    rule: UpdateRule,
    taken: Update,
    wanted: Collection[str],
    cotangent: Tensor,
    slot_cotangents: Mapping[str, Tensor],
) -> Pulled:
    """Pull cotangents back through `rule.update`, as `UpdateRule.pull_back` does."""
    leaves = {
        name: torch.tensor(taken.options[name], dtype=torch.float64, device=taken.parameter.device, requires_grad=True)
        for name in wanted
    }
    moving, pushing = taken.parameter.detach().requires_grad_(), taken.gradient.detach().requires_grad_()
    before = {name: slot.detach().requires_grad_() for name, slot in taken.slots.items()}
    after, held = rule.update(moving, pushing, before, taken.step, {**taken.options, **leaves})
    outputs = [(after, cotangent)]
    outputs += [(slot, slot_cotangents[name]) for name, slot in held.items() if name in slot_cotangents]
    live = [(output, weight) for output, weight in outputs if output.requires_grad]
    inputs = [moving, pushing, *before.values(), *leaves.values()]
    found = torch.autograd.grad([o for o, _ in live], inputs, [w for _, w in live], materialize_grads=True)
    own: Slots = dict(zip(before, found[2:], strict=False))
    return Pulled(found[0], found[1], own, dict(zip(leaves, found[2 + len(before) :], strict=True)))
