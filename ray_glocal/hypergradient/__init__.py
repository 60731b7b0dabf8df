"""Hypergradients of plain torch training loops: windows differentiated forward or backward, and the exact truth.

A `Problem` names the model, optimizer, losses and hyperparameters. `record_window` trains and records;
`adjoint_trajectory` and `forward_trajectory` turn the record into a trajectory of local hypergradients;
`global_hypergradient` computes what they are meant to foretell; `engines.oracle` holds it against runs that differ.
"""

from ray_glocal.hypergradient.engines.adjoint import adjoint_trajectory
from ray_glocal.hypergradient.engines.forward import forward_trajectory
from ray_glocal.hypergradient.engines.oracle import global_hypergradient
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Hyperparameter, module_hyperparameters
from ray_glocal.hypergradient.lion import Lion
from ray_glocal.hypergradient.problem.clipping import Clipping
from ray_glocal.hypergradient.problem.problem import Problem
from ray_glocal.hypergradient.window.window import record_window

__all__ = [
    "Clipping",
    "Hyperparameter",
    "Lion",
    "Problem",
    "adjoint_trajectory",
    "forward_trajectory",
    "global_hypergradient",
    "module_hyperparameters",
    "record_window",
]
