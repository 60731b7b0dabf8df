"""Forecasters by name. Whoever adds one writes one file and registers it here, and only here."""

from dataclasses import fields

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Forecaster
from ray_glocal.koopman.forecasters.affine import Affine
from ray_glocal.koopman.forecasters.ensemble import Ensemble
from ray_glocal.koopman.forecasters.evidence import Evidence
from ray_glocal.koopman.forecasters.increment import Increment
from ray_glocal.koopman.forecasters.last import Last
from ray_glocal.koopman.forecasters.mean import Mean
from ray_glocal.koopman.forecasters.paper import Paper
from ray_glocal.koopman.forecasters.relaxation import Relaxation

FORECASTERS: dict[str, type] = {
    "last": Last,
    "mean": Mean,
    "relaxation": Relaxation,
    "paper": Paper,
    "increment": Increment,
    "affine": Affine,
    "ensemble": Ensemble,
    "evidence": Evidence,
}

__all__ = ["FORECASTERS", "forecaster"]


def forecaster(name: str, **options: object) -> Forecaster:
    """Make a forecaster by its registered name.

    Args:
        name: A key of `FORECASTERS`.
        options: Fields of that forecaster.

    Returns:
        The forecaster. Its `forecast(series, horizon)` gives `mean` and `deviation`, shape [channel], `horizon`, and
        `outcome`: whether the numbers are `usable`, and the `sentence` that says how far.

    Examples:
        >>> import numpy as np
        >>> series = 1.0 + 0.5 ** np.arange(12.0)[:, None]  # one channel that decays to 1
        >>> told = forecaster("affine").forecast(series, horizon=100)
        >>> round(float(told.mean[0]), 6)
        1.0

    Raises:
        ArgumentError: Nothing is registered under `name`, or it has no such option.
    """
    if name not in FORECASTERS:
        raise ArgumentError("name", f"be one of {', '.join(FORECASTERS)}", name, "'evidence' suits most windows.")
    kind = FORECASTERS[name]
    known = [field.name for field in fields(kind)]
    unknown = [option for option in options if option not in known]
    if unknown:
        rule = f"be among {', '.join(known)} for '{name}'" if known else f"be empty for '{name}'"
        raise ArgumentError("options", rule, ", ".join(unknown), "Leave it out for the default.")
    made: Forecaster = kind(**options)
    return made
