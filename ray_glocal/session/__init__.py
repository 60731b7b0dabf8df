"""The session: drives a plain torch loop, and adapts its continuous hyperparameters by hypergradients.

`session` is the loop, `course` where a training stands, `adaptation` what the loop asks of whoever adapts:
`first_order`, by cheap hypergradients at averaged weights, or `windows`, by exact ones that `koopman` forecasts to the
end of training. `pacing` says when they come and what they cost, `divergence` takes back what went wrong, `reports`
measures what is told, `checkpointing` writes all of it and brings it back, `state` is what it is made of.
"""

from ray_glocal.session.adapted import Adapted as Adapted  # what `tune.adapted` gives; nobody builds one
from ray_glocal.session.session import GlocalSession
from ray_glocal.session.settings import Settings
from ray_glocal.session.state.checkpoint import weights

__all__ = ["GlocalSession", "Settings", "weights"]
