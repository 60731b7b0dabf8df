"""The constants of the budget and of what measures it, and what chose them.

Evidence: "budget" is the study of 26 November 2026 (`docs/results/measured.md`): digits-mlp, digits-cnn, letter-mlp,
seeds 20, 21, 30 and 31, starts of 1e-4, 1e-2 and 1, a clock that counts; validation loss over the grid's best of the
same seed, 1.017 at an overhead of .25. What says "untested" was set by judgement on the same day.
"""

# ---- what may be spent when ----

SEARCH_SHARE = 0.6  # of the run's budget, that the search at its start may spend ahead of the rest; untested
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
