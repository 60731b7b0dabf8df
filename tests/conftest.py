"""No test is timed: the machine may be busy. Each process computes with one thread, for several run side by side."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by torch and NumPy once, when they are imported, and by processes
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

HERE = Path(__file__).parent
WORKERS = [HERE / "tune", HERE / "docs", HERE.parent]  # what is imported by name on workers


@pytest.fixture(scope="session")
def after_all():
    """Processes are connected to one Ray at a time: whichever is left is ended once, after all tests."""
    ray = pytest.importorskip("ray")
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def local_ray(after_all):
    """One local Ray for all tests that need processes; a module that needs one of its own asks for `without_ray`."""
    if not after_all.is_initialized():
        environment = {"env_vars": {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, WORKERS))}}
        options = {"include_dashboard": False, "logging_level": "ERROR", "runtime_env": environment}
        after_all.init(address="local", num_cpus=2, **options)


@pytest.fixture(scope="module")
def without_ray(after_all):
    """For tests that start a Ray of their own, or find none."""
    after_all.shutdown()
