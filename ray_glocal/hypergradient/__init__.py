"""Hypergradients of plain torch training loops: windows differentiated forward or backward, and the exact truth.

A `Problem` names the model, optimizer, losses and hyperparameters. `record_window` trains and records;
`adjoint_trajectory` and `forward_trajectory` turn the record into a trajectory of local hypergradients;
`global_hypergradient` and `finite_differences` compute what they are meant to foretell.
"""

from ray_glocal.hypergradient.adjoint import adjoint_trajectory
from ray_glocal.hypergradient.clipping import Clipping
from ray_glocal.hypergradient.forward import forward_trajectory
from ray_glocal.hypergradient.hyperparameter import Hyperparameter, HyperValues, module_hyperparameters
from ray_glocal.hypergradient.lion import Lion
from ray_glocal.hypergradient.oracle import final_loss, finite_differences, global_hypergradient
from ray_glocal.hypergradient.problem import Problem
from ray_glocal.hypergradient.randomness import Randomness
from ray_glocal.hypergradient.window import Trajectory, Window, record_window

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
