"""Legal orders of Tune's calls, against a model in plain dicts: of a pair of ours, and of the scheduler beside others.

Legal is what `ray/tune/execution/tune_controller.py` does: a result with `done` or at a stopping criterion is told at
the end only; a trial that is saving ends, or fails, after its STOP; a trial that failed comes back and goes on from its
last checkpoint; a restored experiment adds every trial again before the first is chosen to run. The experiment's file
and the memory may stem from different moments: a ledger beside a stock searcher is written with each event, and a
driver may die while files are carried to the storage.
"""

import copy
import math
import pickle
import random
import shutil
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from modelled import ENDED, Known, Last, Trial, told
from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import ConcurrencyLimiter

from ray_glocal.names import LEDGER_FILE
from ray_glocal.report.verification import rehearsed
from ray_glocal.scheduling import journal
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.tune import GlocalScheduler, GlocalSearch
from ray_glocal.tune.rulebook import Rulebook

SPACE = {"optimizer": tune.choice(["sgd", "adamw"]), "width": tune.choice([1, 2]), "lr": tune.loguniform(1e-4, 1.0)}
CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP
TOTAL, END = 12, 16  # steps that a session says it has; steps at which the scheduler ends a trial

odd = st.sampled_from([math.nan, math.inf, -math.inf])
losses = st.integers(0, 9).map(float) | st.floats(-1e6, 1e6, width=32)
values = st.one_of(losses, losses, losses, losses, odd, odd, st.none())
SESSION = {
    "forecast/final_loss": losses | odd,
    "forecast/deviation": st.sampled_from([0.0, 0.1, 3.0, math.nan]),
    "potential": st.sampled_from([0.0, 0.01, 5.0, math.nan]),
    "hyper/lr": st.sampled_from([1e-4, 0.03, 1.0, math.nan]),
    "cost/steps": st.just(7.0),
}
metrics = st.fixed_dictionaries({}, optional=SESSION)
which = st.integers(0, 99)
seldom = st.integers(0, 4).map(lambda n: n == 4)
resumed = st.sampled_from(["skip", "resume", "restart"])
reports = st.tuples(which, st.integers(1, 4), values, metrics, st.booleans(), st.booleans())


class Orders(RuleBasedStateMachine):
    """Tune's controller as schedulers and searchers see it."""

    ours, mode, limited = True, "min", False

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.trials, self.known, self.saves, self.count = {}, {}, [], 0
        self.begin()

    def teardown(self):
        ledger = self.scheduler.ledger
        if ledger.settled("grace_period") is not None:
            replayed = rehearsed(ledger)
            assert replayed.same, replayed.difference
        shutil.rmtree(self.folder)

    def begin(self, named=True):
        """A fresh pair, told what `tune.run` tells it."""
        self.search = GlocalSearch(SPACE, seed=3) if self.ours else None
        options = {"search": self.search} if self.ours and named else {}
        self.scheduler = GlocalScheduler(
            grace_period=1,
            reduction_factor=2,
            max_t=END,
            forecaster=Last(),
            checkpoints="all",  # there are none
            **options,
        )
        self.outer = ConcurrencyLimiter(self.search, 3) if self.limited else self.search
        for each in (self.outer, self.scheduler) if self.ours else (self.scheduler,):
            more = () if each is self.scheduler else ({},)
            each.set_search_properties("val_loss", self.mode, *more, num_samples=40)

    # What hooks ask of the controller.

    @property
    def search_alg(self):
        finished = len(self.trials) > 4
        return SimpleNamespace(is_finished=lambda: finished, **({"searcher": self.outer} if self.ours else {}))

    def get_trials(self):
        return list(self.trials.values())

    # What happens.

    def among(self, index, *statuses, told=False):
        """One of the trials in these states; None where there is none."""
        found = [t for t in self.trials.values() if t.status in statuses and t.told == told]
        return found[index % len(found)] if found else None

    def has(self, *statuses, told=False):
        return self.among(0, *statuses, told=told) is not None

    def turn(self):
        """What comes before each event: the scheduler chooses."""
        chosen = self.scheduler.choose_trial_to_run(self)
        assert chosen is None or chosen.status == "PENDING"
        for name, known in self.known.items():
            if name not in self.trials and known.running:  # the memory is ahead of the experiment
                known.running, known.failed = False, True

    @rule(saying=st.lists(st.booleans(), min_size=1, max_size=3))
    def add(self, saying):
        for says in saying:
            self.add_one(says)

    def add_one(self, says):
        self.count += 1
        name = f"t{self.count}"
        config = self.outer.suggest(name) if self.ours else {"width": 1, "lr": 0.1}
        if config is None:
            assert self.limited
            return
        self.trials[name] = Trial(name, config, str(self.folder), {"total_steps": TOTAL} if says else {})
        self.scheduler.on_trial_add(self, self.trials[name])
        self.known[name] = Known()

    @precondition(lambda self: self.has("PENDING"))
    @rule(index=which)
    def start(self, index):
        self.turn()
        trial = self.among(index, "PENDING")
        trial.status, trial.at = "RUNNING", trial.kept

    @precondition(lambda self: self.has("RUNNING", "PENDING"))
    @rule(told=st.lists(reports, min_size=1, max_size=8))
    def results(self, told):
        """Some at once, and trials that wait are started for them: most orders would hold too few otherwise."""
        for index, *report in told:
            trial = self.among(index, "RUNNING", "PENDING")
            if trial is not None and trial.status == "PENDING":
                trial.status, trial.at = "RUNNING", trial.kept
            if trial is not None and trial.at < trial.total.get("total_steps", math.inf):
                self.result(trial, *report)
            elif trial is not None:
                self.returned(trial)

    @precondition(lambda self: self.has("RUNNING", "PENDING"))
    @rule(told=st.lists(reports, min_size=4, max_size=8))
    def many_results(self, told):
        self.results(told)

    def result(self, trial, stride, value, more, clock, saves):
        self.turn()
        result = self.next_result(trial, stride, value, more, clock)
        answer = self.scheduler.on_trial_result(self, trial, dict(result))
        assert answer is CONTINUE or answer is STOP
        self.answered(trial.trial_id, result, answer)
        if answer is CONTINUE and self.ours:
            self.outer.on_trial_result(trial.trial_id, dict(result))
        trial.results.append(result)
        trial.kept = trial.at if saves else trial.kept
        if answer is STOP and saves:
            trial.told = True
        elif answer is STOP:
            self.complete(trial, {**result, "done": True})

    @precondition(lambda self: self.has("RUNNING"))
    @rule(index=which, stride=st.integers(1, 4), value=values, more=metrics)
    def stopper(self, index, stride, value, more):
        """Tune's own criterion ends a trial, or the trainable says that it is done: `on_trial_result` never sees it."""
        self.turn()
        trial = self.among(index, "RUNNING")
        if trial.at >= trial.total.get("total_steps", math.inf):
            return self.returned(trial)
        trial.results.append(self.next_result(trial, stride, value, more, False))
        return self.complete(trial, {**trial.last_result, "done": True})

    @precondition(lambda self: self.has("RUNNING"))
    @rule(index=which)
    def function_returns(self, index):
        self.returned(self.among(index, "RUNNING"))

    def returned(self, trial):
        """A function's last result comes once more; a trial that reported nothing ends with nothing."""
        self.turn()
        self.complete(trial, {**trial.last_result, "done": True} if trial.last_result else {})

    @precondition(lambda self: self.has("RUNNING", told=True))
    @rule(index=which)
    def saved(self, index):
        self.turn()
        trial = self.among(index, "RUNNING", told=True)
        self.complete(trial, {**trial.last_result, "done": True})

    @precondition(lambda self: self.has("RUNNING") or self.has("RUNNING", told=True))
    @rule(index=which, told=st.booleans(), retry=st.booleans(), twice=st.booleans())
    def failure(self, index, told, retry, twice):
        """A retried trial comes back at the end of the queue; the actor and its task may both tell of one death."""
        self.turn()
        trial = self.among(index, "RUNNING", told=told) or self.among(index, "RUNNING", told=not told)
        trial.told = False
        before = copy.deepcopy(self.trials)
        if retry:
            trial.status = "ERROR"
            self.scheduler.on_trial_error(self, trial)
            if not self.ours:  # its file may be all that is left of this moment
                self.saves.append((before, self.memory(), copy.deepcopy(self.known)))
            trial.status = "PENDING"
            self.trials[trial.trial_id] = self.trials.pop(trial.trial_id)
            self.scheduler.on_trial_add(self, trial)
        if not retry or twice:
            self.scheduler.on_trial_error(self, trial)
            if self.ours:
                self.outer.on_trial_complete(trial_id=trial.trial_id, error=True)
            trial.status = "ERROR"
            self.known[trial.trial_id].running = False
            self.known[trial.trial_id].failed = True

    @precondition(lambda self: self.has("PENDING"))
    @rule(index=which)
    def remove(self, index):
        """A trial is stopped before it runs."""
        self.turn()
        trial = self.among(index, "PENDING")
        self.scheduler.on_trial_remove(self, trial)
        if self.ours:
            self.outer.on_trial_complete(trial_id=trial.trial_id)
        trial.status = "TERMINATED"
        self.known[trial.trial_id].running = False

    @precondition(lambda self: self.trials)
    @rule(copies=st.booleans())
    def save(self, copies):
        self.saves.append((copy.deepcopy(self.trials), self.memory(), copy.deepcopy(self.known)))
        if copies:
            self.scheduler, self.outer = pickle.loads(pickle.dumps((self.scheduler, self.outer)))
            self.search = getattr(self.outer, "searcher", self.outer)

    @precondition(lambda self: self.saves)
    @rule(moment=which, shift=st.integers(-1, 1), errored=resumed, order=which, stopped=seldom)
    def crash(self, moment, shift, errored, order, stopped):
        """The driver dies; some saved state comes back, and the memory saved with it, or before, or after."""
        if stopped:
            return self.interrupt(order)
        moment %= len(self.saves)
        trials = self.saves[moment][0]
        _, text, known = self.saves[min(max(moment + shift, 0), len(self.saves) - 1)]
        self.saves = [(trials, text, known)]
        return self.restore(trials, text, known, errored, order)

    def interrupt(self, order):
        """The experiment is stopped, which no hook is told of, and restored; only who saves may notice the ends."""
        for name, trial in self.trials.items():
            if trial.status not in ENDED:
                trial.status = "TERMINATED"
                if self.ours:
                    self.noticed(name, trial)
        self.save(False)
        self.restore(*self.saves[-1], "skip", order)

    def restore(self, trials, text, known, errored, order):
        self.begin(named=bool(order % 2))
        self.known, self.trials = copy.deepcopy(known), {}
        (self.folder / LEDGER_FILE).write_text(text) if not self.ours else self.give_back(text)
        restored = [replace(copy.deepcopy(trial), told=False) for trial in trials.values()]
        random.Random(order).shuffle(restored)
        saved = journal.read(text).events
        for trial in restored:
            self.add_again(trial, errored)
        assert repr(self.scheduler.ledger.events[: len(saved)]) == repr(saved)
        self.turn()

    def give_back(self, text):
        path = self.folder / "searcher-state"
        path.write_text(text)
        self.search.restore(str(path))

    def add_again(self, trial, errored):
        if trial.status == "ERROR" and errored == "restart":  # another trial, of the same configuration
            self.count += 1
            trial = Trial(f"t{self.count}", trial.config, trial.local_experiment_path, trial.total)
        if trial.status not in ENDED or (trial.status == "ERROR" and errored == "resume"):
            trial.status = "PENDING"
        self.trials[trial.trial_id] = trial
        self.scheduler.on_trial_add(self, trial)
        known = self.known.setdefault(trial.trial_id, Known())
        if trial.status == "PENDING" or (trial.status == "TERMINATED" and known.running):
            for result in trial.lasting:
                self.learn(trial.trial_id, result)
        known.running = trial.status == "PENDING"
        known.failed = trial.status == "ERROR"

    def noticed(self, name, trial):
        """An end that no hook was told of: the last result that Tune holds is a fact, though the memory lacks it."""
        self.learn(name, trial.last_result)
        self.known[name].running = False

    def memory(self):
        """The text that a restore would find."""
        if not self.ours:
            return (self.folder / LEDGER_FILE).read_text()
        self.search.save(str(self.folder / "searcher-state"))
        return (self.folder / "searcher-state").read_text()

    # What must come of it.

    def next_result(self, trial, stride, value, more, clock):
        trial.at = min(trial.at + stride, trial.total.get("total_steps", math.inf))
        told = {} if value is None else {"val_loss": value}
        return {"training_iteration": trial.at, **trial.total, **told, **more, **({"step": trial.at} if clock else {})}

    def complete(self, trial, result):
        self.scheduler.on_trial_complete(self, trial, dict(result))
        if self.ours:
            self.outer.on_trial_complete(trial_id=trial.trial_id, result=dict(result))
        trial.status, trial.told = "TERMINATED", False
        self.learn(trial.trial_id, result)
        self.known[trial.trial_id].running = False

    def learn(self, name, result):
        """Put a result into the model; its step and loss."""
        if "val_loss" not in result:
            return None, None
        loss, step = result["val_loss"] * (1 if self.mode == "min" else -1), result["training_iteration"]
        if step not in self.known[name].losses:
            self.known[name].losses[step] = loss
            self.known[name].diverged |= not math.isfinite(loss)
        return step, loss

    def answered(self, name, result, answer):
        """Compare an answer with what the model expects of it."""
        step, loss = self.learn(name, result)
        known, decided = self.known[name], self.scheduler.ledger.decided(name, step)
        if step is None or (math.isfinite(loss) and step >= result.get("total_steps", math.inf)):
            assert answer is CONTINUE, "nothing to judge, or the trial has ended by itself"
        elif not math.isfinite(loss):
            assert answer is STOP
            known.answers[step], known.pruned, known.diverged = STOP, True, True
        else:
            assert answer is known.answers.get(step, answer), "the memory held another answer"
            assert answer is STOP or step < END
            assert answer is CONTINUE or decided.stops
            if decided is not None:
                known.answers[step] = answer
            if answer is STOP and decided.rule != "max_t" and not known.pruned:
                known.pruned = True
                assert decided.rule == "rung"
                assert any(other.may_win for other in self.known.values()), "nobody is left to win"

    @invariant()
    def the_memory_is_that_of_the_model(self):
        ledger = self.scheduler.ledger
        assert set(ledger.live) == {name for name, trial in self.trials.items() if trial.status not in ENDED}
        assert set(ledger.live) == {name for name, known in self.known.items() if known.running}
        records = ledger.trials
        assert set(records) == set(self.known)
        for name, known in self.known.items():
            record = records[name]
            assert repr(record.losses) == repr(list(known.losses.items()))
            assert (record.pruned, record.diverged) == (known.pruned, known.diverged)

    @invariant()
    def the_memory_replays(self):
        ledger = self.scheduler.ledger
        assert max(Counter(event.key for event in ledger.events).values(), default=1) == 1
        again = Ledger(ledger.events)
        assert again == ledger
        assert again.decisions == ledger.decisions
        assert repr(again.trials) == repr(ledger.trials)
        for definition, view in ledger._views.items():
            fresh = again.view(definition)
            assert told(fresh) == told(view)

    @invariant()
    def rungs_hold_nobody_who_cannot_win(self):
        ledger = self.scheduler.ledger
        if ledger.settled("grace_period") is None:
            return
        rungs = ledger.view(Rulebook.settled(ledger).ladder)
        for name, known in self.known.items():
            assert not (known.diverged or known.failed) or rungs.place(name) is None

    @invariant()
    def no_configuration_comes_twice(self):
        proposed = [tuple(trial.config.get(name) for name in SPACE) for trial in self.trials.values()]
        assert not self.ours or len(set(proposed)) == len(proposed)
