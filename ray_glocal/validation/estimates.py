"""What an estimator says of recorded cases, entry by entry beside the truth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Array, Forecast, Forecaster
from ray_glocal.koopman.pooling import pooled
from ray_glocal.koopman.window_forecast import WindowForecast, window_forecast
from ray_glocal.validation.case import Case

Estimator = Callable[[Case], Forecast]  # of the hypergradient at the end of training, in coordinates


@dataclass(frozen=True)
class OnWindow:
    """The estimator that forecasts one trajectory of a case, and nothing else of it.

    Args:
        forecaster: Predicts a series.
        kind: Which trajectory: h_1 .. h_K, or the one by lag.
    """

    forecaster: Forecaster
    kind: Literal["forward", "lag"] = "lag"

    def __call__(self, case: Case) -> Forecast:
        """Forecast the end of training from the case's window."""
        series = case.forward if self.kind == "forward" else case.lag
        return self.forecaster.forecast(series, case.horizon)


@dataclass(frozen=True)
class Pooled:
    """The estimator that reads the lag trajectories of a case and of its earlier windows in flow time, and fuses them.

    Args:
        forecaster: Predicts each trajectory.
    """

    forecaster: Forecaster

    def __call__(self, case: Case) -> Forecast:
        """Forecast the end of training from all of the case's windows."""
        windows = [*zip(case.earlier_starts, case.earlier, strict=True), (case.start, case.lag)]
        return pooled([self._window_forecast(case, start, lags) for start, lags in windows])

    def _window_forecast(self, case: Case, start: int, lags: Array) -> WindowForecast:
        flow = case.flow
        rates = flow[start : start + len(lags)]
        return window_forecast(self.forecaster, lags, rates, float(flow[start:].sum()), float(flow[:start].sum()))


@dataclass(frozen=True, eq=False)
class Estimates:
    """Entries of one estimator: one for each hyperparameter of each case; every array has shape [entry].

    Args:
        label: Which hyperparameter.
        run: Name of the case's run.
        case: Number of the case.
        mean: What the estimator expects; NaN where it refuses.
        deviation: Its standard deviation.
        truth: Exact value at the end of training, averaged over futures.
        local: The window's own hypergradient h_K.
        loss: Validation loss at the window's end.
    """

    label: NDArray[np.str_]
    run: NDArray[np.str_]
    case: NDArray[np.intp]
    mean: Array
    deviation: Array
    truth: Array
    local: Array
    loss: Array

    def where(self, chosen: NDArray[np.bool_]) -> "Estimates":
        """The chosen entries."""
        return Estimates(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    @property
    def hits(self) -> NDArray[np.bool_]:
        """Whether the sign is right; a refusal is not."""
        hits: NDArray[np.bool_] = np.sign(self.mean) == np.sign(self.truth)
        return hits


def estimates(estimator: Estimator, cases: Sequence[Case]) -> Estimates:
    """Ask an estimator about every case.

    Entries whose truth is no finite number, or zero and so without a sign, are left out.

    Args:
        estimator: Such as `OnWindow(forecaster("ensemble"))`; may read all of a case but its truths and differences.
        cases: Recorded cases.

    Raises:
        ArgumentError: There are no cases.
    """
    if not cases:
        raise ArgumentError("cases", "hold at least one case", cases, "Record some first.")
    columns: dict[str, list[Any]] = {f.name: [] for f in fields(Estimates)}
    for number, case in enumerate(cases):
        forecast, q = estimator(case), len(case.labels)
        columns["label"] += case.labels
        columns["run"] += [case.run] * q
        columns["case"] += [number] * q
        columns["mean"] += forecast.mean.tolist()
        columns["deviation"] += forecast.deviation.tolist()
        columns["truth"] += case.truth.tolist()
        columns["local"] += case.lag[-1].tolist()
        columns["loss"] += [case.loss] * q
    found = Estimates(**{name: np.array(column) for name, column in columns.items()})
    return found.where(np.isfinite(found.truth) & (found.truth != 0))
