"""The page itself: one HTML file with its data, its style, its script and plotly's, that asks nothing of a network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from html import escape
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

from ray_glocal.errors import ArgumentError
from ray_glocal.report.layout import listed, shown
from ray_glocal.report.page import (
    calibration,
    choices,
    curves,
    decisions,
    hyperparameters,
    lineage,
    notices,
    price,
    spectra,
    table,
    workers,
)
from ray_glocal.report.page.chart import Chart, Option, Section, Table
from ray_glocal.report.page.contents import Contents
from ray_glocal.report.page.importance import label
from ray_glocal.report.page.life import Life

PLOTLY = "plotly.min.js"
REMEDY = "Install it with: pip install 'plotly>=6'"


def drawable() -> bool:
    """Whether plotly, which draws the charts, is installed."""
    return find_spec("plotly") is not None


def sections(content: Contents) -> tuple[Section, ...]:
    """The sections in the order of the page."""
    first = lineage.section(content.trials)
    names = [each.hyperparameter for each in content.importance]
    every = table.trials(content.metric, content.trials, names, content.adapted)
    return (
        Section(first.key, first.name, first.title, first.text, first.charts, every),
        curves.section(content.metric, content.trials, content.curves),
        hyperparameters.section(content.trials, content.hyperparameters),
        calibration.section(content.metric, content.calibration),
        spectra.section(content.spectra),
        choices.section(content.metric, content.trials, content.importance, content.adapted),
        workers.section(content.trials),
        decisions.section(content.decisions),
        price.section(content.metric, content.cost, content.spent),
        notices.section(content.warnings, content.notes),
    )


def written(content: Contents) -> str:
    """The page as HTML.

    Raises:
        ArgumentError: plotly is not installed.
    """
    if not drawable():
        raise ArgumentError("html", "be asked for where plotly is installed", "no plotly", REMEDY)
    parts = sections(content)
    here = files("ray_glocal.report.page")
    page = {
        "TITLE": escape(f"{content.name}: {content.headline}"),
        "NAME": escape(content.name),
        "HEADLINE": escape(content.headline),
        "LEAD": _lead(content),
        "LINKS": "".join(f'<li><a href="#{part.key}">{part.name}</a></li>' for part in parts),
        "SECTIONS": "".join(_section(part) for part in parts),
        "PATH": escape(content.path),
        "STYLE": here.joinpath("page.css").read_text(encoding="utf-8"),
        "SCRIPT": here.joinpath("page.js").read_text(encoding="utf-8"),
        "DATA": _embedded({"trials": _labels(content), **_drawn(parts)}),
        "PLOTLY": files("plotly").joinpath("package_data").joinpath(PLOTLY).read_text(encoding="utf-8"),
    }
    return "".join(_filled(here.joinpath("page.html").read_text(encoding="utf-8"), page))


def _filled(template: str, parts: Mapping[str, str]) -> Iterator[str]:
    """The template with its places filled; what fills them is not searched for further places."""
    for piece in template.split("{{"):
        name, found, rest = piece.partition("}}")
        yield f"{parts[name]}{rest}" if found else piece


def _lead(content: Contents) -> str:
    """What the best trial is, in a sentence."""
    best = content.trials[0] if content.trials and content.trials[0].best is not None else None
    if best is None:
        return ""
    names = [each.hyperparameter for each in content.importance]
    values = [(name, label(best.configuration[name])) for name in names if name in best.configuration]
    values += [(name, shown(value)) for name, value in content.adapted.get(best.trial, {}).items()]
    return escape(f"The best is trial {best.trial}" + (f": {', '.join(listed(values))}." if values else "."))


def _labels(content: Contents) -> dict[str, str]:
    return {life.trial: _label(life) for life in content.trials}


def _label(life: Life) -> str:
    return f"{life.rank}. {life.trial}, {shown(life.best)}, {life.status}"


def _section(part: Section) -> str:
    text = "".join(f"<p>{escape(sentence)}</p>" for sentence in part.text)
    charts = "".join(_chart(chart) for chart in part.charts)
    rows = _table(part.table) if part.table is not None else ""
    head = f'<h2 id="{part.key}-title">{escape(part.title)}</h2>'
    return f'<section id="{part.key}" aria-labelledby="{part.key}-title">{head}{text}{charts}{rows}</section>'


def _chart(chart: Chart) -> str:
    key = chart.key
    boxes = "".join(
        f'<label>{name} <select data-chart="{key}" data-place="{i}"></select></label>'
        for i, name in enumerate(chart.choosers)
    )
    pick = f'<div class="pick">{boxes}</div>' if boxes else ""
    named = f'id="{key}" role="img" aria-labelledby="{key}-caption"'
    drawn = f'<div class="chart" {named} style="height:{chart.height}px"></div>'
    caption = f'<figcaption id="{key}-caption" aria-live="polite">{escape(chart.caption)}</figcaption>'
    return f"<figure>{pick}{drawn}{caption}</figure>"


def _table(table: Table) -> str:
    key = table.key
    box = f'<label>Filter <input type="search" id="{key}-filter" data-table="{key}" autocomplete="off"></label>'
    count = f'<output id="{key}-count" for="{key}-filter"></output>'
    head = f'<div class="pick">{box}{count}</div>'
    return (
        f'<div class="listed"><p class="note" id="{key}-caption">{escape(table.caption)}</p>{head}'
        f'<div class="scroll" tabindex="0" role="region" aria-labelledby="{key}-caption">'
        f'<table id="{key}" aria-labelledby="{key}-caption"><thead></thead><tbody></tbody></table></div>'
        f'<button type="button" id="{key}-more" hidden></button></div>'
    )


def _drawn(parts: tuple[Section, ...]) -> dict[str, Any]:
    charts = {chart.key: drawing(chart) for part in parts for chart in part.charts}
    tables = {part.table.key: asdict(part.table) for part in parts if part.table is not None}
    return {"charts": charts, "tables": tables}


def drawing(chart: Chart) -> dict[str, Any]:
    """A chart as the script reads it."""
    parts = {"traces": chart.traces, "layout": chart.layout, "height": chart.height, "choosers": chart.choosers}
    return {**parts, "caption": chart.caption, "choices": _choices(chart.choices)}


def _choices(node: Any) -> Any:
    if isinstance(node, Option):
        return {"caption": node.caption, "data": node.data, "layout": node.layout}
    # Names in a list of their own: JavaScript puts keys that look like numbers, as some trial ids do, first.
    return {"names": list(node), "of": {key: _choices(value) for key, value in node.items()}}


def _embedded(data: Mapping[str, Any]) -> str:
    """JSON that may stand inside a script element."""
    return json.dumps(data, allow_nan=False, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
