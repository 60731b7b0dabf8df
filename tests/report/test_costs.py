"""What trials cost, against sums done by hand."""

import recordings

from ray_glocal.report.cost import TotalCost, cost_of, steps_paid, until
from ray_glocal.report.trial import Run


def run(*steps, **columns):
    """A trial with a row for each step; columns by key."""
    rows = [{"step": s, **{key: values[i] for key, values in columns.items()}} for i, s in enumerate(steps)]
    return Run("a", {}, tuple(rows))


def test_a_session_counts_its_own_steps():
    assert steps_paid(run(1, 2, 3, **{"cost/steps": [5.0, 9.0, 20.0]})) == [5.0, 9.0, 20.0]


def test_work_that_was_lost_and_done_again_is_paid_twice():
    # To 30, back to the checkpoint at 10, on to 40: 30 and another 30.
    trial = run(1, 2, 3, 2, 3, 4, **{"cost/steps": [10.0, 20.0, 30.0, 20.0, 30.0, 40.0]})
    assert steps_paid(trial) == [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]
    # From the start again, without a checkpoint.
    assert steps_paid(run(1, 2, 1, 2)) == [1.0, 2.0, 3.0, 4.0]
    # Twice in a row.
    assert steps_paid(run(1, 2, 2, 2)) == [1.0, 2.0, 3.0, 4.0]


def test_a_result_without_its_step_costs_what_the_next_one_says():
    trial = Run("a", {}, ({"step": 1}, {"note": "x"}, {"step": 4}))
    assert steps_paid(trial) == [1.0, 1.0, 4.0]


def test_trials_are_summed_and_the_share_is_weighted_by_seconds():
    columns = {"cost/steps": [4.0, 8.0], "cost/seconds": [1.0, 2.0], "time_this_iter_s": [3.0, 4.0]}
    first = run(1, 2, **columns, **{"cost/share": [0.5, 0.5]})
    second = run(1, 2, **{**columns, "cost/seconds": [3.0, 6.0]}, **{"cost/share": [0.25, 0.25]})
    assert cost_of([first, second]) == TotalCost(16.0, True, 14.0, (1.0 + 1.5) / 8.0)
    assert cost_of([first, run(1, 5)]) == TotalCost(13.0, False, 7.0, 0.5)
    assert cost_of([]) == TotalCost(0, False, 0, None)


def test_the_cost_until_a_target_is_that_of_all_trials_up_to_then():
    fast = run(1, 2, 3, val_loss=[3.0, 2.0, 1.0], timestamp=[1, 3, 5], time_this_iter_s=[1.0] * 3)
    slow = run(1, 2, 3, val_loss=[9.0, 8.0, 7.0], timestamp=[2, 4, 6], time_this_iter_s=[1.0] * 3)
    late = run(1, val_loss=[0.0], timestamp=[9], time_this_iter_s=[1.0])
    assert until([fast, slow, late], "val_loss", 1.0, 2.0) == (2.0 + 1.0, 3.0)
    assert until([fast, slow, late], "val_loss", 1.0, 1.5) == (3.0 + 2.0, 5.0)
    assert until([fast, slow], "val_loss", -1.0, 9.0) == (1.0 + 1.0, 2.0)
    assert until([fast, slow], "val_loss", 1.0, 0.5) is None
    assert until([], "val_loss", 1.0, 0.5) is None


def test_repeated_work_in_a_recorded_experiment_counts(tmp_path):
    from ray_glocal.report import summary

    experiment = recordings.Experiment(tmp_path, {})
    experiment.add("a")
    experiment.report("a", 1, 1.0)
    experiment.report("a", 2, 1.0)
    experiment.fail("a")
    experiment.report("a", 2, 1.0)
    experiment.end("a")
    assert summary(experiment.write()).cost.steps == 3
