"""What a differentiated window costs beside plain training, by every mode of the engine and by its peers.

Recording a window, pulling it back and differentiating the outer loss, in plain steps and in memory: by the number of
hyperparameters, the length of the window and the size of the network; and the same window and the same answer by
`higher`, by `torchopt` and by a reverse unroll in plain torch.

`--threads N` and `--device cuda` choose the machine, `--memory GIB` what a window may take, `--parts price,peers`
some of the parts: all are those that the device is for. Cells that were measured are read back: for another engine
delete `cells` in the study's folder.
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from study import Row, Study, markdown, study
from windows import accelerator, limit, whole
from windows.cells import PLAIN, Cell, Setting, asked, differentiated, distance, foreseen, graphs, held, timed, way
from windows.inner import EVERY
from windows.modes import MODES, ROUNDING, TOLERANCES
from windows.peers import PEERS

LENGTH = 20
LENGTHS = (10, 20, 50, 100, 200)
PEER_LENGTHS = (20, 100)
CHECKED = 5  # steps in float64 that must agree
REPETITIONS = 3  # of windows of 20 steps; others average enough of them
SIZES: Mapping[str, Sequence[float]] = {
    "mlp": (1 / 16, 1 / 4, 1, 4, 16),
    "cnn": (1 / 2, 1, 2, 4),
    "transformer": (1 / 4, 1, 2, 4),
}
LARGER: Mapping[str, Sequence[float]] = {"mlp": (32, 64), "cnn": (8, 16), "transformer": (8, 16)}  # by an accelerator
HYPERS = ("options 1", "options 3", "weights 100000", "strengths")
MIB = 2**20


# ---- measuring ----


def check(cell: Cell) -> None:
    """Compare all ways over a short window in float64.

    Raises:
        AssertionError: One has another answer.
    """
    told = cell.inner(min(CHECKED, cell.length), torch.float64)
    truth = differentiated(way(cell.ways[0]), told)
    for name in cell.ways[1:]:
        off = distance(told.problem, differentiated(way(name), told), truth)
        if not off <= TOLERANCES.get(name, ROUNDING):
            raise AssertionError(f"{name} is {off:.3g} from {cell.ways[0]} in float64: {cell}")


def run(cell: Cell) -> list[Row]:
    """Time in plain steps, plain and differentiated ones interleaved; memory once; what would not fit stays empty."""
    torch.set_num_threads(cell.setting.threads)
    device, told = cell.setting.device, cell.inner(cell.length)
    sizes = {name: foreseen(cell, name) for name in cell.ways}
    fit = [name for name in cell.ways if sizes[name] <= cell.setting.memory]
    if len(fit) > 1:
        check(replace(cell, ways=tuple(fit)))
    with told.problem.rewound():
        told.plain(PLAIN)
    truth, rows = None, []
    for name in cell.ways:
        row = {**asked(cell), "parameters": told.parameters, "q": told.problem.size, "way": name}
        row |= {"growth": sizes[name], "fits": name in fit}
        if name in fit:
            count, found = held(way(name), told, device)
            row |= {"growth": float(count), **timed(cell, way(name), told)}
            truth = found if truth is None else truth
            row["error"] = distance(told.problem, found, truth)
            row["graphs"] = graphs(told.problem, cell.length) if name == "kept" else None
        rows.append(row)
    return rows


# ---- cells ----


def prices(setting: Setting, ways: Sequence[str]) -> Iterator[Cell]:
    """By the number of hyperparameters, and for the other optimizer."""
    for network in SIZES:
        for optimizer, hyper in (*(("sgd", told) for told in HYPERS), ("adamw", "options 3")):
            yield Cell("price", network, 1, optimizer, hyper, LENGTH, tuple(ways), REPETITIONS, setting)


def lengths(setting: Setting, ways: Sequence[str]) -> Iterator[Cell]:
    """By the length of the window."""
    for network in SIZES:
        for length in LENGTHS:
            yield Cell("lengths", network, 1, "sgd", "options 3", length, tuple(ways), 1, setting)


def sizes(setting: Setting, ways: Sequence[str]) -> Iterator[Cell]:
    """By the size of the network."""
    for network, scales in SIZES.items():
        for scale in (*scales, *(() if setting.device == "cpu" else LARGER[network])):
            yield Cell("sizes", network, scale, "adamw", "options 3", LENGTH, tuple(ways), 1, setting)


def beside_peers(setting: Setting, ways: Sequence[str]) -> Iterator[Cell]:
    """The library and those peers that are installed, on the same windows of SGD."""
    peers = [name for name, source in PEERS.items() if source.installed]
    for network in SIZES:
        for length in PEER_LENGTHS:
            repetitions = REPETITIONS if length == LENGTH else 1
            yield Cell("peers", network, 1, "sgd", "options 3", length, (*peers, *ways), repetitions, setting)


PARTS = {
    "price": prices,
    "lengths": lengths,
    "sizes": sizes,
    "peers": beside_peers,
    "limits": limit.cells,
    "sessions": whole.cells,
    "accelerator": accelerator.cells,
}
SIZED = ", ".join(f"{network.batch} (`{name}`)" for name, network in EVERY.items())  # batches
OWN = {
    "limits": limit,
    "sessions": whole,
    "accelerator": accelerator,
}  # parts with measurements and tables of their own


def asked_for(parts: str, device: str) -> list[str]:
    """Names of parts; of all, those that the device is for."""
    other = "accelerator" if device == "cpu" else "limits"  # which counts the operators of a CPU
    return [part for part in PARTS if part != other] if parts == "all" else parts.split(",")


def smallest(cells: Iterable[Cell]) -> list[Cell]:
    """One quick cell of a part."""
    first = next(iter(cells))
    return [replace(first, scale=1 / 16, length=4, repetitions=1)]


# ---- the page ----


def table(rows: Sequence[Row], label: Mapping[str, str], column: str, value: Callable[[Row], object]) -> str:
    """Rows that agree in `label` side by side, by `column`; labels are keys of rows with their headings."""
    columns = list(dict.fromkeys(row[column] for row in rows))
    lines: dict[tuple[object, ...], dict[object, object]] = {}
    for row in rows:
        lines.setdefault(tuple(row[key] for key in label), {})[row[column]] = value(row)
    body = [[*key, *(found.get(name, "-") for name in columns)] for key, found in lines.items()]
    return markdown([*label.values(), *map(str, columns)], body)


def steps(row: Row) -> object:
    """Plain steps that a step of the window costs; marked where the graphs could not be kept after all."""
    if not row["fits"]:
        return "over"
    return f"{row['steps']:.3g}{' (run again)' if row['graphs'] is False else ''}"


def mebibytes(row: Row) -> object:
    """Memory growth; of what did not fit the one foreseen."""
    return f"{'> ' if not row['fits'] else ''}{row['growth'] / MIB:.3g}"


HEADS = {
    "price": (
        "By the number of hyperparameters",
        {"network": "network", "optimizer": "optimizer", "hyper": "hyperparameters", "q": "q"},
    ),
    "lengths": ("By the length of the window", {"network": "network", "length": "K"}),
    "sizes": ("By the size of the network", {"network": "network", "parameters": "parameters"}),
    "peers": ("Beside peers: the same window, the same answer", {"network": "network", "length": "K"}),
}


def section(part: str, rows: Sequence[Row]) -> Iterator[str]:
    """Tables of one part."""
    if part in OWN:
        yield from OWN[part].section(rows)
        return
    heading, label = HEADS[part]
    yield f"## {heading}"
    yield "A step of the window, its plain step and its share of the outer gradient included, in plain steps:"
    yield table(rows, label, "way", steps)
    yield "Memory growth, MiB:"
    yield table(rows, label, "way", mebibytes)
    if part == "peers":
        yield "Distance of the answer in float32 from that of the first that fits:"
        yield table(rows, label, "way", lambda row: f"{row['error']:.1g}" if row["fits"] else "-")


def left_out() -> list[str]:
    """A line for each peer that is not installed."""
    return [
        f"- `{name}` is left out: `pip install {source.requirement}` brings it."
        for name, source in PEERS.items()
        if not source.installed
    ]


def machine(setting: Setting) -> str:
    """What it was measured on."""
    name = platform.machine() if setting.device == "cpu" else torch.cuda.get_device_name(setting.device)
    return f"{name}, {setting.threads} thread(s), torch {torch.__version__}"


def text(parts: Mapping[str, Sequence[Row]], setting: Setting) -> str:
    """The page."""
    blocks = [
        "**Asked.** " + (__doc__ or "").split("\n\n")[1].replace("\n", " ").strip(),
        f"Measured on {machine(setting)}; everything in time is a ratio within one process: each window is timed right"
        f" after {PLAIN} plain steps, in processor time where one thread computes. A plain step holds the"
        f" hyperparameters of its loss constant. Batches of {SIZED} and one of validation, a fresh"
        f" optimizer. Memory: most bytes of tensors at once beyond those that were there before. Windows foreseen"
        f" to take over {setting.memory / 2**30:.3g} GiB are not run. All answers (those of the part for accelerators"
        f" aside) agree in float64 over {CHECKED} steps (to {ROUNDING:.0e} of each hyperparameter's largest entry), or"
        f" the study stops.",
        "`options`: lr; momentum (or the first beta) and weight decay. `weights`: of examples, read by the training"
        " loss. `strengths`: of a penalty on each parameter, read by the training loss. `run again`: graphs were to be"
        " kept, but the plain step's kernels cannot be differentiated twice.",
        "\n".join(left_out()),
        *(block for part, rows in parts.items() for block in section(part, rows)),
    ]
    return "\n\n".join(filter(None, blocks))


def draw(parts: Mapping[str, Sequence[Row]], figure: Any) -> None:
    """Price by size, and memory by length, of each way."""
    axes = figure.subplots(1, 2)
    for axis, part, across, up in zip(
        axes, ("sizes", "lengths"), ("parameters", "length"), ("steps", "growth"), strict=True
    ):
        rows = [row for row in parts.get(part, ()) if row["fits"]]
        for network, name in dict.fromkeys((row["network"], row["way"]) for row in rows):
            line = [row for row in rows if (row["network"], row["way"]) == (network, name)]
            axis.plot([r[across] for r in line], [r[up] for r in line], marker=".", label=f"{network}, {name}")
        axis.set(xscale="log", xlabel=across, ylabel={"steps": "plain steps", "growth": "bytes"}[up])
        if rows:
            axis.legend(fontsize=7)


def main(wanted: Study) -> None:
    told = wanted.options
    setting = Setting(told["device"], told["threads"], int(told["memory"] * 2**30))
    if setting.device != "cpu" or setting.threads > 1:  # timed by the clock: nobody beside
        wanted = replace(wanted, workers=1)
    for line in left_out():
        print(line)
    parts = {}
    for part in asked_for(told["parts"], setting.device):
        cells = PARTS[part](setting, tuple(MODES))
        measure = OWN[part].run if part in OWN else run
        parts[part] = wanted.rows(smallest(cells) if wanted.smoke else cells, measure)
    rows = [row for found in parts.values() for row in found]
    wanted.publish("Engine: what a differentiated window costs", text(parts, setting), rows, partial(draw, parts))


def options() -> dict[str, Any]:
    """Options of the command line with their defaults."""
    return {"threads": 1, "device": "cpu", "memory": 8.0, "parts": "all"}


if __name__ == "__main__":
    main(study("engine", __doc__, **options()))
