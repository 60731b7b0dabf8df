"""Time every forecaster: `OMP_NUM_THREADS=1 python tests/koopman/bench_forecasters.py`."""

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from ray_glocal.koopman import fit_dmd, forecaster, predict
from ray_glocal.koopman.forecasters import FORECASTERS
from ray_glocal.koopman.pooling import pooled
from ray_glocal.koopman.tuning import KEPT
from ray_glocal.koopman.window_forecast import window_forecast

SHAPES = ((40, 1), (40, 3), (40, 100), (200, 8), (40, 10_000))


def milliseconds(call: Callable[[], object], seconds: float = 0.4) -> float:
    """Median processor time of a call after one to warm up; other jobs on a shared machine disturb it little."""
    call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        start = time.process_time()
        call()
        times.append(1e3 * (time.process_time() - start))
    return statistics.median(times)


def noisy_decay(length: int, channels: int) -> np.ndarray:
    random = np.random.default_rng(0)
    decay = np.exp(-np.arange(length) / 15)[:, None]
    return 1 + decay * random.normal(size=channels) + 0.05 * random.normal(size=(length, channels))


def main() -> None:
    write = sys.stdout.write
    for length, channels in SHAPES:
        series = noisy_decay(length, channels)
        calls = {name: lambda name=name, series=series: forecaster(name).forecast(series, 100) for name in FORECASTERS}
        calls["fit+predict"] = lambda series=series: predict(fit_dmd(series, 3, 4, "affine"), 100)
        rates = np.ones(length)
        calls["window_forecast"] = lambda series=series, rates=rates: window_forecast(
            forecaster("evidence"), series, rates, 5.0 * len(rates)
        )
        seen = [calls["window_forecast"]()] * KEPT
        calls["pooled"] = lambda seen=seen: pooled(seen)
        timed = {name: milliseconds(call) for name, call in calls.items()}
        write(f"\n{length} snapshots x {channels} channels\n")
        for name, taken in timed.items():
            write(f"  {name:12} {taken:9.3f} ms  {taken / timed['last']:8.1f} x last\n")


if __name__ == "__main__":
    main()
