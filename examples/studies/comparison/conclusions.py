"""The page's conclusions: sentences that are computed from the rows, and name where ours loses."""

from functools import partial

import numpy as np

from comparison.references import singles
from comparison.section import (
    SHARES,
    SPACES,
    Section,
    best_rivals,
    estimated,
    geometric_mean,
    has_ablation,
    interval,
    over_best,
    over_whole,
    part,
    rank_gap,
)
from comparison.statistics import FINE, censored_mean, cost_to_reach, mean_ranks, ratios


def conclusions(section: Section) -> str:
    """What the tables say, as a list."""
    told = [*_rank_said(section), *_kinds_said(section), *_losses_said(section), _budgets_said(section)]
    told.append(_costs_said(section))
    told += [*_ablation_said(section), *_singles_said(section)]
    return "### Conclusions\n\n" + "\n".join(f"- {sentence}" for sentence in told)


def _rank_said(section: Section) -> list[str]:
    told = section.told
    rank = section.estimate(mean_ranks)
    several = len(told.seeds) > 1
    place = 1 + int(np.sum(rank.value < rank.value[section.own]))
    rival = min(section.places, key=lambda other: rank.value[other])
    gap = section.estimate(partial(rank_gap, section.own))
    over = section.estimate(partial(rank_gap, section.own), "tasks")
    tasks = f"; over the tasks [{over.lower[rival]:+.2f}, {over.upper[rival]:+.2f}]" if len(told.tasks) > 1 else ""
    below = f"; it is below zero in {gap.below[rival]:.1%} of the seeds' resamples" if several else ""
    return [
        f"At the whole budget {section.whole} has the mean rank {interval(rank, section.own, '.2f', several)}, number "
        f"{place} of {len(told.methods)} methods. The rival of the lowest is {told.methods[rival]}, "
        f"{interval(rank, rival, '.2f', several)}: ours less its own is {interval(gap, rival, '+.2f', several)}"
        f"{tasks}{below}."
    ]


def _kinds_said(section: Section) -> list[str]:
    """By kind of space, how surely the mean rank is below that of every rival."""
    if len(section.told.seeds) < 2 or not section.kinds:
        return []
    names = [name for name in SHARES if name != "1/6"]  # where the first searches have just begun to compare
    said = []
    for kind, told in section.kinds.items():
        own = told.methods.index(section.whole)
        gap = estimated(told.losses[..., [SHARES[name] for name in names]], partial(rank_gap, own))
        least = np.delete(gap.below, own, axis=0).min(axis=0)
        shares = [f"{share:.1%} at {name}" for share, name in zip(least, names, strict=True)]
        said.append(f"{SPACES[kind].lower()} {', '.join(shares)}")
    return [f"Its mean rank is below that of each rival in at least so many of the resamples: {'; '.join(said)}."]


def _losses_said(section: Section) -> list[str]:
    told, several = section.told, len(section.told.seeds) > 1
    over = section.estimate(lambda final, resamples: ratios(final, section.places, resamples)[:, :, section.own])
    rivals = [told.methods[place] for place in best_rivals(section)]
    cells = [
        (value, f"{task} ({interval(over, place, '.3f', several)} times the loss of {rivals[place]})")
        for place, (task, value) in enumerate(zip(told.tasks, over.value, strict=True))
    ]
    lost = [words for value, words in sorted(cells, reverse=True) if value > 1]
    tied = [words for value, words in cells if value == 1]
    wins = sum(value < 1 for value, _ in cells)
    sure = f" (on {np.sum(over.upper < 1)} with an interval wholly below)" if several else ""
    said = f"The final mean loss of {section.whole} is below that of the task's best rival on {wins} of "
    said += f"{len(told.tasks)} tasks{sure}"
    said += f"; it loses on {len(lost)}: {', '.join(lost)}" if lost else "; it loses on none"
    return [said + (f"; it ties on {', '.join(tied)}." if tied else ".")]


def _budgets_said(section: Section) -> str:
    told = section.told.losses[..., list(SHARES.values())]
    over, several = estimated(told, partial(over_best, section.places)), len(section.told.seeds) > 1
    parts = [f"{interval(over, (section.own, place), '.3f', several)} at {name}" for place, name in enumerate(SHARES)]
    return (
        f"The loss of {section.whole} over that of each task's best rival at the same share of the budget, geometric "
        f"mean: {', '.join(parts)}."
    )


def _costs_said(section: Section) -> str:
    told = cost_to_reach(section.told.losses, FINE, section.places)
    own = told[:, section.own]
    never = [task for task, cost in zip(section.told.tasks, own, strict=True) if np.isinf(cost)]
    mean, _ = censored_mean(own[:, None])
    said = (
        f"{section.whole} reaches the best rival's final mean loss on {len(own) - len(never)} of {len(own)} tasks, at "
        f"{mean[0]:.0%} of the budget (geometric mean, in which never counts as the whole budget)"
    )
    return said + (f"; never on {', '.join(never)}." if never else ".")


def _ablation_said(section: Section) -> list[str]:
    told = section.ablated
    if not has_ablation(section):
        return []
    over = estimated(told.final(), over_whole)
    names = [name for name in told.methods if name != section.whole]
    words = {name: interval(over, told.methods.index(name), ".3f", len(told.seeds) > 1) for name in names}
    value = {name: over.value[told.methods.index(name)] for name in names}
    ordered = sorted(names, key=lambda name: -value[name])
    told_worse = [f"{part(section, name)} {words[name]}" for name in ordered if value[name] > 1]
    told_rest = [f"{part(section, name)} {words[name]}" for name in ordered if value[name] <= 1]
    said = [f"The final loss without a part over that with all, geometric mean: {', '.join(told_worse)}."]
    rest = [f"Parts without which the final loss is not higher: {', '.join(told_rest)}."]
    return (said if told_worse else []) + (rest if told_rest else [])


def _singles_said(section: Section) -> list[str]:
    told = singles(section.rows).told
    said = []
    for method in dict.fromkeys(single.method for single in told):
        own = [single for single in told if single.method == method]
        worst = max(own, key=lambda single: single.raw)
        means = [geometric_mean([getattr(single, name) for single in own]) for name in ("raw", "averaged")]
        where = f"{worst.task} from {worst.start}" if worst.start else worst.task
        said.append(
            f"Single trainings, {method}: {means[0]:.3f} times the loss of the best grid point by raw weights, "
            f"{means[1]:.3f} by averaged ones (geometric means of {len(own)} pairs of task and start); at most "
            f"{worst.raw:.3f}, by raw weights, on {where}."
        )
    return said
