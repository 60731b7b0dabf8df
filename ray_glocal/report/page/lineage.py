"""Trials over time as a lineage tree: who started from whom, who was pruned, who came to the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ray_glocal.report.layout import shown
from ray_glocal.report.page.chart import (
    ACCENT,
    BAD,
    FAINT,
    INK,
    MUTED,
    WARM,
    Chart,
    Section,
    axis,
    broken,
    line,
    points,
)
from ray_glocal.report.page.figures import clock, counted, duration
from ray_glocal.report.page.life import Life

MANY = 150  # trials beyond which the tree is drawn faintly
_MARKS = {  # of how trials end: name, colour, symbol
    "done": ("done", INK, "circle"),
    "pruned": ("pruned", MUTED, "line-ns-open"),
    "early": ("ended early", MUTED, "line-ns-open"),
    "failed": ("failed", BAD, "triangle-up"),
    "lost": ("failed", BAD, "triangle-up"),
}
_WERE = {"pruned": "were pruned", "early": "ended early", "unknown": "are unknown"}
_GOING = ("going on", WARM, "triangle-right")


def order(lives: Sequence[Life]) -> list[str]:
    """Trials so that each stands beneath the one that it came from, families by their first sign of life."""
    known = {life.trial: life for life in lives}
    children: dict[str | None, list[Life]] = {}
    for life in sorted(lives, key=lambda each: (each.begin is None, each.begin or 0.0)):
        children.setdefault(life.ancestor if life.ancestor in known else None, []).append(life)
    out: list[str] = []
    waiting = list(reversed(children.get(None, ())))
    while waiting:
        life = waiting.pop()
        out.append(life.trial)
        waiting += reversed(children.get(life.trial, ()))
    return out


def section(lives: Sequence[Life]) -> Section:
    """The tree, with a sentence on what became of the trials."""
    statuses = Counter(life.status for life in lives)
    seeded = sum(life.ancestor is not None for life in lives)
    others = [f"{count:,} {_WERE.get(status, status)}" for status, count in statuses.most_common() if status != "done"]
    others += [f"{seeded:,} started from another's values"] if seeded else []
    title = ", ".join([f"{statuses['done']:,} of {counted(len(lives), 'trial')} came to their end", *others])
    text: list[str] = []
    timed = [life for life in lives if life.stays]
    if not timed:
        text.append("The results tell no time, so there is no tree to draw.")
        return Section("trials", "Trials", title, tuple(text))
    return Section("trials", "Trials", title, tuple(text), (_tree(timed),))


def _tree(lives: Sequence[Life]) -> Chart:
    height = {trial: place for place, trial in enumerate(order(lives), start=1)}
    length = max(life.end or 0.0 for life in lives)
    unit, size = clock(length)
    best, others = lives[0], lives[1:]
    traces = [_births(lives, height, size), _spans(others, height, size, MUTED, 1.2, "trial")]
    if best.best is not None:
        traces.append(_spans([best], height, size, ACCENT, 4.0, "the best"))
    traces += _ends(lives, height, size)
    caption = (
        f"Each line is a trial from its start to its last result, {duration(length)} in all; a trial that started "
        "from another's values stands beneath it, tied to its end. The mark at the end says how it ended."
    )
    layout = {
        "xaxis": axis(unit, rangemode="tozero"),
        "yaxis": axis("", visible=False, range=[len(lives) + 1, 0]),
        "hovermode": "closest",
    }
    return Chart("lineage", caption, tuple(traces), layout, min(720, max(260, 140 + 9 * len(lives))))


def _spans(
    lives: Sequence[Life], height: Mapping[str, int], size: float, color: str, width: float, name: str
) -> dict[str, Any]:
    x = broken([[(life.begin or 0.0) / size, (life.end or 0.0) / size] for life in lives])
    y = broken([[height[life.trial]] * 2 for life in lives])
    return line(color, width, x=x, y=y, name=name, hoverinfo="skip", showlegend=color == ACCENT)


def _births(lives: Sequence[Life], height: Mapping[str, int], size: float) -> dict[str, Any]:
    """From an ancestor's end down to the height of a trial, and on to its start."""
    known = {life.trial: life for life in lives}
    pairs = [(life, known[life.ancestor]) for life in lives if life.ancestor in known and life.ancestor]
    left = [min(above.end or 0.0, life.begin or 0.0) / size for life, above in pairs]
    x = broken([[at, at, (life.begin or 0.0) / size] for at, (life, _) in zip(left, pairs, strict=True)])
    y = broken([[height[above.trial], height[life.trial], height[life.trial]] for life, above in pairs])
    color, width = (WARM, 1.0) if len(lives) <= MANY else (FAINT, 0.6)
    return line(color, width, x=x, y=y, name="starts from its values", hoverinfo="skip", opacity=0.6)


def _ends(lives: Sequence[Life], height: Mapping[str, int], size: float) -> list[dict[str, Any]]:
    kinds: dict[tuple[str, str, str], list[Life]] = {}
    for life in lives:
        kinds.setdefault(_MARKS.get(life.status, _GOING), []).append(life)
    return [
        points(
            color,
            8 if len(lives) <= MANY else 4,
            symbol,
            x=[round((life.end or 0.0) / size, 3) for life in those],
            y=[height[life.trial] for life in those],
            text=[
                f"{life.trial}, {life.status} at step {shown(life.steps)}, best {shown(life.best)}" for life in those
            ],
            hoverinfo="text",
            name=name,
        )
        for (name, color, symbol), those in kinds.items()
    ]
