"""Scores of each hyperparameter."""

from ray_glocal.session.settings import Settings
from ray_glocal.validation.estimates import Estimates
from ray_glocal.validation.scores import Score, score


def scores_by_label(told: Estimates, settings: Settings | None = None) -> dict[str, Score]:
    """The score of each hyperparameter by its label, in order of first appearance."""
    return {str(label): score(told.where(told.label == label), settings) for label in dict.fromkeys(told.label)}
