"""The trace: what is in it, that it only grows, and that nothing of a lost run stays in it."""

import math
import re
from array import array
from dataclasses import replace
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ray_glocal.forecast import Forecast, Kind
from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.session import GlocalSession
from ray_glocal.session.state.trace import Row, Trace

from .cases import LIVELY, WAYS, Run, differences, drive, rows_of, windows

MLFLOW = re.compile(r"[/\w.\- ]*")  # names of metrics that it takes on every system
SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("hyperparameter", pa.string()),
        ("value", pa.float64()),
        ("local", pa.float64()),
        ("forecast", pa.float64()),
        ("deviation", pa.float64()),
        ("gate", pa.string()),
        ("reason", pa.string()),
        ("trajectory", pa.list_(pa.float64())),
        ("back_to", pa.int64()),
        ("entries", pa.list_(pa.float64())),
    ]
)


def row(step, name="lr", reason="why"):
    return Row(step, name, 0.1, -1.0, -0.5, math.inf, "act", reason)


def read(folder):
    return pq.read_table(folder).sort_by([("step", "ascending")]).to_pylist()


@pytest.mark.parametrize("way", WAYS)
def test_the_parts_are_the_rows(tmp_path, way):
    run = Run(trace=tmp_path, settings=WAYS[way])
    session = run.session()
    drive(session, session.batches(run.loader))
    table = pq.read_table(tmp_path)
    assert table.schema.equals(SCHEMA)
    assert session.trace.table().schema.equals(SCHEMA)
    assert differences(rows_of(session), read(tmp_path)) == []
    assert {"act", "hold"} <= set(table["gate"].to_pylist())
    names = [h.name for h in run.hyper]
    by_step = {}
    for line in read(tmp_path):
        by_step.setdefault(line["step"], []).append(line["hyperparameter"])
    assert all(found == names for found in by_step.values())
    steps = [step for step in by_step if step]  # a probe comes before the first
    searched = [step for index, step in enumerate(steps) if step == LIVELY.search_window * (index + 1)]
    cycle = range(LIVELY.period, run.total, LIVELY.period)
    assert searched
    assert steps == searched + [step for step in cycle if step - LIVELY.window >= searched[-1]]


@pytest.mark.parametrize("way", WAYS)
def test_values_in_the_trace_are_those_of_the_window_and_reasons_tell_the_next(way):
    run = Run(settings=WAYS[way])
    session = run.session()
    drive(session, session.batches(run.loader))
    lines = [line for line in rows_of(session) if line["hyperparameter"] == "lr"]
    assert any("moves to" in line["reason"] for line in lines[:-1])
    for line, after in pairwise(lines):
        if "moves to" in line["reason"]:
            told = float(line["reason"].rpartition("moves to ")[2])
            assert after["value"] == pytest.approx(told, rel=1e-3)
        else:
            assert way == "first-order" or line["gate"] == "hold"  # the search may end where it is
            assert after["value"] == line["value"]


@pytest.mark.parametrize("way", WAYS)
def test_a_trajectory_is_that_of_a_window_and_ends_in_its_local_hypergradient(way):
    run = Run(settings=WAYS[way])
    session = run.session()
    drive(session, session.batches(run.loader))
    seen = [line for line in rows_of(session) if line["trajectory"]]
    assert bool(seen) is (way != "first-order")
    for line in seen:
        assert len(line["trajectory"]) in (LIVELY.window, LIVELY.search_window)
        assert line["trajectory"][-1] == line["local"]


def test_parts_are_appended(tmp_path):
    trace = Trace(tmp_path / "deep" / "folder")
    trace.append([])
    seen = []
    for step in (8, 16, 24):
        trace.append([row(step), row(step, "momentum")])
        parts = sorted((tmp_path / "deep" / "folder").iterdir())
        assert parts[:-1] == seen
        seen = parts
    assert len(read(tmp_path / "deep" / "folder")) == 6


def test_two_entries_of_one_step_are_both_kept(tmp_path):
    """A window closes, and the report of the same step retreats."""
    trace = Trace(tmp_path)
    trace.append([row(8), row(8, "momentum")])
    trace.append([row(8, reason="roll back")])
    assert [line["reason"] for line in read(tmp_path)] == ["why", "why", "roll back"]


@pytest.mark.parametrize("way", WAYS)
def test_what_a_lost_run_wrote_later_is_removed_on_resume(tmp_path, way):
    folder, kept = tmp_path / "trace", tmp_path / "checkpoint"
    run = Run(trace=folder, settings=WAYS[way])
    session = run.session()
    drive(session, session.batches(run.loader), 40)
    session.save(kept)
    then = read(folder)
    drive(session, session.batches(run.loader), 90)
    assert len(read(folder)) > len(then)
    (folder / ".step-000000000077.parquet").write_bytes(b"half a part")
    session = Run(trace=folder, settings=WAYS[way]).session()
    session.restore(kept)
    assert differences(then, read(folder)) == []
    assert not [part for part in folder.iterdir() if part.name.startswith(".")]


def test_a_fresh_run_does_not_inherit_the_trace_of_a_lost_one(tmp_path):
    Trace(tmp_path).append([row(3), row(3, "gone")])
    (tmp_path / "notes.txt").write_text("not ours")
    run = Run(trace=tmp_path)
    session = run.session()
    assert len(read_parquet(tmp_path)) == 2, "nothing is removed before training starts: this may become a resume"
    drive(session, session.batches(run.loader), 20)
    assert differences(rows_of(session), read_parquet(tmp_path)) == []
    assert (tmp_path / "notes.txt").exists()


def read_parquet(folder):
    return [line for part in sorted(folder.glob("*.parquet")) for line in pq.read_table(part).to_pylist()]


def test_a_trace_without_a_folder_stays_in_memory_and_in_checkpoints(tmp_path):
    trace = Trace()
    trace.append([row(8), row(16)])
    trace.save(tmp_path / "trace.parquet")
    again = Trace()
    again.load(tmp_path / "trace.parquet", 8)
    assert again.rows == [row(8)]
    assert [part.name for part in tmp_path.iterdir()] == ["trace.parquet"]


def test_a_trace_from_before_a_column_was_added_is_read(tmp_path):
    file, trace = tmp_path / "trace.parquet", Trace()
    trace.append([row(8)])
    pq.write_table(trace.table().drop_columns(["back_to", "entries"]), file)
    again = Trace()
    again.load(file, 8)
    assert again.rows == [row(8)]


def long(step, name, count):
    return replace(row(step, f"|{name}|"), entries=array("d", [step + place / count for place in range(count)]))


def test_values_of_many_entries_are_held_as_long_as_there_is_room(tmp_path, monkeypatch):
    """The hyperparameter that has the most of them goes first, and does not come back."""
    monkeypatch.setattr("ray_glocal.session.state.trace.MOST_VALUES", 120)
    trace = Trace()
    for step in (1, 2, 3):
        trace.append([row(step), long(step, "few", 20), long(step, "many", 30)])
        assert trace.table()["entries"].null_count == (step if step < 3 else 2 * step)
    trace.save(tmp_path / "trace.parquet")
    again = Trace(tmp_path / "parts")
    again.load(tmp_path / "trace.parquet", 2)
    again.append([row(3), long(3, "few", 20), long(3, "many", 30)])
    assert again.rows == trace.rows
    assert [each.entries for each in again.rows if each.hyperparameter == "|few|"] == [
        long(step, "few", 20).entries for step in (1, 2, 3)
    ]
    assert read(tmp_path / "parts") == [
        {**vars(each), "entries": each.entries and each.entries.tolist()} for each in again.rows
    ]


def weighted(count, settings, scale="identity", start=1.0, **changed):
    """A session that weights training samples."""
    torch.manual_seed(0)
    model = nn.Linear(6, 3).double()
    run = Run()

    def loss(model, batch, hyper):
        entropy = F.cross_entropy(model(batch[0]), batch[1], reduction="none")
        return (entropy * hyper["weights"][batch[1] % count]).mean()

    def val(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1])

    value = torch.full((count,), start, dtype=torch.float64)
    hyper = [Hyperparameter("weights", value, 1e-3 if scale == "log" else 0.0, 10.0, scale, **changed)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    arguments = {"val_batches": list(run.loader), "hyper": hyper, "total_steps": 60, "settings": settings}
    return run, GlocalSession(model, optimizer, loss, val, **arguments)


@pytest.mark.parametrize("way", WAYS)
def test_few_entries_have_rows_of_their_own(way):
    run, session = weighted(3, WAYS[way])
    drive(session, session.batches(run.loader))
    assert {line["hyperparameter"] for line in rows_of(session)} == {"weights[0]", "weights[1]", "weights[2]"}
    assert {"hyper/weights.0", "elasticity/weights.2"} <= session.metrics().keys()


@pytest.mark.parametrize("way", WAYS)
def test_many_entries_share_a_row_of_norms(way):
    run, session = weighted(40, WAYS[way])
    drive(session, session.batches(run.loader))
    lines = rows_of(session)
    assert {line["hyperparameter"] for line in lines} == {"|weights|"}
    assert lines[0]["value"] == pytest.approx(math.sqrt(40))
    assert lines[0]["entries"].tolist() == [1.0] * 40
    assert all(line["value"] == pytest.approx(math.hypot(*line["entries"])) for line in lines)
    moved = [one["entries"] != other["entries"] for one, other in pairwise(lines)]
    assert moved == ["moves to" in line["reason"] for line in lines[:-1]]
    assert lines[0]["local"] > 0
    if way == "windows":  # which judge a vector as one
        assert all(line["reason"].startswith("elasticity +") for line in lines)
    moved = [line for line in lines if line["gate"] != "hold"]
    assert moved
    assert all("; moves to " in line["reason"] for line in moved)
    assert session.metrics()["hyper/weights.norm"] == pytest.approx(float(session.values["weights"].norm()))
    assert all(MLFLOW.fullmatch(key) for key in session.metrics())


@pytest.mark.parametrize("way", WAYS)
def test_a_value_at_its_bound_says_so(way):
    run = Run(start={"lr": 1e-5}, settings=WAYS[way])
    session = run.session(hyper=[Hyperparameter("lr", 1e-4, 1e-5, 1e-4, "log")])
    drive(session, session.batches(run.loader))
    assert any(line["reason"].endswith("; stays at its bound") for line in rows_of(session))
    assert float(session.values["lr"]) == 1e-4
    assert not session.metrics()["searching"], "a search that has nowhere to go ends"


def test_an_unusable_forecast_says_why(monkeypatch):
    class Refusing:
        def forecast(self, series, horizon):
            return Forecast.refused(series.shape[1], horizon, Kind.SHORT, "there were too few snapshots")

    run = Run(total=20)
    monkeypatch.setattr("ray_glocal.session.windows.adaptation.forecaster", lambda name: Refusing())
    session = run.session()
    drive(session, session.batches(run.loader))
    assert {line["reason"] for line in rows_of(session)} == {"no usable forecast: there were too few snapshots"}
    assert all(math.isnan(line["forecast"]) for line in rows_of(session))
    assert all(math.isfinite(line["local"]) for line in rows_of(session))


def test_small_acts_are_called_small():
    run = Run(settings=windows(window=8, search_window=6, duty_cycle=0.5, act=1e6, act_small=0.05))
    session = run.session()
    drive(session, session.batches(run.loader))
    small = [line for line in rows_of(session) if line["gate"] == "act small"]
    assert small
    assert all(" at only " in line["reason"] for line in small)
