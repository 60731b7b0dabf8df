"""Recorded cases against runs done by hand: the windows, the futures, the truth, and what is left untouched."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import (
    Hyperparameter,
    Problem,
    adjoint_trajectory,
    forward_trajectory,
    global_hypergradient,
    record_window,
)
from ray_glocal.hypergradient.engines.oracle import final_loss
from ray_glocal.validation.recording import Plan, RecordedRun, record_cases

from .problems import ADAPTED, digest, loss, network, optimizer_of, plain, problem_of, stream

STEPS = 30
COSINE = [0.5 + 0.5 * math.cos(math.pi * step / STEPS) for step in range(STEPS)]
PLAN = Plan((4, 14), window=6, earlier=2, spacing=5, futures=2, val_batches=1, step_sizes=(1e-3, 1e-4))


def course(factors=COSINE):
    own = list(stream(0, STEPS))
    return RecordedRun(own, lambda draw: stream(100 + draw, STEPS), list(stream(7, 3)), factors)


def on_line(problem, values, trajectory):
    return problem.pull_back(values, trajectory.derivatives).numpy()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_case_is_the_window_and_the_truth_of_the_run(optimizer):
    problem, data = problem_of(network(), optimizer), course()
    values = problem.start_values()
    first, second = record_cases(problem, data, values, PLAN, "a run", {"task": "by hand"})
    problem.write_options(None, values)
    record_window(problem, data.batches[:14], (), values, COSINE[:14])  # up to the second window
    truths = []
    for future in (data.batches[20:], list(stream(100 + 3, STEPS))[:10]):
        whole = [*data.batches[14:20], *future]
        truth = global_hypergradient(problem, whole, data.val_batches, values, COSINE[14:])
        truths.append(on_line(problem, values, truth)[-1])
    np.testing.assert_allclose(second.truths, truths, rtol=1e-9)
    np.testing.assert_allclose(
        second.final_losses[0], final_loss(problem, data.batches[14:], data.val_batches, values, COSINE[14:])
    )
    # Windows start at 4, 9 and 14; each takes the next validation batch.
    window = record_window(problem, data.batches[14:20], data.val_batches[2:], values, COSINE[14:20])
    np.testing.assert_allclose(second.lag, on_line(problem, values, adjoint_trajectory(problem, window)), rtol=1e-9)
    np.testing.assert_allclose(second.forward, on_line(problem, values, forward_trajectory(problem, window)), rtol=1e-9)
    np.testing.assert_allclose(second.earlier[0], first.lag)
    assert (first.start, first.remaining, first.horizon, second.remaining, second.horizon) == (4, 26, 20, 16, 10)
    assert (first.earlier_starts, second.earlier_starts) == ((), (4, 9))
    assert second.labels == problem.labels
    np.testing.assert_allclose(second.flow, COSINE)
    np.testing.assert_allclose(second.truth, np.mean(truths, axis=0), rtol=1e-9)


def test_the_truth_of_the_first_future_agrees_with_finite_differences():
    problem, data = problem_of(network(), "sgd"), course()
    cases = record_cases(problem, data, problem.start_values(), PLAN, "a run")
    assert cases
    for case in cases:
        assert case.differences.shape == (2, 3)
        for row in case.differences:
            np.testing.assert_allclose(row, case.truths[0], rtol=2e-3, atol=1e-7)


def test_a_recording_changes_nothing_and_repeats():
    problem, data = problem_of(network(), "adamw"), course(None)
    before = digest(problem)
    first, again = (record_cases(problem, data, problem.start_values(), PLAN, "a run") for _ in range(2))
    assert digest(problem) == before
    for one, other in zip(first, again, strict=True):
        assert plain(one) == plain(other)


def test_a_truth_may_lie_ahead_of_the_end():
    problem, data = problem_of(network(), "sgd"), course()
    plan = Plan((4, 22), window=6, earlier=0, futures=2, ahead=10, step_sizes=(1e-4,), forward=False)
    case, last = record_cases(problem, data, problem.start_values(), plan, "a run")
    assert (case.remaining, case.horizon, last.remaining) == (10, 4, 8)
    assert case.forward.shape == (0, 3)
    np.testing.assert_allclose(case.differences[0], case.truths[0], rtol=2e-3, atol=1e-7)


def test_entries_of_one_hyperparameter_are_differentiated_together():
    def weighted(model, batch, hyper):
        return (hyper["weights"][batch[1]] * F.cross_entropy(model(batch[0]), batch[1], reduction="none")).mean()

    model = network()
    hyper = [ADAPTED["lr"](0.1), Hyperparameter("weights", torch.ones(3), 0.1, 10.0, "log")]
    problem = Problem(model, optimizer_of(model, "sgd"), weighted, loss, hyper)
    plan = Plan((4,), window=6, earlier=0, futures=1, step_sizes=(1e-4,))
    (case,) = record_cases(problem, course(), problem.start_values(), plan, "a run")
    assert case.directions[:, 0].tolist() == [1, 0]
    assert case.directions[1, 1:].tolist() != [1, 1, 1]
    np.testing.assert_allclose(case.differences[0], case.directions @ case.truths[0], rtol=2e-3)


def test_without_lr_among_the_hyperparameters_the_schedule_still_holds():
    whole = problem_of(network(), "sgd")
    part = problem_of(network(), "sgd", names=("weight_decay",))
    (case,), (twin,) = (
        record_cases(p, course(), p.start_values(), Plan((4,), window=6), "a run") for p in (part, whole)
    )
    assert case.final_losses[0] == pytest.approx(twin.final_losses[0], rel=1e-9)


def test_a_run_that_breaks_down_ends_its_cases():
    problem = problem_of(network(), "sgd", lr=1e18)
    assert record_cases(problem, course(None), problem.start_values(), Plan((4, 14), window=6), "a run") == []


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"starts": ()}, "`starts` must be one or more different steps from 0 on"),
        ({"starts": (-1,)}, "`starts` must be one or more different steps from 0 on"),
        ({"starts": (3, 3)}, "`starts` must be one or more different steps from 0 on"),
        ({"window": 3}, "`window` must be at least 4; got 3"),
        ({"earlier": -1}, "`earlier` must be at least 0; got -1"),
        ({"spacing": 0}, "`spacing` must be at least 1; got 0"),
        ({"futures": 0}, "`futures` must be at least 1; got 0"),
        ({"ahead": 40}, "`ahead` must be more than a window, 40 steps; got 40"),
        ({"val_batches": 0}, "`val_batches` must be at least 1; got 0"),
    ],
)
def test_plans_that_cannot_be(changed, text):
    with pytest.raises(ArgumentError, match=text):
        Plan(**{"starts": (0,), **changed})


def test_a_window_must_end_before_the_run():
    problem = problem_of(network(), "sgd")
    with pytest.raises(ArgumentError, match="`starts` must leave a window of 6 steps room before the run's last step"):
        record_cases(problem, course(), problem.start_values(), Plan((24,), window=6), "a run")
