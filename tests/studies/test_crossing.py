"""The study of crossing curves: its worlds are what they say, and a short run."""

import itertools
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from crossing import LENGTH, OURS, WORLDS, reported, truth

from .conftest import STUDIES

GRID = [{"quality": q / 10, "pace": p / 4} for q, p in itertools.product(range(11), range(5))]


@pytest.mark.parametrize(("world", "crosses"), [("curves that cross", True), ("that do not", False)])
def test_in_one_world_who_is_behind_early_wins_and_in_the_other_not(world, crosses):
    pairs = [(a, b) for a, b in itertools.combinations(GRID, 2) if a["pace"] == b["pace"]]
    turned = [
        (truth(world, a, 5) - truth(world, b, 5)) * (truth(world, a, LENGTH) - truth(world, b, LENGTH)) < 0
        for a, b in pairs
    ]
    assert (sum(turned) > len(pairs) / 2) if crosses else not any(turned)


def test_a_report_is_the_truth_with_a_noise_of_its_own():
    for world in WORLDS:
        gaps = [reported(world, c, i)["loss"] - truth(world, c, i) for c in GRID for i in range(1, LENGTH)]
        assert abs(sum(gaps) / len(gaps)) < 1e-3
        assert len(set(gaps)) > 0.99 * len(gaps)
        assert reported(world, GRID[0], 3) == reported(world, GRID[0], 3)


@pytest.mark.slow
def test_where_curves_cross_the_forecast_finds_more(tmp_path):
    script = str(STUDIES / "crossing.py")
    subprocess.run([sys.executable, script, "--smoke", "--out", str(tmp_path)], check=True, timeout=280)
    rows = [row for row in pq.read_table(tmp_path / "rows.parquet").to_pylist() if row["world"] == "curves that cross"]
    loss = {name: sum(r["loss"] for r in rows if r["scheduler"] == name) for name in {r["scheduler"] for r in rows}}
    assert loss[OURS] < loss["ASHA"]
    assert loss[OURS] < loss["median, grace 9"]
