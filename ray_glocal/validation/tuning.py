"""The constants of `validate` and of recorded windows, and what chose them.

Evidence: "ablation" is `examples/studies/ablation.py` on the 524 windows of the bed (30 November 2026).
All others were set by judgement on 23 November 2026, when it was written, and were never varied: they name what is said
of a problem, and no training depends on them.
"""

FIRST, LAST = 0.05, 0.85  # shares of training between which windows are spread; untested
SIGNS = 0.9  # share of checks whose signs must agree; untested
SIZES = 0.3  # median relative disagreement that is still agreement; untested
EXPLODED = 100.0  # elasticity from which a step of one hundredth would change the whole loss; by definition
ROUNDING = 8.0  # units of rounding that two losses must lie apart for their difference to mean anything; untested

# ---- windows that are recorded, where a plan says nothing ----

WINDOW = 40  # steps; `last` has right signs in .888 of the entries, with 20 .873, 10 .846, 5 .826; ablation
EARLIER = 3  # windows before it; `evidence` pooled over 1 to 4 windows has .882 to .885 right signs; ablation
SPACING = 64  # steps from one of them to the next; untested
FUTURES = 3  # that the truth averages over; one alone agrees with the mean of the others in .93 of the signs; untested
VAL_BATCHES = 4  # that a window averages over; untested
