"""Tables and conclusions of the study of cost, from its rows."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import geometric_mean

from study import Row, chosen, gathered, markdown, span


def one(rows: Sequence[Row], key: str, **wanted: object) -> float | str:
    """The value of the only such row, or a dash."""
    found = chosen(rows, **wanted)
    return float(found[0][key]) if found else "-"


def per_step(rows: Sequence[Row]) -> str:
    """Time of a recorded and differentiated inner step, in plain steps."""
    return _by_length(rows, lambda row: row["steps"] / row["length"])


def memory(rows: Sequence[Row]) -> str:
    """Peak memory over that of a plain step."""
    return _by_length(rows, lambda row: row["memory"])


def _by_length(rows: Sequence[Row], value: Callable[[Row], float]) -> str:
    local = [{**row, "value": value(row)} for row in chosen(rows, what="local")]
    columns = sorted({(row["engine"], row["length"]) for row in local})
    keys = dict.fromkeys((row["task"], row["entries"]) for row in local)
    lines = [[t, q, *(one(local, "value", task=t, entries=q, engine=e, length=n) for e, n in columns)] for t, q in keys]
    return markdown(["task", "q", *(f"{engine}, K = {length}" for engine, length in columns)], lines)


def prices(rows: Sequence[Row]) -> str:
    """One hypergradient of each kind, in plain steps and in memory; local and glocal ones of a middling window."""
    header = [
        "task",
        "q",
        "engine",
        "K",
        "local",
        "glocal",
        "global",
        "global / glocal",
        "memory local",
        "memory global",
    ]
    lines = []
    for whole, local, length, glocal in compared(rows):
        times = [local["steps"], glocal, whole["steps"], whole["steps"] / glocal]
        memories = [local["memory"], whole["memory"]]
        lines.append([whole["task"], whole["entries"], whole["engine"], length, *times, *memories])
    return markdown(header, lines)


def compared(rows: Sequence[Row]) -> Iterator[tuple[Row, Row, int, float]]:
    """Each global hypergradient, the same engine's local one of a middling window, its length, and the glocal price."""
    for whole in chosen(rows, what="global"):
        same = chosen(rows, task=whole["task"], entries=whole["entries"])
        lengths = sorted({row["length"] for row in chosen(same, what="forecast")})
        length = lengths[len(lengths) // 2]
        (local,) = chosen(same, what="local", engine=whole["engine"], length=length)
        yield whole, local, length, local["steps"] + chosen(same, what="forecast", length=length)[0]["steps"]


def forecasts(rows: Sequence[Row]) -> str:
    """The forecast alone, in plain steps."""
    told = chosen(rows, what="forecast")
    columns = sorted({(row["entries"], row["length"]) for row in told})
    lines = [
        [t, *(one(told, "steps", task=t, entries=q, length=n) for q, n in columns)]
        for t in dict.fromkeys(row["task"] for row in told)
    ]
    return markdown(["task", *(f"q = {q}, K = {n}" for q, n in columns)], lines)


def sessions(rows: Sequence[Row]) -> str:
    """Whole trainings."""
    keys = ("task", "entries", "steps", "ratio", "counted", "share", "memory")
    header = ["task", "q", "steps", "time", "steps counted", "its own share of seconds", "memory"]
    return markdown(header, [[row[key] for key in keys] for row in rows])


# ---- conclusions ----


def found(rows: Sequence[Row], whole: Sequence[Row]) -> str:
    """What the prices come to, in ranges over the tasks."""
    lines = [*(_window(rows, engine) for engine in ("adjoint", "forward")), _forecasting(rows), *_overall(rows)]
    times, counts = ([row[key] for row in whole] for key in ("ratio", "counted"))
    share = f"of its seconds {span((100 * row['share'] for row in whole), '{:.0f}'.format)} % go into hypergradients"
    lines.append(
        f"*A whole session* at its default settings takes {_range(times)} times the processor time of a plain training,"
        f" {_range(counts)} by its own count; {share}."
    )
    return "\n".join(["**Found.**", "", *(f"- {line}" for line in lines)])


def _window(rows: Sequence[Row], engine: str) -> str:
    """What a window's step costs with the fewest hyperparameters, and by how much that grows."""
    local = chosen(rows, what="local", engine=engine)
    by_count = gathered((row["entries"], row["steps"] / row["length"]) for row in local)
    few, many = min(by_count), max(by_count)
    growth = geometric_mean(by_count[many]) / geometric_mean(by_count[few])
    return (
        f"*The {engine} engine*: a step of a window costs {_range(by_count[few])} plain ones for q = {few}, and"
        f" {growth:.3g} times as much for q = {many:,}."
    )


def _forecasting(rows: Sequence[Row]) -> str:
    by_count = gathered((row["entries"], row["steps"]) for row in chosen(rows, what="forecast"))
    parts = [f"{_range(steps)} plain steps for q = {count:,}" for count, steps in sorted(by_count.items())]
    return f"*A forecast* costs {', '.join(parts)}."


def _overall(rows: Sequence[Row]) -> list[str]:
    """The global hypergradient over the glocal one by the same engine, where there is one."""
    ratios = gathered((whole["engine"], whole["steps"] / glocal) for whole, _, _, glocal in compared(rows))
    parts = [f"{_range(found)} times by the {engine} engine" for engine, found in ratios.items()]
    reach = max((row["length"] for row in chosen(rows, what="global")), default=0)
    return [f"*Global over glocal*, over {reach} steps: {', '.join(parts)}."] if parts else []


def _range(values: Iterable[float]) -> str:
    return span(values, "{:.3g}".format)
