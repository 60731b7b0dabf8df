"""The study of one driver's limit: its instruments, its record of a session, its arithmetic, and a short run."""

import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import torch

import scale
from ray_glocal import GlocalSession, Hyperparameter
from ray_glocal.simulate._compat import VirtualController
from ray_glocal.simulate.actor import Actor
from scaling import disk, saving
from scaling.experiment import BEFORE, CONTROLLER, OURS, PARTS, STOCK, run
from scaling.limit import Driver, driver
from scaling.report import ADAPTED, LENGTH, SPACE, reported
from scaling.stopwatch import REST, Stopwatch
from scaling.text import proposals

from .conftest import STUDIES


def test_each_second_is_counted_once_where_one_part_calls_another():
    now = [0.0]
    watch = Stopwatch(lambda: now[0])

    def work(seconds):
        now[0] += seconds

    inner = watch.within("inner", lambda: work(2))

    def body():
        work(1)
        inner()
        work(4)
        raise KeyError

    work(8)
    with pytest.raises(KeyError):
        watch.within("outer", body)()
    work(16)
    assert watch.lap() == {"outer": 5, "inner": 2, REST: 24}


def test_reports_are_those_of_a_session():
    torch.manual_seed(0)
    model, batch = torch.nn.Linear(2, 1), torch.randn(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5, weight_decay=1e-3)
    values = {"lr": 0.1, "momentum": 0.5, "weight_decay": 1e-3}
    session = GlocalSession(
        model,
        optimizer,
        lambda net, data: net(data).square().mean(),
        lambda net, data: net(data).square().mean(),
        val_batches=[batch],
        hyper=[Hyperparameter(name, values[name], lower=1e-6, upper=0.99, scale="log") for name in ADAPTED],
        total_steps=100,
    )
    session.step(batch)
    config = {**{name: domain.sample() for name, domain in SPACE.items()}, **values}
    ours, theirs = reported(config, 1), session.metrics()
    assert ours.keys() == theirs.keys()
    assert all(isinstance(ours[name], str) == isinstance(theirs[name], str) for name in ours)


@pytest.mark.parametrize("kind", [OURS, BEFORE, STOCK])
def test_a_simulated_experiment_is_timed_by_part_and_leaves_no_trace(kind, tmp_path):
    own = VirtualController.step, VirtualController._process_trial_result, Actor.call, Actor.start
    told = run(8, 4, kind, tmp_path)
    assert (VirtualController.step, VirtualController._process_trial_result, Actor.call, Actor.start) == own
    trials = told.controller.get_trials()
    assert len(trials) == 8
    assert len(told.steps) == sum(trial.last_result["training_iteration"] for trial in trials)
    assert told.seconds >= 2 * 60 * min(trial.last_result["training_iteration"] for trial in trials)
    for part in PARTS:
        assert 0 < sum(step[part] for step in told.steps) <= told.driver[part] or part == "searcher"
    assert told.driver[CONTROLLER] == max(told.driver.values())


def test_the_snapshot_that_encodes_what_is_new_and_the_one_that_encodes_all_hold_the_same(tmp_path):
    told = run(4, 4, OURS, tmp_path)
    rows = {(row["what"], row.get("new")): row for row in saving.snapshots(told, OURS, tmp_path)}
    anew = next(row for (what, _), row in rows.items() if what == "ledger, anew")
    whole = next(row for (what, new), row in rows.items() if what == "ledger, by the searcher" and new == anew["new"])
    assert whole["bytes"] == pytest.approx(anew["bytes"], rel=0.01)  # one question more, and its proposal
    restored = next(row for (what, _), row in rows.items() if what == "ledger, restored")
    assert restored["new"] > anew["new"]


def test_loggers_write_a_line_for_each_report():
    told = {row["what"]: row for row in disk.logged()}
    assert {name: row["files"] for name, row in told.items()} == {"JSON": 3, "CSV": 1, "TensorBoard": 1}
    assert all(row["bytes"] > 100 * LENGTH for row in told.values())
    assert all(row["open"] >= 1 for row in told.values())


def test_a_ledgers_memory_grows_with_its_reports():
    few, many = (saving.remembered(20, reports) for reports in (10, 20))
    assert (few["new"], many["new"]) == (20 * 11, 20 * 21)
    assert 20 * 10 * 100 < many["bytes"] - few["bytes"] < 20 * 10 * 2000


def test_an_upload_copies_everything():
    told = disk.uploaded(trials=3, files=2, held=2000, state=500)
    assert (told["files"], told["bytes"]) == (7, 3 * 2000 + 500)


def test_the_number_of_workers_is_where_the_driver_is_so_busy():
    for told in (Driver(4e-3, 1e-6, 5.0), Driver(4e-3, 0.0, 0.1)):
        for share in (0.5, 1.0):
            assert told.busy(told.workers(share, 60.0), 60.0) == pytest.approx(share)
    assert Driver(4e-3, 0.0, 5.0).snapshots == pytest.approx(1 / 20)  # Tune's own rule: a twentieth
    assert Driver(4e-3, 0.0, 0.1).snapshots == pytest.approx(0.1 / 10.1)
    assert Driver(3e-3, 0.0, 0.0).busy(1000, 60.0) == pytest.approx(0.05)


def test_what_a_result_costs_is_the_simulated_driver_and_what_a_real_one_takes_more():
    simulated = {"part": "simulated", "kind": OURS}
    rows = [
        {**simulated, "trials": 5, "workers": 2, "what": "result", CONTROLLER: 1.0, "choice": 0.5},
        {**simulated, "trials": 9, "workers": 3, "what": "driver", "seconds": 20.0, "results": 10},
        *(
            {**simulated, "trials": 9, "workers": 3, "what": "Tune's state", "seconds": seconds}
            for seconds in (8.0, 3.0, 1.0)
        ),
        *(
            {**simulated, "trials": 9, "workers": 3, "what": "ledger, by the searcher", "seconds": s}
            for s in (4.0, 2.0, 1.0)
        ),
        {"part": "live", "api": "class", "logging": True, "saves": False, "actors": 2, "seconds": 6.0},
        *({"part": "waited", "futures": k, "seconds": 7.0 + 0.25 * k} for k in (2, 10, 30)),
    ]
    told = driver(rows, 9, api="class", logging=True, saves=False)
    assert told.each(2) == pytest.approx(20 / 10 + 6 - 1.5)
    assert told.each(12) - told.each(2) == pytest.approx(2.5)
    assert told.snapshot == 5.0


@pytest.mark.parametrize(("one", "two", "best"), [(0.006, 0.076, 1), (0.076, 0.006, 2)])
def test_the_page_advises_the_number_of_threads_that_took_least(one, two, best):
    rows = [
        {"part": "proposed", "threads": threads, "seconds": seconds, "wall": 2 * seconds}
        for threads, seconds in ((2, two), (1, one))
    ]
    told = proposals(rows)
    assert told.startswith(f"Set `OPENBLAS_NUM_THREADS={best}` before")
    assert f"takes {1e3 * one:.0f} ms of the processor and {2e3 * one:.0f} by the clock with 1, " in told


@pytest.mark.cluster
def test_a_short_run_leaves_a_page(tmp_path):
    script = str(STUDIES / "scale.py")
    subprocess.run([sys.executable, script, "--smoke", "--out", str(tmp_path)], check=True, timeout=280)
    rows = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert {row["part"] for row in rows} == {type(cell).__name__.lower() for cell in scale.cells(True)} | {"uploaded"}
    page = (tmp_path / "README.md").read_text()
    for heading in ("Where one driver falls behind", "The driver by part", "What real Ray adds", "Snapshots", "writes"):
        assert heading in page
    assert "nan" not in page
