"""Estimators of the final hypergradient held against the truth: `validate`, on a problem of one's own.

`recording` trains plainly and records windows (`case`) beside the exact hypergradient of several futures; `estimates`
asks an estimator about them, `scores` judges what it says, and `trust` holds the truth itself against differences of
real runs. `validation` does all of it.
"""

from ray_glocal.validation.validation import validate

__all__ = ["validate"]
