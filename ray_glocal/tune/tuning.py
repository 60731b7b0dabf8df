"""The constants of what is said to Tune where a user says nothing, and what chose them.

All were set by judgement on 23 and 24 November 2026, when the searcher and the scheduler were written; none was varied
since.
"""

RUNGS_BELOW_TOP = 2  # rungs below the end of training, where nobody says how long the grace period shall be; untested
UNCOUNTED = 64  # samples to reckon with where their number is not known; untested
ORDER = 3  # different numbers of a choice that make an order of it; untested
BINS = 8  # levels into which a numeric domain with more values than this is stratified; untested
DRAWS = 512  # draws from which its strata are read, 64 for each; untested
GROWN = 1.1  # times its decisions when it was written last, from which the table is written before the end; untested
