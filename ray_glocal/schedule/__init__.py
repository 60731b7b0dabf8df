"""What the best trial learned: its configuration, and the schedule that its hyperparameters followed.

`schedule` holds the values at each step, `files` writes and reads them, `scheduler` trains by them; these need NumPy
and torch alone. `path` finds the steps that led to a session's weights, `lineage` and `trials` look for them in an
experiment, and `best` tells what came of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray_glocal.schedule.best import best_config
    from ray_glocal.schedule.schedule import LearnedSchedule

_HOMES = {
    "LearnedSchedule": "ray_glocal.schedule.schedule",
    "best_config": "ray_glocal.schedule.best",
}

__all__ = ["LearnedSchedule", "best_config"]


def __getattr__(name: str) -> object:
    """Load a name from its module when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ray_glocal.schedule' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
