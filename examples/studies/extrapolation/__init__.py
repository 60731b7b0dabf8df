"""Classical extrapolations of a series: what forecasters are compared with, and no session needs."""

from collections.abc import Mapping

from extrapolation.level import Level
from extrapolation.rre import ReducedRank
from extrapolation.shanks import Shanks
from extrapolation.trend import Trend
from ray_glocal.forecast import Forecaster
from ray_glocal.koopman import forecaster
from ray_glocal.koopman.forecasters import FORECASTERS

EXTRAPOLATIONS: Mapping[str, type] = {"level": Level, "trend": Trend, "shanks": Shanks, "rre": ReducedRank}
COMPARED = (*FORECASTERS, *EXTRAPOLATIONS)  # names of all that a study of forecasts asks


def estimator(name: str) -> Forecaster:
    """The library's forecaster of a name, or the extrapolation."""
    made: Forecaster = EXTRAPOLATIONS[name]() if name in EXTRAPOLATIONS else forecaster(name)
    return made


def shown(name: str) -> str:
    """An estimator's name on a page."""
    return "local" if name == "last" else name


__all__ = ["COMPARED", "EXTRAPOLATIONS", "Level", "ReducedRank", "Shanks", "Trend", "estimator", "shown"]
