"""The package as a whole: light to import, lazy at the root."""

import subprocess
import sys

import pytest

import ray_glocal


def loaded_by(statement):
    """Which of the heavy packages a fresh interpreter loads."""
    code = f"{statement}\nimport sys\nprint(*[name for name in ('torch', 'ray', 'pyarrow') if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_the_root_loads_nothing_heavy():
    assert loaded_by("import ray_glocal") == []


def test_a_session_loads_no_ray():
    assert "ray" not in loaded_by("from ray_glocal import GlocalSession, Hyperparameter, Settings")


def test_forecasting_needs_numpy_alone():
    assert loaded_by("import ray_glocal.koopman, ray_glocal.scheduling.ledger") == []


@pytest.mark.parametrize("name", ray_glocal.__all__)
def test_every_name_at_the_root_is_there_and_documented(name):
    assert getattr(ray_glocal, name).__doc__
    assert name in dir(ray_glocal)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(AttributeError, match="no attribute 'GlobalSession'; it offers Clipping, GlocalScheduler, "):
        _ = ray_glocal.GlobalSession
