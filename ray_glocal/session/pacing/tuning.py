"""The constants of the budget and of what measures it, and what chose them.

Evidence: "budget" is the study of 26 November 2026 (`docs/results/measured.md`): digits-mlp, digits-cnn, letter-mlp,
seeds 20, 21, 30 and 31, starts of 1e-4, 1e-2 and 1, a clock that counts; validation loss over the grid's best of the
same seed, 1.017 at an overhead of .25. What says "untested" was set by judgement on the same day.
"""

# ---- what may be spent when ----

SEARCH_SHARE = 0.6  # of the run's budget, that the search at its start may spend ahead of the rest; untested
# Shares of plain training's time that are the default budget: usually, and at most where the first buys too few. Tuning
# suite, three seeds, 30 November 2026: single sessions end at 1.094 of the grid by .1, 1.029 by .15, .988 by .25, .971
# by .4; whole searches by .25 over those by .1, for the same compute, at .966 +- .017 in the end, .983 at a third and
# 1.011 at a sixth (39 pairs); three small networks of end_to_end.py at 1.60 by .1, 1.01 by .25, 1.00 by 1.
USUAL, AT_MOST = 0.1, 0.25
WANTED = 32  # hypergradients that are not too few; what .25 bought those networks is 27 to 59; others untested
FRONT = 2.0  # how much denser than evenly spaced windows lie; 1: 1.08 of the default's loss then, this 1.03; budget
REPORTS = 0.2  # share of the budget that reports may take, by their counted cost; untested
COMPARING = 0.5  # share that nine or three may take, without which trials could not be compared on their way; untested
COMPARED, THIRDS = 9, 3  # parts of a training that end where trials are compared: the scheduler's rungs; by definition
LATE = 0.02  # share of training, its end, in which no window pays off; untested

# ---- measuring ----

RECENT = 7  # measurements that a typical one is the median of; untested
WARM_UP = 2  # plain steps at the start that set things up; untested
LEARN = 8  # plain steps after which it is known what one takes; untested
LONGEST_TIMED = 32  # plain steps in the longest interval, so that there is something to take a median of; untested
