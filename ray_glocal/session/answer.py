"""The answer that a hyperparameter gets when it could move."""

from enum import Enum


class Answer(str, Enum):
    """Whether one hyperparameter may move."""

    ACT = "act"
    ACT_SMALL = "act small"
    HOLD = "hold"
