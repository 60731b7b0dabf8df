"""Estimators of the final hypergradient held against the truth.

`record_cases` trains plainly and records windows beside the exact hypergradient of several futures; `load_cases` reads
what was recorded. `estimates` asks an estimator about cases, `score` and `sign_difference` judge what it says.
`validate` does all of it on a problem of one's own, and holds the truth itself against differences of real runs.
"""

from ray_glocal.validation.bootstrap import Difference, sign_difference
from ray_glocal.validation.case import Case, load_cases
from ray_glocal.validation.estimates import Estimates, Estimator, OnWindow, Pooled, estimates
from ray_glocal.validation.recording import Course, Plan, record_cases
from ray_glocal.validation.scores import Score, ceiling, score, scores_by_label
from ray_glocal.validation.trust import Trust, exploded, judge_trust
from ray_glocal.validation.validation import Validation, validate

__all__ = [
    "Case",
    "Course",
    "Difference",
    "Estimates",
    "Estimator",
    "OnWindow",
    "Plan",
    "Pooled",
    "Score",
    "Trust",
    "Validation",
    "ceiling",
    "estimates",
    "exploded",
    "judge_trust",
    "load_cases",
    "record_cases",
    "score",
    "scores_by_label",
    "sign_difference",
    "validate",
]
