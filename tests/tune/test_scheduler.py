"""The scheduler's hooks, called as Tune calls them, without Ray processes."""

import dataclasses
import math
import pickle
import resource
import tempfile
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import ConcurrencyLimiter, SearchGenerator

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Forecast, Kind, Outcome
from ray_glocal.names import LEDGER_FILE
from ray_glocal.scheduling import journal
from ray_glocal.scheduling.event import Reported
from ray_glocal.scheduling.rules.rung import Rung
from ray_glocal.scheduling.rungs import Ladder
from ray_glocal.session.pacing.budget import reports_every
from ray_glocal.session.pacing.tuning import COMPARED, THIRDS
from ray_glocal.tune import GlocalScheduler, GlocalSearch
from ray_glocal.tune.curve import forecast_at
from ray_glocal.tune.reading import Reading, finite, flat_config, number
from ray_glocal.tune.rulebook import Rulebook

SPACE = {"width": tune.choice([1, 2]), "lr": tune.loguniform(1e-4, 1.0)}
CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP


class Trial(SimpleNamespace):
    """As much of a Tune trial as hooks read."""

    def __init__(self, trial_id, folder, kept=None):
        config = tune.CheckpointConfig(num_to_keep=kept)
        manager = SimpleNamespace(checkpoint_config=config, latest_checkpoint_result=None)
        super().__init__(
            trial_id=trial_id,
            config={"width": 1},
            status="PENDING",
            checkpoint=None,
            last_result={},
            metric_n_steps={},
            local_experiment_path=str(folder),
            run_metadata=SimpleNamespace(checkpoint_manager=manager),
        )


class Tune:
    """Calls hooks in Tune's order."""

    def __init__(self, scheduler, folder, search=None):
        self.scheduler, self.folder, self.search_alg = scheduler, folder, search
        self.trials = {}

    def get_trials(self):
        return list(self.trials.values())

    def add(self, name, **options):
        self.trials[name] = Trial(name, self.folder, **options)
        self.scheduler.on_trial_add(self, self.trials[name])

    def report(self, name, step, value, **more):
        self.trials[name].status = "RUNNING"
        result = {"val_loss": value, "training_iteration": step, "config/width": 1, **more}
        answer = self.scheduler.on_trial_result(self, self.trials[name], result)
        assert answer is CONTINUE or answer is STOP
        if answer is STOP:
            self.complete(name, result)
        return answer

    def complete(self, name, result=None):
        self.scheduler.on_trial_complete(self, self.trials[name], result or {})
        self.trials[name].status = "TERMINATED"

    def fail(self, name, retry):
        self.trials[name].status = "ERROR" if retry else "RUNNING"
        self.scheduler.on_trial_error(self, self.trials[name])
        if retry:
            self.trials[name].status = "PENDING"
            self.scheduler.on_trial_add(self, self.trials[name])


@pytest.fixture
def begin(tmp_path):
    def begin(folder=tmp_path, **options):
        options = {"grace_period": 1, **options}
        told = options.pop("metric", "val_loss"), options.pop("mode", "min")
        return Tune(GlocalScheduler(*told, **options), folder)

    return begin


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


def test_restored_trials_are_upserted(begin, tmp_path):
    driver = begin()
    for name in "abc":
        driver.add(name)
    driver.trials["b"].status = "TERMINATED"
    driver.trials["c"].status = "ERROR"
    for trial in driver.trials.values():
        driver.scheduler.on_trial_add(driver, trial)
        driver.scheduler.on_trial_add(driver, trial)
    assert {t: r.status for t, r in driver.scheduler.ledger.trials.items()} == {
        "a": "live",
        "b": "completed",
        "c": "errored",
    }
    driver.trials["c"].status = "PENDING"  # resumed on request
    driver.scheduler.on_trial_add(driver, driver.trials["c"])
    assert driver.scheduler.ledger.trial("c").status == "live"
    driver.scheduler.on_trial_remove(driver, driver.trials["c"])
    assert driver.scheduler.ledger.live == {"a"}


def test_a_trial_that_only_the_restored_memory_knows_is_given_up(begin, caplog):
    driver = begin()
    for name in ("best", "other"):
        driver.add(name)
    driver.report("best", 1, 0.0)
    again = begin()  # its file was saved later than the experiment, which does not know of the best
    again.trials = {"other": driver.trials["other"]}
    again.scheduler.on_trial_add(again, again.trials["other"])
    assert again.scheduler.choose_trial_to_run(again) is again.trials["other"]
    assert again.scheduler.ledger.live == {"other"}
    assert again.scheduler.ledger.trial("best").status == "lost"
    assert "Tune has lost the trials ['best'] with its last snapshot; they are given up." in caplog.text
    again.add("c")
    assert [again.report(name, 1, 9.0) for name in ("other", "c")] == [CONTINUE] * 2, "nobody better is left to win"


@pytest.mark.parametrize("status", ["RUNNING", "TERMINATED"])
def test_results_that_the_restored_memory_lacks_are_recalled(begin, tmp_path, status):
    """As they were recorded when they came; but what lies behind no checkpoint of a live trial comes again."""
    driver = begin(max_t=27)
    driver.add("a")
    losses = [3.0, 2.5, 2.2, 2.0, 1.9]
    for step, loss in enumerate(losses, 1):
        driver.report("a", step, loss)
        if step == 2:
            driver.scheduler.save(str(tmp_path / "early"))
    again = begin(max_t=27)
    again.add("b")  # which begins the experiment
    again.scheduler.restore(str(tmp_path / "early"))
    again.trials["a"] = trial = driver.trials["a"]
    trial.status, trial.last_result = status, {"training_iteration": 5, "val_loss": losses[-1]}
    trial.metric_n_steps = {
        "training_iteration": {"5": [1, 2, 3, 4, 5], "10": [1, 2, 3, 4, 5]},
        "val_loss": {"5": losses, "10": losses},
    }
    manager, held = trial.run_metadata.checkpoint_manager, SimpleNamespace(metrics={"training_iteration": 5})
    manager.latest_checkpoint_result = held if status == "RUNNING" else None
    again.scheduler.on_trial_add(again, trial)
    record, before = (d.scheduler.ledger.trial("a") for d in (again, driver))
    assert record.losses == before.losses
    events = [e for e in again.scheduler.ledger.events if isinstance(e, Reported)]
    assert [event.recalled for event in events] == [False, False, True, True, True]
    expected = [e for e in driver.scheduler.ledger.events if isinstance(e, Reported)]
    assert [dataclasses.replace(event, recalled=False) for event in events] == expected
    assert record.status == ("live" if status == "RUNNING" else "completed")
    if status == "RUNNING":
        assert again.report("a", 6, 1.8) is driver.report("a", 6, 1.8)


def test_what_the_restored_memory_has_forgotten_is_not_proposed_again(tmp_path):
    search = GlocalSearch(SPACE, "val_loss", "min")
    search.save(str(tmp_path / "early"))
    driver = Tune(GlocalScheduler(search=search), tmp_path, search)
    config = search.suggest("a")
    driver.add("a")
    restored = GlocalSearch(SPACE, "val_loss", "min")
    restored.restore(str(tmp_path / "early"))
    again = Tune(GlocalScheduler(search=restored), tmp_path, restored)
    again.add("a")
    assert again.scheduler.choose_trial_to_run(again) is again.trials["a"]
    proposed = restored.suggest("b")
    assert (proposed["width"], proposed["lr"]) != (config["width"], config["lr"])
    again.add("somebody else's")  # as of a repeater, which runs one proposal several times
    assert restored.ledger.proposals == 2


@pytest.mark.parametrize(("end", "factor"), [(243, 3), (1000, 10)])
def test_trials_are_judged_on_every_rung_below_the_end(begin, end, factor):
    driver = begin(max_t=end, reduction_factor=factor)
    names = [str(k) for k in range(factor)]
    for name in names:
        driver.add(name)
    rungs = [factor**k for k in range(10) if factor**k < end]
    for rung in rungs[:-1]:
        assert {driver.report(name, rung, 1.0) for name in names} == {CONTINUE}
    answers = [driver.report(name, rungs[-1], 1.0 + int(name)) for name in names]
    assert answers == [CONTINUE] * (factor - 1) + [STOP]
    assert [row["step"] for row in driver.scheduler.decisions() if row["trial"] == "0"] == rungs


def test_the_schedulers_own_memory_survives_and_is_text(begin):
    driver = begin()
    for i, name in enumerate("ab"):
        driver.add(name)
        driver.report(name, 1, float(i))
    again = begin(grace_period=7)  # the ladder that was settled stays
    for trial in driver.trials.values():
        again.trials[trial.trial_id] = trial
        again.scheduler.on_trial_add(again, trial)
    assert again.scheduler.ledger.events == driver.scheduler.ledger.events
    again.add("c")
    assert again.report("c", 1, 9.0) is STOP
    kept = journal.read((driver.folder / LEDGER_FILE).read_text())
    assert kept == again.scheduler.ledger


def test_another_experiment_begins_with_an_empty_memory(begin, tmp_path):
    driver = begin()
    driver.add("a")
    driver.folder = tmp_path / "other"
    driver.folder.mkdir()
    driver.add("b")
    assert list(driver.scheduler.ledger.trials) == ["b"]


def test_a_torn_memory_is_said_and_a_damaged_one_set_aside(begin, tmp_path, caplog):
    driver = begin()
    driver.add("a")
    path = tmp_path / LEDGER_FILE
    path.write_text(path.read_text() + '{"event":')
    begin().add("a")
    assert "torn by a crash and is dropped" in caplog.text
    path.write_text("no ledger\n")
    again = begin()
    again.add("a")
    assert "The memory of earlier decisions is lost; it is kept as" in caplog.text
    assert path.with_suffix(".damaged").read_text() == "no ledger\n"
    assert journal.read(path.read_text()) == again.scheduler.ledger


def test_a_full_disk_costs_the_memory_not_the_run(begin, tmp_path, caplog):
    (tmp_path / "gone").write_text("a file in the place of the folder")
    driver = begin(folder=tmp_path / "gone")
    driver.add("a")
    assert driver.report("a", 1, 1.0) is CONTINUE
    assert "The ledger could not be written" in caplog.text
    (tmp_path / "gone").unlink()  # Tune makes the folder later than it adds the first trial; so does the ledger
    driver.report("a", 2, 1.0)
    assert journal.read((tmp_path / "gone" / LEDGER_FILE).read_text()) == driver.scheduler.ledger
    (tmp_path / "gone" / "decisions.parquet").mkdir()
    driver.complete("a")
    assert "The decisions could not be written" in caplog.text


def test_a_record_that_did_not_fit_on_the_disk_is_written_whole_when_there_is_room(begin, tmp_path):
    driver = begin()
    driver.add("a")
    path, limits = tmp_path / LEDGER_FILE, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, limits[1]))
    try:
        driver.report("a", 1, 1.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text()[-1] != "\n"  # a part of it fitted
    driver.report("a", 2, 1.0)
    assert journal.read(path.read_text()) == driver.scheduler.ledger


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


def test_save_and_restore_of_the_scheduler_itself(begin, tmp_path):
    driver = begin()
    driver.add("a")
    driver.report("a", 1, 1.0)
    driver.scheduler.save(str(tmp_path / "state"))
    other = GlocalScheduler("val_loss", "min")
    other.restore(str(tmp_path / "state"))
    assert other.ledger == driver.scheduler.ledger


def test_a_pickled_pair_still_shares_one_ledger(tmp_path):
    search = GlocalSearch(SPACE, "val_loss", "min")
    scheduler = GlocalScheduler(search=search)
    search, scheduler = pickle.loads(pickle.dumps((search, scheduler)))
    assert search.ledger is scheduler.ledger


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
    trial = Trial("a", driver.folder)
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
        tune_, trial = Tune(scheduler, folder), Trial("a", folder)
        scheduler.on_trial_add(tune_, trial)
        assert scheduler.on_trial_result(tune_, trial, result) in (CONTINUE, STOP)
        scheduler.on_trial_complete(tune_, trial, result)
    assert journal.read(journal.write(scheduler.ledger)) == scheduler.ledger


@pytest.mark.parametrize(
    ("options", "result", "grace"),
    [
        ({"max_t": 270}, {}, 30),
        ({}, {"total_steps": 540}, 400),
        ({"max_t": 270}, {"total_steps": 9}, 400),
        ({}, {}, 1),
        ({"grace_period": 5}, {"total_steps": 540}, 5),
        ({"reduction_factor": 2}, {"total_steps": 80}, 900),
    ],
)
def test_the_grace_period_is_settled_at_the_first_result(begin, options, result, grace):
    driver = begin(**{"grace_period": None, **options})
    driver.add("a")
    driver.report("a", 1, 1.0, **result)
    assert driver.scheduler.ledger.settled("grace_period") == grace


@pytest.mark.parametrize("total", [300, 1200])
def test_sessions_report_where_the_scheduler_compares_them(begin, total):
    driver = begin(grace_period=None)
    driver.add("a")
    driver.report("a", 1, 1.0, total_steps=total)
    ladder = Rulebook.settled(driver.scheduler.ledger).ladder
    rungs = range(ladder.rung(ladder.parts) + 1)
    assert [ladder.parts / ladder.milestone(rung) for rung in rungs] == [COMPARED, THIRDS, THIRDS / 2]
    period = reports_every(0.1, 128, 5 / 3, total)
    steps = range(period, total + 1, period)
    reached = [ladder.rung(ladder.clock(Reported("a", step, 1.0, total=total))) for step in steps]
    for rung in rungs:
        first = steps[reached.index(rung)]
        assert first == pytest.approx(total * ladder.milestone(rung) / ladder.parts, abs=9), "no report stands near it"


def test_a_ledger_tells_the_rulebook_it_was_written_by(begin):
    driver = begin(max_t=30, reduction_factor=4, rules=("rung", "nonfinite"))
    driver.add("a")
    driver.report("a", 1, 1.0)
    ledger = journal.read(journal.write(driver.scheduler.ledger))
    assert Rulebook.settled(ledger) == driver.scheduler._judge.rulebook
    assert [rule.name for rule in Rulebook.settled(ledger).rules] == ["rung", "nonfinite"]
    assert ledger.settled("sign/val_loss") == 1.0


def test_a_rule_of_somebody_elses_is_not_found_by_its_name(begin):
    own = Rung(Ladder(1), caution=7.0)
    driver = begin(rules=[own, "nonfinite"])
    driver.add("a")
    driver.report("a", 1, 1.0)
    with pytest.raises(
        ArgumentError, match=r"`rules` must be the library's own to be found by name; got 'rung'. Replay"
    ):
        Rulebook.settled(driver.scheduler.ledger)
    assert Rulebook.settled(driver.scheduler.ledger, [own]).rules == (own,)


def test_an_experiment_goes_on_by_the_rulebook_that_it_began_with(begin, caplog):
    driver = begin(max_t=9)
    driver.add("a")
    driver.report("a", 1, 1.0)
    again = begin(max_t=9, reduction_factor=5)
    again.add("b")
    again.report("b", 1, 2.0)
    assert again.scheduler._judge.ladder == Ladder(1, 3, 9)
    assert (
        "goes on with Ladder(grace=1, factor=3, top=9, parts=0), as it began; Ladder(grace=1, factor=5" in caplog.text
    )


def test_a_ledger_without_a_scheduler_has_no_rulebook():
    with pytest.raises(
        ArgumentError, match=r"`ledger` must hold the settings grace_period, .*; got \[None, None, None\]"
    ):
        Rulebook.settled(GlocalSearch(SPACE).ledger)


def test_tunes_own_stopping_criterion_tells_the_end(begin):
    driver = begin(grace_period=None)
    driver.scheduler.set_search_properties(None, None, stop={"training_iteration": 81})
    driver.add("a")
    driver.report("a", 1, 1.0)
    assert driver.scheduler.ledger.settled("grace_period") == 9


def test_trials_end_at_max_t(begin):
    driver = begin(max_t=3)
    driver.add("a")
    assert [driver.report("a", step, 1.0) for step in (1, 2, 3)] == [CONTINUE, CONTINUE, STOP]
    assert driver.scheduler.decisions()[-1]["rule"] == "max_t"
    assert driver.scheduler.decisions()[-1]["reason"] == "Step 3 reaches max_t, 3: the trial is done."
    assert not driver.scheduler.ledger.trial("a").pruned


class Line:
    """Forecasts the straight line through the last two snapshots; keeps what it was asked."""

    def __init__(self, kind=Kind.OK):
        self.asked, self.kind = [], kind

    def forecast(self, series, horizon):
        self.asked.append((len(series), horizon))
        if self.kind is not Kind.OK:
            return Forecast.refused(1, horizon, self.kind, "no")
        slope = series[-1] - series[-2]
        return Forecast(series[-1] + horizon * slope, np.array([0.5]), horizon, Outcome(Kind.OK, "a line"))


def test_trials_that_do_not_forecast_are_forecast_at_rungs_only(begin):
    line = Line()
    driver = begin(forecaster=line, max_t=30)
    driver.add("a")
    for step in range(1, 11):
        driver.report("a", step, 100.0 - step)
    assert line.asked == [(3, 27.0), (9, 21.0)]
    means = [e.mean for e in driver.scheduler.ledger.events if isinstance(e, Reported) and e.mean is not None]
    assert means == [70.0, 70.0]


def test_the_ensemble_forecasts_a_decay():
    scheduler = GlocalScheduler("val_loss", "min")
    losses = [(step, 1.0 + 0.8**step) for step in range(20)]
    mean, deviation = forecast_at(scheduler._judge.terms.forecaster, losses, 100)
    assert mean == pytest.approx(1.0, abs=0.05)
    assert deviation >= 0


@pytest.mark.parametrize("losses", [[], [(1, 1.0)], [(1, 1.0), (2, math.nan)], [(1, 1.0), (2, 2.0)]])
def test_no_forecast_where_there_is_nothing_to_go_by(losses):
    assert forecast_at(Line(Kind.SHORT), losses, 9) == (None, None)


@pytest.mark.parametrize(
    ("value", "best", "most"), [(0.9, 0.9, 1.0), (60.0, 60.0, 100.0), (0.9, 60.0, 100.0), (-0.1, 0.9, math.inf)]
)
def test_a_forecast_of_a_share_ends_at_one_or_at_a_hundred_where_anybody_was_above_one(value, best, most):
    assert Reading("val_accuracy", "max").possible(-math.inf, -value, -best) == -most
    assert Reading("val_loss", "max").possible(-math.inf, -value, -best) == -math.inf
    assert Reading("val_loss", "max", bounds=(0.0, 7.0)).possible(-math.inf, -value, -best) == -7.0


def test_tune_is_told_which_metric_every_result_has_to_have(begin):
    assert GlocalScheduler().metric is None
    driver = begin(metric="accuracy", mode="max")
    driver.add("a")
    assert driver.scheduler.metric == "accuracy"


def test_what_others_have_reported_tells_if_a_share_is_one_in_a_hundred(begin):
    driver = begin(metric="accuracy", mode="max", forecaster=Line(), max_t=30)
    for trial, values in (("a", (10.0, 20.0, 30.0)), ("b", (0.2, 0.4, 0.6))):
        driver.add(trial)
        for step, value in enumerate(values, 1):
            driver.report(trial, step, 0.0, accuracy=value)
    means = [e.mean for e in driver.scheduler.ledger.events if isinstance(e, Reported) and e.mean is not None]
    assert means == [pytest.approx(-100.0), pytest.approx(-0.6 - 27 * 0.2)]


def test_a_sessions_own_forecast_counts_for_its_own_metric_only():
    result = {"val_loss": 2.0, "acc": 0.5, "forecast/final_loss": 1.0, "forecast/deviation": 0.1, "step": 7}
    assert Reading("val_loss", "min").report("a", result).mean == 1.0
    assert Reading("acc", "max").report("a", result) == Reported("a", 7, -0.5)
    promising = {**result, "potential": 0.25}
    assert Reading("val_loss", "min").report("a", promising).potential == 0.25
    assert Reading("acc", "max").report("a", promising).potential is None, "it is of another metric"
    refused = {**result, "forecast/final_loss": math.nan}
    assert Reading("val_loss", "min").report("a", refused).final == 2.0


def test_numbers_of_any_library_are_read():
    import torch

    assert [number(x) for x in (1, 2.5, np.float32(1), np.int64(3), torch.tensor([4.0]), np.array([5]))] == [
        1.0,
        2.5,
        1.0,
        3.0,
        4.0,
        5.0,
    ]
    assert [number(x) for x in (None, True, "1", [1], torch.zeros(2), object())] == [None] * 6
    assert finite(math.inf) is None


def test_configurations_are_flattened_for_json():
    config = {"a": {"b": 1}, "c": math.nan, "d": int, "e": None, "f": "x"}
    assert flat_config(config) == {"a/b": 1, "c": "nan", "d": "<class 'int'>", "e": None, "f": "x"}


def test_the_table_is_written_when_nothing_is_live(begin, tmp_path):
    driver = begin()
    driver.add("a")
    driver.report("a", 1, 1.0)
    driver.complete("a")
    assert pq.read_table(tmp_path / "decisions.parquet").to_pylist() == driver.scheduler.decisions()
    elsewhere = driver.scheduler.write_decisions(tmp_path / "deep" / "table.parquet")
    assert pq.read_table(elsewhere).num_rows == 1


@pytest.mark.parametrize("kept", [1, 2])
def test_too_few_checkpoints_are_refused(tmp_path, kept):
    search = GlocalSearch(SPACE, "val_loss", "min")
    with pytest.raises(ArgumentError, match=rf"`num_to_keep` must be None or at least 3.*got {kept}"):
        Tune(GlocalScheduler(search=search), tmp_path, search).add("a", kept=kept)
    search = GlocalSearch(SPACE, "val_loss", "min", weights=False)
    Tune(GlocalScheduler(search=search), tmp_path, search).add("a", kept=kept)
    Tune(GlocalScheduler("val_loss", "min"), tmp_path).add("a", kept=kept)


SEARCH = GlocalSearch(SPACE, "val_loss", "min")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GlocalScheduler("acc", search=SEARCH), r"`metric` must be the same everywhere, 'acc' so far; got"),
        (lambda: GlocalScheduler(mode="max", search=SEARCH), r"`mode` must be the same everywhere, 'max' so far"),
        (
            lambda: GlocalScheduler("a", "min").set_search_properties("b", "min"),
            r"`metric` must be the same everywhere, 'a' so far; got 'b'. Scheduler, searcher and Tune",
        ),
        (
            lambda: GlocalScheduler("a", "big"),
            r"`mode` must be 'min' or 'max'; got 'big'. Say whether a small or a large 'a'",
        ),
        (lambda: GlocalScheduler(mode="big"), r"`mode` must be 'min' or 'max'; got 'big'"),
        (
            lambda: GlocalScheduler().set_search_properties("a", "big"),
            r"`mode` must be 'min' or 'max'; got 'big'. Say whether a small or a large 'a'",
        ),
        (lambda: GlocalScheduler(search="optuna"), r"`search` must be a GlocalSearch; got 'optuna'. Leave it out"),
        (lambda: GlocalScheduler(max_t=0), r"`max_t` must be positive; got 0"),
        (lambda: GlocalScheduler(grace_period=2.5), r"`grace_period` must be a whole number of at least 1; got 2.5"),
        (
            lambda: GlocalScheduler(reduction_factor=1),
            r"`reduction_factor` must be a whole number of at least 2; got 1",
        ),
        (lambda: GlocalScheduler(rules=["best"]), r"`rules` must name rules out of"),
        (lambda: GlocalScheduler(forecaster="best"), r"got 'best'"),
        (lambda: GlocalScheduler("a", "min").write_decisions(), r"`path` must be given before an experiment has begun"),
        (
            lambda: Tune(GlocalScheduler(search=SEARCH), "/x", "random search").add("a"),
            r"`search` must be the searcher that proposes the trials; got 'random search'. Pass the same object",
        ),
        (lambda: Tune(GlocalScheduler(), "/x").add("a"), r"`metric` must name the reported value to optimise"),
        (lambda: Tune(GlocalScheduler("a"), "/x").add("a"), r"`mode` must be 'min' or 'max'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


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


def test_a_memory_that_somebody_removed_is_written_whole_again(begin, tmp_path):
    driver = begin()
    driver.add("a")
    (tmp_path / LEDGER_FILE).unlink()
    driver.report("a", 1, 1.0)
    assert journal.read((tmp_path / LEDGER_FILE).read_text()) == driver.scheduler.ledger


def test_a_scheduler_at_work_can_be_copied(begin):
    driver = begin()
    driver.add("a")
    twin = pickle.loads(pickle.dumps(driver.scheduler))
    assert twin.ledger == driver.scheduler.ledger
