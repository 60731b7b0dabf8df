"""The session: drives a plain torch loop, and adapts its continuous hyperparameters by hypergradients.

Its rooms, in the order in which to read them:

1. `session` is the loop, `course` where a training stands, `adaptation` what the loop asks of whoever adapts.
2. `first_order`, the default: cheap hypergradients at averaged weights. Its `adaptation` observes and puts the outer
   step together from `search` (at first), `rates` (learning rates) and `descent` (all else). `koopman` is asked for
   nothing but the forecast of the validation curve (`curve`).
3. `windows`, by `Settings(hypergradients="windows")`: exact hypergradients that `koopman` forecasts to the end of
   training. Its `adaptation` differentiates windows and asks `forecasts`; `response` puts the outer step together from
   `gate`, `heat` and `outer`.
4. `pacing` says when hypergradients come and what they cost, `divergence` takes back what went wrong, `reports`
   measures what is told, `checkpointing` writes all of it and brings it back, `state` is what it is made of.
"""

from ray_glocal.session.adapted import Adapted as Adapted  # what `tune.adapted` gives; nobody builds one
from ray_glocal.session.session import GlocalSession
from ray_glocal.session.settings import Settings
from ray_glocal.session.state.checkpoint import weights

__all__ = ["GlocalSession", "Settings", "weights"]
