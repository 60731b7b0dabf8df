"""Sessions in data-parallel training: ranks decide alike, and as one process on the joined batches does."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from .cases import differences
from .ranks import begin, trained

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def on_ranks(folder, settings):
    command = [sys.executable, "-m", "tests.session.ranks"]
    at_work = [
        subprocess.Popen([*command, str(rank), str(folder), settings], cwd=ROOT, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    for process in at_work:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("settings", ["cycle", "first-order", "budget", "resumed"])
def test_ranks_decide_alike(tmp_path, settings):
    first, second = on_ranks(tmp_path, settings)
    assert differences(first, second) == []
    assert first["steps"]
    if settings in ("cycle", "first-order"):
        truth = trained(*begin(settings, [0, 1]))
        assert first["steps"] == truth["steps"]
        for name, value in truth["values"].items():
            assert float(first["values"][name]) == pytest.approx(float(value), rel=1e-6)
        for name, value in truth["metrics"].items():
            expected = value if isinstance(value, str) else pytest.approx(value, rel=1e-6, nan_ok=True)
            assert first["metrics"][name] == expected
        for a, b in zip(first["weights"], truth["weights"], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)
