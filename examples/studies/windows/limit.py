"""What a window cannot cost less than: the products of matrices that it takes, in those of its plain steps.

A linear layer multiplies three times in a plain step (forward, and for the gradients of input and weight), and six
times more in a Hessian product; a layer whose input needs no gradient twice and twice more; attention, of which a
forward pass has two products, six times and, its weights at hand, twelve times more; a convolution as a linear layer.
All else is taken to cost a window no more than its plain steps, and every product to run as fast as any other: so it is
a limit, not a forecast.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from statistics import median
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from study import Row, markdown
from windows.cells import PLAIN, Cell, Setting, asked, timed, way
from windows.inner import Inner
from windows.networks import NETWORKS

BY_HAND, OURS = "unroll", ("kept", "recomputed")  # the unroll multiplies nothing twice, and so is the limit's count
LENGTH, REPETITIONS = 20, 7
NAMES = ("mm", "conv", "scaled_dot_product")  # in those of the operators that multiply
aten = torch.ops.aten


class Products(TorchDispatchMode):
    """Counts products of matrices, and their multiplications and additions."""

    def __init__(self) -> None:
        super().__init__()
        self.products, self.operations = 0, 0.0

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator, and count what it multiplies."""
        made = operator(*args, **(kwargs or {}))
        count, operations = _multiplied(operator, args, kwargs or {}, made)
        self.products, self.operations = self.products + count, self.operations + operations
        return made


def _multiplied(operator: Any, args: Any, kwargs: Mapping[str, Any], made: Any) -> tuple[int, float]:
    """Products of a call, and their operations; one that writes in place multiplies as one that does not."""
    packet = getattr(aten, operator._overloadpacket.__name__.removesuffix("_"), None)
    if packet is aten._scaled_dot_product_flash_attention_for_cpu:
        return 2, float(sdpa_flop_count(*(tensor.shape for tensor in args[:3])))
    if packet is aten._scaled_dot_product_flash_attention_for_cpu_backward:  # attention's weights anew, and four
        return 5, float(sdpa_backward_flop_count(*(tensor.shape for tensor in args[:4])))
    if packet not in flop_registry:
        return 0, 0.0
    if packet is aten.convolution_backward:
        return sum(args[-1][:2]), float(flop_registry[packet](*args, **kwargs, out_val=made))
    return 1, float(flop_registry[packet](*args, **kwargs, out_val=made))


def cells(setting: Setting, ways: Sequence[str]) -> Iterator[Cell]:
    """Of each of the three networks, windows of SGD."""
    for network in NETWORKS:
        yield Cell("limits", network, 1, "sgd", "options 3", LENGTH, (BY_HAND, *OURS), REPETITIONS, setting)


def run(cell: Cell) -> list[Row]:
    """Products of plain steps and of every way's window, counted; and its time in plain steps, all ways in turn."""
    torch.set_num_threads(cell.setting.threads)
    inners = {name: cell.inner(cell.length) for name in cell.ways}
    plain, part = counted(inners[BY_HAND], PLAIN), share(inners[BY_HAND])
    found = {name: counted(told, cell.length, name) for name, told in inners.items()}
    times: dict[str, list[float]] = {name: [] for name in cell.ways}
    order = Random(0)
    for _ in range(cell.repetitions):
        for name in order.sample(cell.ways, len(cell.ways)):
            times[name].append(timed(replace(cell, repetitions=1), way(name), inners[name])["steps"])
    return [
        {**asked(cell), "way": name, "plain products": plain.products / PLAIN, "share": part}
        | {"products": found[name].products / cell.length, "steps": median(times[name])}
        | {"count": found[name].operations / cell.length / (plain.operations / PLAIN)}
        for name in cell.ways
    ]


def counted(told: Inner, steps: int, name: str = "") -> Products:
    """Products of a window by a way that knows its problem already; of plain steps where none is named."""

    def once() -> None:
        with told.problem.rewound():
            if name:
                way(name)(told.problem, told.batches, told.val)
            else:
                told.plain(steps)

    once()
    with Products() as found:
        once()
    return found


def share(told: Inner) -> float:
    """Of the time of plain steps, what operators take that multiply matrices."""
    with told.problem.rewound(), torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        told.plain(PLAIN)
    times = {event.key: event.self_cpu_time_total for event in found.key_averages()}
    products = [time for key, time in times.items() if key.startswith("aten::") and any(w in key for w in NAMES)]
    return sum(products) / sum(times.values())


def least(row: Row) -> float:
    """Plain steps that a way cannot cost less than: its products, and all else as often as in a plain step."""
    return float(row["share"] * row["count"] + 1 - row["share"])


def section(rows: Sequence[Row]) -> Iterator[str]:
    """The table, and what it says of each network."""
    found = {(row["network"], row["way"]): row for row in rows}
    networks = list(dict.fromkeys(row["network"] for row in rows))
    yield "## What a window cannot cost less than"
    yield (
        "Products of matrices in a step, as the operators were counted: of a plain step (forward, and the gradients of"
        f" inputs and weights), and of a window's step, its share of the outer gradient included (K = {LENGTH}, SGD,"
        " three options). `count`: what they multiply and add, in plain steps. `limit`: if every product ran as fast as"
        " the plain step's, and all else took no longer than in a plain step, of which products take the share that is"
        " given. The unroll by hand multiplies nothing twice. `measured`: the time in plain steps, medians of"
        f" {REPETITIONS} repetitions in turn in one process."
    )
    heads = ["network", "way", "products of a plain step", "their share", "of the window's", "count", "limit"]
    keys = ("network", "way", "plain products", "share", "products", "count")
    yield markdown([*heads, "measured"], [[*(row[key] for key in keys), least(row), row["steps"]] for row in rows])
    yield "\n".join(_said(network, {name: found[network, name] for name in (BY_HAND, *OURS)}) for network in networks)


def _said(network: str, rows: Mapping[str, Row]) -> str:
    hand, kept, again = (rows[name] for name in (BY_HAND, *OURS))
    return (
        f"- {network}: the limit is {least(hand):.2f}; by hand {hand['steps']:.2f}, graphs kept {kept['steps']:.2f}"
        f" ({kept['products'] - hand['products']:.1f} products a step more than by hand); steps run again cannot cost"
        f" less than {least(again):.2f} by their own count, and cost {again['steps']:.2f}."
    )
