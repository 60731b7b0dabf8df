"""The examples, run as the README says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def printed(script, *arguments):
    command = [sys.executable, str(EXAMPLES / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=280).stdout


def off(lines, name):
    """How far one line of the quadratic example says it is off, in percent."""
    (line,) = [line for line in lines if line.startswith(name)]
    return float(line.rsplit(" ", 1)[1].rstrip("%"))


def test_on_the_quadratic_the_forecast_beats_the_local_value_by_far():
    lines = printed("quadratic.py").splitlines()
    assert off(lines, "local") > 30
    assert all(off(lines, name) < 0.1 for name in ("increment", "affine", "ensemble", "paper"))


@pytest.mark.slow
def test_the_grid_example_runs_in_short():
    told = printed("constant_grid.py", "--seeds", "1", "--steps", "200").splitlines()
    assert len(told) == 1 + 2 * (2 + 3)
    assert all("of the best constant" in line for line in told if "session" in line)


@pytest.mark.cluster
def test_the_demo_ends_with_the_quickstarts_table_and_asha_beside_it():
    told = printed("demo.py")
    assert "12 trials" in told
    assert "Best: trial" in told
    commands = [shlex.split(line) for line in told.splitlines() if " -m ray_glocal " in line]
    assert [command[3] for command in commands] == ["report", "best"]
    assert "Best: trial" in subprocess.run(commands[1], check=True, capture_output=True, text=True).stdout
    assert all(name in told for name in ("lr", "momentum", "weight_decay", "test_accuracy", "Pruned:", "Cost:"))
    ours, theirs = (line for line in told.splitlines() if " steps" in line and "best val_loss" in line)
    (loss, accuracy, _, steps), others = ([float(x) for x in NUMBER.findall(line)] for line in (ours, theirs))
    assert all(0 < found < 1 for found in (loss, others[0]))
    assert all(0.9 < found <= 1 for found in (accuracy, others[1]))
    assert steps <= others[3] < steps + 1600, "as many steps, and what the last reports went beyond"
