"""Whatever fails, the experiment is completed: real faults on a real cluster of several nodes.

Experiments run in processes forked from one that has imported everything, which is faster than to start each. With one
trial at a time and a checkpoint at every report there is nothing left to chance, so decisions must equal those of an
experiment that nothing happened to.
"""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import drivers
import pytest
from experiments import (
    JOURNAL,
    OURS,
    PLAN,
    TRIALS,
    Outcome,
    beats,
    freeze_between_writes,
    leave_a_whole_snapshot,
    memory,
    said,
    snapshot,
    wait,
)
from frail import STEPS
from ray.cluster_utils import Cluster

from ray_glocal.scheduling import journal

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]


class Stage:
    """A cluster of two workers' nodes, and the processes of drivers on it."""

    def __init__(self):
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self.nodes = [self.cluster.add_node(num_cpus=1) for _ in range(2)]
        self.processes = multiprocessing.get_context("forkserver")
        self.processes.set_forkserver_preload(["drivers"])
        self.calm = {}

    def start(self, folder, **plan):
        folder.mkdir(parents=True, exist_ok=True)
        process = self.processes.Process(target=drivers.conduct, args=(self.cluster.address, folder, {**PLAN, **plan}))
        process.start()
        return process

    def run(self, folder, **plan):
        """What came of an experiment that runs to its end."""
        process = self.start(folder, **plan)
        process.join(300)
        hangs = process.is_alive()
        process.kill()
        process.join()
        assert not hangs, said(folder)
        assert process.exitcode == 0, said(folder)
        return Outcome(folder)

    def undisturbed(self, make_folder, trials, trainable):
        """What comes of the same experiment when nothing happens."""
        if (trials, trainable) not in self.calm:
            constants = {"fault": "none", "faults": 0}
            self.calm[trials, trainable] = self.run(
                make_folder("calm"), trials=trials, trainable=trainable, constants=constants
            )
        return self.calm[trials, trainable]


@pytest.fixture(scope="module")
def stage():
    here = Path(__file__).parent
    kept = dict(os.environ)
    os.environ.update(PYTHONPATH=f"{here}:{here.parent.parent}", OMP_NUM_THREADS="1")
    stage = Stage()
    yield stage
    stage.cluster.shutdown()
    os.environ.clear()
    os.environ.update(kept)


@pytest.fixture
def calm(stage, tmp_path_factory):
    return lambda trials=TRIALS, trainable="steady": stage.undisturbed(tmp_path_factory.mktemp, trials, trainable)


# ---- drivers ----


@pytest.mark.parametrize(("entry", "at_a_time", "snapshots"), [("tuner", 1, "1"), ("run", 2, "0.3")])
def test_a_driver_killed_at_ten_random_moments_is_restored_every_time(
    stage, calm, tmp_path, entry, at_a_time, snapshots
):
    """Checkpoints are removed meanwhile, and none that a driver goes on from is ever missing."""
    plan = {"entry": entry, "at_a_time": at_a_time, "trials": 12, "pace": 0.1, "resume": True, "snapshots": snapshots}
    moments = random.Random(at_a_time)
    whole = True
    for _ in range(10):
        process = stage.start(tmp_path, **plan)
        live_until(tmp_path, process, moments)
        process.kill()
        process.join()
        whole = leave_a_whole_snapshot(tmp_path / "experiment") and whole
    outcome = stage.run(tmp_path, **plan)
    outcome.check(12)
    assert outcome.ledger.proposals == 12
    for trial, *_ in outcome.trials:  # what crashes took from Tune's memory altogether is nobody's
        assert len(list(outcome.folder.glob(f"steady_{trial}_*/checkpoint_*"))) == 1
    if not whole:
        pytest.skip("all held, but a kill tore Tune's own snapshot, so decisions need not be those of a calm run")
    assert "is gone" not in said(tmp_path)
    if at_a_time == 1:
        assert outcome.verdicts == calm(12).verdicts


def live_until(folder, process, moments):
    """Until a random moment: a number of reports after the start, or a time before the first."""
    before, reports = len(beats(folder)), moments.randrange(8)
    while reports and len(beats(folder)) < before + reports and process.is_alive():
        time.sleep(0.005)
    time.sleep(moments.uniform(0, 0.2 if reports else 1.5))


@pytest.mark.parametrize("newer", ["memory", "experiment"])
def test_a_driver_killed_between_its_files_is_restored_from_what_does_not_agree(stage, tmp_path, newer):
    plan = {"pace": 0.05, "resume": True}
    process = stage.start(tmp_path, **plan, snapshots="0")
    experiment, kept = tmp_path / "experiment", tmp_path / "kept"
    wait(tmp_path, process, lambda: memory(experiment).proposals == 3 and copied(experiment, kept))
    wait(tmp_path, process, lambda: memory(experiment).proposals >= 5)
    freeze_between_writes(process.pid, experiment, lambda: snapshot(experiment)[2])
    process.kill()
    process.join()
    for file in list(kept.glob(THEIRS if newer == "memory" else OURS)):
        file.replace(experiment / file.name)
    outcome = stage.run(tmp_path, **plan)
    assert [end for _, end, *_ in outcome.trials] == ["TERMINATED"] * TRIALS
    assert outcome.ledger.live == frozenset()
    known = {trial for trial, *_ in outcome.trials}
    for trial, record in outcome.ledger.trials.items():
        assert record.status in (("completed",) if trial in known else ("completed", "lost"))
        steps = [step for step, _ in record.losses]
        assert steps == list(range(1, len(steps) + 1))
    assert known <= set(outcome.ledger.trials)
    tried = {record.added.config["lr"] for record in outcome.ledger.trials.values()}
    assert len(tried) == len(outcome.ledger.trials)  # nothing is proposed twice
    if newer == "memory":
        assert "Tune has lost the trials" in outcome.heard


def test_a_driver_killed_between_its_files_has_forgotten_no_result_when_it_is_restored(stage, calm, tmp_path):
    """What Tune's own snapshot has behind a checkpoint, and will not come again, is read off it."""
    process = stage.start(tmp_path, pace=0.5, snapshots="0")
    experiment, kept = tmp_path / "experiment", tmp_path / "kept"
    wait(tmp_path, process, lambda: len(steps_of_the_second(experiment)) in (4, 5) and copied(experiment, kept))
    wait(tmp_path, process, lambda: len(steps_of_the_second(experiment)) >= 7)  # and no rung since
    freeze_between_writes(process.pid, experiment, lambda: snapshot(experiment)[2])
    process.kill()
    process.join()
    for file in list(kept.glob(OURS)):
        file.replace(experiment / file.name)
    outcome = stage.run(tmp_path, pace=0.05, resume=True)
    outcome.check()
    assert steps_of_the_second(experiment) == list(range(1, STEPS + 1))
    assert outcome.verdicts == calm().verdicts


THEIRS = "*e*_state-*.json"  # what Tune knows of trials, and their number


def steps_of_the_second(experiment):
    """At which the second trial has reported, as far as the memory knows."""
    _, second, *_ = [*memory(experiment).trials.values(), None, None]
    return [step for step, _ in second.losses] if second is not None else []


def copied(experiment, kept):
    """Whether a whole snapshot could be copied, for the driver writes meanwhile."""
    kept.mkdir(exist_ok=True)
    for file in [*experiment.glob(OURS), *experiment.glob(THEIRS)]:
        (kept / file.name).write_bytes(file.read_bytes())
    return leave_a_whole_snapshot(kept)


# ---- workers ----


@pytest.mark.parametrize("trainable", ["failing", "Failing"])
@pytest.mark.parametrize("fault", ["raises", "leaves", "dies", "dies while writing", "loses checkpoints"])
def test_a_worker_that_fails_costs_nothing_but_time(stage, calm, tmp_path, trainable, fault):
    outcome = stage.run(tmp_path, trainable=trainable, constants={"fault": fault, "faults": 2})
    outcome.check()
    assert sorted(record.attempt for record in outcome.ledger.trials.values())[-3:] == [0, 1, 1]
    assert outcome.verdicts == calm(trainable=trainable).verdicts
    if fault == "loses checkpoints":
        assert outcome.heard.count("is gone: it starts afresh") == 2


@pytest.mark.parametrize("fault", ["sleeping", "in a call that keeps the interpreter to itself"])
def test_a_hung_worker_ends_at_its_deadline_and_comes_back(stage, calm, tmp_path, fault):
    outcome = stage.run(tmp_path, trainable="hanging", constants={"fault": fault}, worker_logs=True)
    outcome.check()
    assert [record.attempt for record in outcome.ledger.trials.values()] == [1] + [0] * (TRIALS - 1)
    assert outcome.verdicts == calm().verdicts
    assert "Timeout (0:00:03)!" in said(tmp_path)
    if fault == "sleeping":
        assert "A step took longer than 2 s: unless it comes back within 1 s, this worker ends." in said(tmp_path)


def test_a_worker_killed_by_somebody_else_costs_nothing_but_time(stage, calm, tmp_path):
    process = stage.start(tmp_path, pace=0.1)
    for reports in (2, 8):
        wait(tmp_path, process, lambda: len(beats(tmp_path)) >= reports)  # noqa: B023
        os.kill(beats(tmp_path)[-1].process, signal.SIGKILL)
    process.join()
    outcome = Outcome(tmp_path)
    outcome.check()
    assert sum(record.attempt for record in outcome.ledger.trials.values()) == 2
    assert outcome.verdicts == calm().verdicts


def test_trials_that_report_no_numbers_stop_at_once_and_harm_nobody(stage, tmp_path):
    outcome = stage.run(tmp_path, trainable="diverging")
    outcome.check()
    bad = {trial for trial, r in outcome.ledger.trials.items() if r.added.config["optimizer"] == "sgd"}
    ended = {step for trial, _, step, _ in outcome.trials if trial in bad}
    assert ended <= {1, 2}
    assert 2 in ended
    rules = {(d["step"], d["rule"]) for d in outcome.decisions if d["trial"] in bad and d["action"] == "stop"}
    assert (2, "nonfinite") in rules
    assert rules <= {(1, "rung"), (2, "nonfinite")}
    assert {d["rule"] for d in outcome.decisions if d["trial"] not in bad} == {"rung"}


def test_trials_that_fail_for_good_leave_the_rest_alone(stage, tmp_path):
    outcome = stage.run(tmp_path, trainable="hopeless", failures=1, at_a_time=2)
    outcome.check(ends=("TERMINATED", "ERROR"))
    failed = {trial for trial, end, *_ in outcome.trials if end == "ERROR"}
    assert failed
    assert {outcome.ledger.trials[t].added.config["optimizer"] for t in failed} == {"sgd"}
    assert {outcome.ledger.trials[t].attempt for t in failed} == {1}


# ---- nodes ----


def test_trials_of_a_lost_node_go_on_at_another(stage, tmp_path):
    process = stage.start(tmp_path, at_a_time=2, pace=0.2, rules=("nonfinite",), trials=4)
    wait(tmp_path, process, lambda: len({b.node for b in beats(tmp_path) if b.step > 1}) == 2)
    lost = stage.nodes.pop(0)
    stage.cluster.remove_node(lost, allow_graceful=False)
    stage.nodes.append(stage.cluster.add_node(num_cpus=1))
    process.join(300)
    outcome = Outcome(tmp_path)
    outcome.check(4)
    back = {trial for trial, record in outcome.ledger.trials.items() if record.attempt}
    there = {beat.trial for beat in beats(tmp_path) if beat.node == lost.node_id}
    assert back
    assert back <= there
    for trial in back:
        nodes = [beat.node for beat in beats(tmp_path) if beat.trial == trial]
        assert nodes[0] == lost.node_id != nodes[-1]
    for record in outcome.ledger.trials.values():
        assert [step for step, _ in record.losses] == list(range(1, STEPS + 1))


# ---- files ----


@pytest.mark.parametrize(
    ("lost", "sentence"),
    [
        ("folder", "is gone: starting afresh"),
        ("contents", "The ancestor's checkpoint cannot be read: starting afresh."),
    ],
)
def test_descendants_of_trials_whose_checkpoints_are_lost_start_afresh(stage, tmp_path, lost, sentence):
    plan = {"trainable": "Small", "trials": 10, "checkpoints_lost": lost, "worker_logs": True, "failures": 0}
    outcome = stage.run(tmp_path, **plan, constants={"steps": 4})
    assert [end for _, end, *_ in outcome.trials] == ["TERMINATED"] * 10
    assert any(record.added.ancestor for record in outcome.ledger.trials.values())
    assert sentence in said(tmp_path)


def torn_tail(data):
    return data[:-20]


def torn_header(data):
    return data[:10]


def is_whole(ledger):
    return len(ledger) > 0 and not ledger.torn


def garbage(data):
    half = len(data) // 2
    return data[:half] + random.Random(0).randbytes(40) + data[half + 40 :]


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (torn_tail, "The last record was torn by a crash and is dropped"),
        (torn_header, "The header was torn by a crash and is dropped"),
        (garbage, "Part of the memory of earlier decisions is lost; it is kept as"),
    ],
)
def test_a_damaged_memory_is_said_and_the_rest_of_it_used(stage, tmp_path, ours, damage, sentence):
    plan = {"ours": ours, "pace": 0.05, "resume": True}
    process = stage.start(tmp_path, **plan, snapshots="0.2")
    experiment, pattern = tmp_path / "experiment", OURS if ours else JOURNAL
    wait(tmp_path, process, lambda: len(beats(tmp_path)) > 12 and list(experiment.glob(pattern)))
    freeze_between_writes(process.pid, experiment, lambda: is_whole(memory(experiment, pattern)))
    process.kill()
    process.join()
    (file,) = experiment.glob(pattern)
    before = journal.read(file.read_text())
    file.write_bytes(damage(file.read_bytes()))
    outcome = stage.run(tmp_path, **plan)
    outcome.check()
    assert sentence in outcome.heard
    kept = [event for event in outcome.ledger.events if event in before.events]
    least = {torn_tail: len(before) - 1, torn_header: 1, garbage: len(before) - 3}
    assert len(kept) >= least[damage]
    if ours:  # what was forgotten is not proposed again
        assert len({record.added.config["lr"] for record in outcome.ledger.trials.values()}) == TRIALS


@pytest.mark.parametrize("ours", [True, False])
def test_a_full_disk_is_said_and_ends_nothing(stage, calm, tmp_path, ours):
    outcome = stage.run(tmp_path, ours=ours, cramped=True, snapshots="0")
    outcome.check()
    assert f"The ledger could not be {'saved' if ours else 'written'} to" in outcome.heard
    assert "The decisions could not be written" in outcome.heard
    (memory,) = outcome.folder.glob(OURS if ours else JOURNAL)
    assert journal.read(memory.read_text()) == outcome.ledger  # written whole when there was room again
    if ours:
        assert outcome.verdicts == calm().verdicts
