"""The answer that a hyperparameter gets when it could move."""

from enum import Enum

from ray_glocal import names


class Gate(str, Enum):
    """Whether one hyperparameter may move: by its full step, by a part of it, or not at all."""

    ACT = names.ACT
    ACT_SMALL = names.ACT_SMALL
    HOLD = names.HOLD
