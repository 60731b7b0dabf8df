"""The page's tables."""

from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np

from comparison.bootstrap import Array, Resamples, sample
from comparison.references import Single, Singles, singles
from comparison.section import (
    SHARES,
    SPACES,
    Section,
    best_rivals,
    estimated,
    geometric_mean,
    has_ablation,
    interval,
    omitted,
    over_best,
    over_whole,
    part,
    rank_gap,
)
from comparison.statistics import (
    FINE,
    Curves,
    Row,
    censored_mean,
    cost_to_reach,
    mean_ranks,
    processor_seconds,
    ratios,
    relative_losses,
)
from study import markdown


def kind_table(section: Section) -> str:
    """For each kind of space, how the whole stands to the rivals."""
    lines = []
    for kind, told in section.kinds.items():
        own, several = told.methods.index(section.whole), len(told.seeds) > 1
        places = [place for place in range(len(told.methods)) if place != own]
        rank = estimated(told.final(), mean_ranks)
        rival = min(places, key=lambda place, rank=rank: rank.value[place])
        over = estimated(told.losses[..., list(SHARES.values())], partial(over_best, places))
        costs, never = censored_mean(cost_to_reach(told.losses, FINE, places)[:, [own]])
        shown = [interval(over, (own, share), ".3f", several) for share in range(len(SHARES))]
        ranked = [
            interval(rank, own, ".1f", several),
            f"{told.methods[rival]} {interval(rank, rival, '.1f', several)}",
        ]
        reached = f"{costs[0]:.0%}, never on {never[0]} of {len(told.tasks)}"
        lines.append([SPACES[kind], f"{len(told.methods)}", *ranked, *shown, reached])
    header = ["space", "methods", f"rank of {section.whole}", "best rank of a rival", *SHARES, "cost to reach"]
    said = (
        f"Mean ranks at the whole budget; test loss of {section.whole} over that of each task's best rival by share of "
        "the budget, geometric means; share of the budget at which it is where the best rival ends."
    )
    return f"### By kind of space\n\n{said}\n\n{markdown(header, lines)}" if len(lines) > 1 else ""


def rank_tables(section: Section) -> str:
    """Mean ranks at four budgets, over all tasks and by kind of space."""
    parts = ["### Mean ranks", "By share of the budget.", f"All {len(section.told.tasks)} tasks:", _ranks(section.told)]
    for kind, told in section.kinds.items() if len(section.kinds) > 1 else []:
        parts += [f"{SPACES[kind]} ({', '.join(told.tasks)}):", _ranks(told)]
    return "\n\n".join(parts)


def _ranks(told: Curves) -> str:
    losses = told.losses[..., list(SHARES.values())]
    rank, several = estimated(losses, mean_ranks), len(told.seeds) > 1
    ordered = sorted(range(len(told.methods)), key=lambda place: rank.value[place, -1])
    lines = [
        [told.methods[place], *(interval(rank, (place, share), ".1f", several) for share in range(len(SHARES)))]
        for place in ordered
    ]
    return markdown(["method", *SHARES], lines)


def rivalry(section: Section) -> str:
    """Ours against each rival at the whole budget."""
    told, several = section.told, len(section.told.seeds) > 1
    gap = section.estimate(partial(rank_gap, section.own))
    over = [section.estimate(partial(_own_over_each, section.own), what) for what in ("seeds", "tasks")]
    means = told.final().mean(axis=2)
    lines = []
    for place in section.places:
        lines.append(
            [
                told.methods[place],
                f"{np.sum(means[:, section.own] < means[:, place])} of {len(told.tasks)}",
                interval(over[0], place, ".3f", several),
                f"[{over[1].lower[place]:.3f}, {over[1].upper[place]:.3f}]" if len(told.tasks) > 1 else "",
                interval(gap, place, "+.2f", several),
                f"{gap.below[place]:.1%}" if several else "",
            ]
        )
    header = [
        "rival",
        "tasks won",
        "loss, ours over theirs",
        "the same over tasks",
        "rank, ours less theirs",
        "resamples below zero",
    ]
    said = "At the whole budget; losses are means over the seeds, their ratios geometric means over the tasks."
    return f"### {section.whole} against each rival\n\n{said}\n\n{markdown(header, lines)}"


def _own_over_each(own: int, losses: Array, resamples: Resamples) -> Array:
    """[resample, method]."""
    return 1 / relative_losses(losses, [own], resamples)


def losses(section: Section) -> str:
    """Final losses over those of each task's best rival."""
    told = section.told
    by_task = ratios(told.final(), section.places, sample(len(told.tasks), len(told.seeds)))[0]
    over = section.estimate(partial(over_best, section.places))
    best, means = best_rivals(section), told.final().mean(axis=2)
    lines: list[list[str]] = [["**best rival**", *(told.methods[place] for place in best), ""]]
    lines.append(["**its loss**", *(f"{means[task, place]:.4g}" for task, place in enumerate(best)), ""])
    for place in np.argsort(over.value, kind="stable"):
        shown = [f"{value:.3f}" for value in by_task[:, place]]
        lines.append([told.methods[place], *shown, interval(over, place, ".3f", len(told.seeds) > 1)])
    table = markdown(["method", *told.tasks, "geometric mean"], lines)
    return f"### Final loss\n\nMean test loss at the whole budget over that of the task's best rival.\n\n{table}"


def costs(section: Section) -> str:
    """Shares of the budget at which the best rival's final loss is reached."""
    told = section.told
    found = cost_to_reach(told.losses, FINE, section.places)
    means, never = censored_mean(found)
    lines = []
    for place in np.lexsort((never, means)):
        shown = ["never" if np.isinf(cost) else f"{cost:.0%}" for cost in found[:, place]]
        lines.append([told.methods[place], *shown, f"{means[place]:.0%}", f"{never[place]} of {len(told.tasks)}"])
    said = (
        "Share of the budget at which a method's mean curve first is as low as the mean loss with which the task's "
        "best rival ends. In the geometric mean never counts as the whole budget."
    )
    return f"### Cost to reach\n\n{said}\n\n{markdown(['method', *told.tasks, 'geometric mean', 'never'], lines)}"


def ablation(section: Section) -> str:
    """Ours without each part over the whole."""
    if not has_ablation(section):
        return ""
    told = section.ablated
    chosen = told.losses[..., list(SHARES.values())]
    over, tasks = (estimated(chosen, over_whole, what) for what in ("seeds", "tasks"))
    means = told.final().mean(axis=2)
    lines = []
    for place in range(1, len(told.methods)):
        shown = [interval(over, (place, share), ".3f", len(told.seeds) > 1) for share in range(len(SHARES))]
        among = f"[{tasks.lower[place, -1]:.3f}, {tasks.upper[place, -1]:.3f}]" if len(told.tasks) > 1 else ""
        worse = f"{np.sum(means[:, place] > means[:, 0])} of {len(told.tasks)}"
        lines.append([part(section, told.methods[place]), *shown, among, worse])
    header = ["without", *SHARES, "at 1 over tasks", "tasks worse"]
    said = (
        f"Mean test loss without a part over that of {section.whole}, geometric means over {len(told.tasks)} tasks, by "
        f"share of the budget.{omitted(told)}"
    )
    return f"### Ablations\n\n{said}\n\n{markdown(header, lines)}"


def single_trainings(rows: Iterable[Row]) -> str:
    """Single trainings beside the best of the grid."""
    told = singles(rows)
    if not told.told:
        return ""
    parts = [
        "### Single trainings",
        "Mean test loss of one whole training over that of the best grid point by raw weights / by averaged weights; "
        "each best point is picked by its mean validation loss. *Cost*: of one, in plain trainings.",
        _grid(told),
    ]
    for method in dict.fromkeys(single.method for single in told.told):
        own = [single for single in told.told if single.method == method]
        parts += [f"{method.capitalize()}:", _starts(own, list(dict.fromkeys(single.start for single in own)))]
    omitted = f"Left out for want of a grid on the same seeds: {'; '.join(told.omitted)}." if told.omitted else ""
    return "\n\n".join(filter(None, [*parts, omitted]))


def _grid(told: Singles) -> str:
    lines = []
    for task, raw in told.raw.items():
        both = raw, told.averaged[task]
        lines.append([task, *(part for best in both for part in (best.point, f"{_mean(best.test.values()):.4g}"))])
    return markdown(["task", "best of the grid, raw", "its loss", "best of the grid, averaged", "its loss"], lines)


def _starts(own: Sequence[Single], starts: Sequence[str]) -> str:
    cells = {(single.task, single.start): single for single in own}
    lines = []
    for task in dict.fromkeys(single.task for single in own):
        shown = [_ratio([cells[task, start]] if (task, start) in cells else []) for start in starts]
        lines.append([task, *shown, f"{_mean(single.cost for single in own if single.task == task):.2f}"])
    means = [_ratio([single for single in own if single.start == start]) for start in starts]
    lines.append(["**geometric mean**", *means, f"{_mean(single.cost for single in own):.2f}"])
    return markdown(["task", *(f"from {start}" if start else "loss" for start in starts), "cost"], lines)


def _ratio(told: Sequence[Single]) -> str:
    if not told:
        return ""
    return " / ".join(
        f"{geometric_mean([getattr(single, name) for single in told]):.3f}" for name in ("raw", "averaged")
    )


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def processor(rows: Iterable[Row], methods: Sequence[str]) -> str:
    """Processor time of the methods."""
    told = processor_seconds(rows, methods)
    shown = [name for name in methods if told[name]]
    tasks = [task for task in told[shown[0]] if all(task in told[name] for name in shown)] if shown else []
    if not tasks:
        return ""
    means = {name: geometric_mean([told[name][task] for task in tasks]) for name in shown}
    lines = [[name, f"{1e3 * value:.3g}", f"{value / means[shown[0]]:.2f}"] for name, value in means.items()]
    said = f"By inner-step equivalent, over whole experiments; geometric means over {len(tasks)} tasks."
    return f"### Processor time\n\n{said}\n\n{markdown(['method', 'milliseconds', f'over that of {shown[0]}'], lines)}"
