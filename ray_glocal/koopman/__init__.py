"""Koopman forecasts of vector series by dynamic mode decomposition, in NumPy alone.

1. A window of snapshots is judged, freed of spikes, scaled per channel and reduced to few directions.
2. Delay vectors of it are mapped to their successors by a linear operator of chosen rank (`fit_dmd`).
3. The operator's eigenvalues say how each mode decays or turns (`spectrum`); none above one is ever believed.
4. Modes raised to the horizon, or summed up as increments, are the prediction (`predict`).

All of that serves the forecasters `paper`, `affine` and `increment`, and, in reduced coordinates, the members of
`ensemble`. `evidence`, the default for windows once the search is over, takes the eigenvalues alone
(`dmd.eigenvalue_sets`): they propose which decays a window may consist of (`proposals`), and how much there is of each
is a regression's answer (`regression`). `last`, `mean` and `relaxation` decompose nothing.

All forecasters say how far off they may be (`forecaster`). A hypergradient's trajectory is read in flow time
(`window_forecast`), and what several windows of a training say is fused (`pooling`).
"""

from ray_glocal.koopman.dmd import fit_dmd
from ray_glocal.koopman.forecasters import forecaster
from ray_glocal.koopman.prediction import predict
from ray_glocal.koopman.spectrum import spectrum

__all__ = ["fit_dmd", "forecaster", "predict", "spectrum"]
