"""What a first-order hypergradient has to say, in relative terms."""

from dataclasses import dataclass

from ray_glocal.forecast import Array


@dataclass(frozen=True)
class Observation:
    """Averaged weights at some step.

    Args:
        progress: Share of training that has passed.
        searched: Share of it since the search began.
        elapsed: Twentieths of training that passed since the last observation: what this one stands for.
        height: Factor of the schedule, as a share of its largest.
        warms_up: Whether the schedule will stand higher yet.
        annealed: Whether it lowers the rates in the end.
        loss: Validation loss at the averaged weights.
        elasticity: Relative change of the loss per unit of each coordinate, of rates per e-fold, over the span
            between the averages, shape [q].
        line: Coordinates of the present values, shape [q]; of rates, logarithms.
    """

    progress: float
    searched: float
    elapsed: float
    height: float
    warms_up: bool
    annealed: bool
    loss: float
    elasticity: Array
    line: Array
