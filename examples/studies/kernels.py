"""What each kernel pays for: torch's own second derivative and ours, right or not, and how long they take.

For each of torch's functions that windows replace: the product of a Hessian with a vector, of a weighted sum of squares
of what the function gives, with our kernels and without them. The truth is a central difference of torch's gradients in
double precision; times are of a forward pass, a gradient and a product in single precision, on one thread. Torch's
attention is its math kernel, for the fused one has no second derivative. Then the same question of whole windows, which
`windows.substituted` measures.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from time import process_time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ray_glocal.hypergradient._compat import weight_norm
from ray_glocal.hypergradient.kernels import twice_differentiable
from study import Row, markdown, study
from windows import substituted

REPEATS = 15
RIGHT, STEP = 1e-5, 1e-4  # relative error that a right product has at most, and the step of the truth
CHANNELS, GROUPS, CLASSES, ROWS = 16, 4, 20, 40
Inputs = tuple[Tensor, ...]


def _labels(x: Tensor) -> Tensor:
    return torch.arange(len(x)) % CLASSES


def _bags(weight: Tensor) -> Tensor:
    return torch.arange(4 * len(weight)).reshape(-1, 8) * 7 % len(weight)


# By name: the function that is replaced, a call of it, and the shapes of what is differentiated.
CALLS: dict[str, tuple[Any, Callable[..., Tensor], Sequence[tuple[int, ...]]]] = {
    "silu": (F.silu, F.silu, [(512, 2048)]),
    "layer_norm": (F.layer_norm, lambda x, w, b: F.layer_norm(x, w.shape, w, b), [(1024, 512), (512,), (512,)]),
    "attention": (F.scaled_dot_product_attention, F.scaled_dot_product_attention, [(8, 4, 64, 32)] * 3),
    "batch_norm": (
        torch.batch_norm,
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        [(32, CHANNELS, 14, 14), (CHANNELS,), (CHANNELS,)],
    ),
    "group_norm": (
        torch.group_norm,
        lambda x, w, b: F.group_norm(x, GROUPS, w, b),
        [(32, CHANNELS, 14, 14), (CHANNELS,), (CHANNELS,)],
    ),
    "instance_norm": (
        torch.instance_norm,
        lambda x, w, b: F.instance_norm(x, weight=w, bias=b),
        [(32, CHANNELS, 14, 14), (CHANNELS,), (CHANNELS,)],
    ),
    "weight_norm": (weight_norm, lambda v, g: weight_norm(v, g, 0), [(256, 256), (256, 1)]),
    "cdist": (torch.cdist, torch.cdist, [(24, 32), (16, 32)]),  # of more than 25 rows torch multiplies matrices
    "pdist": (F.pdist, F.pdist, [(96, 32)]),
    "hardsigmoid": (F.hardsigmoid, F.hardsigmoid, [(128, 1024)]),
    "multi_margin_loss": (
        F.multi_margin_loss,
        lambda x: F.multi_margin_loss(x, _labels(x), reduction="none"),
        [(256, CLASSES)],
    ),
    "embedding_bag": (F.embedding_bag, lambda w: F.embedding_bag(_bags(w), w), [(ROWS, 64)]),
}


@dataclass(frozen=True)
class Cell:
    """One function.

    Args:
        name: A key of `CALLS`.
        repeats: Of each timing.
    """

    name: str
    repeats: int


def product(call: Callable[..., Tensor], inputs: Inputs, along: Inputs) -> Inputs:
    """The Hessian of a weighted sum of squares, times a vector."""
    gradients = gradient(call, inputs, keep=True)
    return torch.autograd.grad(gradients, inputs, along, allow_unused=True, materialize_grads=True)


def gradient(call: Callable[..., Tensor], inputs: Inputs, *, keep: bool = False) -> Inputs:
    """The gradient of a weighted sum of squares."""
    told = call(*inputs)
    weights = torch.linspace(0.5, 1.5, told.numel(), dtype=told.dtype).reshape(told.shape)
    return torch.autograd.grad((weights * told**2).sum(), inputs, create_graph=keep)


def drawn(shapes: Sequence[tuple[int, ...]], seed: int, dtype: torch.dtype) -> Inputs:
    """Normal numbers, whose derivatives are asked for."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes
    )


def run(cell: Cell) -> list[Row]:
    """With our kernels, and without them."""
    torch.set_num_threads(1)
    _, call, shapes = CALLS[cell.name]
    measured = partial(_measured, call, shapes, repeats=cell.repeats)
    return [{"function": cell.name, "ours": ours, **measured(ours=ours)} for ours in (True, False)]


def _measured(call: Callable[..., Tensor], shapes: Sequence[tuple[int, ...]], *, ours: bool, repeats: int) -> Row:
    """Whether the product is right, in words where it is not, and the seconds that it takes."""
    point, along = (drawn(shapes, seed, torch.float64) for seed in (0, 1))
    truth = _difference(call, point, along)
    kernels = partial(twice_differentiable, nn.Module(), substituting=ours)
    try:
        with kernels():
            found = product(call, point, along)
    except RuntimeError as error:  # torch's word for a derivative that it does not have
        return {"error": None, "said": str(error).split("\n")[0], "seconds": None}
    off = max(float((a - b).norm() / b.norm()) for a, b in zip(found, truth, strict=True))
    small = [tuple(tensor.detach().float().requires_grad_() for tensor in part) for part in (point, along)]
    with kernels():
        seconds = [_timed(lambda: product(call, *small)) for _ in range(repeats + 1)][1:]
    return {"error": off, "said": "", "seconds": median(seconds)}


def _difference(call: Callable[..., Tensor], point: Inputs, along: Inputs) -> Inputs:
    ends = []
    for sign in (1, -1):
        moved = tuple((x + sign * STEP * v).detach().requires_grad_() for x, v in zip(point, along, strict=True))
        ends.append(gradient(call, moved))
    return tuple((up - down) / (2 * STEP) for up, down in zip(*ends, strict=True))


def _timed(do: Callable[[], Any]) -> float:
    began = process_time()
    do()
    return process_time() - began


def text(rows: Sequence[Row]) -> str:
    """The table, and what it comes to."""
    own, theirs = ({row["function"]: row for row in rows if row["ours"] is ours} for ours in (True, False))
    lines, needed, faster, slower = [], [], [], []
    for name, row in own.items():
        other = theirs[name]
        right = other["error"] is not None and other["error"] <= RIGHT
        ratio = other["seconds"] / row["seconds"] if other["seconds"] else None
        if not right:
            needed.append(name)
        elif ratio and ratio > 1:
            faster.append(f"{name} {ratio:.2f}")
        else:
            slower.append(f"{name} {ratio:.2f}")
        told = f"{other['error']:.1e}" if other["error"] is not None else other["said"]
        times = [f"{1e3 * row['seconds']:.2f}", f"{1e3 * other['seconds']:.2f}" if other["seconds"] else "-"]
        lines.append([name, f"{row['error']:.1e}", told, *times, f"{ratio:.2f}" if ratio else "-"])
    table = markdown(["function", "error, ours", "error, torch's", "ms, ours", "ms, torch's", "ratio"], lines)
    said = [
        f"- Without a kernel there is no right second derivative of {', '.join(needed) or 'none'}.",
        f"- A kernel saves time (torch's over ours): {', '.join(faster) or 'none'}.",
        f"- A kernel pays for nothing by single calls: {', '.join(slower) or 'none'}.",
    ]
    return f"{table}\n\n" + "\n".join(said)


def main() -> None:
    asked = replace(study("kernels", __doc__), workers=1)  # what is timed has nobody of ours beside it
    cells = [Cell(name, 2 if asked.smoke else REPEATS) for name in CALLS]
    rows = asked.rows(cells, run)
    whole = asked.rows(substituted.smallest() if asked.smoke else substituted.cells(), substituted.run)
    page = "\n\n".join(["## Single calls", text(rows), *substituted.section(whole)])
    asked.publish("What each kernel pays for", page, [*rows, *whole])


if __name__ == "__main__":
    main()
