"""The constants of adaptation by windows, and what chose them.

Evidence: "first form" is the session as it was written on 23 November 2026: values set by judgement, beside trainings
of small networks from poor starts with seeds 20 to 43 (`examples/studies/end_to_end.py`); none was varied by itself.
"Budget" is the study of 26 November 2026 (`docs/results/measured.md`): three networks, seeds 20, 21, 30 and 31, starts
of 1e-4, 1e-2 and 1. Settings, not constants, were varied in the ablation (`examples/studies/ablation.py`).
"""

# ---- the search for the learning rate's order of magnitude ----

LONG = 0.25  # of the search region: below that, the order of magnitude is found; first form
COLD = 1e-3  # relative change of the loss in a window below which a rate is too small; first form, 0: 2 of 20 stay low
BACK = 0.5  # of the rate that the search ends with: it was the first that did no better; first form
IDLE = 2  # windows without a long step onward that end the search; first form

# ---- trust regions ----

GROW, SHRINK = 1.3, 0.5  # of the trust region when a coordinate keeps or turns its heading; first form
DECAY_SHARE = 0.3  # of it for decay rates: momentum and learning rate amplify each other; first form
PENALTY_SHARE = 2.5  # for weight decay: its effect is proportional to it, so an e-fold down gains little; first form
HEADING_MEMORY = 0.7  # weight of the earlier windows in the heading of a vector; first form

# ---- when a cut must wait ----

LAG = 2  # windows that a loss is averaged over before it is compared with as many before; first form
RISE = 1.1  # ratio of the two from which the loss rises; first form
TAIL = 0.3  # share of training, its end, in which a cut need not wait; first form
CEILING = 0.2  # in coordinates, below where training was lost, that a rate is not raised beyond again; first form

# ---- rates that follow their heat ----
# 23 November 2026: with all of it, and training anew after the search, poor starts end at 1.04 of the grid's best,
# without at 1.10 (geometric means). Heat is .02 to .05 below the best rate of four networks, .1 to .2 at it, .2 to .5
# above.

POWER = 1.4  # exponent of the rate that heat grows with; untested alone
WILD = 0.5  # size from which the sign says nothing: a descent so steep is one across a narrow valley; untested alone
HEAT_MEMORY = 0.5  # weight of the earlier windows; untested alone
HEAT_ENDS = 0.5  # share of training after which rates beneath a schedule that anneals do not follow it; first form
UP, DOWN = 0.8, 1.0  # e-folds in one step at most; a rise of .4: worse (budget); too large a rate costs the network

# ---- engines, and windows that fail ----

TRIED = 4  # steps of a window that the forward engine is timed over, after one that sets things up; untested
# Windows at twice the price cost a session 8 % of its loss, and no better forecast has won back a measurable part of
# one so far: the forward engine may cost a tenth more, for which a session pays about a percent (26 November 2026).
WORTH = 1.1
FEW_ENTRIES = 3  # beyond that it is not tried: each entry takes a product, the adjoint engine one for all; untested
TRIES = 3  # windows in a row that may fail before the next one waits; untested
