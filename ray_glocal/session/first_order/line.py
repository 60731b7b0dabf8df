"""The line on which first-order adaptation moves: of learning rates their logarithms, of all else its coordinates."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ray_glocal.forecast import Array
from ray_glocal.hypergradient import Problem
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Values
from ray_glocal.session.first_order.memory import Kinds


@dataclass(frozen=True)
class EntryLine:
    """The line of a problem's q entries.

    Args:
        problem: Whose entries they are.
        kinds: What they are.
    """

    problem: Problem
    kinds: Kinds

    def places(self, values: Values) -> Array:
        """Where values stand on it, shape [q]."""
        line: Array = self.problem.to_line(values).numpy()
        return np.where(self.kinds.rates, np.log(np.maximum(_flat(values).numpy(), np.finfo(float).tiny)), line)

    def elasticities(self, values: Values, derivatives: Tensor, scale: float) -> Array:
        """Relative changes of a loss per unit of it, shape [q].

        Args:
            values: Hyperparameters.
            derivatives: Of the loss in them, shape [q].
            scale: What changes of the loss are measured by.
        """
        in_line = self.problem.pull_back(values, derivatives).numpy()
        return np.where(self.kinds.rates, (derivatives * _flat(values)).numpy(), in_line) / scale

    def moved(self, values: Values, move: Array) -> Values:
        """Values after a move [q], rates by factors, within their bounds; what does not move stays bit for bit."""
        apart = np.where(self.kinds.rates, 0.0, move)
        others = self._shifted(values, apart) if apart.any() else values
        after = {}
        for binding in self.problem.bindings:
            hyper = binding.hyperparameter
            part, present = move[self.problem.places[hyper.name]], values[hyper.name]
            if not part.any():
                after[hyper.name] = present
            elif binding.field == "lr":
                after[hyper.name] = hyper.clip(present * math.exp(float(part[0])))
            else:
                after[hyper.name] = others[hyper.name]
        return after

    def _shifted(self, values: Values, move: Array) -> Values:
        return self.problem.to_values(self.problem.to_line(values) + torch.from_numpy(move))


def _flat(values: Values) -> Tensor:
    return torch.cat([value.flatten() for value in values.values()])
