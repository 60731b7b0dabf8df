"""Schedulers at equal budget on simulated curves: slow starters that win late, and curves that do not cross.

Tune's own controller runs every experiment on a virtual clock. A trial's floor and the time that it takes to get there
are drawn at random; where curves cross, the lower the floor the longer the way. What is compared is the lowest loss
that any trial has truly reached (without the noise of its reports) when the budget, four full trainings for each of
eight workers, is spent.
"""

import math
import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import mean, stdev
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from ray_glocal import GlocalScheduler
from ray_glocal.simulate import Cluster, following, simulate
from study import Row, Study, markdown, study

LENGTH, WORKERS, TRAININGS = 81, 8, 4.0  # iterations of a training; full trainings that each worker's budget buys
GRACE = 9
NOISE = 0.01  # standard deviation of a report
START = 1.6  # loss before training
FIRST_SEED = 100  # those from 1,000 on served to try it out
SPACE = {"quality": tune.uniform(0, 1), "pace": tune.uniform(0, 1)}
OURS = "glocal"


def crossing(config: Mapping[str, Any]) -> float:
    """Iterations in which the distance to the floor falls by e: longer for lower floors, from 4 to 40."""
    return float(4 * (config["quality"] + 0.08) ** -0.9 + 2 * config["pace"])


def parallel(config: Mapping[str, Any]) -> float:
    """The same, by chance and whatever the floor, from 4 to 20."""
    return float(4 + 16 * config["pace"])


WORLDS: Mapping[str, Callable[[Mapping[str, Any]], float]] = {"curves that cross": crossing, "that do not": parallel}
SCHEDULERS: Mapping[str, Callable[[], TrialScheduler]] = {
    "FIFO": FIFOScheduler,
    "ASHA": lambda: ASHAScheduler(max_t=LENGTH, reduction_factor=3),
    f"ASHA, grace {GRACE}": lambda: ASHAScheduler(max_t=LENGTH, grace_period=GRACE, reduction_factor=3),
    f"median, grace {GRACE}": lambda: MedianStoppingRule(grace_period=GRACE),
    OURS: lambda: GlocalScheduler(time_attr="training_iteration", max_t=LENGTH),
    f"{OURS}, grace 3": lambda: GlocalScheduler(time_attr="training_iteration", max_t=LENGTH, grace_period=3),
}


def truth(world: str, config: Mapping[str, Any], iteration: int) -> float:
    """A trial's loss without noise."""
    floor = 0.1 + 0.5 * config["quality"]
    return float(floor + (START - floor) * math.exp(-iteration / WORLDS[world](config)))


def reported(world: str, config: Mapping[str, Any], iteration: int) -> dict[str, float]:
    """What it reports."""
    draw = random.Random(zlib.crc32(f"{config['quality']!r} {config['pace']!r} {iteration}".encode()))
    return {"loss": truth(world, config, iteration) + NOISE * draw.gauss(0, 1)}


@dataclass(frozen=True)
class Cell:
    """One experiment."""

    world: str
    scheduler: str
    seed: int
    version: int = 2


def run(cell: Cell) -> list[Row]:
    """Simulate it."""
    told = simulate(
        following(partial(reported, cell.world), LENGTH),
        SPACE,
        metric="loss",
        mode="min",
        num_samples=100 * WORKERS,
        scheduler=SCHEDULERS[cell.scheduler](),
        cluster=Cluster(WORKERS),
        budget=TRAININGS * LENGTH,
        seed=cell.seed,
    )
    reached = min(truth(cell.world, told.configs[result.trial], result.iteration) for result in told.results)
    trials = len({result.trial for result in told.results})
    return [{"world": cell.world, "scheduler": cell.scheduler, "seed": cell.seed, "loss": reached, "trials": trials}]


def text(rows: Sequence[Row]) -> str:
    """A table for each world: losses, and differences from ours, paired by seed."""
    parts = [
        f"{len({row['seed'] for row in rows})} seeds. *Ours less theirs*: mean difference, paired by seed, with 1.96"
        f" standard errors; *ratio*: of the mean losses. No loss can fall below 0.1."
    ]
    for world in dict.fromkeys(row["world"] for row in rows):
        losses = {
            name: {row["seed"]: row["loss"] for row in rows if (row["world"], row["scheduler"]) == (world, name)}
            for name in dict.fromkeys(row["scheduler"] for row in rows)
        }
        lines = []
        for name, own in losses.items():
            gaps = [losses[OURS][seed] - loss for seed, loss in own.items()]
            reach = 1.96 * stdev(gaps) / math.sqrt(len(gaps)) if len(gaps) > 1 else float("nan")
            trials = mean(row["trials"] for row in rows if (row["world"], row["scheduler"]) == (world, name))
            ratio = mean(losses[OURS].values()) / mean(own.values())
            versus = "" if name == OURS else f"{mean(gaps):+.4f} ± {reach:.4f}"
            lines.append([name, f"{mean(own.values()):.4f}", versus, f"{ratio:.2f}", f"{trials:.0f}"])
        parts += [
            f"## {world.capitalize()}",
            markdown(["scheduler", "loss", "ours less theirs", "ratio", "trials"], lines),
        ]
    return "\n\n".join(parts)


def draw(figure: Any, rows: Sequence[Row]) -> None:
    """The losses of all seeds."""
    names = list(dict.fromkeys(row["scheduler"] for row in rows))
    worlds = list(dict.fromkeys(row["world"] for row in rows))
    for place, world in enumerate(worlds):
        axes = figure.add_subplot(1, len(worlds), place + 1)
        values = [[r["loss"] for r in rows if (r["world"], r["scheduler"]) == (world, name)] for name in names]
        axes.boxplot(values, vert=False)
        axes.set_yticks(range(1, len(names) + 1), names if place == 0 else [])
        axes.set(title=world, xlabel="lowest loss reached")


def main(asked: Study) -> None:
    seeds = range(FIRST_SEED, FIRST_SEED + (2 if asked.smoke else 50))
    cells = [Cell(world, name, seed) for world in WORLDS for name in SCHEDULERS for seed in seeds]
    rows = asked.rows(cells, run)
    asked.publish("Curves that cross", text(rows), rows, partial(draw, rows=rows))


if __name__ == "__main__":
    main(study("crossing", __doc__))
