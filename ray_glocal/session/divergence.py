"""Divergence: when it has happened, where to go back to, and with which hyperparameters."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ray_glocal.forecast import Array
from ray_glocal.hypergradient import Hyperparameter, Problem
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Values
from ray_glocal.hypergradient.state.batch import duplicated
from ray_glocal.session.settings import Settings
from ray_glocal.session.state.buffers import set_transient_buffers, transient_buffers
from ray_glocal.session.tuning import (
    ASTRAY,
    BEGIN_ANEW_UNTIL,
    EXPLOSION,
    FRESH,
    LEARNED,
    LITTLE,
    MARGIN,
    MOST_ROLLBACKS,
    NEAR,
    RELIEF,
    SHRUNK,
    STALL,
    STRIKES,
    TRAVELLED,
)


@dataclass(frozen=True)
class RestorePoint:
    """A copy of model and optimizer state with the step, the hyperparameters and the validation loss there."""

    step: int
    loss: float
    values: Values
    model: dict[str, Any]
    transient: dict[str, Tensor]
    optimizer: dict[str, Any]
    averaged: dict[str, Any] | None = None

    @classmethod
    def take(cls, problem: Problem, step: int, loss: float, values: Values) -> "RestorePoint":
        """Copy the present state."""
        model = {
            n: v.clone() if isinstance(v, Tensor) else copy.deepcopy(v) for n, v in problem.model.state_dict().items()
        }
        transient = copy.deepcopy(transient_buffers(problem.model))
        theirs = problem.averaged
        averaged = None
        if theirs is not None:
            averaged = copy.deepcopy({"state": theirs.state_dict(), "transient": transient_buffers(theirs)})
        optimizer = duplicated(problem.optimizer.state_dict()["state"])
        return cls(step, loss, dict(values), model, transient, optimizer, averaged)

    def as_plain(self, *, here: bool) -> dict[str, Any]:
        """As plain data, without the state where that is the present one."""
        fields = dict(vars(self))
        return {name: fields[name] for name in ("step", "loss", "values")} if here else fields

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], problem: Problem) -> "RestorePoint":
        """Inverse of `as_plain`; a state that was left out is that of the problem."""
        return cls(**plain) if "model" in plain else cls.take(problem, **plain)

    def apply(self, problem: Problem) -> None:
        """Put the model and the optimizer's buffers back; its options stay, for a schedule has moved on."""
        problem.model.load_state_dict(self.model)
        set_transient_buffers(problem.model, copy.deepcopy(self.transient))
        optimizer, groups = problem.optimizer, problem.optimizer.param_groups
        options = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": copy.deepcopy(self.optimizer), "param_groups": options})
        optimizer.param_groups = groups  # loading made new ones, and others may hold these
        if problem.averaged is not None and self.averaged is not None:
            problem.averaged.load_state_dict(copy.deepcopy(self.averaged["state"]))
            set_transient_buffers(problem.averaged, copy.deepcopy(self.averaged["transient"]))

    def distance(self, problem: Problem) -> float:
        """Distance of the present weights from these, relative to their length."""
        pairs = self._pairs(problem)
        moved = sum(float(torch.sum((now - kept) ** 2)) for now, kept in pairs)
        length = sum(float(torch.sum(kept**2)) for _, kept in pairs)
        return math.sqrt(moved / length) if length else 0.0

    def shrinkage(self, problem: Problem) -> float:
        """Length of the present weights, relative to that of these."""
        pairs = self._pairs(problem)
        now, kept = (sum(float(torch.sum(pair[place] ** 2)) for pair in pairs) for place in (0, 1))
        return math.sqrt(now / kept) if kept else 1.0

    def _pairs(self, problem: Problem) -> list[tuple[Tensor, Tensor]]:
        """The present weights beside these; a point that came from a checkpoint lies on the CPU until it is applied."""
        state = problem.model.state_dict()
        tensors = [(state[name], kept) for name, kept in self.model.items() if isinstance(kept, Tensor)]
        return [(now, kept.to(now.device)) for now, kept in tensors if kept.is_floating_point()]


@dataclass(frozen=True)
class Retreat:
    """What a retreat leads to.

    Args:
        values: Hyperparameters to go on with.
        blamed: Names of those that were cut.
        sentence: Says where it led.
    """

    values: Values
    blamed: tuple[str, ...]
    sentence: str


class Guard:
    """Watches the loss, says in a sentence what is wrong with it, and remembers the states to go back to.

    Args:
        settings: What counts as a jump, and how far the learning rate is cut.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.first: RestorePoint | None = None
        self.good: RestorePoint | None = None
        self.origin: float | None = None  # validation loss of the untrained network: the scale of what can be learned
        self.first_training_loss: float | None = None
        self.learned = False  # whether any good point was clearly better than the first
        self.rollbacks = 0
        self.strikes = 0  # windows in a row that ended well above the last good point
        self.lowest = math.inf  # loss of the good states on the present path, each of a window's few batches

    def forget_first(self) -> None:
        """Forget where training began: whoever never goes back there need not keep it."""
        self.first = self.good

    def inherit(self, plain: Mapping[str, Any]) -> None:
        """Take the scale of the losses from the guard of an ancestor whose weights were taken over."""
        self.origin, self.first_training_loss = plain["origin"], plain["first_training_loss"]
        self.learned = self.origin is not None

    def keep(self, point: RestorePoint) -> None:
        """Remember a state that is worth going back to."""
        self.first = self.first or point
        self.good = point
        self.lowest = min(self.lowest, point.loss)
        self.strikes = 0
        if self.origin is None:
            self.origin = point.loss
        self.learned |= point.loss < changed_by(self.origin, -LEARNED)

    def training_jumped(self, losses: Sequence[Tensor]) -> str:
        """The sentence that says the training loss has left the range where it began; empty where it has not."""
        if self.first_training_loss is None:
            self.first_training_loss = float(losses[0])
        return self._jumped("training", _mean(losses), self.first_training_loss, self.first_training_loss)

    def idle(self, losses: Sequence[Tensor]) -> bool:
        """Whether some training losses in a row are no better than those with which training began."""
        if self.first_training_loss is None or not losses:
            return False
        return _mean(losses) >= changed_by(self.first_training_loss, -LEARNED)

    def validation_jumped(self, loss: float) -> str:
        """The sentence that says the validation loss has left the range of the last good one, or an empty one."""
        assert self.good is not None
        assert self.origin is not None
        return self._jumped("validation", loss, self.good.loss, self.origin)

    def risen(self, loss: float, level: float) -> str:
        """The sentence that says the validation loss has left the range of a level, or an empty one."""
        assert self.origin is not None
        return self._jumped("validation", loss, level, self.origin)

    def stalled(self, loss: float) -> str:
        """The sentence that says a run has stood well above its best for several windows; empty where it has not.

        Each window by itself is no jump, but together they say that the learning rate holds the loss up there.
        """
        assert self.good is not None
        above = loss > changed_by(self.good.loss, STALL)
        self.strikes = self.strikes + 1 if above else 0
        if self.strikes < STRIKES:
            return ""
        return f"the validation loss, {loss:.3g}, has stayed above {self.good.loss:.3g} for {self.strikes} windows"

    def worth_keeping(self, loss: float) -> bool:
        """Whether a window ended in a state that is worth going back to: near the last good one."""
        return self.good is None or worth_keeping(loss, self.good.loss, self.lowest, STALL)

    def exploded(self, local: Array, loss: float) -> str:
        """The sentence that says a window's hypergradient has exploded: training stands beyond the edge of stability.

        The derivative is true there and useless, for it holds over no distance.
        """
        if not np.all(np.isfinite(local)):
            return "the local hypergradient is not finite"
        worst = float(np.max(np.abs(local))) / self.scale(loss)
        if worst <= EXPLOSION:
            return ""
        return f"the local hypergradient exploded: {worst:.2g} times the loss per unit of its coordinate"

    def scale(self, loss: float) -> float:
        """What changes of a loss are measured by: its size, or a share of the first one's where it is near zero."""
        assert self.origin is not None
        return float(max(abs(loss), MARGIN * abs(self.origin), np.finfo(float).tiny))

    def _jumped(self, kind: str, loss: float, good: float, first: float) -> str:
        if not math.isfinite(loss):
            return f"the {kind} loss is not finite"
        # For a positive loss, `jump` times its value; losses of densities are negative at times.
        if loss > changed_by(good, self._settings.jump - 1) + MARGIN * abs(first):
            return f"the {kind} loss jumped from {good:.3g} to {loss:.3g}"
        return ""

    def collapsed(self, loss: float, problem: Problem) -> str:
        """The sentence that says a run has gone far for nothing; empty where it has not.

        A run that had learned may overfit, and has not collapsed before it stands nearly where it began: a dead network
        is a little better than an untrained one, for it knows how frequent the answers are.
        """
        assert self.first is not None
        assert self.origin is not None
        if loss < changed_by(self.origin, -(MARGIN if self.learned else LEARNED)):
            return ""
        distance = self.first.distance(problem)
        if distance <= TRAVELLED:
            return ""
        return f"the weights moved by {distance:.2g} of their length, and the loss, {loss:.3g}, is no better for it"

    def strayed(self, loss: float, problem: Problem, progress: float) -> str:
        """The sentence that says a run was thrown far away early and has learned little there; empty otherwise.

        What died in the network on the way stays dead, so the loss, though better than at the start, stays high. Not
        said after several retreats: a run that comes to the same from small learning rates has a problem of its own.

        Args:
            loss: Validation loss now.
            problem: The problem, its model as it stands.
            progress: Share of training that is over.
        """
        assert self.first is not None
        assert self.origin is not None
        if self.rollbacks > FRESH or progress > BEGIN_ANEW_UNTIL or loss < changed_by(self.origin, -LITTLE):
            return ""
        distance = self.first.distance(problem)
        if distance <= ASTRAY:
            return ""
        return f"the weights moved by {distance:.2g} times their length, and the loss fell only to {loss:.3g}"

    def starved(self, loss: float, problem: Problem) -> str:
        """The sentence that says weight decay has shrunk a network that has learned nothing; empty where it has not.

        In a dead network every hypergradient is zero: nothing else would tell.
        """
        if self.first is None or self.origin is None or self.learned or loss < changed_by(self.origin, -LEARNED):
            return ""
        shrinkage = self.first.shrinkage(problem)
        if shrinkage > SHRUNK:
            return ""
        return f"the weights have shrunk to {shrinkage:.2g} of their length, and the loss, {loss:.3g}, is no better"

    @property
    def exhausted(self) -> bool:
        """Whether the run has gone back as often as it may."""
        return self.rollbacks >= MOST_ROLLBACKS

    def restart(self, problem: Problem) -> None:
        """Go back to the first weights with nothing held against the run."""
        assert self.first is not None
        self.first.apply(problem)
        self.good, self.learned, self.strikes, self.lowest = self.first, False, 0, self.first.loss

    def retreat(self, problem: Problem, values: Values, *, to_first: bool) -> Retreat | None:
        """Go back to the last good point, or the first, with its hyperparameters and what is to blame cut.

        That is the learning rate, or the weight decay where the weights have shrunk since.

        Returns:
            None where nothing would change, so that the same would happen again, or it has happened too often.
        """
        point = self.first if to_first else self.good
        assert point is not None
        decays = weight_decays(problem, values) if point.shrinkage(problem) < SHRUNK else []
        factor = RELIEF if decays else self._settings.cut
        rates = [b.hyperparameter for b in problem.bindings if b.field == "lr"]
        cut = {hyper.name: hyper.clip(values[hyper.name] * factor) for hyper in decays or rates}
        fresh = {**point.values, **cut}
        same = all(torch.equal(value, values[name]) for name, value in fresh.items())
        if same or self.exhausted:
            return None
        point.apply(problem)
        self.rollbacks += 1
        self.strikes = 0
        # What was cut stays cut: were the point's own values to come back, two culprits would take turns for ever.
        self.good, self.lowest = replace(point, values=fresh), point.loss
        cuts = [f"{name} {float(values[name]):.3g} -> {float(value):.3g}" for name, value in cut.items()]
        place = f"back to the weights of step {point.step}"
        count = f"roll-back {self.rollbacks} of at most {MOST_ROLLBACKS}"
        return Retreat(fresh, tuple(cut), ", ".join([place, *cuts, count]))

    def as_plain(self) -> dict[str, Any]:
        """The numbers of the memory as plain data."""
        return {
            "rollbacks": self.rollbacks,
            "strikes": self.strikes,
            "lowest": self.lowest,
            "learned": self.learned,
            "origin": self.origin,
            "first_training_loss": self.first_training_loss,
        }

    def points_as_plain(self, step: int) -> dict[str, Any]:
        """The points to go back to as plain data; of one that was taken at `step`, now, not the state but the rest."""
        points = {"first": self.first, "good": self.good}
        return {name: point and point.as_plain(here=point.step == step) for name, point in points.items()}

    def load_plain(self, plain: Mapping[str, Any], points: Mapping[str, Any], problem: Problem) -> None:
        """Inverse of `as_plain` and `points_as_plain`, the problem's state being the one that was saved."""
        self.rollbacks, self.strikes, self.learned = plain["rollbacks"], plain["strikes"], plain["learned"]
        self.origin, self.first_training_loss = plain["origin"], plain["first_training_loss"]
        self.lowest = plain["lowest"]
        loaded = {name: point and RestorePoint.from_plain(point, problem) for name, point in points.items()}
        self.first, self.good = loaded["first"], loaded["good"]


def weight_decays(problem: Problem, values: Values) -> list[Hyperparameter]:
    """Those that are adapted, and not at their lower bounds yet."""
    bound = [b.hyperparameter for b in problem.bindings if b.field == "weight_decay"]
    return [hyper for hyper in bound if bool((values[hyper.name] > max(hyper.lower, 0.0)).any())]


def worth_keeping(loss: float, level: float, lowest: float, above: float) -> bool:
    """Whether a state is worth going back to: near a level, which has not crept far up from the lowest loss either.

    Args:
        loss: At the state.
        level: Loss lately.
        lowest: Loss so far.
        above: Share of the lowest loss that a state may lie above it.
    """
    return loss <= min(changed_by(level, NEAR), changed_by(lowest, above))


def _mean(losses: Sequence[Tensor]) -> float:
    """Mean of losses: read together from a device, which must be waited for, and one by one where that takes less."""
    at_hand = losses[0].device.type == "cpu"
    numbers: list[float] = [loss.item() for loss in losses] if at_hand else torch.stack(list(losses)).tolist()
    return sum(numbers) / len(numbers)


def changed_by(loss: float, share: float) -> float:
    """A loss that is worse than `loss` by a share of its size; losses of densities are negative at times."""
    return loss + share * abs(loss)
