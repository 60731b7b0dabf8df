"""The comparison's page: tables and conclusions, all computed from the rows."""

from collections.abc import Iterable, Sequence

import numpy as np

from comparison.bootstrap import sample
from comparison.conclusions import conclusions
from comparison.section import SPACES, Section, omitted
from comparison.statistics import FINE, Curves, Row, agreement, curves, mean_ranks
from comparison.tables import ablation, costs, kind_table, losses, processor, rank_tables, rivalry, single_trainings
from study import markdown

TERMS = """A method's loss is the test loss of its incumbent: of what it has reported within the budget, that of the \
lowest validation loss. The budget is equal for all methods of a task and counts whatever they compute, in inner-step \
equivalents. Ranks are by task and seed, 1 for the lowest loss. A task's best rival is the one of the lowest mean \
loss, known only in hindsight, which is to the rivals' advantage; each resample picks it anew, which tends to move the \
intervals of ratios to it upwards. In brackets: 95 % intervals of a bootstrap that draws the same seeds (or the same \
tasks, where it says so) for every method, n - 1 of n with replacement. The seeds' intervals speak of these tasks, the \
tasks' of others like them."""


def page(rows: Sequence[Row], rivals: Sequence[str], ours: Sequence[str]) -> str:
    """The page as Markdown: for each suite its conclusions, then the tables that they are read from.

    Args:
        rows: Of the study.
        rivals: Names of methods, first the simplest.
        ours: Names of methods, first the whole one, then those without one part each.
    """
    parts = [TERMS]
    for suite in dict.fromkeys(row["suite"] for row in rows):
        own = [row for row in rows if row["suite"] == suite]
        parts += [f"## Suite {suite}", *_suite(own, rivals, ours)]
    return "\n\n".join(filter(None, parts))


def _suite(rows: Sequence[Row], rivals: Sequence[str], ours: Sequence[str]) -> list[str]:
    told = curves(rows, [*rivals, ours[0]], FINE)
    ablated = curves(rows, ours, FINE)
    theirs = [name for name in rivals if name in told.methods]
    section = Section(rows, theirs, ours[0], ours[1:], told, _by_kind(rows, [*rivals, ours[0]]), ablated)
    rest = [ablation(section), single_trainings(rows), processor(rows, [*rivals, *ours])]
    if not (told.losses.size and theirs and ours[0] in told.methods):
        return [f"There is no task yet that both {ours[0]} and a rival have completed.{omitted(told)}", *rest]
    sizes = [_counted(len(told.tasks), "task"), _counted(len(told.seeds), "seed"), _counted(len(theirs), "rival")]
    said = f"{', '.join(sizes)}: {', '.join(theirs)}.{omitted(told)}"
    return [
        said,
        conclusions(section),
        kind_table(section),
        rank_tables(section),
        rivalry(section),
        losses(section),
        costs(section),
        *rest,
    ]


def _by_kind(rows: Sequence[Row], methods: Sequence[str]) -> dict[str, Curves]:
    found = {kind: curves([row for row in rows if row["kind"] == kind], methods, FINE) for kind in SPACES}
    return {kind: told for kind, told in found.items() if told.losses.size and methods[-1] in told.methods}


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def quick_agreement(quick: Iterable[Row], whole: Iterable[Row], methods: Sequence[str]) -> str:
    """How far the quick form's mean ranks agree with the whole study's, for each suite of both, as Markdown.

    Args:
        quick: Rows of the quick form.
        whole: Rows of the whole study.
        methods: Names of those to rank.
    """
    forms = [list(quick), list(whole)]
    suites = [dict.fromkeys(row["suite"] for row in rows) for rows in forms]
    parts = [_agreement(suite, forms, methods) for suite in suites[0] if suite in suites[1]]
    return "\n\n".join(parts) or "The quick form and the whole have no suite in common."


def _agreement(suite: str, forms: Sequence[Sequence[Row]], methods: Sequence[str]) -> str:
    own = [[row for row in rows if row["suite"] == suite] for rows in forms]
    names = list(methods)
    for rows in own:
        names = [name for name in names if name in curves(rows, names, [1.0]).methods]
    told = [curves(rows, names, [1.0]) for rows in own]
    if len(names) < 2 or not all(curve.losses.size for curve in told):
        return f"Suite {suite}: the two forms have not two methods in common yet."
    ranks = [mean_ranks(curve.final(), sample(len(curve.tasks), len(curve.seeds)))[0] for curve in told]
    found = agreement(*ranks)
    order = np.argsort(ranks[1], kind="stable")
    lines = [[names[place], *(f"{rank[place]:.2f}" for rank in reversed(ranks))] for place in order]
    sizes = [f"{len(curve.tasks)} tasks with {len(curve.seeds)} seeds" for curve in told]
    said = (
        f"Suite {suite}: mean ranks of {len(names)} methods at the whole budget of each form, quick ({sizes[0]}) and "
        f"whole ({sizes[1]}): Kendall's tau-b {found.tau:.2f}, Spearman's rho {found.rho:.2f}."
    )
    return f"{said}\n\n{markdown(['method', 'whole', 'quick'], lines)}"
