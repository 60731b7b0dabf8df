import numpy as np
import pytest

from ray_glocal.errors import ArgumentError
from ray_glocal.koopman.embedding import delay_embedding


@pytest.mark.parametrize("delays", [1, 2, 5, 7])
def test_rows_stack_past_snapshots_as_a_naive_loop_does(delays):
    series = np.random.default_rng(0).normal(size=(7, 3))
    naive = [np.concatenate([series[t - d] for d in reversed(range(delays))]) for t in range(delays - 1, 7)]
    assert np.array_equal(delay_embedding(series, delays), naive)


@pytest.mark.parametrize("delays", [0, 4])
def test_delays_out_of_range_are_refused(delays):
    with pytest.raises(
        ArgumentError, match=rf"`delays` must be between 1 and the number of snapshots, 3; got {delays}"
    ):
        delay_embedding(np.zeros((3, 1)), delays)
