"""The timeline of workers: who ran which trial when. A worker is what trains one trial at a time on a node."""

from __future__ import annotations

from collections.abc import Sequence

from ray_glocal.report.page.chart import ACCENT, BAD, FAINT, MUTED, WARM, Chart, Section, axis
from ray_glocal.report.page.figures import clock, counted, duration
from ray_glocal.report.page.life import Life, Stay

NAMED = 40  # lanes whose workers are named
_COLORS = {"done": MUTED, "pruned": FAINT, "early": FAINT, "failed": BAD, "lost": BAD}
Lane = tuple[str, list[tuple[Stay, Life]]]


def lanes(lives: Sequence[Life]) -> list[Lane]:
    """Stays by node, in as many lanes as ran at once there: a process stays on its lane, and others may follow it."""
    stays = sorted(((stay, life) for life in lives for stay in life.stays), key=lambda each: each[0].begin)
    by_host: dict[str, list[list[tuple[Stay, Life]]]] = {}
    for stay, life in stays:
        own = by_host.setdefault(stay.host, [])
        free = [lane for lane in own if _follows(stay, lane[-1][0])]
        if free:
            max(free, key=lambda lane: lane[-1][0].worker == stay.worker).append((stay, life))
        else:
            own.append([(stay, life)])
    return [
        (host if len(own) == 1 else f"{host}, {place}", lane)
        for host, own in by_host.items()
        for place, lane in enumerate(own, start=1)
    ]


def _follows(stay: Stay, before: Stay) -> bool:
    """Whether a stay may stand on the lane of another that began earlier."""
    # Results are stamped in whole seconds: two trials of one process may seem to overlap by one.
    return before.end <= stay.begin + (1.0 if before.worker == stay.worker else 0.0)


def section(lives: Sequence[Life]) -> Section:
    """Bars of trials on their workers."""
    filled = lanes(lives)
    if not filled:
        text = "The results tell no time, so there is no timeline."
        return Section("workers", "Workers", "Nobody knows which worker ran what", (text,))
    length = max(stay.end for _, lane in filled for stay, _ in lane)
    busy = sum(stay.end - stay.begin for _, lane in filled for stay, _ in lane)
    title = counted(len(filled), "worker")
    if length:
        title += f", busy {min(1.0, busy / (len(filled) * length)):.0%} of {duration(length)}"
    return Section("workers", "Workers", title, charts=(_chart(filled, lives[0].trial, length),))


def _chart(filled: Sequence[Lane], best: str, length: float) -> Chart:
    unit, size = clock(length)
    kinds: dict[tuple[str, str], list[tuple[int, Stay, Life]]] = {}
    for place, (_, lane) in enumerate(filled):
        for stay, life in lane:
            kinds.setdefault(_kind(life, best), []).append((place, stay, life))
    traces = tuple(
        {
            "type": "bar",
            "orientation": "h",
            "base": [round(stay.begin / size, 4) for _, stay, _ in bars],
            "x": [round((stay.end - stay.begin) / size, 4) for _, stay, _ in bars],
            "y": [place for place, _, _ in bars],
            "text": [f"{life.trial}, {life.status}, {duration(stay.end - stay.begin)}" for _, stay, life in bars],
            "textposition": "none",
            "hovertemplate": "%{text}<extra></extra>",
            "marker": {"color": color, "line": {"width": 1, "color": "@surface"}},
            "name": name,
        }
        for (name, color), bars in kinds.items()
    )
    named = filled if len(filled) <= NAMED else ()
    caption = f"Each row is a worker, each bar a trial from its first sign of life there to its last; {unit} run right."
    layout = {
        "barmode": "overlay",
        "xaxis": axis(unit, rangemode="tozero"),
        "yaxis": axis(
            "" if named else "worker",
            tickvals=list(range(len(named))),
            ticktext=[worker for worker, _ in named],
            autorange="reversed",
            automargin=True,
            showgrid=False,
        ),
        "hovermode": "closest",
    }
    return Chart("workers-chart", caption, traces, layout, min(720, 150 + 22 * len(filled)))


def _kind(life: Life, best: str) -> tuple[str, str]:
    if life.trial == best and life.best is not None:
        return "the best", ACCENT
    name = {"early": "ended early", "lost": "failed"}.get(life.status, life.status)
    return (name, _COLORS[life.status]) if life.status in _COLORS else ("going on", WARM)
