"""What the windows of one training foretell together, in flow time: the learning rate summed over steps."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ray_glocal.forecast import Array, Forecast, Forecaster, Kind, Outcome
from ray_glocal.hypergradient import Problem
from ray_glocal.hypergradient.window.window import Window
from ray_glocal.koopman.flow import flow_horizon
from ray_glocal.koopman.pooling import pooled
from ray_glocal.koopman.tuning import KEPT
from ray_glocal.koopman.window_forecast import WindowForecast, window_forecast

SAVED_AS = {"remaining": "reach"}  # in checkpoints


class WindowForecasts:
    """Reads windows in flow time, and pools the last few.

    Args:
        problem: The bilevel problem.
        forecaster: Predicts each window's trajectory once the search is over.
        searcher: Predicts those of the search.
        factors: The schedule's factors on the base rates over the whole training, shape [step, group].
    """

    def __init__(self, problem: Problem, forecaster: Forecaster, searcher: Forecaster, factors: Array) -> None:
        self._problem, self._forecaster, self._searcher = problem, forecaster, searcher
        self._ahead = np.cumsum(factors[::-1], axis=0)[::-1]  # what is left of each group's factors
        self._flow = 0.0
        self._windows: list[WindowForecast] = []
        self._alone = np.array([hyper.size == 1 for hyper in problem.hyperparameters for _ in range(hyper.size)])

    def advance(self) -> None:
        """Count the step that is about to be taken."""
        self._flow += _mean_rate(self._problem.optimizer.param_groups)

    def forget(self) -> None:
        """Drop the earlier windows: they saw another path, or hyperparameters far away."""
        self._windows = []

    def searched(self, series: Array, step: int) -> Forecast:
        """Forecast for the search: of this window alone, for the rates of earlier ones are orders of magnitude away.

        Args:
            series: The window's trajectory in coordinates, shape [K, q].
            step: Inner steps taken so far.
        """
        self.forget()
        # A change made now has the steps that are left to act in, and the window shows the first K lags of its effect.
        return self._searcher.forecast(series, max(0, len(self._ahead) - step - len(series)))

    def forecast(self, window: Window, series: Array, kind: str, step: int) -> Forecast:
        """Forecast the hypergradient at the end of training from this window and the few before it.

        Of a hyperparameter of several entries the last window alone is heard: the outer step averages the headings of
        vectors itself, and windows that saw different entries, weights of examples say, would seem to disagree.

        Args:
            window: A complete window that has just ended.
            series: Its trajectory in coordinates, shape [K, q].
            kind: `lag` or `forward`; only lag trajectories are pooled.
            step: Inner steps taken so far.
        """
        rates = np.array([_mean_rate(snapshot.options) for snapshot in window.snapshots])
        passed, left = float(rates.sum()), self._left(step)
        if kind == "forward":
            return self._forecaster.forecast(series, flow_horizon(rates, left) if passed else 0.0)
        seen = window_forecast(self._forecaster, series, rates, passed + left, max(0.0, self._flow - passed))
        self._windows = [*self._windows, seen][-KEPT:]
        return self._merged(pooled(self._windows), seen.forecast)

    def _merged(self, several: Forecast, last: Forecast) -> Forecast:
        """Entries that stand alone as several windows foretell them, those of vectors as the last one does."""
        if self._alone.all() or not several.outcome.usable:
            return several
        mean, deviation = np.where(self._alone, [several.mean, several.deviation], [last.mean, last.deviation])
        return replace(several, mean=mean, deviation=deviation)

    def _left(self, step: int) -> float:
        """Flow of the steps that are left at the present base rates."""
        if step >= len(self._ahead):
            return 0.0
        return float(np.mean(np.array(self._problem.base_rates()) * self._ahead[step]))

    def as_plain(self) -> dict[str, Any]:
        """The memory as plain data."""
        return {"flow": self._flow, "sightings": [_as_plain(each) for each in self._windows]}

    def load_plain(self, plain: dict[str, Any]) -> None:
        """Inverse of `as_plain`."""
        self._flow = plain["flow"]
        self._windows = [_from_plain(each) for each in plain["sightings"]]


def _mean_rate(groups: Sequence[Any]) -> float:
    if len(groups) == 1:  # asked at every step
        return float(groups[0]["lr"])
    rates = [float(group["lr"]) for group in groups]  # nor does NumPy pay
    return sum(rates) / len(rates)


def _as_plain(seen: WindowForecast) -> dict[str, Any]:
    plain = {SAVED_AS.get(name, name): _plain(value) for name, value in vars(seen).items() if name != "forecast"}
    forecast = seen.forecast
    outcome = {"kind": forecast.outcome.kind.value, "sentence": forecast.outcome.sentence}
    values = {"mean": _plain(forecast.mean), "deviation": _plain(forecast.deviation), "horizon": forecast.horizon}
    return {**plain, "forecast": {**values, "outcome": outcome}}


def _from_plain(plain: dict[str, Any]) -> WindowForecast:
    arrays = {name: _array(value) for name, value in plain["forecast"].items() if name != "outcome"}
    outcome = Outcome(Kind(plain["forecast"]["outcome"]["kind"]), plain["forecast"]["outcome"]["sentence"])
    fields = {saved: name for name, saved in SAVED_AS.items()}
    rest = {fields.get(name, name): _array(value) for name, value in plain.items() if name != "forecast"}
    return WindowForecast(**rest, forecast=Forecast(**arrays, outcome=outcome))


def _plain(value: Any) -> Any:
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value


def _array(value: Any) -> Any:
    return value.numpy() if isinstance(value, torch.Tensor) else value
