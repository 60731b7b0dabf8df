"""The comparison's statistics beside hand computation, SciPy, and an exhaustive bootstrap."""

from functools import partial
from itertools import product

import numpy as np
import pytest
from scipy import stats

from comparison.bootstrap import estimate, resampled, sample
from comparison.references import singles
from comparison.statistics import (
    agreement,
    censored_mean,
    complete,
    cost_to_reach,
    curves,
    mean_ranks,
    processor_seconds,
    profiles,
    ranks,
    ratios,
    relative_losses,
)


def search(task, method, seed, *results, budget=100.0):
    """Rows of an experiment whose incumbents are (cost, test loss)."""
    common = {"section": "search", "task": task, "method": method, "seed": seed, "budget": budget}
    return [{**common, "cost": cost, "test": test, "seconds": cost / 10} for cost, test in results]


def single(task, method, point, seed, val, test, averaged_val=None, averaged_test=None, cost=10.0):
    told = {"section": "single", "task": task, "method": method, "point": point, "seed": seed, "steps": 10}
    averaged = {"averaged_val": val if averaged_val is None else averaged_val}
    averaged["averaged_test"] = test if averaged_test is None else averaged_test
    return {**told, "cost": cost, "val": val, "test": test, **averaged}


def random_losses(shape=(3, 4, 3), seed=0):
    return np.exp(np.random.default_rng(seed).normal(size=shape))


def test_a_curve_steps_at_its_results_holds_its_last_and_ignores_what_comes_past_the_budget():
    rows = search("t", "a", 0, (0, 9.0), (20, 5.0), (50, 3.0), (50, 2.0), (101, 1.0))
    told = curves(rows[::-1][:1] + rows[:4], ["a"], [0.1, 0.2, 0.49, 0.5, 1.0])
    assert told.losses.tolist() == [[[[9.0, 5.0, 5.0, 2.0, 2.0]]]]


def test_a_result_at_a_third_of_the_budget_counts_there_whatever_the_rounding():
    told = curves(search("t", "a", 0, (0, 9.0), (300 * (1 / 3), 5.0), budget=300.0), ["a"], [1 / 3])
    assert told.losses.item() == 5


def test_a_loss_that_is_not_finite_counts_as_the_largest_of_its_task():
    rows = search("t", "a", 0, (0, 9.0), (1, float("nan"))) + search("t", "b", 0, (0, 4.0), (1, float("inf")))
    rows += search("u", "a", 0, (0, 30.0)) + search("u", "b", 0, (0, 30.0))
    assert curves(rows, ["a", "b"], [0.0, 1.0]).losses[0, :, 0].tolist() == [[9.0, 9.0], [4.0, 9.0]]


def test_what_is_not_complete_is_left_out_and_named():
    cells = set(product("tuv", "ab", (0, 1))) - {("v", "b", 0), ("v", "b", 1), ("t", "a", 1)} | {("t", "c", 0)}
    tasks, methods, seeds, omitted = complete(sorted(cells), "abcd")
    assert (tasks, methods, seeds) == (("t", "u"), ("a", "b"), (0,))
    assert omitted == ("methods c, d", "tasks v", "seeds 1")
    assert complete([], "ab") == ((), (), (), ("methods a, b",))


def test_curves_of_nothing_are_empty():
    assert curves([], ["a"], [0.5, 1.0]).losses.shape == (0, 0, 0, 2)
    assert curves(search("t", "a", 0, (0, 1.0)) + search("t", "b", 1, (0, 1.0)), "ab", [1.0]).losses.size == 0


def test_ranks_by_hand_and_by_scipy():
    losses = np.array([[[3.0], [1.0], [3.0], [2.0]]])
    assert ranks(losses)[0, :, 0].tolist() == [3.5, 1, 3.5, 2]
    several = np.round(random_losses((3, 6, 4, 5)), 1)
    assert np.array_equal(ranks(several), stats.rankdata(several, axis=1))


def test_mean_ranks_of_the_sample_are_plain_means():
    losses = random_losses()
    assert mean_ranks(losses, sample(3, 3))[0] == pytest.approx(stats.rankdata(losses, axis=1).mean(axis=(0, 2)))


def test_a_relative_loss_by_hand():
    losses = np.array([[[2.0, 4.0], [3.0, 1.0], [8.0, 8.0]], [[1.0, 1.0], [4.0, 4.0], [2.0, 2.0]]])
    over = ratios(losses, [1, 2], sample(2, 2))[0]
    assert over == pytest.approx(np.array([[1.5, 1, 4], [0.5, 2, 1]]))
    assert relative_losses(losses, [1, 2], sample(2, 2))[0] == pytest.approx(np.sqrt([0.75, 2, 4]))


def exhaustive(losses):
    """All resamples of two seeds of three within each of two tasks, as means of the drawn cells' ranks."""
    one, two = stats.rankdata(losses, axis=1)
    pairs = [list(pair) for pair in product(range(3), repeat=2)]
    return np.array([(one[:, a].mean(1) + two[:, b].mean(1)) / 2 for a in pairs for b in pairs])


def test_the_bootstrap_over_seeds_agrees_with_all_of_its_resamples():
    losses = random_losses((2, 4, 3), seed=5)
    every = exhaustive(losses)
    drawn = mean_ranks(losses, resampled(2, 3, resamples=40_000))
    assert drawn.mean(0) == pytest.approx(every.mean(0), abs=0.01)
    assert np.cov(drawn.T) == pytest.approx(np.cov(every.T, bias=True), abs=0.01)
    told = estimate(partial(mean_ranks, losses), 2, 3, resamples=40_000)
    gap = estimate(lambda r: mean_ranks(losses, r)[:, 0] - mean_ranks(losses, r)[:, 1], 2, 3, resamples=40_000)
    exact = every[:, 0] - every[:, 1]
    assert told.value == pytest.approx(stats.rankdata(losses, axis=1).mean(axis=(0, 2)))
    assert gap.below == pytest.approx(np.mean(exact < -1e-9), abs=0.01)
    assert np.min(exact) - 1e-9 <= gap.lower <= gap.upper <= np.max(exact) + 1e-9


def test_the_variance_over_seeds_is_that_of_a_mean_and_over_tasks_that_of_their_means():
    losses = random_losses((5, 2, 3))
    seeds = ratios(losses, [0], resampled(5, 3, resamples=40_000))
    means = np.einsum("rts,tms->rtm", resampled(5, 3, resamples=40_000).seeds, losses)
    assert means.var(0) == pytest.approx(losses.var(axis=2, ddof=1) / 3, rel=0.05)
    assert np.all(seeds[:, :, 0] == 1)
    logs = np.log(relative_losses(losses, [0], resampled(5, 3, "tasks", 40_000)))[:, 1]
    own = np.log(losses.mean(2)[:, 1] / losses.mean(2)[:, 0])
    assert logs.var() == pytest.approx(own.var(ddof=1) / 5, rel=0.05)


def test_every_method_gets_the_same_draw():
    losses = random_losses((4, 1, 3)) * np.array([1.0, 2.0])[None, :, None]
    told = estimate(lambda r: relative_losses(losses, [0], r), 4, 3)
    assert told.lower[1] == pytest.approx(2)
    assert told.upper[1] == pytest.approx(2)


def test_one_seed_and_one_task_leave_no_interval():
    losses = random_losses((1, 3, 1))
    for over in ("seeds", "tasks"):
        told = estimate(partial(mean_ranks, losses), 1, 1, over)
        assert told.lower.tolist() == told.value.tolist() == told.upper.tolist()


def test_weights_sum_to_one():
    for over in ("seeds", "tasks"):
        told = resampled(4, 3, over, 50)
        assert told.tasks.sum(1) == pytest.approx(1)
        assert told.seeds.sum(2) == pytest.approx(1)


def test_a_known_performance_profile():
    losses = np.array([[[1.0, 2.0], [2.0, 2.0]], [[3.0, 4.0], [1.0, 1.0]]])
    told = profiles(losses, [1, 2, 3, 4])
    assert told.tolist() == [[0.5, 0.5, 0.75, 1.0], [0.75, 1.0, 1.0, 1.0]]


def test_the_cost_to_reach_is_where_the_mean_curve_first_is_as_low_as_the_best_rival_ends():
    rival, other, ours = [[5, 4, 3], [5, 4, 3]], [[5, 5, 5], [5, 5, 5]], [[5, 4, 1], [5, 2, 5]]
    told = cost_to_reach(np.array([[rival, other, ours]], dtype=float), [0.25, 0.5, 1.0], [0, 1])
    assert told.tolist() == [[1.0, np.inf, 0.5]]
    mean, never = censored_mean(np.array([[1.0, np.inf, 0.5], [0.25, 0.5, 0.5]]))
    assert mean == pytest.approx([0.5, np.sqrt(0.5), 0.5])
    assert never.tolist() == [0, 1, 0]


def test_agreement_in_closed_form_and_by_scipy():
    assert agreement([1, 2, 3, 4], [1, 2, 4, 3]).tau == pytest.approx(4 / 6)
    assert agreement([1, 2, 3], [3, 2, 1]) == agreement([5, 6, 7], [-1, -2, -3])
    assert agreement([1, 2, 3], [3, 2, 1]).tau == pytest.approx(-1)
    # Two ties in one list: 4 concordant pairs over sqrt(6 - 2) sqrt(6).
    assert agreement([1, 1, 2, 2], [1, 2, 3, 4]).tau == pytest.approx(4 / np.sqrt(4 * 6))
    one, two = np.round(np.random.default_rng(0).normal(size=(2, 30)), 0)
    assert agreement(one, two).tau == pytest.approx(stats.kendalltau(one, two).statistic)
    assert agreement(one, two).rho == pytest.approx(stats.spearmanr(one, two).statistic)
    assert np.isnan(agreement([1, 1], [1, 2]).tau)


def test_singles_stand_beside_the_best_point_by_raw_and_by_averaged_weights_on_the_same_seeds():
    rows = [single("t", "grid", "x", seed, 1.0, 2.0 + seed, 3.0, 9.0) for seed in (0, 1)]
    rows += [single("t", "grid", "y", seed, 2.0, 1.0, 1.0, 4.0) for seed in (0, 1, 2)]
    rows += [single("t", "grid", "z", seed, float("nan"), 0.1) for seed in (0, 1)]
    rows += [single("t", "session", "low", seed, 1.0, 3.0, cost=15.0) for seed in (0, 7)]
    rows += [single("u", "session", "low", 0, 1.0, 3.0), single("t", "session", "high", 7, 1.0, 3.0)]
    told = singles(rows)
    assert (told.raw["t"].point, told.averaged["t"].point) == ("x", "y")
    (only,) = told.told
    assert (only.raw, only.averaged, only.cost, only.seeds) == (1.5, 0.75, 1.5, 1)
    assert told.omitted == ["session from low on u", "session from high on t"]


def test_processor_seconds_are_of_whole_experiments():
    rows = search("t", "a", 0, (0, 1.0), (10, 1.0), (50, 1.0)) + search("t", "a", 1, (0, 1.0), (100, 1.0))
    assert processor_seconds(rows, ["a", "b"]) == {"a": {"t": pytest.approx(0.1)}, "b": {}}
