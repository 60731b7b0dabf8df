"""The scheduler's hooks, called as Tune calls them, without Ray processes."""

import math
import pickle
import tempfile

import numpy as np
import pyarrow.parquet as pq
import pytest
from hooks import CONTINUE, SPACE, STOP, Tune
from hypothesis import example, given
from hypothesis import strategies as st
from ray import tune
from ray.tune.search import ConcurrencyLimiter, SearchGenerator
from trials import Trial

from ray_glocal.names import LEDGER_FILE
from ray_glocal.scheduling import journal
from ray_glocal.scheduling.event import Reported
from ray_glocal.tune import GlocalScheduler, GlocalSearch
from ray_glocal.tune.reading import Reading
from ray_glocal.tune.rulebook import Rulebook


def rungs(scheduler):
    view = scheduler.ledger.view(Rulebook.settled(scheduler.ledger).ladder)
    return [view.population(k) for k in range(4)]


def test_the_worst_are_pruned_and_reasons_are_kept(begin):
    driver = begin()
    answers = []
    for i, name in enumerate("abcdef"):
        driver.add(name)
        answers.append(driver.report(name, 1, float(i)))
    assert answers == [CONTINUE, CONTINUE, STOP, STOP, STOP, STOP]
    assert [row["action"] for row in driver.scheduler.decisions()] == ["continue"] * 2 + ["stop"] * 4
    assert "behind the best 1 of 3" in driver.scheduler.decisions()[2]["reason"]
    assert driver.scheduler.debug_string() == "GlocalScheduler: 2 live, 4 pruned of 6, best forecast 0 (a)"


def test_maximised_metrics_are_shown_in_their_own_direction(begin):
    driver = begin(mode="max")
    for i, name in enumerate("abc"):
        driver.add(name)
        driver.report(name, 1, 3.0 - i)
    rows = driver.scheduler.decisions()
    assert [(row["forecast"], row["action"]) for row in rows] == [(3.0, "continue"), (2.0, "continue"), (1.0, "stop")]
    assert rows[2]["reason"] == (
        "At rung 1 the forecast final val_loss 1 (optimistically 1) is behind the best 1 of 3, which are forecast to "
        "end at 3."
    )
    assert "best forecast 3 (a)" in driver.scheduler.debug_string()


def test_the_duplicate_last_result_and_replayed_iterations_change_nothing(begin):
    driver = begin()
    driver.add("a")
    for step in (1, 2, 3):
        driver.report("a", step, 1.0)
    events = driver.scheduler.ledger.events
    driver.report("a", 3, 1.0, done=True)
    assert driver.scheduler.ledger.events == events
    driver.fail("a", retry=True)
    for step in (2, 3):  # back to the checkpoint, and another loss this time
        assert driver.report("a", step, 5.0) is CONTINUE
    assert driver.scheduler.ledger.trial("a").losses == [(1, 1.0), (2, 1.0), (3, 1.0)]
    assert rungs(driver.scheduler) == [1, 1, 0, 0]
    driver.complete("a", {"val_loss": 0.5, "training_iteration": 4})  # a stopper kept it from on_trial_result
    driver.complete("a", {"val_loss": 0.5, "training_iteration": 4})
    assert driver.scheduler.ledger.trial("a").latest.loss == 0.5
    assert driver.scheduler.ledger.trial("a").attempt == 1


def test_nan_on_a_second_run_of_a_step_still_stops(begin):
    driver = begin()
    driver.add("a")
    driver.report("a", 1, 1.0)
    driver.fail("a", retry=True)
    assert driver.report("a", 1, math.nan) is STOP


def test_trials_that_end_with_the_whole_experiment_are_ended_here_too(begin, tmp_path):
    driver = begin()
    for name in "abc":
        driver.add(name)
        driver.report(name, 1, 1.0)
    driver.complete("c")
    driver.trials["a"].status, driver.trials["b"].status = "TERMINATED", "ERROR"  # and no hook is called
    driver.trials["a"].last_result = {"val_loss": 0.5, "training_iteration": 2, "done": True, "config": {"width": 1}}
    assert len(driver.scheduler.decisions()) == 3
    assert driver.scheduler.ledger.trials["a"].losses == [(1, 1.0), (2, 0.5)]
    assert {t: r.status for t, r in driver.scheduler.ledger.trials.items()} == {
        "a": "completed",
        "b": "errored",
        "c": "completed",
    }
    assert not driver.scheduler.ledger.live
    assert pq.read_table(tmp_path / "decisions.parquet").num_rows == 3


@pytest.mark.parametrize("wrap", [lambda s: SearchGenerator(s), lambda s: SearchGenerator(ConcurrencyLimiter(s, 2))])
def test_the_search_is_found_by_itself(tmp_path, wrap):
    search = GlocalSearch(SPACE, "val_loss", "max")
    scheduler = GlocalScheduler()
    scheduler.set_search_properties(None, None)
    driver = Tune(scheduler, tmp_path, wrap(search))
    copied = GlocalScheduler(search=GlocalSearch(SPACE, "val_loss", "max"))
    Tune(copied, tmp_path, wrap(search)).add("copied")  # Tune runs another copy of the searcher than was named
    assert copied.ledger is search.ledger
    search.suggest("a")
    driver.add("a")
    assert scheduler.ledger is search.ledger
    assert scheduler.reading == search.reading == Reading("val_loss", "max")
    driver.report("a", 1, 1.0)
    search.on_trial_result("a", {"val_loss": 7.0, "training_iteration": 1.5})  # leaves the recording to the scheduler
    assert [e.loss for e in search.ledger.events if isinstance(e, Reported)] == [-1.0]
    assert not (tmp_path / LEDGER_FILE).exists()


def test_results_without_the_metric_or_with_odd_values_are_survived(begin, caplog):
    driver = begin()
    driver.add("a")
    for odd in (None, "text", object(), [1.0, 2.0], np.zeros(3)):
        assert driver.report("a", 1, odd) is CONTINUE
    driver.complete("a", {"other": 1})
    assert "Trial a never reported the metric `val_loss`; it reported ['training_iteration', 'val_loss']" in caplog.text


@pytest.mark.parametrize(
    ("word", "chosen", "removes"),
    [
        ("needed", {}, True),
        ("all", {}, False),
        ("needed", {"num_to_keep": 5}, False),
        ("needed", {"checkpoint_score_attribute": "val_loss"}, False),
    ],
)
def test_checkpoints_are_removed_unless_somebody_chose(begin, word, chosen, removes):
    driver = begin(checkpoints=word)
    trial = Trial("a", driver.folder, {"width": 1})
    trial.run_metadata.checkpoint_manager.checkpoint_config = tune.CheckpointConfig(**chosen)
    driver.scheduler.on_trial_add(driver, trial)
    assert (driver.scheduler._retention is not None) == removes
    assert pickle.loads(pickle.dumps(driver.scheduler))._retention is None


KEYS = ["val_loss", "step", "training_iteration", "forecast/final_loss", "forecast/deviation"]
KEYS += ["total_steps", "hyper/lr", "potential", "cost/steps"]
huge = st.sampled_from([10**400, -(10**400), 1e308, 5e-324])
values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), huge, st.text(max_size=3), st.just([]))


@given(st.dictionaries(st.sampled_from(KEYS), values))
@example({"val_loss": 0, "step": 1.7e308})  # the next rung lies beyond the largest float
def test_hooks_survive_any_result(result):
    scheduler = GlocalScheduler("val_loss", "min")
    with tempfile.TemporaryDirectory() as folder:  # a fresh one each time: what lies in it is taken for a memory
        tune_, trial = Tune(scheduler, folder), Trial("a", folder, {"width": 1})
        scheduler.on_trial_add(tune_, trial)
        assert scheduler.on_trial_result(tune_, trial, result) in (CONTINUE, STOP)
        scheduler.on_trial_complete(tune_, trial, result)
    assert journal.read(journal.write(scheduler.ledger)) == scheduler.ledger


def test_trials_end_at_max_t(begin):
    driver = begin(max_t=3)
    driver.add("a")
    assert [driver.report("a", step, 1.0) for step in (1, 2, 3)] == [CONTINUE, CONTINUE, STOP]
    assert driver.scheduler.decisions()[-1]["rule"] == "max_t"
    assert driver.scheduler.decisions()[-1]["reason"] == "Step 3 reaches max_t, 3: the trial is done."
    assert not driver.scheduler.ledger.trial("a").pruned


def test_tune_is_told_which_metric_every_result_has_to_have(begin):
    assert GlocalScheduler().metric is None
    driver = begin(metric="accuracy", mode="max")
    driver.add("a")
    assert driver.scheduler.metric == "accuracy"


def test_the_table_is_written_when_nothing_is_live(begin, tmp_path):
    driver = begin()
    driver.add("a")
    driver.report("a", 1, 1.0)
    driver.complete("a")
    assert pq.read_table(tmp_path / "decisions.parquet").to_pylist() == driver.scheduler.decisions()
    elsewhere = driver.scheduler.write_decisions(tmp_path / "deep" / "table.parquet")
    assert pq.read_table(elsewhere).num_rows == 1


def test_no_decisions_before_an_experiment():
    assert GlocalScheduler("a", "min").decisions()[:] == []
    assert GlocalScheduler().decisions() == []


def test_a_trial_at_its_last_step_has_ended_and_is_not_pruned(begin):
    driver = begin()
    for name, loss in (("a", 0.1), ("b", 0.2), ("c", 0.3)):
        driver.add(name)
        driver.report(name, 9, loss, total_steps=9)
    assert not any(record.pruned for record in driver.scheduler.ledger.trials.values())
    driver.add("d")
    driver.report("d", 9, float("nan"), total_steps=9)
    assert driver.scheduler.ledger.trial("d").pruned
