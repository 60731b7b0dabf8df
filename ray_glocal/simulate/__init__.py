"""Experiments on a virtual clock: plan one, or compare schedulers, without a cluster.

`simulate` runs Tune's own controller with any scheduler and searcher; only the actors are virtual. Trials follow a
curve (`following`) or are real trainables, classes or functions, that train in this process while the
clock advances by what their work is said to take.
"""

from ray_glocal.simulate.cluster import Cluster, Outage
from ray_glocal.simulate.curves import following
from ray_glocal.simulate.simulation import simulate

__all__ = ["Cluster", "Outage", "following", "simulate"]
