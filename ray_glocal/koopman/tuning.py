"""The constants of forecasts, and what chose them.

Evidence: "bed" is `examples/studies/bed.py`, windows of recorded trainings beside their exact hypergradients at the
end; half of its first 88 runs served to choose (23 November 2026). "Whole": the forecaster was judged there with it,
and no other value tried. "Curves": the same on 120 small trainings and simulated learning curves (24 November 2026).
What says "untested" was set by judgement on 23 November 2026.
"""

import math

import numpy as np

# ---- windows ----

FEWEST = 4  # snapshots; fewer leave no step to check a fit against; by arithmetic
FEW = 8  # snapshots; below that an answer is given, and called weak; 616 windows of a prototype, 23 November 2026
SPIKE_RANGES = 2.5  # ranges of the neighbours that a snapshot may lie outside of them; untested
SPIKE_STEPS = 6.3  # median steps of the channel that it may: six deviations of normal white noise, by arithmetic
NEIGHBOURS = 3  # on each side, of a snapshot that may be a spike; untested
BEYOND = 10.0  # ranges of the window; the damped disk carries a straight trend no further; untested
FARTHEST = 1000.0  # windows; beyond them doubt grows no more, so that the limit has a deviation; untested
TREND, OSCILLATION = 10, 3  # windows that a trend and an oscillation may last, of a noisy window; whole
BLOCKS = 4  # whose means tell the drift of a window; untested
STRIDES = 5  # distances, in snapshots, at which increments tell walking noise from white; untested

# ---- decompositions, in `ensemble` and `evidence` ----

DIRECTIONS = 12  # strongest directions that are fitted; what lies outside them stays at the window's mean; whole
WIDTH = 12  # columns of a delay vector to aim at: enough noise directions for a threshold, cheap to decompose; whole
DELAY_PART = 3  # of a window, one in so many: the longest delay vector; untested
FEWEST_DECOMPOSED = 5  # snapshots that a decomposition needs to be worth a try; untested

# Largest |eigenvalue - 1| of what lasts, for `paper`, which states none: noise moves eigenvalues by as much; untested.
TOLERANCE = 0.01

# ---- `ensemble`; 90 % intervals then held about that of decaying, autoregressive and wandering series ----

TEST_PART = 3  # of a window, one in so many: its end, which candidates are tested on; 23 November 2026, untested
SHARPNESS = 2.0  # power of the inverse error on it by which candidates weigh; 23 November 2026, untested
CANDIDATE_NOISE = 0.5  # share of a snapshot's noise variance in the forecast's; by those intervals, 23 November 2026
CANDIDATE_DRIFT = 0.3  # of the window's squared drift, for each unit of log-time; likewise, 23 November 2026

# ---- `evidence`: proposals of decays, noises and their priors ----

LASTING = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4)  # windows that a single decay of the grid takes to fall to 1/e; whole
QUICK, SLOW = (1 / 16, 1 / 8, 1 / 4), (1.0, 2.0, 4.0)  # windows that those of the grid's pairs take; whole
RANKS = (1, 2, 3)  # of decompositions, beside the optimal one; untested
MOST = 4  # columns beside the constant; an oscillation takes two; untested
CONSTANT_DEVIATION, DECAY_DEVIATION = 3.0, 2.0  # prior, in deviations of the window; whole
GONE = math.exp(-3)  # of an eigenvalue's powers at a window's first snapshots; faster modes leave no trace; untested
MEMORIES = (0.0, 0.6, 0.9, 1.0)  # of one value of noise in the next: white to a random walk; whole
LEVELS = np.array([1e-10, 1e-7, 1e-5, 1e-3, 1e-2, 0.05, 0.2, 1.0])  # of noise, in the window's variance; whole
WALK_START = 10.0  # innovations: how far from zero a random walk may have started; untested

TEMPER = 0.3  # power of the evidence: 1 believes the models, 0 the priors; bed
NOISE_SHARE = 0.5  # of a snapshot's noise variance, in the forecast's; bed
WALK_SHARE = 2.0  # of the variance of noisy increments, in it; bed
DRIFT_SHARE = 0.3  # of the window's squared drift, for each unit of log-time; bed

# ---- `relaxation`, of learning curves ----

SHORTEST, TIMES = 0.7, 16  # time constants of the exponentials: from here, in steps, to the end of training; curves
POWERS = (0.3, 0.6, 1.0, 2.0)  # of the power laws in time since the beginning; curves
FLAT = 1 / 6  # prior share of curves that do not move; exponentials and power laws share the rest; curves
AMPLITUDE = 100.0  # prior variance of an amplitude, in those of the curve and its noise; curves

CURVE_TEMPER = 0.4  # power of the evidence: 1 believes the shapes, 0 weighs them all alike; curves
CURVE_DRIFT = 15.0  # squared changes of the last half that are added for each unit of log-time; curves

# ---- several windows pooled; errors change little around these ----

KEPT = 4  # windows worth keeping; older ones weigh next to nothing; bed
LOGARITHMIC_SHARE = 0.5  # of logarithmic growth in a window's estimate; its forecast has the rest; bed
CARRY = 0.5  # power of the flow that is left by which an older estimate shrinks; bed
AGING = 1.0  # variance, in squares of the windows' size, for each unit of log-time that a window lies back; bed
AHEAD = 0.25  # relative variance for each squared unit of log-time to the end of training; bed
YOUNG = 0.25  # of the flow since the start of training: how long contributions take to fade to a half; whole
