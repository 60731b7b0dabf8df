"""Recorded cases as the studies keep and weigh them; `validate` needs none of it.

`table` writes and reads them, `explosion` says which to leave out, `labels` scores them by hyperparameter, and
`bootstrap` tells a difference of two estimators from the luck of the runs.
"""

from cases.bootstrap import Difference, sign_difference
from cases.explosion import exploded
from cases.labels import scores_by_label
from cases.table import case_of, load_cases, row_of

__all__ = ["Difference", "case_of", "exploded", "load_cases", "row_of", "scores_by_label", "sign_difference"]
