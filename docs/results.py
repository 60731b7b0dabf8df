"""What pages say of the comparison, read from its own pages and prices."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMPARED = ROOT / "examples" / "studies" / "results" / "compare"
PAGE = COMPARED / "held-out" / "README.md"
TUNING, QUICK, REAL = (COMPARED / name / "README.md" for name in ("tuning", "tuning-quick", "tuning-real"))
PRICES = ROOT / "examples" / "studies" / "comparison" / "prices.json"
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
        raise ValueError(f"The page has no table that begins with {head!r}: mend this script.")
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
    ranks, final = table(page, "| method | 1/6 |"), _final(page)
    middle, end = ranks[0].index("1/3"), ranks[0].index("1")
    shown = ranks[1:][:ROWS]
    if OURS not in [row[0] for row in shown]:
        shown = [*shown[:-1], *[row for row in ranks[1:] if row[0] == OURS]]
    heads = "| method | rank at a third of the budget | at all of it | loss over the best rival's |"
    lines = [heads, "|---|---|---|---|"]
    for row in shown:
        name = f"**{row[0]}**" if row[0] == OURS else row[0]
        lines.append(f"| {name} | {_plain(row[middle])} | {row[end]} | {final[row[0]][-1]} |")
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


def _short(number: str | float) -> str:
    """Two decimals, without the zero before them."""
    return f"{float(number):.2f}".removeprefix("0")


def kinds() -> str:
    """The final loss over the best rival's by kind of space, and rank and loss on the other suite."""
    spaces = table(PAGE.read_text(), "| space |")
    final = spaces[0].index("1")
    few, many, data = (row[final].strip("]").replace(" [", ", ").split(", ") for row in spaces[1:])
    noise = ", which is within the noise" if float(data[1]) < 1 < float(data[2]) else ""
    losses = (
        f"{_short(many[0])} of the best rival's where thirty and more values are adapted, {_short(few[0])} where the"
    )
    ranks, over = table(TUNING.read_text(), "| method | 1/6 |"), _final(TUNING.read_text())
    (rank,) = [row[-1].split(" ")[0] for row in ranks[1:] if row[0] == OURS]
    other = f"On the other suite the rank is {rank}, the loss {_short(over[OURS][-1].split(' ')[0])}."
    return f"The loss is {losses} optimizer's three are, and {_short(data[0])} with weights of data{noise}. {other}"


def _final(page: str) -> dict[str, list[str]]:
    """The table of final losses: by method, over the best rival's of each task and of all; and that rival's own."""
    rows = table(page[page.index("### Final loss") :], "| method |")
    return {row[0].strip("*"): row[1:] for row in rows}


def agreement() -> str:
    """How far the quick form ranks methods as the whole does, as its page says."""
    found = re.search(r"mean ranks of (\d+) methods .*Spearman's rho (\d\.\d+)", QUICK.read_text())
    if not found:
        raise ValueError("The quick form's page tells no agreement: mend this script.")
    return f"ranks the {found[1]} methods as the whole with Spearman's rho {_short(found[2])}"


def simulated_and_real() -> str:
    """Final test losses of one task, simulated and on Ray's processes."""
    simulated, real = _final(TUNING.read_text()), _final(REAL.read_text())
    (task,) = real["method"][:-1]
    place = simulated["method"].index(task)
    told = []
    for name in (row for row in real if row not in ("method", "best rival", "its loss")):
        pair = [float(of["its loss"][at]) * float(of[name][at]) for of, at in ((simulated, place), (real, 0))]
        told.append(f"{name} {pair[0]:.3f} and {pair[1]:.3f}".replace("0.", "."))
    return ", ".join(told)


def price() -> str:
    """From the cheapest hypergradient of any task to the dearest, in its plain steps."""
    windows = [told["window"] for told in json.loads(PRICES.read_text()).values()]
    return f"{min(windows):.1f} to {max(windows):.0f} plain steps"
