"""Estimators of the final hypergradient held against the truth.

`record_cases` trains plainly and records windows beside the exact hypergradient of several futures; `load_cases` reads
what was recorded.
"""

from ray_glocal.validation.case import Case, load_cases
from ray_glocal.validation.recording import Course, Plan, record_cases

__all__ = ["Case", "Course", "Plan", "load_cases", "record_cases"]
