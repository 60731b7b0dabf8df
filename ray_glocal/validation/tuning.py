"""The constants of `validate`, and what chose them.

All were set by judgement on 23 November 2026, when it was written, and were never varied: they name what is said of a
problem, and no training depends on them.
"""

FIRST, LAST = 0.05, 0.85  # shares of training between which windows are spread; untested
SIGNS = 0.9  # share of checks whose signs must agree; untested
SIZES = 0.3  # median relative disagreement that is still agreement; untested
EXPLODED = 100.0  # elasticity from which a step of one hundredth would change the whole loss: so by its definition
