"""The comparison's figures; each is a function that draws on a matplotlib figure and sets its size."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from comparison.bootstrap import Array, estimate, sample
from comparison.statistics import (
    FINE,
    Curves,
    Row,
    censored_mean,
    cost_to_reach,
    curves,
    mean_ranks,
    profiles,
)

Draw = Callable[[Any], None]
Style = Mapping[str, Any]
AVERAGING = "+averaging"
OURS_COLOUR = "#D55E00"
# After Okabe & Ito (2008), Color universal design; the yellow darkened so that a line of it shows on white.
COLOURS = ("#6E6E6E", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#CC79A7", "#A89A00", "#000000")
SHOWN = 1 / 4  # of the budget: the loss axis of a panel ends at the highest mean there
SEVERAL = 3  # rivals beside the first in the panels of curves


def styles(rivals: Sequence[str], ours: Sequence[str]) -> dict[str, Style]:
    """Each method's line: a colour for each rival, dashed where it averages weights, and one for all of ours."""
    bases = list(dict.fromkeys(name.removesuffix(AVERAGING) for name in rivals))
    told: dict[str, Style] = {}
    for name in rivals:
        colour = COLOURS[bases.index(name.removesuffix(AVERAGING)) % len(COLOURS)]
        told[name] = {"color": colour, "linestyle": "--" if name.endswith(AVERAGING) else "-", "linewidth": 1.3}
    for place, name in enumerate(ours):
        told[name] = {"color": OURS_COLOUR, "linestyle": ":" if place else "-", "linewidth": 1.3 if place else 2.4}
    return told


def figures(rows: Sequence[Row], rivals: Sequence[str], ours: Sequence[str]) -> dict[str, Draw]:
    """The figures by name, four for each suite that has a complete task: curves, ranks, profiles and cost to reach.

    Args:
        rows: Of the study.
        rivals: Names of methods, first the simplest.
        ours: Names of methods, first the whole one; the others are not drawn.
    """
    told: dict[str, Draw] = {}
    style = styles(rivals, ours)
    for suite in dict.fromkeys(row["suite"] for row in rows):
        own = [row for row in rows if row["suite"] == suite and row["section"] == "search"]
        shown = curves(own, [*rivals, ours[0]], FINE)
        theirs = [name for name in rivals if name in shown.methods]
        if not (shown.losses.size and theirs):
            continue
        trainings = {row["task"]: row["trainings"] for row in own}
        told[f"{suite}-curves"] = partial(draw_curves, told=shown, rivals=theirs, trainings=trainings, style=style)
        told[f"{suite}-ranks"] = partial(draw_ranks, told=shown, style=style)
        told[f"{suite}-profiles"] = partial(draw_profiles, told=shown, style=style)
        told[f"{suite}-cost"] = partial(draw_cost, told=shown, rivals=theirs, style=style)
    return told


def draw_curves(
    figure: Any, told: Curves, rivals: Sequence[str], trainings: Mapping[str, float], style: Mapping[str, Style]
) -> None:
    """One panel a task: mean over the seeds, and their range; ours, the first rival, and the three of best rank.

    Args:
        figure: Drawn on.
        told: The curves.
        rivals: Those among the methods.
        trainings: The budget of each task, in whole trainings.
        style: Of each method.
    """
    lines = math.ceil(len(told.tasks) / 4)
    columns = math.ceil(len(told.tasks) / lines)
    figure.set_size_inches(3.1 * columns + 0.6, 2.5 * lines + 0.9)
    methods = leading(told, rivals)
    for place, task in enumerate(told.tasks):
        axes = figure.add_subplot(lines, columns, place + 1)
        _panel(axes, told, place, methods, trainings[task], style)
        axes.set_title(task, fontsize=10)
        if place >= len(told.tasks) - columns:
            axes.set_xlabel("cost (whole trainings)")
        if place % columns == 0:
            axes.set_ylabel("test loss")
    _legend(figure, figure.axes[0], columns)


def leading(told: Curves, rivals: Sequence[str]) -> list[str]:
    """What the panels show: the first rival, the others of lowest mean rank at the end, and what is no rival."""
    rank = _ranks(told.losses[..., -1:])[:, 0]
    ordered = sorted((name for name in rivals[1:]), key=lambda name: rank[told.methods.index(name)])
    others = [name for name in told.methods if name not in rivals]
    return [rivals[0], *ordered[:SEVERAL], *others]


def _ranks(losses: Array) -> Array:
    return mean_ranks(losses, sample(len(losses), losses.shape[2]))[0]


def _panel(
    axes: Any, told: Curves, place: int, methods: Sequence[str], trainings: float, style: Mapping[str, Style]
) -> None:
    spent = np.array(told.shares) * trainings
    chosen = [told.methods.index(name) for name in methods]
    means, low, high = (f(told.losses[place, chosen], axis=1) for f in (np.mean, np.min, np.max))
    for name, mean, least, most in zip(methods, means, low, high, strict=True):
        axes.step(spent, mean, where="post", label=name, **style[name])
        axes.fill_between(spent, least, most, step="post", color=style[name]["color"], alpha=0.12, linewidth=0)
    shown = np.searchsorted(told.shares, SHOWN)
    _loss_axis(axes, low[:, -1].min(), max(means[:, shown].max(), high[:, -1].max()))
    axes.set_xlim(0, trainings)


def _loss_axis(axes: Any, floor: float, top: float) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

    room = max((top / floor) ** 0.06, 1.003)
    axes.set(yscale="log", ylim=(floor / room, top * room))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if top / floor > 4 else MaxNLocator(5))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.4g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=8)


def draw_ranks(figure: Any, told: Curves, style: Mapping[str, Style]) -> None:
    """Mean ranks over the share of the budget, with the bootstrap's interval for ours.

    Args:
        figure: Drawn on.
        told: The curves.
        style: Of each method.
    """
    figure.set_size_inches(9, 5)
    axes = figure.add_subplot()
    few = np.arange(5, len(told.shares), 6)
    losses, spent = told.losses[..., few], 100 * np.array(told.shares)[few]
    within = estimate(lambda r: mean_ranks(losses, r), len(told.tasks), len(told.seeds), resamples=500)
    for place, name in enumerate(told.methods):
        axes.plot(spent, within.value[place], label=name, **style[name])
        if style[name]["color"] == OURS_COLOUR:
            ends = within.lower[place], within.upper[place]
            axes.fill_between(spent, *ends, color=OURS_COLOUR, alpha=0.15, linewidth=0)
    axes.set(xlabel="share of the budget (%)", ylabel=f"mean rank of {len(told.methods)} (1 is best)", xlim=(0, 100))
    axes.invert_yaxis()
    _beside(axes, told.methods, within.value[:, -1])


def draw_profiles(figure: Any, told: Curves, style: Mapping[str, Style]) -> None:
    """Performance profiles at the whole budget.

    Args:
        figure: Drawn on.
        told: The curves.
        style: Of each method.
    """
    figure.set_size_inches(9, 5)
    axes = figure.add_subplot()
    over = told.final() / told.final().min(axis=1, keepdims=True)
    most = float(np.clip(np.quantile(over, 0.95), 1.02, 10))
    factors = np.geomspace(1, most, 300)
    shares = 100 * profiles(told.final(), factors)
    for name, share in zip(told.methods, shares, strict=True):
        axes.step(factors, share, where="post", label=name, **style[name])
    axes.set(
        xlabel="factor over the lowest test loss of all methods",
        ylabel="tasks and seeds within the factor (%)",
        xlim=(1, most),
        ylim=(0, 102),
    )
    _beside(axes, told.methods, -shares.mean(axis=1))


def draw_cost(figure: Any, told: Curves, rivals: Sequence[str], style: Mapping[str, Style]) -> None:
    """Cost to reach the final loss of each task's best rival: a point a task, and the geometric mean.

    Args:
        figure: Drawn on.
        told: The curves.
        rivals: Those among the methods.
        style: Of each method.
    """
    figure.set_size_inches(9, 0.32 * len(told.methods) + 1.4)
    axes = figure.add_subplot()
    costs = cost_to_reach(told.losses, told.shares, [told.methods.index(name) for name in rivals])
    means, never = censored_mean(costs)
    ordered = sorted(range(len(told.methods)), key=lambda place: (means[place], never[place]), reverse=True)
    for line, place in enumerate(ordered):
        colour = style[told.methods[place]]["color"]
        reached = costs[np.isfinite(costs[:, place]), place]
        axes.plot(100 * reached, [line] * len(reached), "o", color=colour, alpha=0.45, markersize=5)
        axes.plot(100 * means[place], line, "|", color=colour, markersize=15, markeredgewidth=3)
        axes.text(103, line, f"{never[place]} of {len(told.tasks)}", va="center", fontsize=9)
    axes.text(103, len(ordered) - 0.2, "never", fontsize=9, va="bottom")
    axes.set_yticks(range(len(ordered)), [told.methods[place] for place in ordered])
    axes.set(
        xlim=(0, 101),
        ylim=(-0.7, len(ordered) - 0.3),
        xlabel="share of the budget at which the best rival's final mean test loss is reached (%);\n"
        "points: tasks, bar: geometric mean, in which never counts as 100 %",
    )
    axes.grid(axis="x", alpha=0.3)


def _legend(figure: Any, axes: Any, columns: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), max(columns + 1, 2)))


def _beside(axes: Any, methods: Iterable[str], order: Iterable[float]) -> None:
    """A legend to the right, in the order in which the lines end, the lowest value first."""
    handles, labels = axes.get_legend_handles_labels()
    place = dict(zip(methods, order, strict=True))
    told = sorted(zip(handles, labels, strict=True), key=lambda pair: place[pair[1]])
    axes.legend(*zip(*told, strict=True), loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    axes.grid(alpha=0.3)
