"""What an experiment came to: its trials, its best configuration, why trials were pruned, and what it all cost.

Names are lazy: reading results needs neither torch nor ray.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray_glocal.report.account import summary
    from ray_glocal.report.progress import Progress
    from ray_glocal.report.verification import replay

# No module bears the name of a function: importing it would put the module in the function's place.
_HOMES = {
    "Progress": "ray_glocal.report.progress",
    "replay": "ray_glocal.report.verification",
    "summary": "ray_glocal.report.account",
}

__all__ = ["Progress", "replay", "summary"]


def __getattr__(name: str) -> object:
    """Load a name from its module when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ray_glocal.report' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
