"""What people make models and losses of: torch's differentiable functions, each in a small call in double precision.

`EVERY` maps a name to a function of tensors and the tensors that are differentiated; whatever else a call takes
(labels, indices, masks) is fixed. The names were collected from `torch`, `torch.nn` and its functions, `torch.linalg`,
`torch.fft`, `torch.special` and `torch.distributions`, and from the table of operators of torch's own tests, where
functions that are linear, or views, are left out beyond a few of each kind. Arguments keep away from kinks.
"""

import torch

from .arguments import Call
from .calls_of_layers import fused, layers, networks, pools
from .calls_of_losses import activations, distances, losses
from .calls_of_tensors import draws, fourier, indexing, matrices, pointwise, reductions


def every() -> dict[str, Call]:
    """All calls by name; the same at every import, and without a draw from the global generator."""
    families = (
        activations,
        losses,
        distances,
        layers,
        pools,
        networks,
        pointwise,
        reductions,
        matrices,
        indexing,
        fourier,
        draws,
        fused,
    )
    made = {}
    for family in families:
        with torch.random.fork_rng():
            torch.manual_seed(0)  # so that one family's calls do not depend on another's
            made |= {f"{family.__name__}: {name}": call for name, call in family().items()}
    return made


EVERY = every()
