"""What a window costs on an accelerator: absolute times, memory, and how busy its kernels keep it."""

import gc
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from measuring import kernels
from ray_glocal.hypergradient.gradient.products import EXACT
from study import Row, markdown
from windows.cells import PLAIN, Cell, Setting, asked, distance, foreseen, graphs, held, timed, way
from windows.inner import Inner
from windows.large import LARGE, PRECISIONS, precise
from windows.modes import HOST, tape
from windows.networks import NETWORKS

LENGTH, SHORT_STEPS = 16, 20
REPETITIONS = 3


def cells(setting: Setting, ways: Sequence[str]) -> Iterator[Cell]:
    """The large networks in every precision, and the small ones, whose kernels are so short that launches count."""
    chosen = tuple(name for name in ways if name != "few states")
    for network in LARGE:
        # Differences need a smooth network, and the other one is made of ReLUs.
        some = chosen if network == "gpt" else tuple(name for name in chosen if name != "differences")
        for precision in (name for name in PRECISIONS if name != "float32"):
            told = ("accelerator", network, 1, "adamw", "options 3", LENGTH)
            yield Cell(*told, (*some, *(() if setting.device == "cpu" else HOST)), REPETITIONS, setting, precision)
    for network in NETWORKS:
        told = ("accelerator", network, 1, "sgd", "options 3", SHORT_STEPS)
        yield Cell(*told, chosen, REPETITIONS, setting)


def run(cell: Cell) -> list[Row]:
    """Each way's times, memory and kernels; what would not fit stays empty."""
    torch.set_num_threads(cell.setting.threads)
    with precise(cell.precision):
        told, device = cell.inner(cell.length), cell.setting.device
        with told.problem.rewound():
            told.plain(PLAIN)
        with told.problem.rewound():
            at_work = kernels(lambda: told.plain(PLAIN), device) / PLAIN
        truth: Tensor | None = None
        rows = []
        for name in cell.ways:
            size = foreseen(cell, name)
            forget(device)
            row = {**asked(cell), "parameters": told.parameters, "q": told.problem.size, "way": name}
            row |= {"growth": float(size), "fits": False}
            if size <= cell.setting.memory:
                try:
                    found, measured = measure(cell, told, name)
                    truth = found if truth is None else truth
                    busy = at_work / measured["plain"]
                    row |= {"fits": True, "plain busy": busy, "error": distance(told.problem, found, truth), **measured}
                except torch.cuda.OutOfMemoryError:  # foreseen too small
                    row["growth"] = math.nan
            rows.append(row)
            forget(device)
    return rows


def measure(cell: Cell, told: Inner, name: str) -> tuple[Tensor, Row]:
    """The hypergradient of a first window, and what the next ones cost."""
    device, own = cell.setting.device, way(name)
    count, found = held(own, told, device)
    row = timed(cell, own, told)
    with told.problem.rewound():
        work = kernels(lambda: own(told.problem, told.batches, told.val), device) / cell.length
    row |= {"growth": float(count), "busy": work / row["window"], "kernels": work}
    row["graphs"] = graphs(told.problem, cell.length) if name == "kept" else None
    row["exact"] = tape(told.problem, cell.length, name).products is EXACT
    return found, row


def forget(device: str) -> None:
    """Give back what earlier windows have kept."""
    tape.cache_clear()
    gc.collect()
    if device != "cpu":
        torch.cuda.empty_cache()


def section(rows: Sequence[Row]) -> Iterator[str]:
    """The table and what its columns are."""
    yield "## On an accelerator"
    yield (
        "A step of the window holds its plain step and its share of the outer gradient. Busy: seconds in which kernels"
        " run, as the profiler adds them up, over those of the clock without it; of a plain step and of the window's."
        " `tf32`: float32 with matrix products and convolutions in TF32. `bf16`: losses under autocast, parameters in"
        " float32. `host`: states lie in the host's page-locked memory. Distance: of the answer from that of the first"
        " that fits."
    )
    heads = ["network", "parameters", "K", "precision", "way", "plain step, ms", "window's step, ms", "ratio"]
    heads += ["memory, MiB", "busy, plain", "busy, window", "distance"]
    yield markdown(heads, map(line, rows))


def line(row: Row) -> list[object]:
    """A row of the table."""
    name = row["way"]
    if row.get("graphs") is False:
        name += " (run again)"
    if name == "differences" and row.get("exact"):
        name += " (too far off, so exact)"
    told = [row["network"], row["parameters"], row["length"], row["precision"], name]
    size = row["growth"] / 2**20
    if not row["fits"]:
        return [*told, "-", "-", "over", f"> {size:.3g}", "-", "-", "-"]
    busy = [f"{row[key]:.0%}" if math.isfinite(row[key]) else "-" for key in ("plain busy", "busy")]
    times = [1e3 * row["plain"], 1e3 * row["window"], row["steps"]]
    return [*told, *times, size, *busy, f"{row['error']:.1g}"]
