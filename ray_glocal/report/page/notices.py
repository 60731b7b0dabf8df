"""Every warning that a session gave."""

from __future__ import annotations

from collections.abc import Sequence

from ray_glocal.report.account import Warned
from ray_glocal.report.page.chart import Section, Table
from ray_glocal.report.page.figures import counted


def section(warnings: Sequence[Warned], notes: Sequence[str]) -> Section:
    """Warnings with their trials, and what the results do not tell."""
    if not warnings:
        return Section("warnings", "Warnings", "No session gave a warning", tuple(notes))
    rows = tuple((len(each.trials), each.text, ", ".join(each.trials)) for each in warnings)
    title = f"{counted(len(warnings), 'warning')} by sessions"
    heads = ("trials", "warning", "given by")
    table = Table("warnings-table", "What sessions warned of, once each.", heads, rows, ("warning", "given by"))
    return Section("warnings", "Warnings", title, tuple(notes), table=table)
