"""What the page shows, beside independent sums."""

import json
import math
import statistics
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import plotly.graph_objects
import pytest
import recordings
from pyarrow import fs
from scipy import stats

from ray_glocal.errors import ArgumentError
from ray_glocal.report.account import summarised
from ray_glocal.report.experiment import read
from ray_glocal.report.page import calibration, choices, curves, document, figures, importance, lineage, workers
from ray_glocal.report.page.contents import contents, plain
from ray_glocal.report.page.files import beside, write_data, write_page
from ray_glocal.report.page.spectra import spectra
from ray_glocal.session.state.trace import Row, Trace


def told(folder):
    experiment = read(folder)
    return contents(experiment, summarised(experiment))


@pytest.fixture
def judged(tmp_path):
    return told(recordings.judged(tmp_path / "mine"))


def test_the_headline_counts_trials_and_names_the_best_value(tmp_path):
    folder = recordings.judged(tmp_path / "mine")
    pruned = {each.trial for each in read(folder).ledger.decisions if each.prunes}
    assert told(folder).headline == f"6 trials, {len(pruned)} pruned; best val_loss 0.3333"


def test_curves_are_what_trials_reported(judged):
    assert judged.curves["a"].step == (1, 2, 3)
    assert judged.curves["a"].value == (1, 0.5, 0.33333)
    smooth = [1, (0.5 + 0.6) / 1.6, (1 / 3 + 0.6 * 0.5 + 0.36) / 1.96]
    assert judged.curves["a"].smooth == pytest.approx(smooth, rel=1e-4)


def test_the_list_of_sections_names_each_by_its_anchor(judged):
    found = document.sections(judged)
    assert len(found) >= 9
    assert [section.name for section in found] == [section.key.capitalize() for section in found]


@pytest.mark.parametrize(("metric", "axis"), [("val_loss", "y"), ("accuracy", "y2")])
def test_the_training_loss_stands_on_an_axis_of_its_own_beside_what_is_no_loss(tmp_path, metric, axis):
    experiment = recordings.Experiment(tmp_path, {}, metric)
    experiment.add("a")
    for step, train_loss in enumerate((400.0, 200.0), start=1):
        experiment.report("a", step, 0.5 + 0.1 * step, train_loss=train_loss)
    page = told(experiment.write())
    _, chart = curves.section(metric, page.trials, page.curves).charts
    (trace,) = (each for each in chart.traces if each["name"] == "training loss")
    drawn = chart.choices["a"].layout["yaxis"]
    assert trace["yaxis"] == axis
    assert ("yaxis2" in chart.layout) == (axis == "y2")
    assert (drawn["type"] == "log") == (axis == "y"), "values of 0.6 and 400 lie far apart"


def test_forecasts_of_trials_at_their_end_stand_beside_what_came(judged):
    of_a = [each for each in judged.calibration if each.trial == "a"]
    assert [(each.step, each.forecast, each.came) for each in of_a] == [(1, 0.5, 0.33333), (2, 0.25, 0.33333)]
    ended = {life.trial for life in judged.trials if life.status == "done"}
    assert {each.trial for each in judged.calibration} == ended


@pytest.mark.parametrize(("deviation", "held"), [(None, None), (0.1, True), (0.01, False)])
def test_an_interval_holds_what_lies_within_two_deviations(deviation, held):
    assert calibration.Foretold("a", 1, 0.5, 1.0, deviation, 1.15).held is held


def test_where_all_ends_are_zero_the_error_is_no_share(tmp_path):
    made = [calibration.Foretold("a", step, 0.8, forecast, None, 0.0) for step, forecast in enumerate((0.1, -0.3, 0.2))]
    assert calibration.section("val_loss", made).title == "Forecasts made were off by 0.2, half of them by more"


def test_a_choice_that_explains_less_than_can_be_shown_tells_nothing(judged):
    of = importance.Importance("width", 0.004, {}, {})
    title = choices.section("val_loss", judged.trials, [of], {}).title
    assert title == "No choice alone tells good trials from bad ones"


def test_of_a_large_configuration_the_lead_names_a_few(tmp_path):
    experiment = recordings.Experiment(tmp_path / "huge")
    for i in range(3):
        experiment.add(f"t{i}", {f"k{j}": f"{i}{'x' * 100}" for j in range(300)})
        experiment.report(f"t{i}", 1, float(i))
    page = document.written(told(experiment.write()))
    lead = next(line for line in page.splitlines() if "The best is trial t0" in line)
    sentence = lead.split("The best is trial t0")[1].split("</p>")[0]
    assert sentence.count("xx..") == 10
    assert sentence.endswith("and 290 more.")


@pytest.mark.parametrize(
    ("seconds", "words"), [(90, "90 seconds"), (3600, "60 minutes"), (86400 * 20787.3, "20,787 days")]
)
def test_durations_are_told_without_powers_of_ten(seconds, words):
    assert figures.duration(seconds) == words


def test_the_cost_is_that_of_the_account_and_ends_at_the_best_value(judged):
    assert judged.spent.steps[-1] == pytest.approx(judged.cost.steps)
    assert judged.spent.best[-1] == pytest.approx(min(life.best for life in judged.trials), rel=1e-4)
    assert all(a >= b for a, b in zip(judged.spent.best, judged.spent.best[1:], strict=False))


def test_stays_of_workers_span_the_results_without_overlap(tmp_path):
    experiment = recordings.Experiment(tmp_path / "moving")
    experiment.add("m")
    for step, worker in enumerate((1, 1, 2), start=1):
        experiment.report("m", step, 1 / step, pid=worker, hostname="node")
    (life,) = told(experiment.write()).trials
    assert [(stay.worker, stay.begin, stay.end) for stay in life.stays] == [("node 1", 0, 1.5), ("node 2", 2, 2.5)]
    assert len(workers.lanes([life])) == 1, "no two at once"


def test_as_many_lanes_as_trials_ran_at_once_whatever_their_processes(tmp_path):
    experiment = recordings.Experiment(tmp_path / "mine")
    for i in range(20):  # two at a time, each in a process of its own
        experiment.add(f"t{i:02}")
        begin = 1000 + 3 * (i // 2)
        experiment.report(f"t{i:02}", 1, 1.0, pid=i, hostname="node", timestamp=begin + 3, time_this_iter_s=3.0)
    lives = told(experiment.write()).trials
    assert [name for name, _ in workers.lanes(lives)] == ["node, 1", "node, 2"]
    assert workers.section(lives).title == "2 workers, busy 100% of 30 seconds"


def test_a_process_stays_on_its_lane(tmp_path):
    experiment = recordings.Experiment(tmp_path / "mine")
    for i, (pid, begin) in enumerate([(1, 0), (2, 0), (2, 10), (1, 10)]):
        experiment.add(f"t{i}")
        more = {"timestamp": 1010 + begin, "time_this_iter_s": 10.0}
        experiment.report(f"t{i}", 1, 1.0, pid=pid, hostname="node", **more)
    filled = workers.lanes(told(experiment.write()).trials)
    assert [{stay.worker for stay, _ in lane} for _, lane in filled] == [{"node 1"}, {"node 2"}]


def test_a_trial_stands_beneath_the_one_that_it_came_from(judged):
    first, second, third = judged.trials[:3]
    family = [
        first,
        type(second)(**{**vars(second), "ancestor": third.trial}),
        type(third)(**{**vars(third), "ancestor": first.trial}),
    ]
    assert lineage.order(family) == [first.trial, third.trial, second.trial]


def test_importance_is_epsilon_squared_of_kruskal_and_wallis():
    rng = np.random.default_rng(0)
    groups = [rng.normal(loc, 1, size) for loc, size in ((0, 12), (1, 9), (3, 14))]
    values = np.concatenate(groups)
    ranks = stats.rankdata(values)
    places = np.split(np.arange(len(values)), np.cumsum([len(group) for group in groups])[:-1])
    count, kinds = len(values), len(groups)
    eta = stats.kruskal(*groups).statistic / (count - 1)
    expected = 1 - (1 - eta) * (count - 1) / (count - kinds)
    assert importance.explained(list(ranks), [list(place) for place in places]) == pytest.approx(expected)


def test_too_few_trials_explain_nothing():
    assert importance.explained([1.0, 2.0], [[0], [1]]) is None


def test_many_numbers_are_put_into_groups_of_alike_size():
    labels = importance.grouped([float(value) for value in range(20)])
    assert {labels.count(label) for label in labels} == {4}
    assert labels[0] == "0 to 3"


@pytest.mark.parametrize("length", [1, 2, 59, 60, 1000])
def test_thinning_keeps_both_ends_and_the_order(length):
    kept = list(figures.thinned(length, 60))
    assert len(kept) == min(length, 60)
    assert (kept[0], kept[-1]) == (0, length - 1)
    assert kept == sorted(set(kept))


def test_the_spectrum_finds_the_decays_that_a_window_is_made_of(judged):
    time = np.arange(16.0)
    wave = 1 - 0.5 * 0.8**time
    rows = [{"step": 16, "hyperparameter": "lr", "trajectory": list(wave)}]
    (modes,) = spectra(judged.trials, {"a": rows})
    moduli = sorted(math.hypot(*pair) for pair in zip(modes.real, modes.imaginary, strict=True))
    assert moduli == pytest.approx([0.8, 1.0], abs=1e-3)
    assert modes.steady == (True, False)


def test_paths_are_what_the_trace_in_the_newest_checkpoint_says(tmp_path):
    folder = recordings.judged(tmp_path / "mine")
    rows = [
        Row(1, "lr", 0.25, -1.0, -0.5, 0.1, "act", "why"),
        Row(2, "lr", 0.2, -0.5, math.nan, math.inf, "hold", "no"),
    ]
    for number, count in ((0, 1), (1, 2)):
        place = folder / "train_a_x" / f"checkpoint_{number:06}"
        place.mkdir()
        trace = Trace()
        trace.append(rows[:count])
        trace.save(place / "trace.parquet")
    path = told(folder).hyperparameters["a"]["lr"]
    assert path.step == (1, 2, 3)  # the last is that of the last result
    assert path.value == (0.25, 0.2, 0.125)
    assert path.forecast == (-0.5, None, None)
    assert path.deviation == (0.1, None, None)
    assert path.gate == ("act", "hold", "")
    assert path.reason == ("why", "no", "")


def shown(reason):
    """The ledger's sentence, as it is told of a metric that is a loss."""
    return reason.replace("final loss", "final val_loss").replace("which end at", "which are forecast to end at")


def test_every_decision_of_the_scheduler_is_in_the_table(tmp_path):
    folder = recordings.judged(tmp_path / "mine")
    experiment = read(folder)
    rows = told(folder).decisions
    known = experiment.ledger.decisions
    assert [(row.trial, row.step, row.decision, row.reason) for row in rows] == [
        (each.trial, each.step, each.action.value, shown(each.reason)) for each in known
    ]


def test_every_chart_is_one_that_plotly_accepts(tmp_path):
    for folder in (recordings.judged(tmp_path / "mine"), recordings.stock(tmp_path / "asha")):
        for part in document.sections(told(folder)):
            for chart in part.charts:
                traces = [painted({**trace}) for trace in chart.traces]
                plotly.graph_objects.Figure(traces, painted(chart.layout))


def painted(node):
    if isinstance(node, str):
        return "#123456" if node.startswith("@") else node
    if isinstance(node, dict):
        return {key: painted(value) for key, value in node.items()}
    return node


def test_an_experiment_without_a_result_has_a_page_too(tmp_path):
    experiment = recordings.Experiment(tmp_path / "young")
    experiment.add("x")
    folder = experiment.write()
    write_page(told(folder), tmp_path / "page.html")
    assert "no finite val_loss yet" in (tmp_path / "page.html").read_text()


def test_the_data_is_json_with_the_documented_keys(tmp_path, judged):
    write_data(judged, tmp_path / "data.json")
    read_back = json.loads((tmp_path / "data.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert read_back == plain(judged)
    documented = type(judged).__doc__
    assert all(f"        {key}: " in documented for key in read_back)
    assert read_back["version"] == 1
    assert statistics.fmean(life["best"] for life in read_back["trials"]) == pytest.approx(
        statistics.fmean(life.best for life in judged.trials)
    )


def test_a_page_that_cannot_be_written_is_said(tmp_path, judged):
    with pytest.raises(ArgumentError, match=r"`html` must be a file that can be written; got .*No such file"):
        write_page(judged, tmp_path / "none" / "page.html")
    with pytest.raises(
        ArgumentError, match=r"`json` must be a file that can be written; got .* It is a folder: name a"
    ):
        write_data(judged, tmp_path / "mine")
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"], "nothing unfinished is left"


def test_without_plotly_a_page_is_refused_with_the_way_out(monkeypatch, judged):
    monkeypatch.setattr(document, "drawable", lambda: False)
    with pytest.raises(ArgumentError, match=r"`html` must be asked for where plotly is installed.*plotly>=6"):
        document.written(judged)


def test_text_of_users_cannot_end_the_script_or_become_markup(tmp_path):
    experiment = recordings.Experiment(tmp_path / "evil<b>")
    experiment.add("x", {"net": "</script><script>alert(1)</script>", "lr": 1})
    experiment.add("y", {"net": "plain", "lr": 2})
    for name in "xy":
        experiment.report(name, 1, 1.0)
        experiment.end(name)
    page = document.written(told(experiment.write()))
    assert "<script>alert" not in page
    assert "<b>" not in page


def test_an_experiment_elsewhere_is_read_with_its_traces_and_its_page_comes_here(tmp_path, monkeypatch):
    folder = recordings.judged(tmp_path / "bucket" / "mine")
    place = folder / "train_b_x" / "checkpoint_000000"
    place.mkdir()
    trace = Trace()
    trace.append([Row(1, "lr", 0.25, -1.0, -0.5, 0.1, "act", "why")])
    trace.save(place / "trace.parquet")
    elsewhere = fs.SubTreeFileSystem(str(tmp_path / "bucket"), fs.LocalFileSystem())
    results = SimpleNamespace(experiment_path="mine", filesystem=elsewhere)
    assert told(results).hyperparameters["b"]["lr"].reason[0] == "why"
    assert beside(results) == Path("report.html")
    assert beside(folder) == folder / "report.html"


def test_a_trace_that_is_torn_is_passed_over(tmp_path):
    folder = recordings.judged(tmp_path / "mine")
    place = folder / "train_a_x" / "checkpoint_000000"
    place.mkdir()
    (place / "trace.parquet").write_bytes(b"PAR1 torn")
    assert told(folder).hyperparameters["a"]["lr"].local == (None, None, None)  # of the results
