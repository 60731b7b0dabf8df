"""What a proposal costs with as many threads as NumPy's BLAS is given."""

import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from unittest.mock import patch

from ray_glocal import GlocalSearch
from scaling.report import SPACE, reported
from study import Row

VARIABLE = "OPENBLAS_NUM_THREADS"


def proposed(threads: int, trials: int, told: int, repeats: int) -> Row:
    """Seconds of a proposal in a fresh process.

    Args:
        threads: Of the BLAS.
        trials: That run.
        told: How many of them have reported.
        repeats: Proposals.
    """
    with (
        patch.dict(os.environ, {VARIABLE: str(threads)}),
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
    ):
        return pool.submit(_proposed, trials, told, repeats).result()


def _proposed(trials: int, told: int, repeats: int) -> Row:
    search = GlocalSearch(SPACE, metric="val_loss", mode="min", seed=0)
    search.set_search_properties(None, None, {}, num_samples=10 * trials)
    for number in range(trials):
        config = search.suggest(str(number))
        if number < told and isinstance(config, dict):
            search.on_trial_result(str(number), {**reported(config, 1), "training_iteration": 1})
    processor, clock = time.process_time(), time.perf_counter()
    for number in range(repeats):
        search.suggest(f"more {number}")
    spent = {"seconds": time.process_time() - processor, "wall": time.perf_counter() - clock}
    return {name: seconds / repeats for name, seconds in spent.items()}
