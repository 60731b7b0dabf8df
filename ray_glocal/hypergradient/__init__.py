"""Hypergradients of plain torch training loops: windows differentiated forward or backward, and the exact truth.

A `Problem` names the model, optimizer, losses and hyperparameters. `record_window` trains and records;
`adjoint_trajectory` and `forward_trajectory` turn the record into a trajectory of local hypergradients;
`global_hypergradient` and `finite_differences` compute what they are meant to foretell.
"""

from ray_glocal.hypergradient.engines.adjoint import adjoint_trajectory
from ray_glocal.hypergradient.engines.forward import forward_trajectory
from ray_glocal.hypergradient.engines.oracle import final_loss, finite_differences, global_hypergradient
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Hyperparameter, HyperValues, module_hyperparameters
from ray_glocal.hypergradient.lion import Lion
from ray_glocal.hypergradient.problem.clipping import Clipping
from ray_glocal.hypergradient.problem.problem import Problem
from ray_glocal.hypergradient.state.randomness import Randomness
from ray_glocal.hypergradient.window.window import Trajectory, Window, record_window

__all__ = [
    "Clipping",
    "HyperValues",
    "Hyperparameter",
    "Lion",
    "Problem",
    "Randomness",
    "Trajectory",
    "Window",
    "adjoint_trajectory",
    "final_loss",
    "finite_differences",
    "forward_trajectory",
    "global_hypergradient",
    "module_hyperparameters",
    "record_window",
]
