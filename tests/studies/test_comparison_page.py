"""The comparison's page and figures from rows whose winner is known."""

import re

import numpy as np
import pytest

from comparison.figures import figures, styles
from comparison.page import page, quick_agreement

RIVALS = ("random", "asha", "random+averaging", "asha+averaging")
OURS = ("glocal", "glocal-sessions", "glocal-pruning")
FINAL = {"random": 2.0, "asha": 1.0, "random+averaging": 1.8, "asha+averaging": 1.5}
FINAL |= {"glocal": 0.5, "glocal-sessions": 0.75, "glocal-pruning": 0.5}
KINDS = {"one": "few", "two": "few", "three": "many"}


def experiment(task, method, seed, final, suite="held-out"):
    """From a loss of 10 to the final one at half the budget."""
    common = {"section": "search", "suite": suite, "kind": KINDS[task], "task": task, "method": method, "seed": seed}
    common |= {"workers": 4, "budget": 100.0, "trainings": 10}
    return [
        {**common, "cost": cost, "val": loss, "test": loss, "trial": 0, "step": cost, "trials": 1, "seconds": cost / 10}
        for cost, loss in ((0, 10.0), (50, final), (100, final))
    ]


def studied(changed=None, tasks=KINDS, methods=(*RIVALS, *OURS), seeds=(0, 1, 2), suite="held-out"):
    """Rows in which every task and seed ends as FINAL says, but for (task, method) in `changed`."""
    told = changed or {}
    return [
        row
        for task in tasks
        for method in methods
        for seed in seeds
        for row in experiment(task, method, seed, told.get((task, method), FINAL[method]), suite)
    ]


def line(text, start):
    return next(line for line in text.splitlines() if line.startswith(start))


def section(text, title):
    return text.split(f"### {title}\n")[1].split("\n### ")[0]


def test_the_page_says_that_ours_wins_everywhere_where_it_does():
    text = page(studied(), RIVALS, OURS)
    assert "glocal has the mean rank 1.00 [1.00, 1.00], number 1 of 5 methods" in text
    assert "The rival of the lowest is asha, 2.00 [2.00, 2.00]: ours less its own is -1.00 [-1.00, -1.00]" in text
    assert "is below that of the task's best rival on 3 of 3 tasks (on 3 with an interval wholly below)" in text
    assert "it loses on none." in text
    assert "0.500 [0.500, 0.500] at 1." in text
    assert "1.000 [1.000, 1.000] at 1/6" in text  # nobody has an incumbent by then
    assert "glocal reaches the best rival's final mean loss on 3 of 3 tasks, at 50%" in text
    assert "over that with all, geometric mean: sessions 1.500 [1.500, 1.500]." in text
    assert "Parts without which the final loss is not higher: pruning 1.000 [1.000, 1.000]." in text


def test_the_page_names_where_ours_loses_and_by_how_much():
    text = page(studied({("two", "glocal"): 1.25, ("three", "glocal"): 1.0}), RIVALS, OURS)
    told = line(text, "- The final mean loss of glocal")
    assert "on 1 of 3 tasks (on 1 with" in told
    assert "it loses on 1: two (1.250 [1.250, 1.250] times the loss of asha)" in told
    assert "it ties on three (1.000 [1.000, 1.000] times the loss of asha)." in told
    assert "never on two." in text


def test_of_each_kind_it_says_how_surely_the_mean_rank_is_below_those_of_all_rivals():
    """Until a third of the budget all methods tie."""
    told = line(page(studied(), RIVALS, OURS), "- Its mean rank is below")
    assert "few hyperparameters 0.0% at 1/3, 100.0% at 1/2, 100.0% at 1;" in told
    lost = line(page(studied({("three", "glocal"): 3.0}), RIVALS, OURS), "- Its mean rank is below")
    assert "few hyperparameters 0.0% at 1/3, 100.0% at 1/2, 100.0% at 1;" in lost
    assert "many hyperparameters 0.0% at 1/3, 0.0% at 1/2, 0.0% at 1" in lost


def test_where_ours_is_the_worst_nothing_is_said_in_its_favour():
    text = page(studied({(task, "glocal"): 3.0 for task in KINDS}), RIVALS, OURS)
    assert "number 5 of 5 methods" in text
    assert "on 0 of 3 tasks" in text
    assert "it loses on 3: " in text
    assert "loses on none" not in text
    assert "ours less its own is +4.00" in text
    assert "below zero in 0.0%" in text
    assert "final mean loss on 0 of 3 tasks, at 100% of the budget" in text
    assert "The final loss without a part over that with all" not in text
    assert "not higher: sessions 0.250" in text


def test_the_tables_hold_what_the_rows_do():
    text = page(studied({("one", "asha"): 4.0}), RIVALS, OURS)
    ranks = section(text, "Mean ranks")
    assert "All 3 tasks:" in ranks
    assert "Few hyperparameters (one, two):" in ranks
    assert "Many hyperparameters (three):" in ranks
    assert "| glocal | 3.0 [3.0, 3.0] | 3.0 [3.0, 3.0] | 1.0 [1.0, 1.0] | 1.0 [1.0, 1.0] |" in ranks
    losses = section(text, "Final loss")
    assert "| **best rival** | asha+averaging | asha | asha |" in losses
    mean = (4 / 1.5) ** (1 / 3)
    assert f"| asha | {4 / 1.5:.3f} | 1.000 | 1.000 | {mean:.3f} " in losses
    assert re.search(r"\| random \| 3 of 3 \| 0\.250 \[0\.250, 0\.250\]", section(text, "glocal against each rival"))
    assert "| random | never | never | never | 100% | 3 of 3 |" in section(text, "Cost to reach")
    assert "| sessions |" in section(text, "Ablations")
    assert "| glocal | 100 | 1.00 |" in section(text, "Processor time")


def test_what_is_missing_is_named_and_breaks_nothing():
    rows = studied(methods=("random", "asha", "glocal"))
    rows = [row for row in rows if (row["task"], row["method"]) != ("three", "glocal")]
    rows = [row for row in rows if (row["task"], row["method"], row["seed"]) != ("one", "asha", 2)]
    text = page(rows, RIVALS, OURS)
    assert "2 tasks, 2 seeds, 2 rivals: random, asha." in text
    assert "Left out for being incomplete: methods random+averaging, asha+averaging; tasks three; seeds 2." in text
    assert "### Ablations" not in text
    assert "### Single trainings" not in text


@pytest.mark.parametrize("methods", [("random", "asha"), ("glocal",), OURS])
def test_without_ours_or_without_rivals_there_are_no_conclusions(methods):
    rows = studied(methods=methods)
    text = page(rows, RIVALS, OURS)
    assert "There is no task yet that both glocal and a rival have completed." in text
    assert "### Conclusions" not in text
    assert ("### Ablations" in text) == (methods == OURS)
    assert page([], RIVALS, OURS)


def test_one_seed_of_one_task_has_no_intervals():
    text = page(studied(tasks=("one",), seeds=(0,)), RIVALS, OURS)
    assert "glocal has the mean rank 1.00, number 1 of 5 methods" in text
    assert not re.search(r"\d \[\d", text)


def test_each_suite_has_its_own_part():
    text = page(studied() + studied({("one", "glocal"): 3.0}, suite="tuning"), RIVALS, OURS)
    held_out, tuning = text.split("## Suite tuning")
    assert "it loses on none" in held_out
    assert "it loses on 1: one (3.000" in tuning


def test_single_trainings_stand_beside_the_grid():
    common = {"section": "single", "suite": "held-out", "kind": "few", "task": "one", "seed": 0, "steps": 10}
    rows = studied(tasks=("one",))
    for method, point, loss, averaged in (
        ("grid", "lr 1", 2.0, 1.0),
        ("grid", "lr 2", 3.0, 4.0),
        ("session", "low", 2.2, 2.2),
        ("session", "high", 1.8, 1.8),
    ):
        told = {"val": loss, "test": loss, "averaged_val": averaged, "averaged_test": averaged}
        rows.append({**common, "method": method, "point": point, "cost": 15.0, "seconds": 1.0, **told})
    text = page(rows, RIVALS, OURS)
    assert "| one | 1.100 / 2.200 | 0.900 / 1.800 | 1.50 |" in section(text, "Single trainings")
    assert "| one | lr 1 | 2 | lr 1 | 1 |" in section(text, "Single trainings")
    assert "at most 1.100, by raw weights, on one from low" in text


def test_the_quick_form_is_held_against_the_whole_by_the_methods_of_both():
    quick = studied(tasks=("one",), seeds=(0,), methods=("random", "asha", "glocal"))
    text = quick_agreement(quick, studied(), [*RIVALS, OURS[0]])
    assert "mean ranks of 3 methods" in text
    assert "quick (1 tasks with 1 seeds) and whole (3 tasks with 3 seeds)" in text
    assert "Kendall's tau-b 1.00, Spearman's rho 1.00" in text
    assert "| glocal | 1.00 | 1.00 |" in text
    turned = studied({("one", "random"): 0.1, ("one", "glocal"): 5.0}, ("one",), ("random", "asha", "glocal"), (0,))
    assert "Kendall's tau-b -1.00, Spearman's rho -1.00" in quick_agreement(turned, studied(), [*RIVALS, OURS[0]])
    assert "no suite in common" in quick_agreement([], studied(), RIVALS)
    assert "have not two methods in common" in quick_agreement(quick, studied(methods=OURS), RIVALS)


def drawn(rows):
    """The figures, drawn without a display."""
    pytest.importorskip("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    told = {}
    for name, draw in figures(rows, RIVALS, OURS).items():
        told[name] = Figure(layout="constrained")
        draw(told[name])
        FigureCanvasAgg(told[name]).draw()
    return told


def test_the_figures_show_the_curves_of_the_rows():
    told = drawn(studied())
    assert list(told) == [f"held-out-{name}" for name in ("curves", "ranks", "profiles", "cost")]
    panels = told["held-out-curves"].axes
    assert [panel.get_title() for panel in panels] == list(KINDS)
    ours = next(found for found in panels[0].get_lines() if found.get_label() == "glocal")
    spent, loss = ours.get_data()
    assert (spent[-1], loss[0], loss[-1]) == (10, 10, 0.5)
    assert np.all(loss[spent < 5] == 10)
    assert np.all(loss[spent >= 5] == 0.5)


def test_the_figures_of_little_are_drawn_and_those_of_nothing_left_out():
    assert len(drawn(studied(tasks=("one",), methods=("random", "glocal"), seeds=(0,)))) == 4
    assert drawn(studied(methods=OURS)) == {}
    assert drawn([]) == {}


def test_no_two_rivals_have_the_same_line():
    bases = ["random", "asha", "asha-tpe", "bohb", "pbt", "pb2", "median"]
    told = styles([*bases, *(f"{name}+averaging" for name in bases)], OURS)
    lines = {(style["color"], style["linestyle"]) for style in told.values()}
    assert len(lines) == 2 * len(bases) + 2  # ours without a part are dotted, all alike
