"""The study of seeding: its worlds are what they say, and a short run."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from ray_glocal.tune.space import split
from seeding import LENGTH, OURS, SEARCHERS, SPACES, World, reported, space_of, text

from .conftest import STUDIES


def every(name):
    return [dict(zip(SPACES[name], values, strict=True)) for values in itertools.product(*SPACES[name].values())]


@pytest.mark.parametrize(("name", "additive"), [("additive", True), ("ordinal", True), ("interacting", False)])
def test_floors_are_a_sum_of_effects_or_they_are_not(name, additive):
    world = World.drawn(name, 3)
    floors = np.array([world.floor(config) for config in every(name)]).reshape([len(v) for v in SPACES[name].values()])
    axes = range(floors.ndim)
    means = [floors.mean(axis=tuple(a for a in axes if a != axis), keepdims=True) for axis in axes]
    rest = floors - sum(means) + (floors.ndim - 1) * floors.mean()
    assert (np.abs(rest).max() < 1e-12) == additive


def test_the_lowest_floor_is_reached_by_one_configuration_at_its_best_rate():
    world = World.drawn("ordinal", 3)
    best = min(every("ordinal"), key=world.floor)
    best["lr"] = 10 ** world.best_rate(best)
    assert world.truth(best, LENGTH) == pytest.approx(world.lowest())
    assert world.truth({**best, "lr": 10 * best["lr"]}, LENGTH) == pytest.approx(world.lowest() + 0.1 / 4)


def test_a_trial_adapts_its_rate_halfway_and_says_so():
    world = World.drawn("additive", 0)
    config = {**every("additive")[0], "lr": 1.0}
    gap = -world.best_rate(config)
    assert math.log10(reported(world, config, LENGTH)["hyper/lr"]) == pytest.approx(-gap / 2)
    assert reported(world, config, 3) == reported(world, config, 3)


def test_the_space_that_searchers_get_knows_which_values_are_ordered():
    ordered = {d.name for d in split(space_of("additive")).discrete if d.factor.places is not None}
    assert ordered == {"width", "depth", "batch"}
    assert [d.name for d in split(space_of("ordinal")).discrete if d.factor.places is None] == ["optimizer"]


@pytest.mark.parametrize("lowest", [0.25, 0.5])
def test_the_lowest_loss_that_could_be_reached_is_read_from_the_rows(lowest):
    rows = [
        {"world": "additive", "searcher": OURS, "samples": 24, "seed": seed, "loss": floor + 0.1, "regret": 0.1}
        for seed, floor in enumerate((lowest, lowest + 0.2))
    ]
    told = f"{lowest + 0.1:.3f}, mean of the seeds, from {lowest:.3f} to {lowest + 0.2:.3f}."
    assert f"Lowest loss that could be reached: {told}" in text(rows)


@pytest.mark.slow
def test_where_trials_are_few_ours_finds_more_than_random_draws(tmp_path):
    pytest.importorskip("optuna", exc_type=ImportError)
    script = str(STUDIES / "seeding.py")
    subprocess.run([sys.executable, script, "--smoke", "--out", str(tmp_path)], check=True, timeout=280)
    rows = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert {row["searcher"] for row in rows} == set(SEARCHERS)
    regret = {name: sum(row["regret"] for row in rows if row["searcher"] == name) for name in SEARCHERS}
    assert min(row["regret"] for row in rows) >= 0
    assert regret[OURS] < regret["random"]
    assert regret[OURS] < regret["coverage"]
