"""Hyperparameter search on Ray Tune that adapts continuous hyperparameters inside each trial by glocal hypergradients.

Names at the root are lazy: importing `ray_glocal` loads neither torch nor ray.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray_glocal.hypergradient import Clipping, Hyperparameter, Lion
    from ray_glocal.schedule import LearnedSchedule, best_config
    from ray_glocal.session import GlocalSession, Settings, weights
    from ray_glocal.tune import GlocalScheduler, GlocalSearch, GlocalTrainable, adapted
    from ray_glocal.validation import validate

_HOMES = {
    "Clipping": "ray_glocal.hypergradient",
    "GlocalScheduler": "ray_glocal.tune",
    "GlocalSearch": "ray_glocal.tune",
    "GlocalSession": "ray_glocal.session",
    "GlocalTrainable": "ray_glocal.tune",
    "Hyperparameter": "ray_glocal.hypergradient",
    "LearnedSchedule": "ray_glocal.schedule",
    "Lion": "ray_glocal.hypergradient",
    "Settings": "ray_glocal.session",
    "adapted": "ray_glocal.tune",
    "best_config": "ray_glocal.schedule",
    "validate": "ray_glocal.validation",
    "weights": "ray_glocal.session",
}

__all__ = [
    "Clipping",
    "GlocalScheduler",
    "GlocalSearch",
    "GlocalSession",
    "GlocalTrainable",
    "Hyperparameter",
    "LearnedSchedule",
    "Lion",
    "Settings",
    "adapted",
    "best_config",
    "validate",
    "weights",
]


def __getattr__(name: str) -> object:
    """Load a name from its part when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ray_glocal' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
