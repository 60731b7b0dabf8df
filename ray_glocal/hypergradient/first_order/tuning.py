"""The constants of averaged weights, and what chose them.

Evidence: 45 random configurations on a classification and on a regression, before 29 November 2026: rank correlation
of the loss at averaged weights with the final loss, among the better half, .76 to .97 over the first half of
training; of the loss itself .40 to .83. Single values were not varied in it.
"""

FAR, NEAR = 6, 24  # over which part of the steps so far an average reaches back; FAR: the evidence; NEAR: untested
EVERY = 4  # steps from one update to the next: a percent of a step's time; sparser ones untested
# Steps over which the effect of what a loss was in one step adds up: then training is back where it was going anyway.
# By differences of trainings over a seventh of their length, 7 steps of 330 and 15 of 120 (weights of classes, where
# labels are wrong or classes rare), 7 to 280 of 20 to 90 on five tuning tasks. Validation loss over that of uniform
# weights (reweighting.py: labels, classes, offsets; seeds 10 to 13; NOISE = .3): 1.041 .964 .814 with 100, 1.044 .902
# .777 with 60; with no end to it and NOISE = 0 1.291 1.139 .972. Weights of twenty sources (docs/pictures/session.py,
# three starts): .55 with 100, .65 with 60, .46 with no end and NOISE = 0. The tuning suite is the same.
RESPONSE = 100  # 30 November 2026
SHORTEST = {FAR: 8, NEAR: 4}  # steps that it reaches back at least; untested
STEP = 1e-2  # of the difference quotient, as a share of the weights' length, far from kinks and rounding; untested
