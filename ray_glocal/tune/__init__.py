"""Ray Tune's side: a scheduler, a searcher, a class trainable, and the reading of an ordinary Tune space."""

from ray_glocal.tune.adapt import adapted
from ray_glocal.tune.deadline import watched
from ray_glocal.tune.preflight import preflight
from ray_glocal.tune.resumption import restorable
from ray_glocal.tune.scheduler import GlocalScheduler
from ray_glocal.tune.search import GlocalSearch
from ray_glocal.tune.trainable import GlocalTrainable

__all__ = ["GlocalScheduler", "GlocalSearch", "GlocalTrainable", "adapted", "preflight", "restorable", "watched"]
