"""The constants of first-order adaptation, and what chose them.

Evidence: "suite" is the tuning suite of the studies (`examples/studies/suites/tuning`), its thirteen tasks of 400 to
1,200 steps, one training each from a start far too low with a poor weight decay, seeds 0 and 1: test loss over the best
of the grid, geometric mean (29 November 2026). Its noise from one form of a rule to the next is about .01. The value
that was kept stands at .953 to .964, and what says "flat" changed that by less than the noise.

"now" is the same suite on the evening of that day, at what hypergradients cost since they were made cheaper, and "few"
three small problems of thirty values on 300 to 400 examples (KEEL's segment, optdigits and ring, seeds 0 to 2), which
afford one to four observations after their search: now 1.065 and few 1.96 without what is marked so, with all of it
1.041 and 1.70.
"""

# ---- the search for the learning rate's order of magnitude ----

PROBED = tuple(10.0**exponent for exponent in range(-5, 3))  # rates that are tried along the first update; untested
# Share of the best of them that the search begins at, for a first step may be longer than later ones; .06: now 1.068.
START = 0.03
GROWTH = 2.0  # factor on the rate while the loss falls; every 12 steps in place of 8: suite 1.09; 3: now 1.112
# Of the rate that the search ends with: it was the first that did no better. Halved once more: letter-norm .90,
# shakespeare-gru .95, diamonds 1.00, digits-relu 1.12 of the loss (29 November 2026).
BACK = 0.5
WORSE = 1.01  # times the lowest loss of the search, beyond which it ends; 1.05: digits-relu dies in one seed, suite
FAINTEST = 1e-3  # height of a rising schedule, of its peak, that is read as one at least; untested
PEAK = 0.5  # power of a rising schedule's height by which its peak is below what acted; 1: fashion-many too low, suite
ONWARD = 0.0  # window elasticity below which it goes on; .02: suite .996
SEARCH_MOST = 0.15  # share of training that it may last; untested

# ---- learning rates ----

GAIN = 2.0  # e-folds of the rate per unit of its window elasticity; 1 and 4: flat
SMOOTH = 0.5  # weight of the earlier window elasticities; .7: flat
UP, DOWN = 0.25, 0.7  # e-folds in one step at most; .5 and .5: digits-relu diverges and goes back three times, suite
RATE_ELAPSED_MOST = 1.5  # twentieths of training that one observation may stand for; untested
RATES_LEFT_ALONE = 0.5  # share of training after which, beneath a schedule that anneals, they are; .3 and .7: flat
# Share of training after which it is not raised any more: beneath annealing all rates go downhill; untested.
RAISING_ENDS = 0.25
CLIPPED = 1.0  # size of an elasticity that is believed; untested
CEILING = 0.5  # e-folds below a rate that training was lost at, that it is not raised beyond again; untested

# ---- everything else ----

RATE = 0.3  # of a coordinate's unit, for a derivative that keeps its size and sign; .5: suite the same
ELAPSED_MOST = 2.5  # twentieths of training that one observation may stand for; untested
MEAN, SQUARE = 0.7, 0.9  # weights of the earlier derivatives in their mean and in their mean square; .7 and .8: flat
# On 29 November 2026, in whole sessions at a budget of a tenth: with all of the following suite 1.046, without 1.094.
STRONG = 0.04  # elasticity from which moves grow in proportion; .03: suite 1.060, .01: 1.078
LONGEST = 8.0  # times the length of a move of a weak one; 5: suite 1.057
WEAK = 0.001  # elasticity below which moves shrink in proportion: nothing is learned, all is noise; untested alone
SHORTEST = 0.1  # times the length of a move, at which they end to shrink; .3: suite the same
# Share of training before which elasticities count for more, by the root of how much earlier: now 1.056 to 1.042; in
# proportion to how much earlier: 1.056.
AMPLIFIED_UNTIL = 0.5
# Share of what noise alone would lead to that moves are shortened for. Reweighting as told of RESPONSE, that being 100,
# on 30 November 2026: 1.050 .916 .761 with 1, 1.041 .964 .814 with .3, 1.048 .947 .863 with 0; twenty sources .81, .55,
# .66.
NOISE = 0.3
DOUBT = 1  # observations of zero that count in a mean: few 1.96 to 1.72, now the same
STRIDE = 3.0  # coordinates that one move may be long; 2: suite the same
PROMISE = 3.0  # relative change of the loss that a step may promise, all entries; 1 with shorter moves: suite 1.082
# Penalties and labels that noise spoils, from too little (six small problems, budget .15): with these .95 of the loss.
FAINT_RISE = 1.5  # coordinates by which a value too small to matter is raised at most; untested alone
FAINT_GAIN = 0.03  # relative change of the loss that is hoped for of it; untested alone
SURE = 4  # observations before it is; 1: suite 1.077
# Signal before it is, or noise raises a dozen strengths of noise, and weights of classes that mean nothing (validation
# loss under wrong labels 1.233 of uniform weights' if asked of the ratio, 1.025 of the signal, 30 November 2026). At a
# budget of .25, of the ratio, letters: 1.45 with 0, 1.26 with it; penalties (examples/studies/penalties.py, two seeds):
# .518, .522, and .559 if it never is.
CERTAIN = 0.7
FAINT = -2.0  # logit below which a coordinate scales its value as a logarithm does; untested alone
CLEAR = 0.5  # mean over root mean square from which a trace, and it alone, calls a move an act; untested

# ---- losses ----

LEVEL = 0.5  # weight of the earlier losses in their level; untested
LOSING = 0.1  # share by which a report may be above the last, or moves since are taken back: now 1.065 to 1.052
# Of the lowest, too, it is where a state is not kept to go back to any more. Penalties on digits, 16 trainings
# (29 November 2026), where a loss that creeps up used to take the good state along: .443 to .405; .2: .421.
ABOVE, STANDS = 0.3, 3  # share of the best level above it, and so many observations in a row: training has got stuck
