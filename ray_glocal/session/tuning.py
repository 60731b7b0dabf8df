"""The constants of what every session does, and what chose them.

Evidence: "first form" is the session as it was written on 23 November 2026: values set by judgement, beside trainings
of small networks from poor starts with seeds 20 to 43 (`examples/studies/end_to_end.py`); none was varied by itself.
"""

# ---- when training has been lost ----

EXPLOSION = 3.0  # relative change of the loss per coordinate unit, within one window; first form
TRAVELLED = 0.5  # distance from the first weights, relative to their length, that counts as having gone far; first form
MARGIN = 0.02  # share of the first loss that a jump must exceed as well; first form
STALL = 0.3  # share of the good loss by which a window may end above it, but not; first form
STRIKES = 3  # so many times in a row; first form
NEAR = 0.1  # share of the good loss within which a state replaces the good one; first form
BEGIN_ANEW_UNTIL = 0.15  # share of training in which a run may turn out to have been thrown away; first form,
ASTRAY = 3.0  # further than so many lengths of its first weights; first form,
LITTLE = 0.5  # its loss having fallen by less than this share; first form,
FRESH = 2  # and after no more roll-backs than these; 0: one digits seed in ten ends at 1.07 for it (23 November 2026)
LEARNED = 0.1  # share of the first loss by which a run that learned anything fell; first form
SHRUNK = 0.7  # of their length: weights from further are being shrunk, by weight decay; 29 November 2026, untested
CHECK_EVERY = 8  # inner steps between looks at the training loss, for each look waits for the device; untested

# ---- what is done about it ----

RELIEF = 0.1  # factor on a weight decay that is to blame; 29 November 2026, untested
MOST_ROLLBACKS = 12  # afterwards the run is left to whoever schedules it; untested

# ---- how a schedule is read ----

ANNEALED = 0.2  # of the mean factor: where a schedule ends below that, it takes the noise out at the end; untested
END = 0.05  # share of training that is its end; untested
HIGHER = 1.05  # than now: a schedule that comes to so much more rises yet; 29 November 2026, untested
OUTLASTED = 4  # times the steps a schedule was planned for, from which it is of another training; untested
NEGLIGIBLE = 1e-3  # share of the largest rate below which next to nothing trains; untested
HALF = 0.5  # share of training that may pass below it; untested

# ---- what a session takes and shows ----

AHEAD = 32  # batches in a row that a loop may ask for ahead of the steps that it takes; untested
MOST_STEPS = 10_000_000  # of a training: schedules are foreseen step by step; untested
MOST_VALUES = 2_000_000  # of `entries` in all rows of a trace, 16 MB: 1,000 entries at 2,000 changes; untested
MANY = 16  # entries: a larger hyperparameter has one row, of norms and of all its values; untested

# ---- defaults that depend on others ----

NOMINAL = 1 / 8  # duty cycle that a budget leads to, roughly; untested
VAL_BATCHES = {"first-order": 1, "windows": 4}  # of a hypergradient; 2 of a window: no gain (26 November 2026)
