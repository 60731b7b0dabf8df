"""The constants of windows and of what their derivatives are checked by, and what chose them.

All were set by judgement when they were written, 24 to 29 November 2026, and of no other value anything is on record.
`tests/hypergradient` has both kinds of cases: every optimizer and model must come through all checks, and what a check
is there for (a clamp between steps, a detached part, a loss that draws) must be found. From what error on a training
would suffer was never measured. `kernels` and `first_order` have files of their own.
"""

import torch

# ---- hyperparameters: values that have no place of their own on the line ----

EDGE = 1e-4  # share of a domain that a value on its edge, which lies at infinity, is read as inside of it; untested
SMALLEST = 1e-8  # in place of zero, where an option must not be zero; untested

# ---- what a step depends on: how far it is followed ----

MOST_OBJECTS = 20_000  # that are looked at, from the model and the losses on; untested
MOST_ENTRIES = 1024  # of a container, beyond which it is data, which leads to nothing; untested
KEPT = 2**15  # entries of a container, beyond which only its length is kept; untested
LAST = 8  # numbers of a list that are looked at, from its end: most are histories; untested
SMALL = 2**12  # entries up to which a tensor or an array is captured whether it was seen to move or not; untested
WIDTH = 2**12  # entries that have weights of their own when a tensor is told from others; untested
FULL = 2**26  # entries beyond which one memory, or one update's temporaries, take longer than calls; untested

# ---- memory of a window ----

MEMORY = 2**30  # bytes on a CPU; on a GPU half of what is free; untested
HOST_MEMORY = 2**33  # bytes in page-locked memory beside a GPU; untested

# ---- Hessian products by differences: their length, and whether they are believed ----

# Of the step, in square roots of the precision. Short ones since 26 November 2026: a table of embeddings makes up the
# length of the parameters, and moves little of it in a step; how closely they lie is untested.
LENGTHS = (0.001, 0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
LEAST_LENGTH = 1e-3  # of all parameters together, by which a step is measured at least; untested
# Of a product, relative, beyond which differences are not used. Of the study's networks an MLP and a transformer come
# below it and a CNN with max-pooling does not (engine.py, 26 November 2026); untested otherwise.
ERROR = 0.02
MISSING = 0.01  # relative difference from which exact products leave something out, or are no Hessian's; untested
RESTING = 1e-8  # added to a parameter's size along a random direction, so that one that is zero moves; untested

# ---- exact derivatives beside differences in double precision ----

SHORT_LENGTHS = (1e-7, 2e-7)  # of the step, relative to the parameters: hardly a kink lies in it; untested
LARGEST = 2**24  # parameters beyond which copies in double precision may take too much memory; untested
UNSURE = 1e-3  # relative difference of the two lengths' answers from which rounding or kinks decide; untested
SHORT_RESTING = 1e-2  # as `RESTING`, where directions are random; untested

# ---- whether what is differentiated is what was trained ----

ULPS = 8.0  # units of rounding of a tensor, by which an update may be off: fused optimizers round otherwise; untested
SHARE = 1e-4  # of a step, by which it may be off: gradients by other kernels differ in their last bits; untested
ROUNDED_SHARE = 2e-2  # the same where a rule rounds to bfloat16 in between, as Muon's does; untested
CHUNK = 2**14  # entries of a parameter that are checked between a window's first and last step; untested
LOSS, LOSS_FLOOR = 1e-4, 1e-9  # share of a loss, and size, by which it may be off when it is run again; untested
CLOSE = 1e-4  # relative difference up to which two runs of a step are one and the same but for rounding; untested
SLACK = {torch.float64: 1e-8, torch.float32: 1e-3}  # by which a model may differ from itself compiled; untested
HALF_SLACK = 5e-2  # the same in other precisions and under autocast; untested
# Windows whose steps differ when they are run again, after which none is opened: the first may be the one by which it
# is noticed that a tensor moves, so two at least; more are untested.
STRAYED = 2

# ---- whether a derivative leaves a path out ----

NUDGE = 1e-2  # relative change that is tried out: large beside rounding, small beside what kills a network; untested

# ---- the exact truth, beside differences of whole runs ----

# Of a difference, in coordinates; exact hypergradients are off by 2.3e-3 at 1e-3 and by 2.3e-5 at 1e-4, as the square
# of the width has it (`docs/results/measured.md`, 23 November 2026).
HALF_WIDTHS = (1e-2, 1e-3, 1e-4)
