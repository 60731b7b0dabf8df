import numpy as np
import pytest

from ray_glocal.errors import ArgumentError
from ray_glocal.koopman.rank import FixedRank, FullRank, OptimalRank, as_rank, chosen_rank


def noisy_matrix(rank, shape, signal, seed):
    random = np.random.default_rng(seed)
    left = np.linalg.qr(random.normal(size=(shape[0], rank)))[0]
    right = np.linalg.qr(random.normal(size=(shape[1], rank)))[0]
    return left * signal @ right.T + random.normal(size=shape) / np.sqrt(max(shape))


@pytest.mark.parametrize("shape", [(200, 200), (120, 40), (40, 120)])
@pytest.mark.parametrize("rank", [1, 3, 6])
def test_optimal_rank_recovers_the_planted_rank_under_noise(rank, shape):
    for seed in range(10):
        values = np.linalg.svd(noisy_matrix(rank, shape, 6.0, seed), compute_uv=False)
        assert OptimalRank().choose(values, shape) == rank
        assert OptimalRank().choose(1e-3 * values, shape) == rank  # noise of unknown size


def test_optimal_rank_of_pure_noise_is_zero():
    values = np.linalg.svd(np.random.default_rng(1).normal(size=(100, 60)), compute_uv=False)
    assert OptimalRank().choose(values, (100, 60)) == 0


@pytest.mark.parametrize("beta", [0.1, 0.25, 0.5, 0.75, 1.0])
def test_optimal_threshold_is_the_exact_one_within_the_stated_error(beta):
    # Exact: lambda(beta) / sqrt(median of the Marchenko-Pastur law), the median by brute integration.
    low, high = (1 - np.sqrt(beta)) ** 2, (1 + np.sqrt(beta)) ** 2
    edges = np.linspace(low, high, 2_000_001)
    middle = 0.5 * (edges[1:] + edges[:-1])
    mass = np.cumsum(np.sqrt((high - middle) * (middle - low)) / middle)
    median = middle[np.searchsorted(mass, 0.5 * mass[-1])]
    scale = 8 * beta / (beta + 1 + np.sqrt(beta**2 + 14 * beta + 1))
    exact = np.sqrt(2 * (beta + 1) + scale) / np.sqrt(median)
    shape = (1000, round(1000 * beta))
    assert OptimalRank().choose(np.array([exact + 0.025, 1.0, 1.0]), shape) == 1
    assert OptimalRank().choose(np.array([exact - 0.025, 1.0, 1.0]), shape) == 0


def test_fixed_and_full_rank_never_exceed_what_there_is():
    values = np.array([2.0, 1.0])
    assert [FixedRank(1).choose(values, (2, 2)), FixedRank(5).choose(values, (2, 2))] == [1, 2]
    assert FullRank().choose(values, (2, 2)) == 2


def test_rounding_error_is_never_kept():
    matrix = np.outer(np.arange(1.0, 9), np.ones(5) / 3) + np.outer(np.ones(8), np.arange(5.0) / 7)
    values = np.linalg.svd(matrix, compute_uv=False)
    assert chosen_rank(FullRank(), values, matrix.shape) == 2
    assert chosen_rank(FullRank(), np.zeros(3), (3, 3)) == 0


def test_short_forms_are_read():
    assert as_rank(3) == FixedRank(3)
    assert as_rank(np.int64(3)) == FixedRank(3)
    assert as_rank(None) == FullRank()
    assert as_rank(OptimalRank()) == OptimalRank()


@pytest.mark.parametrize("size", [0, 1.5])
def test_a_fixed_rank_below_one_is_refused(size):
    with pytest.raises(ArgumentError, match="`size` must be a whole number of at least 1; got"):
        FixedRank(size)


def test_something_that_is_no_rank_is_refused():
    with pytest.raises(ArgumentError, match="`rank` must be a whole number, None or a rule"):
        as_rank("half")
