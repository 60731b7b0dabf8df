"""What the last report has measured."""

from dataclasses import dataclass

from ray_glocal.hypergradient.hyperparameters.hyperparameter import Values


@dataclass(frozen=True)
class LastReport:
    """A report, for the next one to be compared with.

    Args:
        loss: Validation loss of a whole pass; infinite before the first.
        values: Hyperparameters there.
    """

    loss: float
    values: Values
