"""Why trials failed is told in the account and where a best one is asked for; truth: the exceptions themselves."""

import inspect

import pytest
import recordings

from ray_glocal.__main__ import main
from ray_glocal.report import summary
from ray_glocal.report.experiment import read
from ray_glocal.report.failure import cause
from ray_glocal.report.page.contents import contents


class OddError(Exception):
    """An error of the user's own."""


def fails(error):
    raise error


def chained(error, cause):
    try:
        fails(cause)
    except ValueError as first:
        raise error from first


def caught(error, cause=None):
    with pytest.raises(type(error)) as found:
        fails(error) if cause is None else chained(error, cause)
    return found.value


HERE = f"(test_failures.py, line {inspect.getsourcelines(fails)[1] + 1})"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (caught(ValueError("boom 3")), f"ValueError: boom 3 {HERE}"),
        (caught(ValueError("first line\nsecond: line")), f"ValueError: first line {HERE}"),
        (caught(ValueError()), f"ValueError {HERE}"),
        (caught(OddError("x: y")), f"{__name__}.OddError: x: y {HERE}"),
        ("ray.exceptions.OutOfMemoryError: killed\nmore of it\n", "ray.exceptions.OutOfMemoryError: killed"),
        ("", "an error of which Tune left no record"),
    ],
    ids=["plain", "of several lines", "without a text", "own", "of Ray's own", "empty"],
)
def test_a_cause_is_the_errors_first_line_and_where_it_was_raised(error, told):
    assert cause(recordings.failure(1, error)) == told


def test_of_a_chain_and_of_several_failures_it_is_the_last():
    chained = recordings.failure(1, caught(KeyError("late"), ValueError("early")))
    assert cause(chained).startswith("KeyError: 'late' (test_failures.py")
    assert cause(chained + recordings.failure(2, caught(ValueError("again")))) == f"ValueError: again {HERE}"


def failed(folder, options=None):
    experiment = recordings.Experiment(folder, options)
    for name, error in (("a", ValueError("boom 1")), ("b", KeyError("x")), ("c", ValueError("boom 2"))):
        experiment.add(name)
        experiment.fail(name, retry=False, error=caught(error))
    return experiment


@pytest.mark.parametrize("options", [None, {}], ids=["without our scheduler", "under it"])
def test_an_account_of_trials_that_all_failed_says_why_and_nothing_of_who_judged_them(tmp_path, options):
    told = summary(failed(tmp_path, options).write())
    assert [(each.text, each.trials) for each in told.failed] == [
        (f"ValueError: boom 1 {HERE}", ("a", "c")),
        (f"KeyError: 'x' {HERE}", ("b",)),
    ]
    text = str(told)
    assert "Failed: 3 of 3 trials; each has its traceback in error.txt in its folder" in text
    assert f"  2 by ValueError: boom 1 {HERE} (trials a, c)" in text
    assert "GlocalScheduler" not in text
    assert {trial.status for trial in told.trials} == {"failed"}
    page = contents(read(tmp_path), told)
    assert page.notes[0] == f"Failed: 2 by ValueError: boom 1 {HERE} (trials a, c)."


def test_one_that_came_back_and_finished_has_not_failed(tmp_path):
    experiment = recordings.Experiment(tmp_path, {})
    experiment.add("a")
    experiment.report("a", 1, 2.0)
    experiment.fail("a", error=caught(ValueError("for once")))
    experiment.report("a", 2, 1.0)
    experiment.end("a")
    told = summary(experiment.write())
    assert (told.failed, told.trials[0].status) == ((), "done")


def test_one_that_tune_ended_with_the_experiment_has_failed(tmp_path):
    """An error in the driver: Tune's own record says that its trials are done."""
    experiment = failed(tmp_path)
    for trial in experiment.trials.values():
        trial.status = "TERMINATED"
    assert [each.trials for each in summary(experiment.write()).failed] == [("a", "c"), ("b",)]


def test_the_best_of_trials_that_all_failed_is_refused_with_the_reasons(tmp_path, capsys):
    assert main(["best", str(failed(tmp_path).write())]) == 2
    assert capsys.readouterr().err.endswith(
        f"3 of 3 trials failed: 2 by ValueError: boom 1 {HERE}; 1 by KeyError: 'x' {HERE}.\n"
    )


def test_so_is_the_best_of_those_that_reported_nothing_or_nothing_finite(tmp_path, capsys):
    experiment = recordings.Experiment(tmp_path)
    experiment.add("a")
    assert main(["best", str(experiment.write())]) == 2
    assert capsys.readouterr().err.endswith("None of its 1 trials has reported anything.\n")
    experiment.report("a", 1, float("inf"))
    assert main(["best", str(experiment.write())]) == 2
    assert capsys.readouterr().err.endswith("All that they reported of it is infinite or not a number.\n")


@pytest.mark.parametrize("command", ["report", "best"])
def test_a_metric_that_no_result_holds_is_refused_with_those_that_there_are(tmp_path, capsys, command):
    experiment = recordings.Experiment(tmp_path)
    experiment.add("a")
    experiment.report("a", 1, 1.0, accuracy=0.5)
    assert main([command, str(experiment.write()), "--metric", "loss"]) == 2
    assert capsys.readouterr().err.endswith("got 'loss'. They reported accuracy, step, val_loss.\n")
