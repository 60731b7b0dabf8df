"""Searchers of discrete configurations at equal numbers of trials: in additive, in interacting and in ordered worlds.

A trial's final loss is the floor of its configuration plus a penalty for a learning rate away from the best one, which
depends on the optimizer. As a session would, every trial adapts its rate, halfway in logarithms, and reports it.
Nothing is pruned, so that only the proposals differ. What is compared is the regret: how far the best trial's final
loss, without the noise of its reports, lies above the lowest that any configuration and rate could reach.
"""

import itertools
import math
import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import mean, stdev
from typing import Any

import numpy as np
from ray import tune
from ray.tune.schedulers import FIFOScheduler

from ray_glocal import GlocalSearch
from ray_glocal.scheduling.seeding import Proposal, covered
from ray_glocal.simulate import Cluster, following, simulate
from rivals.additive import AdditiveSearch
from study import Row, Study, markdown, study

LENGTH, WORKERS = 9, 8  # iterations of a training; trials at a time
SAMPLES = (24, 48, 96)
NOISE = 0.01  # standard deviation of a report
START = 1.6  # loss before training
FIRST_SEED = 100  # those from 1,000 on served to choose the model
OURS = "glocal"
RATES = (1e-4, 1.0)

Choices = Mapping[str, Sequence[Any]]
NETWORK: Choices = {
    "optimizer": ["sgd", "adamw", "rmsprop"],
    "activation": ["relu", "gelu", "tanh", "silu"],
    "width": [32, 64, 128, 256, 512],
    "depth": [1, 2, 3, 4],
    "batch": [16, 32, 64, 128],
}
ORDERED: Choices = {
    "optimizer": ["sgd", "adamw"],
    "width": [8, 16, 32, 64, 128, 256, 512, 1024],
    "depth": [1, 2, 3, 4, 5, 6],
    "dropout": [0.0, 0.1, 0.2, 0.3, 0.4],
    "batch": [8, 16, 32, 64, 128],
}
SPACES: Mapping[str, Choices] = {"additive": NETWORK, "interacting": NETWORK, "ordinal": ORDERED}


@dataclass(frozen=True)
class World:
    """What configurations truly come to.

    Args:
        name: "additive": a sum of effects of categories and of parabolas along orders; "ordinal": the same where all
            but one factor have an order; "interacting": optimizer and activation have a joint effect, and the best
            width depends on the depth.
        effects: Sizes of everything.
    """

    name: str
    effects: Mapping[str, Any]

    @classmethod
    def drawn(cls, name: str, seed: int) -> "World":
        """With random effects."""
        rng, choices = np.random.default_rng([seed, zlib.crc32(name.encode())]), SPACES[name]
        ordered = [name for name, values in choices.items() if not isinstance(values[0], str)]
        categories = {n: 0.08 * np.abs(rng.standard_normal(len(choices[n]))) for n in choices if n not in ordered}
        effects = {
            "centres": {name: rng.uniform(-0.2, 1.2) for name in ordered},
            "sizes": {name: rng.uniform(0.05, 0.3) for name in ordered},
            "categories": categories,
            "pairs": 0.12 * np.abs(rng.standard_normal((len(choices["optimizer"]), 4))),
            "turn": rng.uniform(0.5, 1.0) * rng.choice([-1, 1]),
            "rates": rng.uniform(-3.5, -0.5, len(choices["optimizer"])),
            "rate by batch": rng.uniform(-0.5, 0.5),
        }
        return cls(name, effects)

    def place(self, name: str, config: Mapping[str, Any]) -> float:
        """Where a value lies in its factor's order, from 0 to 1."""
        values = SPACES[self.name][name]
        return values.index(config[name]) / (len(values) - 1)

    def floor(self, config: Mapping[str, Any]) -> float:
        """Final loss at the best learning rate."""
        own, choices, total = self.effects, SPACES[self.name], 0.1
        for name, sizes in own["categories"].items():
            total += sizes[choices[name].index(config[name])] - min(sizes)
        for name, centre in own["centres"].items():
            turned = self.name == "interacting" and name == "width"
            best = centre + (own["turn"] * (self.place("depth", config) - 0.5) if turned else 0.0)
            total += own["sizes"][name] * (self.place(name, config) - best) ** 2
        if self.name == "interacting":
            pair = [choices[name].index(config[name]) for name in ("optimizer", "activation")]
            total += own["pairs"][pair[0], pair[1]]
        return float(total)

    def best_rate(self, config: Mapping[str, Any]) -> float:
        """Decimal logarithm of the best learning rate."""
        own, optimizer = self.effects, SPACES[self.name]["optimizer"].index(config["optimizer"])
        return float(own["rates"][optimizer] + own["rate by batch"] * (self.place("batch", config) - 0.5))

    def rate(self, config: Mapping[str, Any], iteration: int) -> float:
        """Decimal logarithm of the learning rate, adapted halfway from its start to the best one by the end."""
        start = math.log10(config["lr"])
        return start + 0.5 * (self.best_rate(config) - start) * iteration / LENGTH

    def truth(self, config: Mapping[str, Any], iteration: int) -> float:
        """Loss without noise."""
        gap = self.rate(config, iteration) - self.best_rate(config)
        end = self.floor(config) + 0.1 * min(gap**2, 4.0)
        return end + (START - end) * math.exp(-iteration) * (iteration < LENGTH)

    def lowest(self) -> float:
        """The lowest floor of all configurations."""
        choices = SPACES[self.name]
        every = itertools.product(*choices.values())
        return min(self.floor(dict(zip(choices, values, strict=True))) for values in every)


def reported(truly: World, config: Mapping[str, Any], iteration: int) -> dict[str, float]:
    """What a trial reports."""
    draw = random.Random(zlib.crc32(f"{sorted(config.items(), key=str)} {iteration}".encode()))
    return {
        "loss": truly.truth(config, iteration) + NOISE * draw.gauss(0, 1),
        "hyper/lr": 10 ** truly.rate(config, iteration),
    }


def space_of(name: str) -> dict[str, Any]:
    """The world's space for Tune."""
    return {n: tune.choice(list(v)) for n, v in SPACES[name].items()} | {"lr": tune.loguniform(*RATES)}


class Coverage(GlocalSearch):
    """Stratified coverage, and nothing else."""

    def _propose(self) -> Proposal:
        return covered(self._issued.space, self._seed, self.ledger.proposals, self._samples or 1)


def optuna(name: str, seed: int) -> Any:
    """Optuna's tree-structured Parzen estimator over the whole space, learning rate included."""
    from optuna import logging
    from ray.tune.search.optuna import OptunaSearch

    logging.set_verbosity(logging.WARNING)
    return OptunaSearch(seed=seed)


SEARCHERS: Mapping[str, Callable[[str, int], Any]] = {
    "random": lambda name, seed: None,
    "coverage": lambda name, seed: Coverage(space_of(name), seed=seed),
    "additive, no order": lambda name, seed: AdditiveSearch(space_of(name), seed=seed),
    "TPE (Optuna)": optuna,
    OURS: lambda name, seed: GlocalSearch(space_of(name), seed=seed),
}


@dataclass(frozen=True)
class Cell:
    """One experiment."""

    world: str
    searcher: str
    samples: int
    seed: int
    version: int = 1


def run(cell: Cell) -> list[Row]:
    """Simulate it."""
    truly = World.drawn(cell.world, cell.seed)
    told = simulate(
        following(partial(reported, truly), LENGTH),
        space_of(cell.world),
        metric="loss",
        mode="min",
        num_samples=cell.samples,
        scheduler=FIFOScheduler(),
        search_alg=SEARCHERS[cell.searcher](cell.world, cell.seed),
        cluster=Cluster(WORKERS),
        seed=cell.seed,
    )
    reached = min(truly.truth(config, LENGTH) for config in told.configs)
    names = list(SPACES[cell.world])
    different = len({tuple(config[name] for name in names) for config in told.configs})
    asked = {"world": cell.world, "searcher": cell.searcher, "samples": cell.samples, "seed": cell.seed}
    return [{**asked, "loss": reached, "regret": reached - truly.lowest(), "configurations": different}]


def text(rows: Sequence[Row]) -> str:
    """A table for each world: regrets by number of trials, and differences from ours, paired by seed."""
    parts = [
        f"{len({row['seed'] for row in rows})} seeds, {WORKERS} trials at a time, no pruning. Mean regret of the best"
        " final loss, in thousandths; in brackets *ours less theirs*, paired by seed, with 1.96 standard errors."
        " *Glocal* and its predecessor (*additive, no order*) hand adapted learning rates down; TPE models the rates"
        " that trials start from, the others draw them."
    ]
    for name in dict.fromkeys(row["world"] for row in rows):
        samples = sorted({row["samples"] for row in rows})
        lines = []
        for searcher in dict.fromkeys(row["searcher"] for row in rows):
            cells = [_compared(rows, name, searcher, count) for count in samples]
            lines.append([searcher, *cells])
        count = math.prod(len(values) for values in SPACES[name].values())
        header = ["searcher", *(f"{n} trials" for n in samples)]
        parts += [f"## {name.capitalize()}: {count} configurations", _lowest(rows, name), markdown(header, lines)]
    return "\n\n".join(parts)


def _lowest(rows: Sequence[Row], name: str) -> str:
    found = {row["seed"]: row["loss"] - row["regret"] for row in rows if row["world"] == name}.values()
    return (
        f"Lowest loss that could be reached: {mean(found):.3f}, mean of the seeds, from {min(found):.3f} to"
        f" {max(found):.3f}."
    )


def _compared(rows: Sequence[Row], name: str, searcher: str, samples: int) -> str:
    def regrets(of: str) -> dict[int, float]:
        wanted = (name, of, samples)
        return {r["seed"]: 1e3 * r["regret"] for r in rows if (r["world"], r["searcher"], r["samples"]) == wanted}

    own, ours = regrets(searcher), regrets(OURS)
    if searcher == OURS:
        return f"{mean(own.values()):.1f}"
    gaps = [ours[seed] - regret for seed, regret in own.items()]
    reach = 1.96 * stdev(gaps) / math.sqrt(len(gaps)) if len(gaps) > 1 else float("nan")
    return f"{mean(own.values()):.1f} ({mean(gaps):+.1f} ± {reach:.1f})"


def draw(figure: Any, rows: Sequence[Row]) -> None:
    """Mean regret by number of trials."""
    worlds = list(dict.fromkeys(row["world"] for row in rows))
    for place, name in enumerate(worlds):
        axes = figure.add_subplot(1, len(worlds), place + 1)
        for searcher in dict.fromkeys(row["searcher"] for row in rows):
            own = [r for r in rows if (r["world"], r["searcher"]) == (name, searcher)]
            samples = sorted({r["samples"] for r in own})
            means = [mean(r["regret"] for r in own if r["samples"] == count) for count in samples]
            axes.plot(samples, means, marker="o", label=searcher, linewidth=2 if searcher == OURS else 1)
        axes.set(title=name, xlabel="trials", xscale="log", yscale="log", ylabel="mean regret" if place == 0 else "")
        axes.set_xticks(SAMPLES, [str(count) for count in SAMPLES])
        axes.minorticks_off()
    axes.legend(fontsize="x-small", loc="lower left")


def main(asked: Study) -> None:
    seeds = range(FIRST_SEED, FIRST_SEED + (4 if asked.smoke else 32))
    samples = (24,) if asked.smoke else SAMPLES
    cells = [Cell(w, s, n, seed) for w in SPACES for s in SEARCHERS for n in samples for seed in seeds]
    rows = asked.rows(cells, run)
    asked.publish("Seeding discrete configurations", text(rows), rows, partial(draw, rows=rows))


if __name__ == "__main__":
    main(study("seeding", __doc__))
