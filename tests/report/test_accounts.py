"""The account of one experiment, from recorded folders."""

import json
import math
from types import SimpleNamespace

import pytest
import recordings
from hypothesis import given
from hypothesis import strategies as st

import ray_glocal.report
from ray_glocal import best_config
from ray_glocal.errors import ArgumentError
from ray_glocal.report import layout, summary
from ray_glocal.report.account import AdaptedValue
from ray_glocal.scheduling import journal


def test_an_account_of_our_own_experiment(tmp_path):
    told = summary(recordings.judged(tmp_path / "mine"))
    assert (told.name, told.metric, told.mode) == ("mine", "val_loss", "min")
    assert [t.id for t in told.trials][:2] == ["a", "b"]
    assert {t.id: t.status for t in told.trials} == {"a": "done", "b": "done", **dict.fromkeys("cdef", "pruned")}
    best = told.best
    assert (best.id, best.steps, best.best, best.last, best.forecast) == ("a", 3, 1 / 3, 1 / 3, 1 / 6)
    assert best.config == {"width": 1}
    assert told.config == {"width": 1, "lr": 0.5}
    assert told.adapted == (AdaptedValue("lr", 0.5, 0.125),)
    assert told.adapted[0].factor == 0.25
    assert told.tests == {"test_accuracy": 0.9}
    assert [(p.rule, p.count) for p in told.pruned] == [("rung", 4)]
    assert "behind the best" in told.pruned[0].example
    assert told.cost.steps == 30 + 30 + 4 * 10
    assert told.cost.counted
    assert told.cost.hypergradients == pytest.approx(0.4)
    assert told.cost.seconds == 0.5 * (3 + 3 + 4)
    assert told.notes == ()


def test_its_text_says_all_of_it_in_a_hundred_columns(tmp_path):
    text = str(summary(recordings.judged(tmp_path / "mine")))
    assert max(map(len, text.splitlines())) <= 100
    for part in (
        "mine: 6 trials (2 done, 4 pruned); smallest val_loss wins",
        "trial  configuration  status  steps    best    last  forecast  why",
        "a      width=1        done        3  0.3333  0.3333    0.1667",
        "c      width=3        pruned      1       3       3       1.5  rung",
        "Best: trial a, val_loss 0.3333: width 1",
        "  adapted  start    now  factor",
        "  lr         0.5  0.125    0.25",
        "Test: test_accuracy 0.9",
        "Pruned: 4 of 6 trials\n  4 by rung, for example: trial f: At rung 1 the forecast final val_loss ",
        "Cost: 100 inner-step equivalents, 5.0 trial seconds, 40% of a session's on hypergradients",
    ):
        assert part in text


def test_somebody_elses_experiment_says_what_is_not_recorded(tmp_path):
    told = summary(recordings.stock(tmp_path / "asha"))
    assert [(t.id, t.status, t.best, t.forecast) for t in told.trials] == [
        ("x", "done", 0.25, None),
        ("y", "done", 0.5, None),
        ("z", "early", 3.0, None),
    ]
    assert [t.config for t in told.trials] == [{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.2}]
    assert told.config == {"net/width": 8, "lr": 0.1, "seed": 7}
    assert (told.cost.steps, told.cost.counted, told.cost.hypergradients) == (9, False, None)
    text = " ".join(str(told).split())
    assert "Note: no GlocalScheduler judged these trials, so forecasts and the reasons" in text
    assert "not every trial counts its inner-step equivalents" in text
    assert "Cost: 9 inner steps, 4.5 trial seconds\n" in str(told)
    assert "Pruned" not in text


def test_a_maximised_metric_keeps_its_direction(tmp_path):
    experiment = recordings.Experiment(tmp_path, {"rules": ("nonfinite", "rung")}, "accuracy", "max")
    for name, value in (("a", 0.9), ("b", 0.5), ("c", 0.1)):
        experiment.add(name)
        experiment.report(name, 1, value)
    told = summary(experiment.write())
    assert (told.metric, told.mode, told.best.id, told.best.best) == ("accuracy", "max", "a", 0.9)
    assert told.pruned[0].example == (
        "trial c: At rung 1 the forecast final accuracy 0.1 (optimistically 0.1) is behind the best 1 of 3, which are "
        "forecast to end at 0.9."
    )
    assert "largest accuracy wins" in str(told)
    assert summary(tmp_path, mode="min").best.id == "c"


def test_diverged_failed_and_silent_trials_have_their_lines(tmp_path):
    experiment = recordings.Experiment(tmp_path, {})
    for name in ("n", "f", "s"):
        experiment.add(name)
    experiment.report("n", 1, math.nan)
    experiment.report("f", 1, 2.0)
    experiment.fail("f", retry=False)
    told = {t.id: t for t in summary(experiment.write()).trials}
    assert (told["n"].status, told["n"].rule, told["n"].best) == ("pruned", "nonfinite", None)
    assert math.isnan(told["n"].last)
    assert told["f"].status == "failed"
    assert (told["s"].status, told["s"].steps, told["s"].best) == ("running", 0, None)


def test_where_nothing_is_finite_there_is_no_best(tmp_path):
    experiment = recordings.Experiment(tmp_path)
    experiment.add("a")
    experiment.report("a", 1, math.inf)
    told = summary(experiment.write())
    assert (told.best, told.adapted, told.tests, told.config) == (None, (), {}, {})
    assert "No trial reported a finite val_loss." in str(told)


def test_only_the_best_trials_are_listed(tmp_path):
    told = summary(recordings.judged(tmp_path))
    assert told.text(trials=2).splitlines()[6] == "... and 4 more"


@pytest.mark.parametrize(
    ("key", "mode", "told"), [("accuracy", None, 1), ("accuracy", "min", 0), ("val_loss", None, 0)]
)
def test_a_direction_that_nobody_said_is_noted(tmp_path, key, mode, told):
    experiment = recordings.Experiment(tmp_path, key=key, mode="max")
    experiment.add("a")
    experiment.report("a", 1, 0.5)
    notes = [note for note in summary(experiment.write(), metric=key, mode=mode).notes if "--mode max" in note]
    assert len(notes) == told


def test_a_direction_that_the_ledger_knows_is_none_to_note(tmp_path):
    experiment = recordings.Experiment(tmp_path, {}, key="accuracy", mode="max")
    experiment.add("a")
    experiment.report("a", 1, 0.5)
    assert not any("--mode" in note for note in summary(experiment.write()).notes)


def test_a_negative_number_of_trials_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="`trials` must be 0 or more; got -2"):
        summary(recordings.judged(tmp_path)).text(trials=-2)


def test_of_a_large_configuration_a_few_names_are_told(tmp_path):
    experiment = recordings.Experiment(tmp_path)
    for i in range(3):
        experiment.add(f"t{i}", {f"k{j}": f"{i}{'x' * 100}" for j in range(300)})
        experiment.report(f"t{i}", 1, float(i))
    text = str(summary(experiment.write()))
    assert "and 290 more" in " ".join(text.split())
    assert len(text) < 3000


def test_progress_csv_does_where_there_is_no_result_json(tmp_path):
    folder = recordings.stock(tmp_path) / "train_x_x"
    (folder / "result.json").unlink()
    (folder / "params.json").unlink()
    lines = ["val_loss,step,trial_id,config/lr,test_note,timestamp", "0.5,1,x,0.1,,1", "nan,2,x,0.1,good,2"]
    (folder / "progress.csv").write_text("\n".join(lines))
    trial = next(t for t in summary(tmp_path).trials if t.id == "x")
    assert (trial.best, trial.steps, trial.config["lr"]) == (0.5, 2, 0.1)
    assert math.isnan(trial.last)


def test_torn_and_missing_files_are_done_without(tmp_path):
    folder = recordings.stock(tmp_path)
    results = folder / "train_x_x" / "result.json"
    results.write_text(results.read_text()[:-20])
    (folder / "train_x_x" / "params.json").write_text('{"lr":')
    (folder / "train_y_x" / "result.json").unlink()
    (folder / "experiment_state-2026.json").write_text('{"trial_data": [[]]}')
    (folder / "stray").mkdir()
    told = {t.id: t for t in summary(folder).trials}
    assert (told["x"].steps, told["x"].config["lr"], told["x"].status) == (3, 0.1, "unknown")
    assert told["train_y_x"].steps == 0
    assert len(told) == 3


def test_the_searchers_ledger_is_read_and_a_pickle_is_left_alone(tmp_path):
    folder = recordings.judged(tmp_path)
    own = folder / "glocal-ledger.json"
    (folder / "decisions.parquet").unlink()
    (folder / "searcher-state-1.pkl").write_bytes(own.read_bytes() + b'{"event":')
    (folder / "searcher-state-2.pkl").write_bytes(b"\x80\x04pickle")
    own.unlink()
    told = summary(folder)
    assert [(p.rule, p.count) for p in told.pruned] == [("rung", 4)]
    assert "torn by a crash" in told.notes[0]
    assert journal.read((folder / "searcher-state-1.pkl").read_text()).trials


def test_a_session_alone_tells_its_forecast(tmp_path):
    experiment = recordings.Experiment(tmp_path)
    experiment.add("a", {"glocal_ancestor": {"trial": "q", "checkpoint": None}, "lr": 0.5})
    experiment.report("a", 1, 2.0, **recordings.session(2.0, 5))
    experiment.report("a", 2, 2.0, **{**recordings.session(2.0, 9), "forecast/final_loss": math.nan})
    told = summary(experiment.write(state=False))
    assert told.best.forecast == 1.0
    assert told.config == {"lr": 0.5}


def test_a_forecast_that_is_older_than_the_last_report_says_when_it_was_made(tmp_path):
    experiment = recordings.Experiment(tmp_path)
    for name, forecasts in (("a", (0.3, 0.25)), ("b", (0.4, math.nan))):
        experiment.add(name)
        for step, forecast in enumerate(forecasts, start=10):
            experiment.report(name, step, 1.0 - 0.01 * step, **{"forecast/final_loss": forecast})
    told = summary(experiment.write())
    assert [(trial.forecast, trial.foretold) for trial in told.trials] == [(0.25, 11), (0.4, 10)]
    lines = str(told).splitlines()
    assert [line.split()[-2:] for line in lines if line.startswith(("a ", "b "))] == [["0.89", "0.25"], ["0.4", "@10"]]


def test_trials_without_a_step_are_measured_in_iterations(tmp_path):
    folder = recordings.stock(tmp_path)
    for results in folder.glob("*/result.json"):
        rows = [json.loads(line) for line in results.read_text().splitlines()]
        results.write_text("".join(json.dumps({k: v for k, v in r.items() if k != "step"}) + "\n" for r in rows))
    told = summary(folder)
    assert told.best.steps == 4
    assert "trials that report no `step` are measured in training iterations." in told.notes


class Refusing:
    """A storage that answers as one does whose credentials are missing."""

    def get_file_info(self, path):
        raise OSError("AWS Error ACCESS_DENIED")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda folder: summary(folder, metric="loss"),
            r"`metric` must name a value that trials reported; got 'loss'. They reported .*step, .*val_loss\.",
        ),
        (lambda folder: summary(folder, mode="big"), r"`mode` must be 'min' or 'max'; got 'big'. Say whether"),
        (
            lambda folder: summary(folder / "none"),
            r"`results` must be the folder of an experiment; got '.*none'. There is none. Give the folder that holds",
        ),
        (lambda folder: summary(folder / "train_x_x"), r"train_x_x'. This is the folder of one trial; give the folder"),
        (lambda folder: summary(folder.parent), r"It holds experiments, though: asha. Give one of them"),
        (lambda folder: summary(folder / "train_x_x" / "result.json"), r"result.json'. There is none"),
        (lambda folder: summary(7), r"`results` must be the folder of an experiment; got 7. Give a path, a ResultGrid"),
        (
            lambda folder: summary("nonsense://x/y"),
            r"`results` must be an address that pyarrow can open; got 'nonsense",
        ),
        (
            lambda folder: summary("a\0b"),
            r"`results` must be a folder that can be read; got '.*b'. Check its address, and that you may read it. Em",
        ),
        (
            lambda folder: summary(SimpleNamespace(experiment_path="bucket/x", filesystem=Refusing())),
            r"`results` must be a folder that can be read; got 'bucket/x'. .* may read it. AWS Error ACCESS_DENIED",
        ),
        (lambda folder: summary(folder / "empty"), r"empty'. Give the folder that holds experiment_state-\*.json"),
    ],
)
def test_what_is_no_experiment_is_refused_with_the_way_out(tmp_path, call, message):
    folder = recordings.stock(tmp_path / "asha")
    (folder / "empty").mkdir()
    with pytest.raises(ArgumentError, match=message):
        call(folder)


def test_an_address_does_as_well_as_a_path(tmp_path):
    folder = recordings.stock(tmp_path)
    assert summary(f"file://{folder}").trials == summary(folder).trials == summary(str(folder)).trials


def test_a_factor_needs_two_values_of_one_sign():
    assert [AdaptedValue("a", start, 2.0).factor for start in (None, 0.0, -1.0, 4.0)] == [None, None, None, 0.5]


def test_numbers_are_short():
    values = [None, 3, 3.0, 0.123456, 1e-9, math.nan, math.inf, 12345678.0, -0.5]
    assert [layout.shown(v) for v in values] == ["-", "3", "3", "0.1235", "1e-09", "nan", "inf", "1.235e+07", "-0.5"]


@given(st.lists(st.tuples(st.text("ab ", max_size=200), st.text("xyz", max_size=90)), min_size=1, max_size=5))
def test_tables_fit_the_page(rows):
    text = layout.table(("words", "more"), rows, words=("words", "more"))
    assert max(map(len, text.splitlines())) <= layout.WIDTH


def test_names_are_lazy_and_an_unknown_one_is_said():
    assert set(dir(ray_glocal.report)) == {"Progress", "replay", "summary"}
    assert all(callable(getattr(ray_glocal.report, name)) for name in dir(ray_glocal.report))
    with pytest.raises(AttributeError, match=r"has no attribute 'nothing'; it offers Progress, replay, summary"):
        ray_glocal.report.nothing  # noqa: B018


def test_every_warning_of_a_session_is_told_with_its_trials(tmp_path):
    folder = recordings.stock(tmp_path)
    for name, texts in (("x", ["late", "late\nslow"]), ("y", ["slow"])):
        file = folder / f"train_{name}_x" / "result.json"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        padded = ["", *texts, *texts[-1:] * len(rows)]
        told = [{**row, "warning": text} for row, text in zip(rows, padded, strict=False)]
        file.write_text("\n".join(json.dumps(row) for row in told))
    told = summary(folder)
    assert {w.text: w.trials for w in told.warnings} == {"late": ("x",), "slow": ("x", "y")}
    text = str(told)
    assert "Warning (trial x): late\nWarning (trials x, y): slow" in text


def test_a_value_of_the_best_trial_that_ended_at_a_bound_is_flagged_beside_it(tmp_path):
    told = "lr ended at its upper bound 1: widen the space, if it can be wider."
    experiment = recordings.Experiment(tmp_path)
    for name, value, warning in (
        ("a", 0.5, f"Another warning.\n{told}"),
        ("b", 1.0, told.replace("lr", "weight_decay")),
    ):
        experiment.add(name)
        experiment.report(name, 1, value, **{"hyper/lr": 1.0, "warning": warning})
    account = summary(experiment.write())
    assert account.bounds == (told,)
    lines = str(account).splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("  lr "))
    assert lines[place + 1] == f"  {told}"
    best = str(best_config(tmp_path)).splitlines()
    place = next(i for i, line in enumerate(best) if line.startswith("  lr "))
    assert best[place + 1] == f"  {told}"
    assert not any("weight_decay ended" in line for line in best)


def test_of_many_trials_that_warn_alike_a_few_are_named(tmp_path):
    experiment = recordings.Experiment(tmp_path)
    for name in "abcdef":
        experiment.add(name)
        experiment.report(name, 1, 1.0, warning="no windows")
    text = str(summary(experiment.write()))
    assert "Warning (trials a, b, c, d and 2 more): no windows" in text


def test_an_experiment_that_says_nothing_for_long_may_have_lost_its_driver(tmp_path, monkeypatch):
    experiment = recordings.Experiment(tmp_path / "mine", {})
    experiment.add("a")
    experiment.report("a", 1, 1.0)
    folder, last = experiment.write(), experiment.tick
    for quiet, told in ((599, 0), (3600, 1)):
        monkeypatch.setattr("time.time", lambda quiet=quiet: last + quiet)
        notes = [note for note in summary(folder).notes if "If the driver has died" in note]
        assert len(notes) == told
    assert notes[0].startswith("1 trial counts as going on, and the last result came 60 minutes ago.")
    experiment.end("a")
    assert not any("driver" in note for note in summary(experiment.write()).notes)
