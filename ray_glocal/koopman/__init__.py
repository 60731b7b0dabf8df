"""Koopman forecasts of vector series by dynamic mode decomposition, in NumPy alone.

1. A window of snapshots is judged, freed of spikes, scaled per channel and reduced to few directions.
2. Delay vectors of it are mapped to their successors by a linear operator of chosen rank (`fit_dmd`).
3. The operator's eigenvalues say how each mode decays or turns (`spectrum`); none above one is ever believed.
4. Modes raised to the horizon, or summed up as increments, are the prediction (`predict`).
5. Forecasters combine such predictions with plain smoothers and say how far off they may be (`forecaster`).
6. A hypergradient's trajectory is read in flow time (`sight`), and what several windows of a training say is fused
   (`pooled`).
"""

from ray_glocal.koopman.disk import Disk, damped_disk
from ray_glocal.koopman.dmd import DMD, fit_dmd
from ray_glocal.koopman.flow import flow_horizon
from ray_glocal.koopman.forecasters import FORECASTERS, forecaster
from ray_glocal.koopman.pooling import pooled
from ray_glocal.koopman.prediction import Prediction, predict
from ray_glocal.koopman.rank import EnergyRank, FixedRank, FullRank, OptimalRank, Rank
from ray_glocal.koopman.selection import Every, NearOne
from ray_glocal.koopman.sighting import Sighting, sight
from ray_glocal.koopman.spectrum import Mode, Spectrum, spectrum
from ray_glocal.koopman.tuning import KEPT

__all__ = [
    "DMD",
    "FORECASTERS",
    "KEPT",
    "Disk",
    "EnergyRank",
    "Every",
    "FixedRank",
    "FullRank",
    "Mode",
    "NearOne",
    "OptimalRank",
    "Prediction",
    "Rank",
    "Sighting",
    "Spectrum",
    "damped_disk",
    "fit_dmd",
    "flow_horizon",
    "forecaster",
    "pooled",
    "predict",
    "sight",
    "spectrum",
]
