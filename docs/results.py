"""What pages say of the comparison, read from its own page."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMPARED = ROOT / "examples" / "studies" / "results" / "compare"
PAGE = COMPARED / "held-out" / "README.md"
ROWS = 10  # lines of the table
OURS = "glocal"


def table(page: str, head: str) -> list[list[str]]:
    """The cells of the first table whose head begins with `head`, its heads first.

    Raises:
        ValueError: The page has no such table.
    """
    lines = page.splitlines()
    starts = [place for place, line in enumerate(lines) if line.startswith(head)]
    if not starts:
        raise ValueError(f"{PAGE} has no table that begins with {head!r}: mend this script.")
    rows = []
    for line in lines[starts[0] :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return [rows[0], *rows[2:]]


def _plain(cell: str) -> str:
    """A number without its interval."""
    return cell.split(" [")[0]


def shown() -> str:
    """The results of the held-out suite."""
    return results(PAGE.read_text())


def results(page: str) -> str:
    """A table of ranks and losses of the best methods and ours, with what it is of."""
    ranks, losses = table(page, "| method | 1/6 |"), table(page[page.index("### Final loss") :], "| method |")
    final = {row[0]: row[-1] for row in losses[1:]}
    middle, end = ranks[0].index("1/3"), ranks[0].index("1")
    shown = ranks[1:][:ROWS]
    if OURS not in [row[0] for row in shown]:
        shown = [*shown[:-1], *[row for row in ranks[1:] if row[0] == OURS]]
    heads = "| method | rank at a third of the budget | at all of it | loss over the best rival's |"
    lines = [heads, "|---|---|---|---|"]
    for row in shown:
        name = f"**{row[0]}**" if row[0] == OURS else row[0]
        lines.append(f"| {name} | {_plain(row[middle])} | {row[end]} | {final[row[0]]} |")
    return "\n".join([*_sentences(page, len(shown) - 1), "", *lines])


def _sentences(page: str, shown: int) -> list[str]:
    """How much was compared, how many of the rivals are shown, and where ours loses."""
    sizes = re.search(r"^(\d+ tasks, \d+ seeds, \d+ rivals)", page, re.MULTILINE)
    lost = re.search(r"it loses on (\d+): (.*)\.$", page, re.MULTILINE)
    worst = re.findall(r"([\w-]+) \(([\d.]+) \[", lost[2]) if lost else []
    told = [f"{name} ({float(ratio):.2f})" for name, ratio in sorted(worst, key=lambda pair: -float(pair[1]))]
    head = f"{sizes[1] if sizes else ''} of which the best {shown} are shown, equal compute."
    losses = f"Ours has a higher loss than the best rival on {lost[1]} tasks, by a factor:" if lost else ""
    return [f"{head} {losses} {', '.join(told)}." if lost else head]


def conclusions() -> str:
    """The list that the page concludes with, which the study computed from its rows."""
    page = PAGE.read_text()
    rest = page[page.index("### Conclusions") :].split("\n### ")[0]
    return rest.removeprefix("### Conclusions").strip()
