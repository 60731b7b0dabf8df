"""Learning-rate optimization of a small CNN, from starts four decades apart, beside what else finds a learning rate.

Every method trains the same steps with momentum 0.9 and weight decay 1e-4, adapts the learning rate alone between
1e-4 and 1, and sees the same validation part. What a rival leaves to choose is chosen by the validation loss on seeds
10 and 11, from three starts: on digits, whence the session's own defaults come, or, where it has a unit, on each data
set; the learning rate of a grid is chosen on seed 10. The tables are of other seeds; test losses choose nothing.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from statistics import mean
from typing import Any

from rivals.free import Prodigy, ScheduleFree, installed
from rivals.global_descent import GlobalDescent
from rivals.greedy import Greedy
from rivals.hypergradient_descent import HypergradientDescent
from rivals.plain import Plain
from rivals.real_time import RealTime
from rivals.session import Session
from rivals.training import Rival, Run
from study import Row, Study, gathered, markdown, study
from tasks import OPTIMIZERS, TASKS, accuracy, mean_loss

SESSION = 6  # raise it when the session's defaults change: only its own cells are run again
CHANCE = math.log(10)  # loss of guessing among ten classes; what a lost run counts as
GRID = tuple(10 ** (power / 2) for power in range(-8, 1))
Choices = dict[tuple[str, str, str], Rival]  # by task, optimizer and label
SHOWN = 64  # learning rates kept of a run's path


@dataclass(frozen=True)
class Cell:
    """One attempt."""

    rival: Rival
    run: Run


@dataclass(frozen=True)
class Entry:
    """One line of the table.

    Args:
        label: What it is called.
        candidates: Settings of the method; more than one are chosen from on the tuning seed.
        anywhere: Whether it heeds the start; otherwise one run stands for all starts.
        once: Whether a single seed has to do, for its price.
        each_task: Whether to choose anew for each task; otherwise the choice has no unit and is made on one.
        searched: Whether choosing is the method, which its cost must show; then one run judges a candidate.
    """

    label: str
    candidates: tuple[Rival, ...]
    anywhere: bool = True
    once: bool = False
    each_task: bool = False
    searched: bool = False


ADDED = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # rates of hypergradient descent
MULTIPLIED = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
RIVALS = (
    Entry("constant", (Plain(),)),
    Entry("constant, tuned", tuple(Plain(lr) for lr in GRID), anywhere=False, each_task=True, searched=True),
    Entry("cosine, tuned", tuple(Plain(lr, cosine=True) for lr in GRID), anywhere=False, each_task=True, searched=True),
    Entry("hypergradient descent", tuple(HypergradientDescent(rate, False) for rate in ADDED), each_task=True),
    Entry("the same, multiplicative", tuple(HypergradientDescent(rate, True) for rate in MULTIPLIED)),
    Entry("RTHO / OHO", tuple(RealTime(rate) for rate in (0.01, 0.03, 0.1, 0.3, 1.0))),
    Entry("greedy local sign", tuple(Greedy(step) for step in (0.1, 0.3, 1.0))),
    Entry("true global", (GlobalDescent(),), once=True),
)
FREE = (
    Entry("Prodigy (free)", (Prodigy(),), anywhere=False),
    Entry("schedule-free (free)", (ScheduleFree(),)),
)
SESSIONS = (
    Entry("session", (Session(SESSION),)),
    Entry("session on cosine", (Session(SESSION, cosine=True),)),
    Entry("session by windows, glocal", (Session(SESSION, windows=True),)),
    Entry("session by windows, local", (Session(SESSION, windows=True, local=True),)),
    Entry("session by windows, glocal, on cosine", (Session(SESSION, windows=True, cosine=True),)),
)


@dataclass(frozen=True)
class Plan:
    """How much of it is run.

    Args:
        steps: Inner steps by task.
        starts: Learning rates that runs start from.
        tuning_starts: The same while tuning.
        seeds: Of the comparison.
        tuning_seeds: Of the tuning.
        tuned_on: Task on which settings without a unit are chosen, by optimizer; the session's defaults come from its
            data as well.
        candidates: Settings tried of a method, at most; those in the middle.
    """

    steps: dict[str, int]
    starts: tuple[float, ...]
    tuning_starts: tuple[float, ...]
    seeds: tuple[int, ...]
    tuning_seeds: tuple[int, ...]
    candidates: int
    tuned_on: str = "digits-cnn"

    def tried(self, entry: Entry) -> tuple[Rival, ...]:
        """The settings of a method that are tried."""
        left_out = max(0, len(entry.candidates) - self.candidates)
        return entry.candidates[(left_out + 1) // 2 :][: self.candidates]


FULL = Plan({"digits-cnn": 800, "fashion-cnn": 1600}, (1e-4, 1e-2, 1.0), (1e-3, 1e-2, 1e-1), (0, 1, 2), (10, 11), 9)
SMOKE = Plan({"digits-cnn": 64}, (1e-3, 1e-1), (1e-2,), (0,), (10,), 2)


def attempt(cell: Cell) -> list[Row]:
    """Train, and measure the result; seconds are the processor's, for others may share it."""
    Plain().train(replace(cell.run, steps=2))  # what a process does once takes no part in them
    begun = time.process_time()
    trained = cell.rival.train(cell.run)
    seconds = time.process_time() - begun
    data, run = TASKS[cell.run.task].data(), cell.run
    row = {
        "task": run.task,
        "optimizer": run.optimizer,
        "start": run.lr,
        "seed": run.seed,
        "rival": repr(cell.rival),
        "val_loss": mean_loss(trained.model, data.val),
        "test_loss": mean_loss(trained.model, data.test),
        "val_accuracy": accuracy(trained.model, data.val),
        "test_accuracy": accuracy(trained.model, data.test),
        "cost": trained.cost / run.steps,
        "seconds": seconds,
        "rates": trained.rates[:: max(1, len(trained.rates) // SHOWN)],
    }
    return [row]


def capped(value: float) -> float:
    """A loss, no worse than guessing."""
    return min(value, CHANCE) if math.isfinite(value) else CHANCE


def entries(optimizer: str) -> tuple[Entry, ...]:
    """The rivals that work with an optimizer here."""
    free = FREE if installed() else ()
    return RIVALS + tuple(entry for entry in free if optimizer == "adamw" or entry.anywhere)


class Comparison:
    """The study's plan, carried out."""

    def __init__(self, told: Study, plan: Plan) -> None:
        self.study, self.plan = told, plan
        self.problems = [(task, optimizer) for task in plan.steps for optimizer in OPTIMIZERS]

    def run(self, task: str, optimizer: str, start: float, seed: int) -> Run:
        """A run of the planned length."""
        return Run(task, optimizer, start, seed, self.plan.steps[task])

    def tuned(self) -> list[Row]:
        """A row for each method with a choice and each problem: what was tried, what it led to, what was chosen."""
        asked = [
            (task, optimizer, entry, rival)
            for task, optimizer in self.problems
            for entry in entries(optimizer)
            for rival in self.plan.tried(entry)
            if len(entry.candidates) > 1 and (entry.each_task or task == self.plan.tuned_on)
        ]
        cells = {case: [Cell(case[3], run) for run in self._tuning_runs(*case[:3])] for case in asked}
        rows = iter(self.study.rows([cell for group in cells.values() for cell in group], attempt))
        scores = {case: mean(capped(next(rows)["val_loss"]) for _ in group) for case, group in cells.items()}
        return [
            {"task": task, "optimizer": optimizer, "label": entry.label, "rival": rival, "score": score}
            for (task, optimizer, entry, rival), score in scores.items()
        ]

    def _tuning_runs(self, task: str, optimizer: str, entry: Entry) -> list[Run]:
        """What a setting is judged by; a learning rate of a grid by a single run, for that is what it costs."""
        starts, seeds = self.plan.tuning_starts, self.plan.tuning_seeds
        if entry.searched:
            starts, seeds = starts[:1], seeds[:1]
        return [self.run(task, optimizer, start, seed) for start in starts for seed in seeds]

    def compared(self, chosen: Choices) -> list[Row]:
        """Rows of the comparison, each with its label; the rivals first, for they do not change."""
        rows: list[Row] = []
        for part in (entries, lambda _: SESSIONS):
            asked = [
                (entry, Cell(self._settled(entry, problem, chosen), self.run(*problem, start, seed)))
                for problem in self.problems
                for entry in part(problem[1])
                for start in (self.plan.starts if entry.anywhere else self.plan.starts[:1])
                for seed in (self.plan.seeds[:1] if entry.once else self.plan.seeds)
            ]
            found = self.study.rows([cell for _, cell in asked], attempt)
            rows += [self._labelled(entry, row) for (entry, _), row in zip(asked, found, strict=True)]
        return rows

    def _settled(self, entry: Entry, problem: tuple[str, str], chosen: Choices) -> Rival:
        """The method with the settings that were chosen for it."""
        task, optimizer = problem
        key = (task if entry.each_task else self.plan.tuned_on, optimizer, entry.label)
        return chosen.get(key, entry.candidates[0])

    def _labelled(self, entry: Entry, row: Row) -> Row:
        """A row under its label, what it took to search for its learning rate counted in."""
        searched = len(self.plan.tried(entry)) if entry.searched else 0
        return {"label": entry.label, "anywhere": entry.anywhere, **row, "cost": row["cost"] + searched}


def best(trials: Sequence[Row]) -> Choices:
    """The candidate of the least score for every task, optimizer and label."""
    chosen: dict[tuple[str, str, str], Row] = {}
    for trial in trials:
        key = (trial["task"], trial["optimizer"], trial["label"])
        if key not in chosen or trial["score"] < chosen[key]["score"]:
            chosen[key] = trial
    return {key: trial["rival"] for key, trial in chosen.items()}


def grouped(rows: Sequence[Row], *names: str) -> dict[Any, list[Row]]:
    """Rows by one or several of their entries, in order of appearance."""
    return gathered((itemgetter(*names)(row), row) for row in rows)


def average(rows: Sequence[Row], name: str) -> float:
    """Mean of one entry, losses capped."""
    return mean(capped(row[name]) if name.endswith("loss") else row[name] for row in rows)


def table(rows: Sequence[Row], starts: Sequence[float]) -> str:
    """One problem: a line for each method."""
    header = ["method", *(f"from {start:g}" for start in starts), "validation", "accuracy", "plain runs", "seconds"]
    lines = []
    for label, group in grouped(rows, "label").items():
        by_start = grouped(group, "start")
        if group[0]["anywhere"]:
            losses = [average(by_start[start], "test_loss") for start in starts]
        else:
            losses = [average(group, "test_loss")] * len(starts)
        others = [average(group, name) for name in ("val_loss", "test_accuracy", "cost", "seconds")]
        lines.append([label, *losses, *others])
    return markdown(header, lines)


def found(rows: Sequence[Row]) -> str:
    """What sessions end at beside the tuned grids, and who of those that heed the start ends lowest."""
    lines = [_found(*problem, group) for problem, group in grouped(rows, "task", "optimizer").items()]
    return "\n".join(["**Found.** Test losses, means over starts and seeds.", "", *lines])


def _found(task: str, optimizer: str, rows: Sequence[Row]) -> str:
    losses = {label: average(group, "test_loss") for label, group in grouped(rows, "label").items()}
    tuned = min(loss for label, loss in losses.items() if label.endswith("tuned"))
    heeding = {row["label"] for row in rows if row["anywhere"]}
    lowest = min(heeding, key=lambda label: losses[label])
    ours = [f"`{label}` {losses[label] / tuned:.2f}" for label in losses if label.startswith("session")]
    return (
        f"- *{task}, {optimizer}*: over the better of the tuned grids, {', '.join(ours)}. Of what heeds the start"
        f" `{lowest}` ends lowest, at {losses[lowest] / tuned:.2f}."
    )


def choices(trials: Sequence[Row]) -> str:
    """What tuning chose."""
    chosen = best(trials)
    lines = [[task, optimizer, label, f"`{rival}`"] for (task, optimizer, label), rival in chosen.items()]
    return markdown(["task", "optimizer", "method", "chosen"], lines)


def page(rows: Sequence[Row], trials: Sequence[Row], plan: Plan) -> str:
    """The page's text."""
    parts = [
        __doc__.split("\n\n", 1)[1].strip(),
        f"Test loss by start, mean of seeds {', '.join(map(str, plan.seeds))} (`true global`: seed {plan.seeds[0]});"
        " validation loss, test accuracy and cost are means over the starts too. A loss above that of guessing,"
        f" {CHANCE:.2f}, and a lost run count as {CHANCE:.2f}. Cost is in plain runs, counted by the rule by which a"
        " session counts itself (a Hessian product is two steps, a validation batch one), and in seconds of a"
        " processor; `constant, tuned` and `cosine, tuned` count the runs of their grid. Methods that do not heed the"
        " start show the same number under each. `session` is one by its default settings, judged at averaged weights;"
        " by windows it has a quarter of the time, and `local` forecasts by the last hypergradient.",
    ]
    parts.append(found(rows))
    for (task, optimizer), group in grouped(rows, "task", "optimizer").items():
        parts += [f"## {task}, {optimizer}, {plan.steps[task]} steps", table(group, plan.starts)]
    parts += ["## What was chosen by tuning", choices(trials)]
    return "\n\n".join(parts)


def draw(figure: Any, rows: Sequence[Row], plan: Plan) -> None:
    """Test loss over the start, a panel for each problem."""
    figure.set_size_inches(10, 4 * len(plan.steps))
    panels = figure.subplots(len(plan.steps), len(OPTIMIZERS), squeeze=False).flat
    for axes, (problem, group) in zip(panels, grouped(rows, "task", "optimizer").items(), strict=True):
        for index, (label, members) in enumerate(grouped(group, "label").items()):
            colour, ours = f"C{index % 10}", label.startswith("session")
            if members[0]["anywhere"]:
                curve = {start: average(part, "test_loss") for start, part in grouped(members, "start").items()}
                axes.plot(list(curve), list(curve.values()), "o-", color=colour, lw=3 if ours else 1, ms=4, label=label)
            else:
                axes.axhline(average(members, "test_loss"), color=colour, ls="--", lw=1, label=label)
        axes.set(xscale="log", yscale="log", xlabel="start learning rate", ylabel="test loss", title=", ".join(problem))
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize="small")


def main() -> None:
    told = study("learning_rate", __doc__)
    plan = SMOKE if told.smoke else FULL
    comparison = Comparison(told, plan)
    trials = comparison.tuned()
    rows = comparison.compared(best(trials))
    title = "Learning-rate optimization of a small CNN"
    told.publish(title, page(rows, trials, plan), rows, lambda figure: draw(figure, rows, plan))


if __name__ == "__main__":
    main()
