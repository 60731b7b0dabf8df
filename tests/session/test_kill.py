"""A process killed by SIGKILL and started again from its last checkpoint: same trace and parameters, bit for bit."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from .cases import WAYS, differences
from .child import SAVE_EVERY

TESTS = Path(__file__).parents[1]
NEVER = -1


def train(folder, way, kill_at=NEVER, kill_in_save=NEVER):
    command = [sys.executable, "-m", "session.child", str(folder), str(kill_at), str(kill_in_save), way]
    paths = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def end_of(folder):
    """Trace and parameters as anybody could read them."""
    return {
        "rows": pq.read_table(folder / "trace").sort_by([("step", "ascending")]).to_pylist(),
        "parameters": dict(torch.load(folder / "end.pt", weights_only=True)),
        "values": json.loads((folder / "end.json").read_text()),
    }


@pytest.fixture(scope="module", params=WAYS)
def way(request):
    return request.param


@pytest.fixture(scope="module")
def truth(tmp_path_factory, way):
    folder = tmp_path_factory.mktemp("undisturbed")
    process = train(folder, way)
    assert process.returncode == 0, process.stderr
    return end_of(folder)


def killed(folder, way, **death):
    process = train(folder, way, **death)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert not (folder / "end.pt").exists()


def restarted(folder, way):
    process = train(folder, way)
    assert process.returncode == 0, process.stderr
    return end_of(folder)


STEPS = sorted(random.Random(20).sample(range(SAVE_EVERY + 1, 100), 4))


@pytest.mark.parametrize("step", [STEPS[0], *(pytest.param(step, marks=pytest.mark.slow) for step in STEPS[1:])])
def test_at_a_random_step(tmp_path, truth, way, step):
    killed(tmp_path, way, kill_at=step)
    assert differences(truth, restarted(tmp_path, way)) == []


@pytest.mark.slow
def test_in_the_middle_of_a_save(tmp_path, truth, way):
    killed(tmp_path, way, kill_in_save=7 * SAVE_EVERY)
    assert (tmp_path / "unfinished").exists()
    assert differences(truth, restarted(tmp_path, way)) == []


@pytest.mark.slow
def test_before_the_first_checkpoint(tmp_path, truth, way):
    killed(tmp_path, way, kill_at=SAVE_EVERY - 2)
    assert differences(truth, restarted(tmp_path, way)) == []


@pytest.mark.slow
def test_again_and_again(tmp_path, truth, way):
    for step in (30, 31, 64, 90):
        killed(tmp_path, way, kill_at=step)
    assert differences(truth, restarted(tmp_path, way)) == []
