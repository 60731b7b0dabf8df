"""The session: drives a plain torch loop, and adapts its continuous hyperparameters by glocal hypergradients.

`recorder` opens windows on a duty cycle, `hypergradient` differentiates them, `koopman` forecasts their trajectories
to the end of training, `gate` judges the forecasts, `outer` moves the hyperparameters, `divergence` takes back what
went wrong, `trace` keeps the record and `checkpoint` all of it.
"""

from ray_glocal.session.adapted import Adapted, Folder
from ray_glocal.session.session import GlocalSession
from ray_glocal.session.settings import Settings
from ray_glocal.session.state.checkpoint import weights

__all__ = ["Adapted", "Folder", "GlocalSession", "Settings", "weights"]
