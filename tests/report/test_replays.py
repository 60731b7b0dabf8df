"""Replays: of what the scheduler really wrote, and of ledgers that were tampered with."""

import json
import math
import re
import shutil

import pytest
import recordings

from ray_glocal.errors import ArgumentError
from ray_glocal.report import replay
from ray_glocal.scheduling.rules.rung import Rung
from ray_glocal.scheduling.rungs import Ladder
from ray_glocal.tune import GlocalScheduler

LEDGER = "glocal-ledger.json"


def test_what_the_scheduler_wrote_comes_out_again(tmp_path):
    told = replay(recordings.judged(tmp_path))
    assert told.same
    assert (told.decisions, told.unverifiable) == (6, 0)
    assert told.reports == 8
    assert "Results replayed: 8; decisions as recorded: 6.\nEvery decision comes out as recorded." in str(told)


@pytest.mark.parametrize("options", [{"max_t": 3}, {"reduction_factor": 2}, {"rules": ("rung",)}, {"rules": ()}])
def test_whatever_the_settings(tmp_path, options):
    assert replay(recordings.judged(tmp_path, **options)).same


def lines(folder):
    return [json.loads(line) for line in (folder / LEDGER).read_text().splitlines()]


def rewritten(folder, rows):
    (folder / LEDGER).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def first(rows, **told):
    return next(i for i, row in enumerate(rows) if told.items() <= row.items())


def loss_of_another(rows):
    rows[first(rows, event="reported", trial="a", step=1)]["mean"] = 99.0
    return r"trial a at step 1: the ledger records continue by rung .*the rules answer continue by rung \(At rung 1"


def answer(rows):
    rows[first(rows, event="decision", trial="c")]["action"] = "continue"
    return r"trial c at step 1: the ledger records continue by rung .*; the rules answer stop by rung"


def reason(rows):
    rows[first(rows, event="decision", trial="b")]["reason"] = "Because."
    return r"trial b at step 1: the ledger records continue by rung \(Because\.\); the rules answer continue by rung"


def removal(rows):
    del rows[first(rows, event="decision", trial="a")]
    return r"trial a at step 1: the ledger records no decision; the rules answer continue by rung"


def addition(rows):
    position = first(rows, event="reported", trial="b", step=2)
    rows.insert(position + 1, {**rows[first(rows, event="decision", trial="b")], "step": 2})
    return r"trial b at step 2: the ledger records continue by rung .*; the rules answer no decision\."


def invention(rows):
    rows.insert(4, {**rows[first(rows, event="decision", trial="a")], "trial": "q", "step": 9})
    return r"a decision without a result to judge: continue by rung"


def settings(rows):
    rows[first(rows, event="settled", name="reduction_factor")]["value"] = 2
    return r"trial a at step 2: the ledger records no decision; the rules answer continue by rung \(At rung 2"


@pytest.mark.parametrize("tamper", [loss_of_another, answer, reason, removal, addition, invention, settings])
def test_tampering_is_found_and_the_first_difference_told(tmp_path, tamper):
    folder = recordings.judged(tmp_path)
    rows = lines(folder)
    message = tamper(rows)
    told = replay(rewritten(folder, rows))
    assert not told.same
    assert re.search(message, told.difference), told.difference
    assert "First difference: " in str(told)


def test_the_last_result_of_a_trial_may_be_unjudged(tmp_path):
    experiment = recordings.Experiment(tmp_path, {})
    for name in "abc":
        experiment.add(name)
    for name, value in (("a", 1.0), ("b", 2.0)):
        experiment.report(name, 1, value)
    experiment.add("d")
    experiment.end("d", {"val_loss": 9.0, "step": 1})  # a stopper kept it from the scheduler
    assert replay(experiment.write()).same


def test_steps_that_ran_again_are_judged_by_what_the_ledger_keeps(tmp_path):
    experiment = recordings.Experiment(tmp_path, {"grace_period": 2})
    for name in "abc":
        experiment.add(name)
    experiment.report("c", 2, 3.0)
    experiment.report("c", 3, 3.0)
    experiment.fail("c")
    for name in "ab":
        experiment.report(name, 2, 1.0)
    assert not experiment.report("c", 3, 3.0)  # unanswered the first time, and too bad by now
    told = replay(experiment.write())
    assert told.same
    assert (told.decisions, told.unverifiable) == (4, 0)


def test_a_step_that_ran_again_with_another_result_cannot_be_verified(tmp_path):
    experiment = recordings.Experiment(tmp_path, {})
    experiment.add("a")
    experiment.report("a", 1, 1.0)
    experiment.fail("a")
    assert not experiment.report("a", 1, math.nan)
    told = replay(experiment.write())
    assert told.same
    assert (told.decisions, told.unverifiable) == (1, 1)
    assert "on repeated steps, whose results the ledger does not keep: 1." in " ".join(str(told).split())


def test_a_trial_that_a_restore_sent_back_replays(tmp_path):
    experiment = recordings.Experiment(tmp_path, {})
    experiment.add("a")
    experiment.report("a", 1, 1.0)
    experiment.scheduler = GlocalScheduler("val_loss", "min", grace_period=1)
    experiment.scheduler.on_trial_add(experiment, experiment.trials["a"])
    assert not experiment.report("a", 1, math.nan)
    told = replay(experiment.write())
    assert told.same
    assert (told.decisions, told.unverifiable) == (1, 1)


def test_a_trial_that_comes_back_after_its_end_replays(tmp_path):
    experiment = recordings.Experiment(tmp_path, {})
    experiment.add("a")
    experiment.end("a", {"val_loss": 9.0, "step": 1})  # a stopper kept it from the scheduler
    experiment.trials["a"].status = "PENDING"
    experiment.scheduler.on_trial_add(experiment, experiment.trials["a"])
    experiment.report("a", 2, 1.0)
    experiment.report("a", 3, 1.0)
    assert replay(experiment.write()).same


def test_diverged_trials_replay(tmp_path):
    experiment = recordings.Experiment(tmp_path, {})
    for name, value in (("a", math.nan), ("b", math.inf), ("c", 1.0)):
        experiment.add(name)
        experiment.report(name, 1, value)
    told = replay(experiment.write())
    assert told.same
    assert told.decisions == 3


def test_rules_of_ones_own_have_to_be_passed(tmp_path):
    own = Rung(Ladder(1), caution=0.5)
    folder = recordings.judged(tmp_path, rules=[own])
    with pytest.raises(ArgumentError, match=r"`rules` must be the library's own to be found by name; got 'rung'"):
        replay(folder)
    assert replay(folder, rules=[own]).same
    assert not replay(folder, rules=[Rung(Ladder(1, 5))]).same


def test_without_decisions_there_is_nothing_to_replay(tmp_path):
    with pytest.raises(ArgumentError, match=r"`results` must hold a ledger; got '.*asha'. Only experiments under"):
        replay(recordings.stock(tmp_path / "asha"))
    folder = recordings.judged(tmp_path / "mine")
    shutil.copy(folder / LEDGER, folder / "searcher-state-1.pkl")
    rows = [row for row in lines(folder) if row.get("event") not in ("settled", "decision")]
    rewritten(folder, rows)
    assert replay(folder).same  # the searcher's comes first
    (folder / "searcher-state-1.pkl").unlink()
    with pytest.raises(
        ArgumentError, match=r"`ledger` must hold the settings grace_period, reduction_factor and max_t"
    ):
        replay(folder)
    (folder / LEDGER).write_text((folder / LEDGER).read_text().replace('"event": "reported"', '"event": "x"', 1))
    with pytest.raises(ArgumentError, match=r"`ledger` must hold a whole record on line"):
        replay(folder)
