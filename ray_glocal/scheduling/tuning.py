"""The constants of seeding, and what chose them.

Evidence: `examples/studies/seeding.py` measures the searcher as a whole, in three worlds beside random draws, TPE and
its own predecessor, 32 seeds (24 November 2026). Single values were not varied in it: "whole" marks those that it
measured together, set by judgement on the two days before it ran.
"""

# ---- what trials say ----

FAILURE = 3.0  # what a failed or diverged trial counts as, in spreads of all losses above their median; whole
NOISES = (0.1, 0.3, 0.6)  # deviations of one trial's loss around its configuration's, in the same units; whole
HELD = 96  # configurations that the surrogate looks at: half of them the best, half spread over the others; whole
COARSE = 0.1  # deviation of a step that a slope foretells, beside half of its length: no difference; untested
STEPS = 48  # such steps that are looked at; untested

# ---- how configurations resemble each other ----

CORRELATION_LENGTH = 0.5  # share of an ordinal factor's range within which its levels resemble each other; whole
JOINT_CORRELATION = 0.4  # of the joint effects of two configurations that differ in one category; whole
JOINT = (0.0, 0.25, 1.0)  # variances of the joint effects that are tried; each factor's effects have variance 1; whole

# ---- which are asked about ----

ENUMERABLE = 512  # configurations that are all asked about; untested: the study's worlds are larger
PARENTS = 6  # best configurations whose neighbours are asked about in a larger space; whole
STRANGERS = 192  # and configurations drawn at random; whole

# ---- proposals ----

MARGIN = 1e-3  # of the range, nearest that a varied value may come to a logit bound, which lies at infinity; untested
# One in so many samples covers the space first, where a half is too few for all of it and a quarter enough for each
# value twice: with four or six proposals in place of eight searches end at .989 and .995 +- .020 (29 November 2026).
COVERING = 4

EXPLORE = 0.1  # share of the seeded proposals whose start values come from the domains instead of from a trial; whole
VARIATION = 0.2  # deviation of the variation of handed-down values, in coordinates (e-folds for "log"); whole
CERTAINTY = 2.0  # deviations by which a configuration's trials end above the best before it is given up; whole
AWAITED = 64  # trials under way that are taken into account, the latest; the study has 8 at a time; untested
LIGHT = 0.3  # weight of a trial's loss against its distance: less than any category's; whole
BEHIND = 3.0  # spreads behind the best candidate's, to which a loss counts at that; whole

# ---- rungs ----

REDUCTION = 3  # one in so many trials of a rung goes on; 2 at other rungs: .985 +- .014 (30 pairs, 29 November 2026)
PARTS = 3600  # of a trial's own training, for rungs that are shares of it: many factors divide it; by arithmetic

# How far before a share of training a report may come and stand for it: a sixth of the share, so that whatever divides
# a training evenly into four reports or more has one for a ninth and one for a third, and at most a fifteenth of
# training, by which the sixth of ten epochs is before two thirds; by arithmetic.
BEFOREHAND, AHEAD = 1.2, 1 / 15
